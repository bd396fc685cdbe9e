"""A workflow under compilation: its nodes, their interfaces and the edges between them.

`Library` is shared by all workflows of one compilation, `WorkflowGraph` belongs to one of them, `Vertex` to one node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from flyteidl.core import (
    compiler_pb2,
    identifier_pb2,
    interface_pb2,
    tasks_pb2,
    types_pb2,
    workflow_pb2,
)

from app.compiler.casting import Casts
from app.compiler.compile_errors import Problems
from app.errors import MESSAGE_BYTES_MAX
from app.wire.text import text

START, END = "start-node", "end-node"

# The limit for branches, arrays and sub-workflows inside each other. Sub-workflows are references, so the nesting limit
# of messages does not bound them.
LEVELS_MAX = 64
# The limit for the work of one compilation. A sub-workflow is compiled once for each workflow that uses it, so a few of
# them, each using the next one twice, would take exponential time.
STEPS_MAX = 500_000
NODE_STEPS = 10

Types = dict[str, types_pb2.LiteralType]


class Interface(NamedTuple):
    """The types of the inputs and outputs of a node or workflow, by variable name.

    Attributes:
        missing: The parts that are absent, in upstream's words: "paramName" or "param.Type".
    """

    inputs: Types
    outputs: Types
    missing: tuple[str, ...] = ()


class LaunchPlanInterface(NamedTuple):
    """The inputs and outputs of a launch plan; None where its stored closure has none."""

    id: identifier_pb2.Identifier
    expected_inputs: interface_pb2.ParameterMap | None
    expected_outputs: interface_pb2.VariableMap | None


def key(identifier: identifier_pb2.Identifier) -> bytes:
    """Return a key of all fields of an identifier, also of resource type and organisation."""
    return bytes(identifier.SerializeToString(deterministic=True))


def interface_of(inputs: Iterable[tuple[str, interface_pb2.Variable]], outputs: interface_pb2.VariableMap) -> Interface:
    """Return the interface of these variables and its missing parts (upstream validateVariables)."""
    missing: list[str] = []
    sides: list[Types] = []
    for variables in (inputs, outputs.variables.items()):
        types: Types = {}
        for name, variable in variables:
            types[name] = variable.type
            if not name:
                missing.append("paramName")
            if not variable.HasField("type"):
                missing.append("param.Type")
        sides.append(types)
    return Interface(sides[0], sides[1], tuple(missing))


def normalised(interface: interface_pb2.TypedInterface) -> Interface:
    """Return the interface of a message, and set its inputs and outputs where absent (upstream ValidateInterface)."""
    interface.inputs.SetInParent()
    interface.outputs.SetInParent()
    return interface_of(interface.inputs.variables.items(), interface.outputs)


class Vertex:
    """A node, its interface as soon as it is resolved, and the nodes inside it."""

    __slots__ = ("id", "inner", "interface", "message")

    def __init__(self, message: workflow_pb2.Node, interface: Interface | None = None) -> None:
        self.message = message
        self.id: str = message.id
        self.interface = interface
        self.inner: dict[object, Vertex] = {}

    def inside(self, place: object, message: workflow_pb2.Node) -> Vertex:
        """Return the vertex of a node inside this one; always the same vertex for the same place."""
        if place not in self.inner:
            self.inner[place] = Vertex(message)
        return self.inner[place]

    def rename(self, name: str) -> None:
        """Change the id of the node."""
        self.id = self.message.id = name

    def labelled(self, variable: str) -> str:
        """Return the name of a variable for error texts: after the name of the node, where the node has metadata."""
        if self.message.HasField("metadata"):
            return f"{self.message.metadata.name}.{variable}"
        return variable


class TooMuchWork(Exception):
    """The workflow takes more than STEPS_MAX steps to compile."""


class Library:
    """The tasks, launch plans and sub-workflows of one compilation, its caches, and the count of its steps."""

    def __init__(self) -> None:
        self.tasks: dict[bytes, tasks_pb2.TaskTemplate] = {}
        self.launch_plans: dict[bytes, LaunchPlanInterface] = {}
        self.sub_workflows: dict[bytes, compiler_pb2.CompiledWorkflow] = {}
        self.level = 0
        self.steps = 0
        self._interfaces: dict[bytes, Interface] = {}
        self._texts: dict[int, tuple[types_pb2.LiteralType, str]] = {}
        self.rules = Casts()
        self._casts: dict[tuple[int, int], tuple[types_pb2.LiteralType, types_pb2.LiteralType, bool]] = {}

    def spend(self, steps: int) -> None:
        """Count steps. Raises TooMuchWork above STEPS_MAX."""
        self.steps += steps
        if self.steps > STEPS_MAX:
            raise TooMuchWork

    def may_descend(self, node: str, problems: Problems) -> bool:
        """Return whether one more level is allowed; report a problem if not. The caller changes `level`."""
        if self.level < LEVELS_MAX:
            return True
        problems.too_large(node, f"Nodes are nested deeper than {LEVELS_MAX} levels.")
        return False

    def task_interface(self, name: bytes) -> Interface:
        """Return the interface of a task, normalised in the closure's copy of the task."""
        known = self._interfaces.get(name)
        if known is None:
            task = self.tasks[name]
            known = normalised(task.interface) if task.HasField("interface") else Interface({}, {})
            self._interfaces[name] = known
        return known

    def castable(self, up: types_pb2.LiteralType, down: types_pb2.LiteralType) -> bool:
        """Return `Casts.castable`, cached: thousands of nodes often share a few tasks and so their types."""
        # The types are stored with the answer, because Python reuses the id of a deleted object.
        pair = id(up), id(down)
        if pair not in self._casts:
            self._casts[pair] = up, down, self.rules.castable(up, down)
        return self._casts[pair][2]

    def type_text(self, kind: types_pb2.LiteralType) -> str:
        """Return a type for error texts, cut at the length of an error message."""
        if id(kind) not in self._texts:
            self._texts[id(kind)] = kind, _type_text(kind)[:MESSAGE_BYTES_MAX]
        return self._texts[id(kind)][1]


def _type_text(kind: types_pb2.LiteralType) -> str:
    """Return a type as text.

    Parity: a struct is shown by the fields of its class alone, in a format of its own (LiteralTypeToStr).
    """
    if kind.simple != types_pb2.SimpleType.STRUCT:
        return text(kind)
    fields = kind.structure.dataclass_type
    listed = (f"dataclass_type:{{key:{name} value:{{{_type_text(fields[name])}}}" for name in sorted(fields))
    return f"simple: STRUCT structure{{{', '.join(listed)}}}"


class WorkflowGraph:
    """One workflow under compilation."""

    def __init__(self, library: Library, core: compiler_pb2.CompiledWorkflow) -> None:
        self.library = library
        self.core = core
        self.nodes: dict[str, Vertex] = {}
        self.upstream: dict[str, set[str]] = {}
        self.downstream: dict[str, set[str]] = {}
        # Sub-workflows that have been compiled for this workflow.
        self.compiled: set[bytes] = set()
        self.interface = normalised(core.template.interface)

    def add_edge(self, provider: str, dependent: str) -> None:
        """Add an edge: `dependent` runs after `provider`."""
        self.downstream.setdefault(provider or START, set()).add(dependent)
        self.add_upstream(provider, dependent)

    def add_upstream(self, provider: str, dependent: str) -> None:
        """Add the edge from `dependent` back to `provider` only, for nodes outside of the main graph."""
        self.upstream.setdefault(dependent, set()).add(provider or START)

    def write_connections(self) -> None:
        """Write the edges into the message, each list sorted."""
        self.core.ClearField("connections")
        connections = self.core.connections
        connections.SetInParent()
        for edges, lists in ((self.downstream, connections.downstream), (self.upstream, connections.upstream)):
            for node in sorted(edges):
                lists[node].ids.extend(sorted(edges[node]))

    def check_reachable(self, problems: Problems) -> None:
        """Report a cycle or, without a cycle, the nodes that no path from the start node reaches.

        Source: validateReachable, which chooses among several cycles, and orders nodes, at random.
        """
        done: set[str] = set()
        path, waiting = [START], [iter(sorted(self.downstream.get(START, ())))]
        on_path = {START}
        while path:
            following = next(waiting[-1], None)
            if following is None:
                waiting.pop()
                done.add(path[-1])
                on_path.discard(path.pop())
            elif following in on_path:
                problems.cycle(START, [*path, following])
                return
            elif following not in done:
                path.append(following)
                on_path.add(following)
                waiting.append(iter(sorted(self.downstream.get(following, ()))))
        unreached = self.nodes.keys() - done - {END}
        if len(done) != len(self.nodes) and unreached:
            names = ",".join(sorted(unreached))
            problems.add("UnreachableNodes", START, f"The Workflow contain unreachable nodes [{names}].")

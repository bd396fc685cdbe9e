"""Checks of the values and promises that are bound to the inputs of a node: presence, existence, types.

A promise of the node "" is rewritten to the start node. Every promise that passes becomes an edge.

Proto: flyteidl/core/literals.proto. Source: validators.ValidateBindings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from flyteidl.core import literals_pb2, types_pb2

from app.compiler.compile_errors import Problems
from app.compiler.inference import type_of_scalar
from app.compiler.literal_values import problem_of
from app.compiler.workflow_graph import START, Types, Vertex, WorkflowGraph
from app.wire.text import text

# The limit for bindings of lists and maps inside each other; the protobuf parsers allow about 50.
DEPTH_MAX = 100

_SIMPLE = types_pb2.SimpleType
_NONE = types_pb2.LiteralType(simple=_SIMPLE.NONE)
_INDEX_MAX = 2**63 - 1
# Parity: not anchored, so "-l" reads the variable l and "o0[x" is refused for having two matches (ParseVarName).
_VARIABLE = re.compile(r"(\[(?P<index>\d+)\]\.)?(?P<name>\w+)", re.ASCII)
# The Go types that upstream prints for a scalar without a type.
_GO_SCALARS = {"blob": "*core.Scalar_Blob"}

Edge = Callable[[str, str], None]


def bind(
    graph: WorkflowGraph,
    vertex: Vertex,
    bindings: Iterable[literals_pb2.Binding],
    params: Types | None,
    edge: Edge,
    problems: Problems,
) -> Types:
    """Check every binding against its input, add the edges of valid ones, and return the types that were bound.

    Args:
        graph: The workflow.
        vertex: The node.
        bindings: The bindings of the node, or the outputs of the workflow for the end node.
        params: The inputs and their types; None where the bindings define the inputs (branch, gate).
        edge: `WorkflowGraph.add_edge`, or `WorkflowGraph.add_upstream` for nodes outside of the main graph.
        problems: Collects the problems.
    """
    bound: Types = {}
    provided: set[str] = set()
    for binding in bindings:
        name = binding.var
        if params is not None and name not in params:
            problems.no_variable(vertex.id, name)
        elif not binding.HasField("binding"):
            problems.value_required(vertex.id, "Binding")
        elif name in provided:
            problems.add("ParameterBoundMoreThanOnce", vertex.id, f"Input [{name}] is bound more than once.")
        else:
            provided.add(name)
            # Parity: an input without a declared type is checked as NONE, so only promises and scalars can be bound to
            # it (ValidateBindings).
            check = _Check(graph, vertex, name, params is not None, problems)
            found = check.data(binding.binding, _NONE if params is None else params[name], 0)
            if found is not None:
                bound[name] = found
                for provider in check.providers:
                    edge(provider, vertex.id)
    for name, kind in (params or {}).items():
        if name not in provided and not is_optional(kind):
            problems.not_bound(vertex.id, name)
    return bound


def is_optional(kind: types_pb2.LiteralType) -> bool:
    """Return whether an input of this type may stay unbound: it is a union with the variant NONE."""
    # Parity: any variant that is not a simple type counts as NONE too (IsOptionalType reads the simple type of it).
    return kind.WhichOneof("type") == "union_type" and any(
        variant.simple == _SIMPLE.NONE for variant in kind.union_type.variants
    )


@lru_cache(maxsize=1024)
def _parsed(variable: str) -> tuple[str, bool] | None:
    """Return the name of an output and whether the text has an index (upstream typing.ParseVarName)."""
    found = list(_VARIABLE.finditer(variable))
    if len(found) != 1:
        return None
    index = found[0]["index"]
    if index is not None and int(index.lstrip("0")[:20] or 0) > _INDEX_MAX:
        return None
    return found[0]["name"], index is not None


def outputs_of(vertex: Vertex, problems: Problems) -> Types | None:
    """Return the outputs under their aliases; None after a problem (upstream validateEffectiveOutputParameters)."""
    declared = vertex.interface.outputs if vertex.interface is not None else {}
    if not vertex.message.output_aliases:
        return declared
    mark, aliases = problems.count, dict[str, str]()
    for alias in vertex.message.output_aliases:
        if alias.var in aliases:
            what = f"Duplicate alias [{alias.alias}] found. An output alias can only be used once in the Workflow."
            problems.add("DuplicateAlias", vertex.id, what)
        else:
            aliases[alias.var] = alias.alias
    if vertex.interface is not None:
        for name in aliases.keys() - declared.keys():
            problems.not_bound(vertex.id, aliases[name])
    if problems.count > mark:
        return None
    return {aliases.get(name, name): kind for name, kind in declared.items()}


class _Check:
    """The check of one input of one node (upstream validateBinding).

    Attributes:
        providers: The nodes that the promises of the input read.
    """

    def __init__(self, graph: WorkflowGraph, vertex: Vertex, name: str, typed: bool, problems: Problems) -> None:
        self.graph, self.library = graph, graph.library
        self.vertex, self.name, self.typed = vertex, name, typed
        self.problems = problems
        self.providers: list[str] = []

    def data(
        self, data: literals_pb2.BindingData, want: types_pb2.LiteralType, depth: int
    ) -> types_pb2.LiteralType | None:
        """Return the type of a binding; None after a problem."""
        self.library.spend(1)
        if depth > DEPTH_MAX:
            self.problems.too_large(self.vertex.id, f"Bindings are nested deeper than {DEPTH_MAX} levels.")
            return None
        match data.WhichOneof("value"):
            case "promise":
                return self._promise(data.promise, want)
            case "scalar":
                return self._scalar(data.scalar, want)
        if want.WhichOneof("type") == "union_type":
            return self._variant(data, want, depth)
        match data.WhichOneof("value"):
            case "collection":
                element = want.collection_type if want.WhichOneof("type") == "collection_type" else None
                return self._elements(data.collection, data.collection.bindings, element, want, depth)
            case "map":
                element = want.map_value_type if want.WhichOneof("type") == "map_value_type" else None
                return self._elements(data.map, data.map.bindings.values(), element, want, depth)
        self.problems.mismatching_bindings(self.vertex.id, self.name, text(want), "")
        return None

    def _elements(
        self,
        whole: literals_pb2.BindingDataCollection | literals_pb2.BindingDataMap,
        elements: Iterable[literals_pb2.BindingData],
        element: types_pb2.LiteralType | None,
        want: types_pb2.LiteralType,
        depth: int,
    ) -> types_pb2.LiteralType | None:
        if element is None:
            self.problems.mismatching_bindings(self.vertex.id, self.name, text(want), text(whole))
            return None
        mark = self.problems.count
        for data in elements:
            self.data(data, element, depth + 1)
        return want if self.problems.count == mark else None

    def _variant(
        self, data: literals_pb2.BindingData, want: types_pb2.LiteralType, depth: int
    ) -> types_pb2.LiteralType | None:
        """Return the variant of a union that a list, a map or an empty binding fits; None unless it is exactly one."""
        reported, before = self.problems, self.providers
        match_: tuple[types_pb2.LiteralType, types_pb2.LiteralType, list[str]] | None = None
        for variant in want.union_type.variants:
            # The problems of a variant that does not fit are dropped.
            self.problems, self.providers = Problems(), []
            found = self.data(data, variant, depth + 1)
            tried, self.problems, self.providers = self.providers, reported, before
            if found is None:
                continue
            if match_ is not None:
                what = (
                    f"{self._expects(want, data)} which is ambiguous as both variants "
                    f"[{text(match_[0])}] and [{text(variant)}] match."
                )
                self.problems.add("AmbiguousBindingUnionValue", self.vertex.id, what)
                return None
            match_ = variant, found, tried
        if match_ is None:
            what = f"{self._expects(want, data)} which does not match any of the variants."
            self.problems.add("IncompatibleBindingUnionValue", self.vertex.id, what)
            return None
        self.providers = before + match_[2]
        return match_[1]

    def _expects(self, want: types_pb2.LiteralType, data: literals_pb2.BindingData) -> str:
        return (
            f"Input [{self.name}] on node [{self.vertex.id}] expects bindings of union type [{text(want)}].  "
            f"Received [{text(data)}]"
        )

    def _promise(self, promise: types_pb2.OutputReference, want: types_pb2.LiteralType) -> types_pb2.LiteralType | None:
        source = self.graph.nodes.get(promise.node_id or START)
        if source is None:
            what = f"Referenced node [{promise.node_id}] not found."
            self.problems.add("NodeReferenceNotFound", promise.node_id, what)
            self.problems.not_bound(self.vertex.id, self.name)
            return None
        parsed = _parsed(promise.var)
        if parsed is None:
            self.problems.add("SyntaxError", self.vertex.id, f"Failed to parse element [{promise.var}].")
            return None
        name, indexed = parsed
        outputs = outputs_of(source, self.problems)
        if outputs is None or name not in outputs:
            if outputs is not None:
                self.problems.no_variable(source.id, name)
            self.problems.not_bound(self.vertex.id, self.name)
            return None
        declared = kind = outputs[name]
        if indexed:
            if kind.WhichOneof("type") == "collection_type":
                kind = kind.collection_type
            else:
                self._mismatch(source, promise, kind, want)
        reached = self._attribute(promise, kind) if promise.attr_path else kind
        if reached is None:
            return None
        if self.typed and not self.library.castable(reached, want):
            self._mismatch(source, promise, reached, want)
            return None
        if not promise.node_id:
            promise.node_id = START
        self.providers.append(source.id)
        return declared

    def _attribute(
        self, promise: types_pb2.OutputReference, kind: types_pb2.LiteralType
    ) -> types_pb2.LiteralType | None:
        """Return the type at the end of an attribute path. A step into a type without known fields keeps the type."""
        for step in promise.attr_path:
            self.library.spend(1)
            match kind.WhichOneof("type"):
                case "collection_type":
                    kind = kind.collection_type
                case "map_value_type":
                    kind = kind.map_value_type
                case _:
                    fields = kind.structure.dataclass_type
                    if fields and step.string_value not in fields:
                        what = (
                            f"Variable [{promise.var}] (type [{text(kind)}]) doesn't have field [{step.string_value}]."
                        )
                        self.problems.add("FieldNotFound", self.vertex.id, what)
                        return None
                    if fields:
                        kind = fields[step.string_value]
        return kind

    def _mismatch(
        self,
        source: Vertex,
        promise: types_pb2.OutputReference,
        have: types_pb2.LiteralType,
        want: types_pb2.LiteralType,
    ) -> None:
        what = (
            f"The output variable '{source.labelled(promise.var)}' has type [{self.library.type_text(have)}], but it's "
            f"assigned to the input variable '{self.vertex.labelled(self.name)}' which has type type "
            f"[{self.library.type_text(want)}]."
        )
        self.problems.add("MismatchingTypes", self.vertex.id, what)

    def _scalar(self, scalar: literals_pb2.Scalar, want: types_pb2.LiteralType) -> types_pb2.LiteralType | None:
        mark = self.problems.count
        have = type_of_scalar(scalar)
        if have is None:
            # Deviates: upstream panics for an empty scalar; here it is a value without a type.
            name = _GO_SCALARS.get(scalar.WhichOneof("value") or "", "<nil>")
            self.problems.add("UnrecognizedValue", self.vertex.id, f"Unrecognized value [{name}].")
        elif self.typed and not self.library.castable(have, want):
            have_text, want_text = self.library.type_text(have), self.library.type_text(want)
            self.problems.mismatching_types(self.vertex.id, self.name, have_text, want_text)
        if want.WhichOneof("type") == "enum_type":
            value, values = scalar.primitive.string_value, want.enum_type.values
            if value not in values:
                what = (
                    f"Input [{self.name}] on node [{self.vertex.id}] is an Enum and expects value to be one of "
                    f"[[{' '.join(values)}]].  Received [{value}]"
                )
                self.problems.add("IllegalEnumValue", self.vertex.id, what)
        elif self.typed and self.problems.count == mark and want.WhichOneof("type") == "union_type":
            # Deviates: upstream does not check the value of a union.
            problem = problem_of(literals_pb2.Literal(scalar=scalar), want, self.library.rules)
            if problem is not None:
                what = f"Input [{self.name}] on node [{self.vertex.id}] has a value outside its type: {problem}"
                self.problems.add("IllegalEnumValue", self.vertex.id, what)
        return have if self.problems.count == mark else None

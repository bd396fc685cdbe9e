"""An execution with its nodes, read through the public API.

Nodes of one level are read page by page, levels below in parallel. Attempts need one call for each node, so that they
are read only for the rows that are drawn: an execution of 10,000 nodes costs about as many calls as it has pages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from app.cli.calls import path_of
from app.cli.client import CallRefused, RestClient
from app.cli.terminal import phases, times
from app.cli.terminal.places import ExecutionAddress
from app.cli.terminal.refusals import advised
from app.cli.terminal.workflow_names import NodeNames, names_in

PAGE_ROWS = 1000
# Nodes of one execution that are read. Others are counted as left out.
NODES_MAX = 100_000
LEVELS_MAX = 50
ATTEMPTS_MAX = 1000
_HIDDEN = ("start-node", "end-node")


@dataclass(slots=True)
class MapElements:
    """The elements of a map task.

    Attributes:
        phases: The number of elements by phase.
        failed: Indices of failed elements, with the reason where there is one.
    """

    phases: dict[str, int] = field(default_factory=dict)
    failed: list[int] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return sum(self.phases.values())


@dataclass(slots=True)
class Node:
    """One node of an execution.

    Attributes:
        id: The id of the node in the execution.
        spec_id: Its id in the workflow.
        phase: The phase; WAITING before the node has begun.
        name: The task or workflow that it runs, "" while unknown.
        kind: Such as task, gate or branch; "" while unknown.
        seconds: Its duration, until now for one that runs.
        error: The message of its error.
        code: The code of its error.
        cache: The status of the cache, such as CACHE_HIT.
        attempts: The number of attempts; None where they were not read.
        reason: The last reason of its last attempt.
        signal: The signal that a gate waits for.
        child: The execution that it launched.
        elements: The elements of a map task.
        is_parent: Whether it has nodes below.
        is_array: Whether it is a map.
        nodes: The nodes below.
        logs: The log links of the last attempt.
        rows: The attempts, as JSON of the API.
        has_started: Whether its last attempt has begun to run; one that was refused before has no log.
    """

    id: str
    spec_id: str
    phase: str
    name: str = ""
    kind: str = ""
    seconds: float | None = None
    error: str = ""
    code: str = ""
    cache: str = ""
    attempts: int | None = None
    reason: str = ""
    signal: str = ""
    child: ExecutionAddress | None = None
    elements: MapElements | None = None
    is_parent: bool = False
    is_array: bool = False
    nodes: list[Node] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    rows: Sequence[Mapping[str, Any]] = ()
    has_started: bool = True

    def walk(self) -> Iterable[Node]:
        """Yield this node and all below."""
        yield self
        for node in self.nodes:
            yield from node.walk()


@dataclass(slots=True)
class NodeTree:
    """An execution with its nodes.

    Attributes:
        place: Its id.
        row: The message of the execution, as JSON of the API.
        phase: Its phase.
        seconds: Its duration, until now for one that runs.
        nodes: The nodes at the top.
        left_out: Whether nodes above NODES_MAX were left out.
        read_at: When it was read.
    """

    place: ExecutionAddress
    row: Mapping[str, Any]
    phase: str
    seconds: float | None
    nodes: list[Node]
    left_out: bool
    read_at: datetime

    @property
    def ended(self) -> bool:
        """Return whether the execution has ended."""
        return self.phase in phases.TERMINAL

    @property
    def workflow(self) -> str:
        """Return the name of its workflow."""
        return str(
            (self.row["closure"].get("workflow_id") or {}).get("name") or self.row["spec"]["launch_plan"]["name"]
        )

    def walk(self) -> Iterable[Node]:
        """Yield all nodes, each before those below it."""
        for node in self.nodes:
            yield from node.walk()


class TreeReader:
    """Reads one execution, again and again for a watch. Parts that cannot change are read once.

    Args:
        client: The client.
        place: The execution.
    """

    def __init__(self, client: RestClient, place: ExecutionAddress) -> None:
        self._client = client
        self._place = place
        self._names: NodeNames | None = None
        self._dynamic: dict[str, NodeNames] = {}
        # Attempts of ended nodes.
        self._ended: dict[str, list[dict[str, Any]]] = {}
        self._below: dict[str, list[Node]] = {}
        # Errors of ended nodes.
        self._errors: dict[str, str] = {}

    def execution(self) -> Mapping[str, Any]:
        """Return the message of the execution.

        Raises:
            CallRefused: There is no such execution, or the server refuses.
        """
        with advised(self._client, self._place, missing=f"there is no execution {self._place}"):
            found: Mapping[str, Any] = self._client.get(path_of("executions", *self._place.parts))
        return found

    def read(self) -> NodeTree:
        """Return the execution with all nodes. Raises CallRefused and Unreachable."""
        row = self.execution()
        now = datetime.now(UTC)
        closure = row["closure"]
        phase = closure["phase"]
        names = self._workflow_names(closure.get("workflow_id"))
        budget = [NODES_MAX]
        nodes = self._level("", names, budget, 0, now)
        if phase not in phases.TERMINAL:
            nodes += _coming(names, nodes)
        ended = phase in phases.TERMINAL
        started = times.moment(closure.get("started_at")) or times.moment(closure.get("created_at"))
        seconds = times.took(started, times.seconds_of(closure.get("duration")), running=not ended, now=now)
        return NodeTree(self._place, row, phase, seconds, nodes, budget[0] <= 0, now)

    def add_attempts(self, nodes: Sequence[Node]) -> None:
        """Read the attempts of nodes that run tasks: their number, last reason, logs and elements of maps."""
        wanted = [node for node in nodes if _runs_task(node)][:ATTEMPTS_MAX]
        for node, rows in zip(wanted, self._client.each(self._attempts, wanted), strict=True):
            _add_attempts(node, rows)

    def add_errors(self, nodes: Sequence[Node]) -> None:
        """Read the whole errors of nodes, which lists cut to their ends."""

        def whole(node: Node) -> str:
            if (known := self._errors.get(node.id)) is None:
                try:
                    row = self._client.get(path_of("node_executions", *self._place.parts, node.id))
                except CallRefused:
                    # The end of the error is better than none.
                    return node.error
                known = str((row["closure"].get("error") or {}).get("message") or node.error)
                if node.phase in phases.TERMINAL:
                    self._errors[node.id] = known
            return known

        for node, error in zip(nodes, self._client.each(whole, nodes), strict=True):
            node.error = error

    def _attempts(self, node: Node) -> list[dict[str, Any]]:
        if (known := self._ended.get(node.id)) is not None:
            return known
        path = path_of("task_executions", *self._place.parts, node.id)
        rows: list[dict[str, Any]] = self._client.get(path, limit="100")["task_executions"]
        rows.sort(key=lambda row: int(row["id"].get("retry_attempt") or 0))
        if node.phase in phases.TERMINAL:
            self._ended[node.id] = rows
        return rows

    def _level(self, parent: str, names: NodeNames, budget: list[int], depth: int, now: datetime) -> list[Node]:
        query = {"sort_by.key": "created_at", "sort_by.direction": "ASCENDING"}
        if parent:
            query["uniqueParentId"] = parent
        path = path_of("node_executions", *self._place.parts)
        found: list[Node] = []
        for page in self._client.pages(path, "node_executions", query, rows=PAGE_ROWS):
            found += [_node(row, names, now) for row in page]
            budget[0] -= len(page)
            if budget[0] <= 0:
                return found
        found = [node for node in found if node.spec_id not in _HIDDEN]
        parents = [node for node in found if node.is_parent and not node.is_array]
        if depth < LEVELS_MAX:
            # Levels below are read in parallel from the top level alone, so that CALLS_MAX holds.
            def below(node: Node) -> list[Node]:
                return self._nodes_below(node, names, budget, depth + 1, now)

            read = self._client.each(below, parents) if depth == 0 else [below(node) for node in parents]
            for node, nodes in zip(parents, read, strict=True):
                node.nodes = nodes
        return found

    def _nodes_below(self, node: Node, names: NodeNames, budget: list[int], depth: int, now: datetime) -> list[Node]:
        if (known := self._below.get(node.id)) is not None:
            return known
        inner = names.below(node.spec_id)
        if inner is None:
            inner = self._dynamic_names(node.id)
        nodes = self._level(node.id, inner, budget, depth, now)
        if node.phase in phases.TERMINAL and all(one.phase in phases.TERMINAL for one in nodes):
            self._below[node.id] = nodes
        return nodes

    def _workflow_names(self, id: Mapping[str, Any] | None) -> NodeNames:
        if self._names is None:
            self._names = NodeNames()
            if id and id.get("name"):
                path = path_of("workflows", id["project"], id["domain"], id["name"], id["version"])
                try:
                    found = self._client.get(path)
                except CallRefused:
                    # Names are decoration: a person who may see the execution need not see the workflow.
                    found = {}
                self._names = names_in((found.get("closure") or {}).get("compiled_workflow") or {})
        return self._names

    def _dynamic_names(self, node_id: str) -> NodeNames:
        """Return the names in the workflow that a dynamic task made; none before it has made one."""
        if (known := self._dynamic.get(node_id)) is not None:
            return known
        try:
            data = self._client.get(path_of("data", "node_executions", *self._place.parts, node_id))
        except CallRefused:
            data = {}
        compiled = (data.get("dynamic_workflow") or {}).get("compiled_workflow") or {}
        names = names_in(compiled)
        if compiled:
            self._dynamic[node_id] = names
        return names


def _node(row: Mapping[str, Any], names: NodeNames, now: datetime) -> Node:
    closure, metadata = row["closure"], row.get("metadata") or {}
    id = row["id"]["node_id"]
    spec_id = metadata.get("spec_node_id") or id
    phase = closure["phase"]
    running = phase not in phases.TERMINAL
    started = times.moment(closure.get("started_at"))
    seconds = times.took(started, times.seconds_of(closure.get("duration")), running=running, now=now)
    named = names.of(spec_id)
    error = closure.get("error") or {}
    task = closure.get("task_node_metadata") or {}
    child = (closure.get("workflow_node_metadata") or {}).get("execution_id") or {}
    node = Node(
        id=id,
        spec_id=spec_id,
        phase=phase,
        name=named.name,
        kind=named.kind,
        seconds=seconds,
        error=str(error.get("message") or ""),
        code=str(error.get("code") or ""),
        cache=str(task.get("cache_status") or ""),
        child=ExecutionAddress(child["project"], child["domain"], child["name"]) if child.get("name") else None,
        is_parent=bool(metadata.get("is_parent_node")),
        is_array=bool(metadata.get("is_array")),
    )
    if named.kind == "gate" and running:
        node.phase, node.signal = "PAUSED", named.name
    return node


def _coming(names: NodeNames, begun: Sequence[Node]) -> list[Node]:
    """Return the nodes of the workflow that have not begun."""
    known = {node.spec_id for node in begun}
    return [
        Node(spec_id, spec_id, phases.WAITING, name=named.name, kind=named.kind)
        for spec_id, named in names.top.items()
        if spec_id not in known and spec_id not in _HIDDEN
    ]


def _runs_task(node: Node) -> bool:
    if node.phase == phases.WAITING or node.kind in ("branch", "gate", "launch plan", "workflow"):
        return False
    return node.attempts is None and not (node.cache == "CACHE_HIT" and node.name)


def _add_attempts(node: Node, rows: Sequence[Mapping[str, Any]]) -> None:
    node.attempts, node.rows = len(rows), rows
    if not rows:
        return
    last = rows[-1]
    closure = last["closure"]
    node.name = node.name or str((last["id"].get("task_id") or {}).get("name") or "")
    node.reason = str(closure.get("reason") or "")
    node.logs = list(closure.get("logs") or [])
    node.has_started = closure.get("started_at") is not None
    external = (closure.get("metadata") or {}).get("external_resources") or []
    if node.is_array or len(external) > 1:
        latest: dict[int, str] = {}
        for one in sorted(external, key=lambda one: int(one.get("retry_attempt") or 0)):
            latest[int(one.get("index") or 0)] = str(one.get("phase") or "UNDEFINED")
        counted: dict[str, int] = {}
        for phase in latest.values():
            counted[phase] = counted.get(phase, 0) + 1
        failed = sorted(index for index, phase in latest.items() if phase == "FAILED")
        node.elements = MapElements(counted, failed)

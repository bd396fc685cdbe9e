"""Spans of executions of any shape: branches with several children, unknown nodes, missing objects, cycles."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flyteidl.admin import execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, workflow_pb2
from hypothesis import given
from hypothesis import strategies as st

from app import errors
from app.services.executions import metrics
from app.wire.text import text

KINDS = ("task", "branch", "sub", "plan", "gate", "array", "none")
SECONDS_MAX = 9


def workflow_id(name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=identifier_pb2.WORKFLOW, name=name)


def run_id(name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name=name)


def a_node(id: str, kind: str, inside: tuple[workflow_pb2.Node, ...] = ()) -> workflow_pb2.Node:
    node = workflow_pb2.Node(id=id)
    match kind:
        case "task":
            node.task_node.SetInParent()
        case "branch":
            for inner in inside:
                node.branch_node.if_else.other.add().then_node.CopyFrom(inner)
            node.branch_node.SetInParent()
        case "sub":
            node.workflow_node.sub_workflow_ref.CopyFrom(workflow_id("sub"))
        case "plan":
            node.workflow_node.launchplan_ref.name = "lp"
        case "gate":
            node.gate_node.SetInParent()
        case "array":
            node.array_node.SetInParent()
    return node


class Recorded:
    """Executions as they are stored: one closure for all, rows of nodes and attempts by execution."""

    def __init__(self, closure: compiler_pb2.CompiledWorkflowClosure, names: tuple[str, ...] = ("e0",)) -> None:
        self.closure = closure
        self.executions = {name: execution_pb2.Execution(id=run_id(name)) for name in names}
        self.nodes: dict[str, list[tuple[node_execution_pb2.NodeExecution, int]]] = {name: [] for name in names}
        self.attempts: dict[str, list[task_execution_pb2.TaskExecution]] = {name: [] for name in names}
        self.dynamic: set[str] = set()

    def add(self, run: str, spec_id: str, *, parent: int = 0, second: int = 1) -> node_execution_pb2.NodeExecution:
        """Record a node; its row number is its place in the list, from 1."""
        rows = self.nodes[run]
        node = node_execution_pb2.NodeExecution()
        node.id.execution_id.CopyFrom(run_id(run))
        node.id.node_id = f"{spec_id}-{len(rows) + 1}"
        node.metadata.spec_node_id = spec_id
        node.closure.created_at.seconds, node.closure.updated_at.seconds = second, second + 2
        rows.append((node, parent))
        return node

    async def load(self, ctx: Any, execution: execution_pb2.Execution, visited: set[str]) -> metrics.ExecutionTree:
        name = execution.id.name
        visited.add(text(execution.id))
        run = metrics.ExecutionTree(execution, self.closure, visited=visited)
        for row, (node, parent) in enumerate(self.nodes[name], 1):
            run.rows[node.id.node_id] = row
            run.children[parent].append(node)
            if node.id.node_id in self.dynamic:
                run.dynamic[node.id.node_id] = "reference"
        for attempt in self.attempts[name]:
            run.attempts[attempt.id.node_execution_id.node_id].append(attempt)
        return run

    async def get(self, ctx: Any, request: execution_pb2.WorkflowExecutionGetRequest) -> execution_pb2.Execution:
        if request.id.name not in self.executions:
            raise errors.NotFound("no such execution")
        return self.executions[request.id.name]

    async def dynamic_closure(self, ctx: Any, reference: str) -> compiler_pb2.CompiledWorkflowClosure:
        if len(self.dynamic) % 2:
            raise errors.Internal("the file is gone")
        return self.closure

    def spans(self, depth: int = -1) -> Any:
        """The root span of e0, as a client parses it."""
        request = execution_pb2.WorkflowExecutionGetMetricsRequest(id=run_id("e0"), depth=depth)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(metrics, "_read_tree", self.load)
            patched.setattr(metrics, "get_execution", self.get)
            patched.setattr(metrics.node_executions, "dynamic_closure", self.dynamic_closure)
            reply: Any = asyncio.run(metrics.get_execution_metrics(None, request))  # type: ignore[arg-type]
        return type(reply).FromString(reply.SerializeToString()).span


def closure_of(
    *nodes: workflow_pb2.Node, sub: tuple[workflow_pb2.Node, ...] = ()
) -> compiler_pb2.CompiledWorkflowClosure:
    closure = compiler_pb2.CompiledWorkflowClosure()
    closure.primary.template.nodes.extend([workflow_pb2.Node(id="start-node"), *nodes])
    inner = closure.sub_workflows.add()
    inner.template.id.CopyFrom(workflow_id("sub"))
    inner.template.nodes.extend([workflow_pb2.Node(id="start-node"), *sub])
    for workflow in (closure.primary, inner):
        previous = "start-node"
        for node in (*workflow.template.nodes, workflow_pb2.Node(id="end-node")):
            workflow.connections.upstream[node.id].ids.append(previous)
            previous = node.id
    return closure


def test_every_child_of_a_branch_has_its_span() -> None:
    closure = closure_of(a_node("n0", "branch", (a_node("a", "task"), a_node("b", "gate"))))
    recorded = Recorded(closure)
    recorded.add("e0", "start-node")
    recorded.add("e0", "n0", second=2).closure.updated_at.seconds = 20
    recorded.add("e0", "a", parent=2, second=3)
    recorded.add("e0", "b", parent=2, second=8)
    recorded.add("e0", "unknown", parent=2, second=5)
    (branch,) = [span for span in recorded.spans().spans if span.HasField("node_id")]
    told = [(span.operation_id or span.node_id.node_id, span.end_time.seconds) for span in branch.spans]
    assert told == [("NODE_TRANSITION", 2), ("NODE_SETUP", 3), ("a-3", 5), ("b-4", 10), ("NODE_TEARDOWN", 20)]


def test_an_execution_is_in_the_reply_once() -> None:
    """Nodes may name any execution as their child, so that following each would never end."""
    recorded = Recorded(closure_of(*(a_node(f"n{i}", "plan") for i in range(9))), tuple(f"e{i}" for i in range(9)))
    for run in recorded.executions:
        recorded.add(run, "start-node")
        for i in range(9):
            child = recorded.add(run, f"n{i}")
            child.closure.workflow_node_metadata.executionId.CopyFrom(run_id(f"e{i}"))
    found = text(recorded.spans())
    assert [found.count(f'workflow_id:{{project:"p" domain:"d" name:"e{i}"}}') for i in range(9)] == [1] * 9


def test_deep_trees_end_where_clients_stop_reading() -> None:
    recorded = Recorded(closure_of(a_node("n0", "sub"), sub=(a_node("n0", "sub"),)))
    recorded.add("e0", "start-node")
    for depth in range(400):
        recorded.add("e0", "n0", parent=depth + 1 if depth else 0)
    assert recorded.spans().spans


names = st.sampled_from([f"n{i}" for i in range(4)] + ["a", "b", "start-node", "end-node", "unknown"])
kinds = st.sampled_from(KINDS)
inside = st.lists(st.builds(a_node, st.sampled_from(["a", "b"]), kinds), max_size=3).map(tuple)
templates = st.lists(st.builds(a_node, names, kinds, inside), max_size=4).map(tuple)
rows = st.tuples(names, st.integers(0, 12), st.integers(0, SECONDS_MAX), st.integers(0, 31), st.integers(0, 3))


@pytest.mark.heavy
@given(templates, templates, st.lists(rows, max_size=14), st.lists(rows, max_size=5), st.integers(-2, 6))
def test_no_recorded_shape_is_an_error(
    top: tuple[workflow_pb2.Node, ...],
    sub: tuple[workflow_pb2.Node, ...],
    first: list[Any],
    second: list[Any],
    depth: int,
) -> None:
    recorded = Recorded(closure_of(*top, sub=sub), ("e0", "e1"))
    for run, given_rows in (("e0", first), ("e1", second)):
        for number, (spec_id, parent, at, bits, attempts) in enumerate(given_rows):
            node = recorded.add(run, spec_id, parent=min(parent, number), second=at)
            if bits & 1:
                node.closure.started_at.seconds = at
            if bits & 2:
                node.closure.duration.seconds = 2
            if bits & 4:
                node.closure.workflow_node_metadata.executionId.CopyFrom(run_id(f"e{at % 3}"))
            if bits & 8:
                recorded.dynamic.add(node.id.node_id)
            if bits & 16:
                node.closure.ClearField("updated_at")
            for retry in range(attempts):
                attempt = task_execution_pb2.TaskExecution()
                attempt.id.node_execution_id.CopyFrom(node.id)
                attempt.id.retry_attempt = retry
                if bits & 2:
                    attempt.closure.started_at.seconds, attempt.closure.duration.seconds = at, retry
                recorded.attempts[run].append(attempt)
    span = recorded.spans(depth)
    assert span.workflow_id == run_id("e0")
    assert depth != 0 or not span.spans

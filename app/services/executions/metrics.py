"""GetExecutionMetrics: the durations of an execution, its nodes and its attempts as a tree of spans.

A reference span covers an execution, a node or an attempt from its creation to its last update. An operation span
covers the time of one operation, such as NODE_SETUP. Three queries read all rows of an execution; the spans are then
computed from these rows.
Proto: flyteidl/core/metrics.proto. Source: flyteadmin/pkg/manager/impl/metrics_manager.go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog
from flyteidl.admin import common_pb2, execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, metrics_pb2, workflow_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import node_executions, task_executions, workflows
from app.services.execution_ids import EXECUTION_KEY, execution_key
from app.services.executions.reads import get_execution
from app.wire.text import text

log = structlog.get_logger(__name__)

_NODE_COLUMNS = (
    *("id", *EXECUTION_KEY, "node_id", "parent_id", "input_uri", "closure", "node_execution_metadata"),
    "dynamic_workflow_remote_closure_reference",
)
_ATTEMPT_COLUMNS = (
    *("project", "domain", "name", "version", *EXECUTION_KEY),
    *("node_id", "retry_attempt", "input_uri", "closure"),
)
_START, _END = "start-node", "end-node"
# Levels of spans below the root. Protobuf's parsers refuse messages with more than 100 nested levels.
_DEPTH_MAX = 90
# Nodes or attempts that are processed before other requests run: some 5 ms.
_ITEMS_PER_TURN = 100

T = TypeVar("T")

Span = metrics_pb2.Span


@dataclass(slots=True)
class ExecutionTree:
    """An execution with its workflow, nodes and attempts.

    Attributes:
        execution: The execution.
        closure: The compiled workflow that the spans are computed for: the execution's or that of a dynamic node.
        rows: Row ids by node id.
        children: Nodes by the row id of their parent node, 0 for nodes without a parent.
        attempts: Attempts by node id.
        dynamic: URIs of the workflows of dynamic nodes by node id.
        visited: The executions that the reply contains, so that a cycle of executions ends.
    """

    execution: execution_pb2.Execution
    closure: compiler_pb2.CompiledWorkflowClosure
    rows: dict[str, int] = field(default_factory=dict)
    children: dict[int, list[node_execution_pb2.NodeExecution]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[str, list[task_execution_pb2.TaskExecution]] = field(default_factory=lambda: defaultdict(list))
    dynamic: dict[str, str] = field(default_factory=dict)
    visited: set[str] = field(default_factory=set)

    def children_of(self, node: node_execution_pb2.NodeExecution) -> list[node_execution_pb2.NodeExecution]:
        """Return the nodes whose parent is this node."""
        return self.children.get(self.rows[node.id.node_id], [])


async def get_execution_metrics(
    ctx: Context, request: execution_pb2.WorkflowExecutionGetMetricsRequest
) -> execution_pb2.WorkflowExecutionGetMetricsResponse:
    """Return the span tree of an execution.

    The request's depth counts the levels below the root: 0 for the root alone, negative for all levels.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution or its workflow does not exist.
        errors.ResourceExhausted: The execution has more rows than limits.metricsRowsMax.

    Source: upstream MetricsManager.GetExecutionMetrics.
    """
    execution = await get_execution(ctx, execution_pb2.WorkflowExecutionGetRequest(id=request.id))
    depth = request.depth if 0 <= request.depth <= _DEPTH_MAX else _DEPTH_MAX
    return execution_pb2.WorkflowExecutionGetMetricsResponse(span=await _execution(ctx, execution, depth, set()))


async def _read_tree(ctx: Context, execution: execution_pb2.Execution, visited: set[str]) -> ExecutionTree:
    workflow = await workflows.get_workflow(ctx, common_pb2.ObjectGetRequest(id=execution.closure.workflow_id))
    visited.add(text(execution.id))
    tree = ExecutionTree(execution, workflow.closure.compiled_workflow, visited=visited)
    async for row in _yielding(await _rows(ctx, schema.NodeExecution, _NODE_COLUMNS, execution.id)):
        tree.rows[row.node_id] = row.id
        tree.children[row.parent_id or 0].append(node_executions.to_message(row, has_children=False))
        if row.dynamic_workflow_remote_closure_reference:
            tree.dynamic[row.node_id] = row.dynamic_workflow_remote_closure_reference
    async for row in _yielding(await _rows(ctx, schema.TaskExecution, _ATTEMPT_COLUMNS, execution.id)):
        tree.attempts[row.node_id].append(task_executions.to_message(row, is_parent=False))
    for found in tree.attempts.values():
        found.sort(key=lambda attempt: _instant(attempt.closure.created_at))
    for nodes in tree.children.values():
        nodes.sort(key=lambda node: _instant(node.closure.created_at))
    return tree


async def _rows(
    ctx: Context,
    model: type[schema.Base],
    columns: tuple[str, ...],
    id: identifier_pb2.WorkflowExecutionIdentifier,
) -> Sequence[Any]:
    """Return all rows of an execution in a table.

    Deviates: upstream has no limit for the number of rows.

    Raises:
        errors.ResourceExhausted: More rows than limits.metricsRowsMax.
    """
    rows_max = ctx.settings.limits.metrics_rows_max
    rows = await ctx.db.find_all(model, columns=columns, most=rows_max + 1, **execution_key(id))
    if len(rows) > rows_max:
        raise errors.ResourceExhausted(
            f"execution {id.name} has more than {rows_max} rows in {schema.table(model).name}, "
            "the most that metrics are computed of (limits.metricsRowsMax)"
        )
    return rows


async def _yielding(items: Sequence[T]) -> AsyncIterator[T]:
    """Iterate over items; let other requests run after every _ITEMS_PER_TURN items."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _ITEMS_PER_TURN == 0:
            await asyncio.sleep(0)


def _instant(stamp: Timestamp) -> tuple[int, int]:
    return stamp.seconds, stamp.nanos


def _operation(name: str, start: Timestamp, end: Timestamp) -> Any:
    return Span(operation_id=name, start_time=start, end_time=end)


def _if_not_earlier(name: str, start: Timestamp, end: Timestamp) -> list[Any]:
    """Return the operation span, or no span if the end is before the start."""
    return [] if _instant(end) < _instant(start) else [_operation(name, start, end)]


def _whole_span(name: str, closure: Any) -> list[Any]:
    """Return one operation span from creation to last update, for a node or attempt that has not started."""
    return [_operation(name, closure.created_at, closure.updated_at)]


def _by_spec_id(nodes: Iterable[node_execution_pb2.NodeExecution]) -> dict[str, node_execution_pb2.NodeExecution]:
    return {node.metadata.spec_node_id: node for node in nodes}


def _latest_upstream(
    node_id: str, workflow: compiler_pb2.CompiledWorkflow, by_spec_id: dict[str, node_execution_pb2.NodeExecution]
) -> node_execution_pb2.NodeExecution | None:
    """Return the node that was updated last, of the upstream nodes of a node."""
    upstream = workflow.connections.upstream
    ids = upstream[node_id].ids if node_id in upstream else ()
    found = [by_spec_id[one] for one in ids if one in by_spec_id]
    return max(found, key=lambda node: _instant(node.closure.updated_at), default=None)


async def _execution(ctx: Context, execution: execution_pb2.Execution, depth: int, visited: set[str]) -> Any:
    closure = execution.closure
    span = Span(workflow_id=execution.id, start_time=closure.created_at, end_time=closure.updated_at)
    if depth == 0:
        return span
    tree = await _read_tree(ctx, execution, visited)
    top = tree.children[0]
    by_spec_id = _by_spec_id(top)
    start = by_spec_id.get(_START)
    if start is None or not start.closure.HasField("updated_at"):
        span.spans.extend(_whole_span("WORKFLOW_SETUP", closure))
        return span
    span.spans.append(_operation("WORKFLOW_SETUP", closure.created_at, start.closure.updated_at))
    primary = tree.closure.primary
    span.spans.extend(await _nodes(ctx, tree, top, primary, depth - 1))
    last = _latest_upstream(_END, primary, by_spec_id)
    if last is not None:
        span.spans.extend(_if_not_earlier("WORKFLOW_TEARDOWN", last.closure.updated_at, closure.updated_at))
    return span


async def _nodes(
    ctx: Context,
    tree: ExecutionTree,
    nodes: list[node_execution_pb2.NodeExecution],
    workflow: compiler_pb2.CompiledWorkflow,
    depth: int,
) -> list[Any]:
    """Return the spans of the nodes of a workflow; each begins with the time since its last upstream node ended."""
    templates = {node.id: node for node in workflow.template.nodes}
    by_spec_id = _by_spec_id(nodes)
    spans = []
    async for node in _yielding(nodes):
        spec_id = node.metadata.spec_node_id
        # Deviates: upstream fails the call for a node that the workflow does not have. Such a node has no span here.
        if spec_id in (_START, _END) or spec_id not in templates:
            continue
        span = await _node(ctx, tree, node, templates[spec_id], depth)
        last = _latest_upstream(spec_id, workflow, by_spec_id)
        if last is not None:
            transition = _operation("NODE_TRANSITION", last.closure.updated_at, node.closure.created_at)
            inner = list(span.spans)
            del span.spans[:]
            span.spans.extend([transition, *inner])
        spans.append(span)
    return spans


async def _node(
    ctx: Context, tree: ExecutionTree, node: node_execution_pb2.NodeExecution, template: workflow_pb2.Node, depth: int
) -> Any:
    span = Span(node_id=node.id, start_time=node.closure.created_at, end_time=node.closure.updated_at)
    if depth == 0:
        return span
    kind = template.WhichOneof("target")
    if kind == "task_node":
        span.spans.extend(await _task_node(ctx, tree, node, depth - 1))
    elif kind == "branch_node":
        span.spans.extend(await _branch(ctx, tree, node, template.branch_node, depth - 1))
    elif kind == "gate_node":
        span.spans.extend(_gate(node))
    elif kind == "workflow_node" and template.workflow_node.HasField("launchplan_ref"):
        span.spans.extend(await _launch_plan(ctx, tree, node, depth - 1))
    elif kind == "workflow_node":
        span.spans.extend(await _subworkflow(ctx, tree, node, template.workflow_node.sub_workflow_ref, depth - 1))
    return span


async def _task_node(
    ctx: Context, tree: ExecutionTree, node: node_execution_pb2.NodeExecution, depth: int
) -> list[Any]:
    """Return the spans of a task node: its attempts, and the nodes of its dynamic workflow if it has one."""
    closure, attempts = node.closure, tree.attempts.get(node.id.node_id, [])
    if not attempts:
        return _whole_span("NODE_SETUP", closure)
    spans = [_operation("NODE_SETUP", closure.created_at, attempts[0].closure.created_at)]
    for previous, attempt in zip([None, *attempts], attempts, strict=False):
        if previous is not None:
            spans.append(_operation("NODE_RESET", previous.closure.updated_at, attempt.closure.created_at))
        if depth != 0:
            spans.append(_attempt(attempt))
    last = attempts[-1].closure.updated_at
    children = tree.children_of(node)
    if not (node.metadata.is_parent_node or children):
        return spans + _if_not_earlier("NODE_TEARDOWN", last, closure.updated_at)
    if not children:
        return spans + _if_not_earlier("NODE_RESET", last, closure.updated_at)
    by_spec_id = _by_spec_id(children)
    if _START in by_spec_id:
        spans.append(_operation("NODE_RESET", last, by_spec_id[_START].closure.updated_at))
    dynamic = await _dynamic_closure(ctx, tree, node)
    if dynamic is None:
        return spans
    inner = ExecutionTree(tree.execution, dynamic, tree.rows, tree.children, tree.attempts, tree.dynamic, tree.visited)
    spans += await _nodes(ctx, inner, children, dynamic.primary, depth)
    ending = _latest_upstream(_END, dynamic.primary, by_spec_id)
    if ending is not None:
        spans += _if_not_earlier("NODE_TEARDOWN", ending.closure.updated_at, closure.updated_at)
    return spans


async def _dynamic_closure(
    ctx: Context, tree: ExecutionTree, node: node_execution_pb2.NodeExecution
) -> compiler_pb2.CompiledWorkflowClosure | None:
    """Return the workflow of a dynamic node, None if no event named one or the object is not readable."""
    reference = tree.dynamic.get(node.id.node_id)
    if reference is None:
        return None
    try:
        return await node_executions.dynamic_closure(ctx, reference)
    except errors.Internal as error:
        log.warning("metrics_without_dynamic_workflow", node=node.id.node_id, reason=error.message)
        return None


def _attempt(attempt: task_execution_pb2.TaskExecution) -> Any:
    closure = attempt.closure
    span = Span(task_id=attempt.id, start_time=closure.created_at, end_time=closure.updated_at)
    if not closure.HasField("started_at"):
        span.spans.extend(_whole_span("TASK_SETUP", closure))
        return span
    span.spans.append(_operation("TASK_SETUP", closure.created_at, closure.started_at))
    if not closure.HasField("duration"):
        span.spans.append(_operation("TASK_RUNTIME", closure.started_at, closure.updated_at))
        return span
    end = _after(closure)
    span.spans.append(_operation("TASK_RUNTIME", closure.started_at, end))
    span.spans.extend(_if_not_earlier("TASK_TEARDOWN", end, closure.updated_at))
    return span


def _after(closure: Any) -> Timestamp:
    """Return started_at plus duration."""
    end = Timestamp()
    end.FromNanoseconds(closure.started_at.ToNanoseconds() + closure.duration.ToNanoseconds())
    return end


def _gate(node: node_execution_pb2.NodeExecution) -> list[Any]:
    closure = node.closure
    if not closure.HasField("started_at"):
        return _whole_span("NODE_SETUP", closure)
    setup = _operation("NODE_SETUP", closure.created_at, closure.started_at)
    if not closure.HasField("duration"):
        return [setup, _operation("NODE_IDLE", closure.started_at, closure.updated_at)]
    end = _after(closure)
    idle = _operation("NODE_IDLE", closure.started_at, end)
    return [setup, idle, _operation("NODE_TEARDOWN", end, closure.updated_at)]


async def _branch(
    ctx: Context,
    tree: ExecutionTree,
    node: node_execution_pb2.NodeExecution,
    branch: workflow_pb2.BranchNode,
    depth: int,
) -> list[Any]:
    """Return the spans of the nodes that ran inside a branch.

    Deviates: upstream returns an error if several nodes of a branch have events, or a node that the branch lacks.
    """
    closure, block = node.closure, branch.if_else
    cases = [block.case.then_node, *(other.then_node for other in block.other), block.else_node]
    templates = {case.id: case for case in cases if case.id}
    children = [child for child in tree.children_of(node) if child.metadata.spec_node_id in templates]
    if not children:
        return _whole_span("NODE_SETUP", closure)
    last = max((child.closure.updated_at for child in children), key=_instant)
    return [
        _operation("NODE_SETUP", closure.created_at, children[0].closure.created_at),
        *[await _node(ctx, tree, child, templates[child.metadata.spec_node_id], depth) for child in children],
        *_if_not_earlier("NODE_TEARDOWN", last, closure.updated_at),
    ]


async def _launch_plan(
    ctx: Context, tree: ExecutionTree, node: node_execution_pb2.NodeExecution, depth: int
) -> list[Any]:
    """Return the spans of a launch plan node and of its child execution.

    Deviates: upstream repeats an execution for each node that names it, and fails if a child or its workflow is
    missing.
    """
    closure = node.closure
    id = closure.workflow_node_metadata.executionId
    if text(id) in tree.visited:
        return _whole_span("NODE_SETUP", closure)
    try:
        child = await get_execution(ctx, execution_pb2.WorkflowExecutionGetRequest(id=id))
        inner = await _execution(ctx, child, depth, tree.visited)
    except (errors.NotFound, errors.InvalidArgument, errors.Internal) as error:
        log.info("metrics_without_child_execution", node=node.id.node_id, reason=error.message)
        return _whole_span("NODE_SETUP", closure)
    return [
        _operation("NODE_SETUP", closure.created_at, child.closure.created_at),
        inner,
        *_if_not_earlier("NODE_TEARDOWN", child.closure.updated_at, closure.updated_at),
    ]


async def _subworkflow(
    ctx: Context,
    tree: ExecutionTree,
    node: node_execution_pb2.NodeExecution,
    reference: identifier_pb2.Identifier,
    depth: int,
) -> list[Any]:
    closure, children = node.closure, tree.children_of(node)
    if not children:
        return _whole_span("NODE_SETUP", closure)
    workflow = next((one for one in tree.closure.sub_workflows if one.template.id == reference), None)
    if workflow is None:
        return _whole_span("NODE_SETUP", closure)
    by_spec_id = _by_spec_id(children)
    spans = []
    if _START in by_spec_id:
        spans.append(_operation("NODE_SETUP", closure.created_at, by_spec_id[_START].closure.updated_at))
    spans += await _nodes(ctx, tree, children, workflow, depth)
    last = _latest_upstream(_END, workflow, by_spec_id)
    if last is not None:
        spans += _if_not_earlier("NODE_TEARDOWN", last.closure.updated_at, closure.updated_at)
    return spans

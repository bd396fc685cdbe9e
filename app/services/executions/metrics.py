"""Execution metrics: where the time of an execution went, as a tree of spans.

Reference spans stand for an execution, a node or an attempt from its creation to its last update; operation spans
between them name what the time was spent on. Everything of an execution is read with three queries, then computed.
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
# Levels of spans below the root. Protobuf's parsers refuse messages that nest deeper than 100.
_DEPTH_MAX = 90
# Nodes or attempts that are looked at before other requests have their turn: some 5 ms.
_TURN = 100

T = TypeVar("T")

Span = metrics_pb2.Span


@dataclass(slots=True)
class Run:
    """One execution with its nodes by the row of their parent (0 at the top) and its attempts by node id.

    followed: all executions whose spans are in the same reply, itself included.
    """

    execution: execution_pb2.Execution
    closure: compiler_pb2.CompiledWorkflowClosure
    rows: dict[str, int] = field(default_factory=dict)
    children: dict[int, list[node_execution_pb2.NodeExecution]] = field(default_factory=lambda: defaultdict(list))
    attempts: dict[str, list[task_execution_pb2.TaskExecution]] = field(default_factory=lambda: defaultdict(list))
    dynamic: dict[str, str] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)

    def under(self, node: node_execution_pb2.NodeExecution) -> list[node_execution_pb2.NodeExecution]:
        """The nodes that this node started."""
        return self.children.get(self.rows[node.id.node_id], [])


async def get_execution_metrics(
    ctx: Context, request: execution_pb2.WorkflowExecutionGetMetricsRequest
) -> execution_pb2.WorkflowExecutionGetMetricsResponse:
    """The span tree of an execution.

    shape:  request{id, depth: levels below the root, 0 for the root alone, negative for all} → span
    errors: INVALID_ARGUMENT for missing parts of the id; NOT_FOUND for the execution or its workflow
    source: upstream MetricsManager.GetExecutionMetrics
    """
    execution = await get_execution(ctx, execution_pb2.WorkflowExecutionGetRequest(id=request.id))
    depth = request.depth if 0 <= request.depth <= _DEPTH_MAX else _DEPTH_MAX
    return execution_pb2.WorkflowExecutionGetMetricsResponse(span=await _execution(ctx, execution, depth, set()))


async def _load(ctx: Context, execution: execution_pb2.Execution, followed: set[str]) -> Run:
    workflow = await workflows.get_workflow(ctx, common_pb2.ObjectGetRequest(id=execution.closure.workflow_id))
    followed.add(text(execution.id))
    run = Run(execution, workflow.closure.compiled_workflow, followed=followed)
    async for row in _in_turns(await _rows(ctx, schema.NodeExecution, _NODE_COLUMNS, execution.id)):
        run.rows[row.node_id] = row.id
        run.children[row.parent_id or 0].append(node_executions.to_message(row, has_children=False))
        if row.dynamic_workflow_remote_closure_reference:
            run.dynamic[row.node_id] = row.dynamic_workflow_remote_closure_reference
    async for row in _in_turns(await _rows(ctx, schema.TaskExecution, _ATTEMPT_COLUMNS, execution.id)):
        run.attempts[row.node_id].append(task_executions.to_message(row, is_parent=False))
    for found in run.attempts.values():
        found.sort(key=lambda attempt: _instant(attempt.closure.created_at))
    for nodes in run.children.values():
        nodes.sort(key=lambda node: _instant(node.closure.created_at))
    return run


async def _rows(
    ctx: Context,
    model: type[schema.Base],
    columns: tuple[str, ...],
    id: identifier_pb2.WorkflowExecutionIdentifier,
) -> Sequence[Any]:
    """Every row of an execution.

    Deviates: upstream reads as many as there are.
    errors: RESOURCE_EXHAUSTED for more than limits.metricsRowsMax
    """
    rows_max = ctx.settings.limits.metrics_rows_max
    rows = await ctx.db.find_all(model, columns=columns, most=rows_max + 1, **execution_key(id))
    if len(rows) > rows_max:
        raise errors.ResourceExhausted(
            f"execution {id.name} has more than {rows_max} rows in {schema.table(model).name}, "
            "the most that metrics are computed of (limits.metricsRowsMax)"
        )
    return rows


async def _in_turns(items: Sequence[T]) -> AsyncIterator[T]:
    """Iterate over items and let other requests run after every _TURN of them."""
    for number, item in enumerate(items, 1):
        yield item
        if number % _TURN == 0:
            await asyncio.sleep(0)


def _instant(stamp: Timestamp) -> tuple[int, int]:
    return stamp.seconds, stamp.nanos


def _operation(name: str, start: Timestamp, end: Timestamp) -> Any:
    return Span(operation_id=name, start_time=start, end_time=end)


def _if_not_earlier(name: str, start: Timestamp, end: Timestamp) -> list[Any]:
    """The operation, unless its end lies before its start."""
    return [] if _instant(end) < _instant(start) else [_operation(name, start, end)]


def _whole(name: str, closure: Any) -> list[Any]:
    """What has not begun is one span from its creation to its last update."""
    return [_operation(name, closure.created_at, closure.updated_at)]


def _by_spec_id(nodes: Iterable[node_execution_pb2.NodeExecution]) -> dict[str, node_execution_pb2.NodeExecution]:
    return {node.metadata.spec_node_id: node for node in nodes}


def _latest_upstream(
    node_id: str, workflow: compiler_pb2.CompiledWorkflow, known: dict[str, node_execution_pb2.NodeExecution]
) -> node_execution_pb2.NodeExecution | None:
    """Of the nodes that node_id waits for, the one that was updated last."""
    upstream = workflow.connections.upstream
    ids = upstream[node_id].ids if node_id in upstream else ()
    found = [known[one] for one in ids if one in known]
    return max(found, key=lambda node: _instant(node.closure.updated_at), default=None)


async def _execution(ctx: Context, execution: execution_pb2.Execution, depth: int, followed: set[str]) -> Any:
    closure = execution.closure
    span = Span(workflow_id=execution.id, start_time=closure.created_at, end_time=closure.updated_at)
    if depth == 0:
        return span
    run = await _load(ctx, execution, followed)
    top = run.children[0]
    known = _by_spec_id(top)
    start = known.get(_START)
    if start is None or not start.closure.HasField("updated_at"):
        span.spans.extend(_whole("WORKFLOW_SETUP", closure))
        return span
    span.spans.append(_operation("WORKFLOW_SETUP", closure.created_at, start.closure.updated_at))
    primary = run.closure.primary
    span.spans.extend(await _nodes(ctx, run, top, primary, depth - 1))
    last = _latest_upstream(_END, primary, known)
    if last is not None:
        span.spans.extend(_if_not_earlier("WORKFLOW_TEARDOWN", last.closure.updated_at, closure.updated_at))
    return span


async def _nodes(
    ctx: Context,
    run: Run,
    nodes: list[node_execution_pb2.NodeExecution],
    workflow: compiler_pb2.CompiledWorkflow,
    depth: int,
) -> list[Any]:
    """The spans of the nodes of one workflow, each with the time from its last upstream node before it."""
    templates = {node.id: node for node in workflow.template.nodes}
    known = _by_spec_id(nodes)
    spans = []
    async for node in _in_turns(nodes):
        spec_id = node.metadata.spec_node_id
        # Deviates: a node that the workflow does not name has no span; upstream fails the whole call.
        if spec_id in (_START, _END) or spec_id not in templates:
            continue
        span = await _node(ctx, run, node, templates[spec_id], depth)
        last = _latest_upstream(spec_id, workflow, known)
        if last is not None:
            transition = _operation("NODE_TRANSITION", last.closure.updated_at, node.closure.created_at)
            inner = list(span.spans)
            del span.spans[:]
            span.spans.extend([transition, *inner])
        spans.append(span)
    return spans


async def _node(
    ctx: Context, run: Run, node: node_execution_pb2.NodeExecution, template: workflow_pb2.Node, depth: int
) -> Any:
    span = Span(node_id=node.id, start_time=node.closure.created_at, end_time=node.closure.updated_at)
    if depth == 0:
        return span
    kind = template.WhichOneof("target")
    if kind == "task_node":
        span.spans.extend(await _task_node(ctx, run, node, depth - 1))
    elif kind == "branch_node":
        span.spans.extend(await _branch(ctx, run, node, template.branch_node, depth - 1))
    elif kind == "gate_node":
        span.spans.extend(_gate(node))
    elif kind == "workflow_node" and template.workflow_node.HasField("launchplan_ref"):
        span.spans.extend(await _launch_plan(ctx, run, node, depth - 1))
    elif kind == "workflow_node":
        span.spans.extend(await _subworkflow(ctx, run, node, template.workflow_node.sub_workflow_ref, depth - 1))
    return span


async def _task_node(ctx: Context, run: Run, node: node_execution_pb2.NodeExecution, depth: int) -> list[Any]:
    """A task node, or a dynamic one with the nodes of the workflow that it made."""
    closure, attempts = node.closure, run.attempts.get(node.id.node_id, [])
    if not attempts:
        return _whole("NODE_SETUP", closure)
    spans = [_operation("NODE_SETUP", closure.created_at, attempts[0].closure.created_at)]
    for previous, attempt in zip([None, *attempts], attempts, strict=False):
        if previous is not None:
            spans.append(_operation("NODE_RESET", previous.closure.updated_at, attempt.closure.created_at))
        if depth != 0:
            spans.append(_attempt(attempt))
    last = attempts[-1].closure.updated_at
    children = run.under(node)
    if not (node.metadata.is_parent_node or children):
        return spans + _if_not_earlier("NODE_TEARDOWN", last, closure.updated_at)
    if not children:
        return spans + _if_not_earlier("NODE_RESET", last, closure.updated_at)
    known = _by_spec_id(children)
    if _START in known:
        spans.append(_operation("NODE_RESET", last, known[_START].closure.updated_at))
    dynamic = await _dynamic_closure(ctx, run, node)
    if dynamic is None:
        return spans
    inner = Run(run.execution, dynamic, run.rows, run.children, run.attempts, run.dynamic, run.followed)
    spans += await _nodes(ctx, inner, children, dynamic.primary, depth)
    ending = _latest_upstream(_END, dynamic.primary, known)
    if ending is not None:
        spans += _if_not_earlier("NODE_TEARDOWN", ending.closure.updated_at, closure.updated_at)
    return spans


async def _dynamic_closure(
    ctx: Context, run: Run, node: node_execution_pb2.NodeExecution
) -> compiler_pb2.CompiledWorkflowClosure | None:
    """Return the workflow that a dynamic node made; None when none was reported, or it is not readable any more."""
    reference = run.dynamic.get(node.id.node_id)
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
        span.spans.extend(_whole("TASK_SETUP", closure))
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
    """started_at plus duration."""
    end = Timestamp()
    end.FromNanoseconds(closure.started_at.ToNanoseconds() + closure.duration.ToNanoseconds())
    return end


def _gate(node: node_execution_pb2.NodeExecution) -> list[Any]:
    closure = node.closure
    if not closure.HasField("started_at"):
        return _whole("NODE_SETUP", closure)
    setup = _operation("NODE_SETUP", closure.created_at, closure.started_at)
    if not closure.HasField("duration"):
        return [setup, _operation("NODE_IDLE", closure.started_at, closure.updated_at)]
    end = _after(closure)
    idle = _operation("NODE_IDLE", closure.started_at, end)
    return [setup, idle, _operation("NODE_TEARDOWN", end, closure.updated_at)]


async def _branch(
    ctx: Context, run: Run, node: node_execution_pb2.NodeExecution, branch: workflow_pb2.BranchNode, depth: int
) -> list[Any]:
    """Return the spans of the nodes that ran inside a branch.

    Deviates: upstream answers with an error for a branch in which several nodes were reported, or one that it lacks.
    """
    closure, block = node.closure, branch.if_else
    cases = [block.case.then_node, *(other.then_node for other in block.other), block.else_node]
    templates = {case.id: case for case in cases if case.id}
    children = [child for child in run.under(node) if child.metadata.spec_node_id in templates]
    if not children:
        return _whole("NODE_SETUP", closure)
    last = max((child.closure.updated_at for child in children), key=_instant)
    return [
        _operation("NODE_SETUP", closure.created_at, children[0].closure.created_at),
        *[await _node(ctx, run, child, templates[child.metadata.spec_node_id], depth) for child in children],
        *_if_not_earlier("NODE_TEARDOWN", last, closure.updated_at),
    ]


async def _launch_plan(ctx: Context, run: Run, node: node_execution_pb2.NodeExecution, depth: int) -> list[Any]:
    """Return the spans of a launch plan node with those of its child execution.

    Deviates: upstream follows an execution as often as nodes name it, and fails when a child or its workflow is gone.
    """
    closure = node.closure
    id = closure.workflow_node_metadata.executionId
    if text(id) in run.followed:
        return _whole("NODE_SETUP", closure)
    try:
        child = await get_execution(ctx, execution_pb2.WorkflowExecutionGetRequest(id=id))
        inner = await _execution(ctx, child, depth, run.followed)
    except (errors.NotFound, errors.InvalidArgument, errors.Internal) as error:
        log.info("metrics_without_child_execution", node=node.id.node_id, reason=error.message)
        return _whole("NODE_SETUP", closure)
    return [
        _operation("NODE_SETUP", closure.created_at, child.closure.created_at),
        inner,
        *_if_not_earlier("NODE_TEARDOWN", child.closure.updated_at, closure.updated_at),
    ]


async def _subworkflow(
    ctx: Context, run: Run, node: node_execution_pb2.NodeExecution, reference: identifier_pb2.Identifier, depth: int
) -> list[Any]:
    closure, children = node.closure, run.under(node)
    if not children:
        return _whole("NODE_SETUP", closure)
    workflow = next((one for one in run.closure.sub_workflows if one.template.id == reference), None)
    if workflow is None:
        return _whole("NODE_SETUP", closure)
    known = _by_spec_id(children)
    spans = []
    if _START in known:
        spans.append(_operation("NODE_SETUP", closure.created_at, known[_START].closure.updated_at))
    spans += await _nodes(ctx, run, children, workflow, depth)
    last = _latest_upstream(_END, workflow, known)
    if last is not None:
        spans += _if_not_earlier("NODE_TEARDOWN", last.closure.updated_at, closure.updated_at)
    return spans

"""Task events: the phases of one attempt of a task."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flyteidl.admin import event_pb2, task_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2 as event

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import phases
from app.services.events import attempt_closures
from app.services.events.event_data import Inline, check_output_size, instant, put_outcome, put_times, reported
from app.services.execution_ids import check_task_execution_id, execution_key, node_key, task_key
from app.wire.text import text


async def create_task_event(
    ctx: Context, request: event_pb2.TaskExecutionEventRequest
) -> event_pb2.TaskExecutionEventResponse:
    """Record a phase of one attempt of a task; the first event of an attempt creates its row.

    shape:  request.event as event.TaskExecutionEvent; retry_attempt from 0; the node is known already
    errors: INVALID_ARGUMENT for missing parts; RESOURCE_EXHAUSTED outputs too large; NOT_FOUND for an unknown execution
            or node; ALREADY_EXISTS, FAILED_PRECONDITION see phases.check_task
    source: upstream TaskExecutionManager.CreateTaskExecutionEvent
    """
    given = request.event
    _check_task_event(ctx, request)
    node = given.parent_node_execution_id
    execution = await ctx.db.find(schema.Execution, columns=("cluster",), **execution_key(node.execution_id))
    if execution is None:
        raise errors.NotFound(f"missing entity of type execution with identifier {text(node.execution_id)}")
    phases.check_cluster(execution.cluster, given.producer_id)
    id = identifier_pb2.TaskExecutionIdentifier(
        task_id=given.task_id, node_execution_id=node, retry_attempt=given.retry_attempt
    )
    key = task_key(given.task_id, node, given.retry_attempt)
    known = await ctx.db.find(schema.TaskExecution, columns=("phase", "phase_version", "input_uri"), **key)
    if known is not None:
        phases.check_task(known.phase, known.phase_version or 0, given.phase, given.phase_version, id=id)
    elif await ctx.db.find(schema.NodeExecution, columns=("id",), **node_key(node)) is None:
        raise errors.NotFound(f"Failed to get existing node execution id: [{text(node)}] with err: entry not found")
    inline = Inline(ctx)
    uris = await inline.write(_uris(inline, given, has_inputs=known is not None and bool(known.input_uri)))
    if known is None:
        inserted = await ctx.db.insert_if_absent(schema.TaskExecution, **key, **_new_attempt(given, uris))
        if inserted is not None:
            return event_pb2.TaskExecutionEventResponse()
    row: Any = await ctx.db.find(schema.TaskExecution, for_update=True, **key)
    phases.check_task(row.phase, row.phase_version or 0, given.phase, given.phase_version, id=id)
    await ctx.db.update(schema.TaskExecution, key, **_next_attempt(row, given, uris))
    return event_pb2.TaskExecutionEventResponse()


def _check_task_event(ctx: Context, request: event_pb2.TaskExecutionEventRequest) -> None:
    given = request.event
    if not request.HasField("event"):
        raise errors.missing("event")
    if not given.HasField("occurred_at"):
        raise errors.missing("occurred_at")
    instant(given.occurred_at, "failed to read event timestamp")
    instant(given.reported_at, "failed to read event reported_at timestamp")
    check_output_size(ctx, given.output_data)
    nested = given.HasField("parent_node_execution_id")
    check_task_execution_id(
        given.parent_node_execution_id, given.task_id, nested=nested, task_given=given.HasField("task_id")
    )
    phases.check_known(phases.Task.Phase, given.phase)


def _uris(inline: Inline, given: event.TaskExecutionEvent, *, has_inputs: bool) -> dict[str, str]:
    """URIs of inputs and outputs, "" for none; what the event carries inline is left to be written."""
    node, task = given.parent_node_execution_id, given.task_id
    execution = node.execution_id
    parts: tuple[str, ...] = (execution.project, execution.domain, execution.name, node.node_id)
    parts += (task.project, task.domain, task.name, task.version, str(given.retry_attempt))
    uris = {"input": given.input_uri, "output": ""}
    if given.WhichOneof("input_value") == "input_data" and not has_inputs:
        uris["input"] = inline.inputs(given.input_data, *parts)
    if given.phase in phases.TASK_TERMINAL:
        uris["output"] = inline.outputs(given, *parts)
    return uris


def _new_attempt(given: event.TaskExecutionEvent, uris: dict[str, str]) -> dict[str, Any]:
    """The columns of an attempt after its first event (upstream CreateTaskExecutionModel)."""
    closure = attempt_closures.first_closure(given)
    closure.created_at.CopyFrom(given.occurred_at)
    changes = _attempt_state(closure, given, uris, started_at=None)
    return {
        "task_execution_created_at": instant(given.occurred_at, ""),
        "input_uri": uris["input"],
        "duration": 0,
        **changes,
    }


def _next_attempt(row: Any, given: event.TaskExecutionEvent, uris: dict[str, str]) -> dict[str, Any]:
    """The columns of an attempt that a later event changes (upstream UpdateTaskExecutionModel)."""
    closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
    attempt_closures.merge_event(closure, given)
    changes = _attempt_state(closure, given, uris, started_at=row.started_at)
    if uris["input"] and not row.input_uri:
        changes["input_uri"] = uris["input"]
    return changes


def _attempt_state(
    closure: task_execution_pb2.TaskExecutionClosure,
    given: event.TaskExecutionEvent,
    uris: dict[str, str],
    *,
    started_at: datetime | None,
) -> dict[str, Any]:
    """Phase, times and outcome of an attempt. Deviates: phase version 0 is stored too."""
    closure.phase = given.phase
    closure.updated_at.CopyFrom(reported(given))
    changes: dict[str, Any] = {
        "phase": phases.Task.Phase.Name(given.phase),
        "phase_version": given.phase_version,
        "task_execution_updated_at": instant(reported(given), ""),
    }
    starts, ends = given.phase == phases.Task.RUNNING and started_at is None, given.phase in phases.TASK_TERMINAL
    changes |= put_times(closure, given, started_at, starts=starts, ends=ends)
    if ends:
        put_outcome(closure, given, uris["output"])
    changes["closure"] = closure.SerializeToString()
    return changes

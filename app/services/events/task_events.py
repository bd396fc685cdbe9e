"""Record the phases of an attempt of a task: CreateTaskEvent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flyteidl.admin import event_pb2, task_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2 as engine_event_pb2

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services import outbox, phases
from app.services.checks import missing_entity
from app.services.events import attempt_closures, changes
from app.services.events.inline_data import InlineData
from app.services.execution_ids import check_task_execution_id, execution_key, node_key, task_key
from app.wire.text import text


async def create_task_event(
    ctx: Context, request: event_pb2.TaskExecutionEventRequest
) -> event_pb2.TaskExecutionEventResponse:
    """Record a phase of an attempt of a task. The first event of an attempt inserts its row.

    Attempts are counted from 0. The node of the attempt must exist.

    Raises:
        errors.InvalidArgument: A part of the event is missing.
        errors.ResourceExhausted: The outputs are too large.
        errors.NotFound: The execution or node does not exist.
        errors.AlreadyExists: See phases.check_task_event.
        errors.FailedPrecondition: See phases.check_task_event.

    Source: upstream TaskExecutionManager.CreateTaskExecutionEvent.
    """
    event = request.event
    check_event(ctx, request)
    node = event.parent_node_execution_id
    execution = await ctx.db.find(schema.Execution, columns=("cluster",), **execution_key(node.execution_id))
    if execution is None:
        raise missing_entity("execution", node.execution_id)
    phases.check_cluster(execution.cluster, event.producer_id)
    key = task_key(event.task_id, node, event.retry_attempt)
    stored = await ctx.db.find(schema.TaskExecution, columns=("phase", "phase_version", "input_uri"), **key)
    if stored is not None:
        check_phase(stored, event)
    elif await ctx.db.find(schema.NodeExecution, columns=("id",), **node_key(node)) is None:
        raise errors.NotFound(f"Failed to get existing node execution id: [{text(node)}] with err: entry not found")
    uris = await write_inline_data(ctx, event, has_inputs=stored is not None and bool(stored.input_uri))
    await changes.insert_or_update(
        ctx,
        schema.TaskExecution,
        key,
        first=first_columns(event, uris) if stored is None else None,
        check=lambda row: check_phase(row, event),
        later=lambda row: later_columns(row, event, uris),
    )
    if ctx.outgoing.writers:
        await outbox.publish(ctx, RecordedEvent("task", node.execution_id, request, first=stored is None))
    return event_pb2.TaskExecutionEventResponse()


def check_phase(row: Any, event: engine_event_pb2.TaskExecutionEvent) -> None:
    """Check that an event may follow the stored phase of its attempt (phases.check_task_event).

    Args:
        row: The row of the attempt, with the columns phase and phase_version.
        event: The event.
    """
    id = identifier_pb2.TaskExecutionIdentifier(
        task_id=event.task_id, node_execution_id=event.parent_node_execution_id, retry_attempt=event.retry_attempt
    )
    phases.check_task_event(row.phase, row.phase_version or 0, event.phase, event.phase_version, id=id)


def check_event(ctx: Context, request: event_pb2.TaskExecutionEventRequest) -> None:
    """Raise INVALID_ARGUMENT if ids, phase or times of an event are missing or invalid."""
    event = request.event
    if not request.HasField("event"):
        raise errors.missing("event")
    if not event.HasField("occurred_at"):
        raise errors.missing("occurred_at")
    changes.check_times(event)
    changes.check_output_size(ctx, event.output_data)
    check_task_execution_id(
        event.parent_node_execution_id,
        event.task_id,
        has_node=event.HasField("parent_node_execution_id"),
        has_task=event.HasField("task_id"),
    )
    phases.check_known(phases.Task.Phase, event.phase)


async def write_inline_data(
    ctx: Context, event: engine_event_pb2.TaskExecutionEvent, *, has_inputs: bool
) -> dict[str, str]:
    """Write the inline data of an event; return the URIs of its "input" and "output", "" where it has none."""
    node, task = event.parent_node_execution_id, event.task_id
    execution = node.execution_id
    parts: tuple[str, ...] = (execution.project, execution.domain, execution.name, node.node_id)
    parts += (task.project, task.domain, task.name, task.version, str(event.retry_attempt))
    inline = InlineData(ctx)
    return await inline.write(
        inline.uris(event, *parts, has_inputs=has_inputs, ends=event.phase in phases.TASK_TERMINAL)
    )


def first_columns(event: engine_event_pb2.TaskExecutionEvent, uris: dict[str, str]) -> changes.Columns:
    """Return the columns of an attempt after its first event (upstream CreateTaskExecutionModel)."""
    closure = attempt_closures.first_closure(event)
    closure.created_at.CopyFrom(event.occurred_at)
    return {
        "task_execution_created_at": changes.to_datetime(event.occurred_at),
        "input_uri": uris["input"],
        "duration": 0,
        **_state_columns(closure, event, uris, started_at=None),
    }


def later_columns(row: Any, event: engine_event_pb2.TaskExecutionEvent, uris: dict[str, str]) -> changes.Columns:
    """Return the columns of an attempt that a later event changes (upstream UpdateTaskExecutionModel)."""
    closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
    attempt_closures.merge_event(closure, event)
    state = _state_columns(closure, event, uris, started_at=row.started_at)
    return state | changes.late_inputs(row, uris["input"])


def _state_columns(
    closure: task_execution_pb2.TaskExecutionClosure,
    event: engine_event_pb2.TaskExecutionEvent,
    uris: dict[str, str],
    *,
    started_at: datetime | None,
) -> changes.Columns:
    """Set phase, times and outcome in a closure; return the columns of closure, phase and times.

    Deviates: phase version 0 is stored too.
    """
    columns = changes.set_phase(closure, event, phases.Task.Phase, "task_execution_updated_at")
    columns["phase_version"] = event.phase_version
    starts, ends = event.phase == phases.Task.RUNNING and started_at is None, event.phase in phases.TASK_TERMINAL
    columns |= changes.set_times(closure, event, started_at, starts=starts, ends=ends)
    if ends:
        changes.set_outcome(closure, event, uris["output"])
    columns["closure"] = closure.SerializeToString()
    return columns

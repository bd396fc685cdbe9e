"""Record the phases of an execution: CreateWorkflowEvent."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import event_pb2, execution_pb2
from flyteidl.event import event_pb2 as engine_event_pb2

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services import notifications, outbox, phases
from app.services.checks import missing_entity
from app.services.events import changes
from app.services.events.inline_data import InlineData
from app.services.execution_ids import check_execution_id, execution_key
from app.wire.text import text


async def create_workflow_event(
    ctx: Context, request: event_pb2.WorkflowExecutionEventRequest
) -> event_pb2.WorkflowExecutionEventResponse:
    """Record a phase of an execution, with outputs or an error in its last event.

    Raises:
        errors.InvalidArgument: The event, its execution id or its time is missing.
        errors.ResourceExhausted: The outputs are too large.
        errors.NotFound: The execution does not exist.
        errors.AlreadyExists: See phases.check_workflow_event.
        errors.FailedPrecondition: See phases.check_workflow_event.

    Source: upstream ExecutionManager.CreateWorkflowEvent.
    """
    event = request.event
    if not request.HasField("event"):
        raise errors.InvalidArgument("Workflow event handler was called without event")
    if not event.HasField("execution_id"):
        raise errors.InvalidArgument(
            f"Workflow event handler request event doesn't have an execution id - {text(event)}"
        )
    id = event.execution_id
    changes.check_output_size(ctx, event.output_data)
    check_execution_id(id)
    phases.check_known(phases.Workflow.Phase, event.phase)
    row = await ctx.db.find(schema.Execution, columns=("phase", "cluster"), **execution_key(id))
    _check_phase(row, event)
    if not event.HasField("occurred_at"):
        raise errors.InvalidArgument("Failed to parse OccurredAt: timestamp: nil Timestamp")
    occurred_at = changes.to_datetime(event.occurred_at, "Failed to parse OccurredAt: timestamp out of range")
    inline = InlineData(ctx)
    uris = await inline.write({"output": inline.outputs_uri(event, id.project, id.domain, id.name)})
    row = await ctx.db.find(schema.Execution, for_update=True, **execution_key(id))
    _check_phase(row, event)
    assert row is not None
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    await ctx.db.update(schema.Execution, execution_key(id), **_changed_columns(row, closure, event, uris["output"]))
    phase = phases.Workflow.Phase.Name(event.phase)
    await ctx.db.insert_if_absent(
        schema.ExecutionEvent, **execution_key(id), request_id=request.request_id, occurred_at=occurred_at, phase=phase
    )
    if closure.notifications and event.phase in phases.WORKFLOW_TERMINAL:
        await notifications.write(ctx, event, row.spec or b"", closure)
    if ctx.outgoing.writers:
        await outbox.publish(ctx, RecordedEvent("workflow", id, request))
    return event_pb2.WorkflowExecutionEventResponse()


def _check_phase(row: Any, event: engine_event_pb2.WorkflowExecutionEvent) -> None:
    id = event.execution_id
    if row is None:
        raise missing_entity("execution", id)
    phases.check_workflow_event(row.phase, event.phase, cluster=row.cluster, producer=event.producer_id, id=id)


def _changed_columns(
    row: Any,
    closure: execution_pb2.ExecutionClosure,
    event: engine_event_pb2.WorkflowExecutionEvent,
    output_uri: str,
) -> changes.Columns:
    """Change the closure of an execution; return the columns that an event changes."""
    closure.phase = event.phase
    closure.updated_at.CopyFrom(event.occurred_at)
    columns: changes.Columns = {
        "phase": phases.Workflow.Phase.Name(event.phase),
        "execution_updated_at": changes.to_datetime(event.occurred_at),
    }
    # Parity: every RUNNING event sets the start time again.
    starts, ends = event.phase == phases.Workflow.RUNNING, event.phase in phases.WORKFLOW_TERMINAL
    columns |= changes.set_times(closure, event, row.started_at, starts=starts, ends=ends)
    if event.producer_id not in ("", "propeller") and event.phase in (
        phases.Workflow.UNDEFINED,
        phases.Workflow.QUEUED,
    ):
        spec = execution_pb2.ExecutionSpec.FromString(row.spec)
        spec.metadata.system_metadata.execution_cluster = event.producer_id
        columns |= {"cluster": event.producer_id, "spec": spec.SerializeToString()}
    outcome = event.WhichOneof("output_result")
    if output_uri:
        closure.outputs.uri = output_uri
    elif outcome == "output_data":
        closure.outputs.values.CopyFrom(event.output_data)
    elif outcome == "error":
        closure.error.CopyFrom(event.error)
        columns |= {"error_kind": changes.error_kind(event.error), "error_code": event.error.code}
    columns["closure"] = closure.SerializeToString()
    return columns

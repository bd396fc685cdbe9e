"""Workflow events: the phases of a whole execution."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import event_pb2, execution_pb2
from flyteidl.event import event_pb2 as event

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import phases
from app.services.events.event_data import Inline, check_output_size, instant, kind_name, put_times
from app.services.execution_ids import check_execution_id, execution_key
from app.wire.text import text


async def create_workflow_event(
    ctx: Context, request: event_pb2.WorkflowExecutionEventRequest
) -> event_pb2.WorkflowExecutionEventResponse:
    """Record a phase of an execution, with its outputs or its error when it ends.

    shape:  request.event{execution_id, phase, occurred_at, producer_id, output_uri | output_data | error}
    errors: INVALID_ARGUMENT without event, id, time; RESOURCE_EXHAUSTED outputs too large; NOT_FOUND;
            ALREADY_EXISTS, FAILED_PRECONDITION see phases.check_workflow
    source: upstream ExecutionManager.CreateWorkflowEvent
    """
    given = request.event
    if not request.HasField("event"):
        raise errors.InvalidArgument("Workflow event handler was called without event")
    if not given.HasField("execution_id"):
        raise errors.InvalidArgument(
            f"Workflow event handler request event doesn't have an execution id - {text(given)}"
        )
    id = given.execution_id
    check_output_size(ctx, given.output_data)
    check_execution_id(id)
    phases.check_known(phases.Workflow.Phase, given.phase)
    row = await ctx.db.find(schema.Execution, columns=("phase", "cluster"), **execution_key(id))
    _check_workflow_row(row, given)
    if not given.HasField("occurred_at"):
        raise errors.InvalidArgument("Failed to parse OccurredAt: timestamp: nil Timestamp")
    instant(given.occurred_at, "Failed to parse OccurredAt: timestamp out of range")
    inline = Inline(ctx)
    uris = await inline.write({"output": inline.outputs(given, id.project, id.domain, id.name)})
    row = await ctx.db.find(schema.Execution, for_update=True, **execution_key(id))
    _check_workflow_row(row, given)
    changes = _next_execution(row, given, uris["output"])
    await ctx.db.update(schema.Execution, execution_key(id), **changes)
    phase = phases.Workflow.Phase.Name(given.phase)
    occurred_at = instant(given.occurred_at, "")
    await ctx.db.insert_if_absent(
        schema.ExecutionEvent, **execution_key(id), request_id=request.request_id, occurred_at=occurred_at, phase=phase
    )
    return event_pb2.WorkflowExecutionEventResponse()


def _check_workflow_row(row: Any, given: event.WorkflowExecutionEvent) -> None:
    id = given.execution_id
    if row is None:
        raise errors.NotFound(f"missing entity of type execution with identifier {text(id)}")
    phases.check_workflow(row.phase, given.phase, cluster=row.cluster, producer=given.producer_id, id=id)


def _next_execution(row: Any, given: event.WorkflowExecutionEvent, output_uri: str) -> dict[str, Any]:
    """The columns of an execution after an event that may be recorded."""
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    closure.phase = given.phase
    closure.updated_at.CopyFrom(given.occurred_at)
    changes: dict[str, Any] = {
        "phase": phases.Workflow.Phase.Name(given.phase),
        "execution_updated_at": instant(given.occurred_at, ""),
    }
    # Parity: every RUNNING event starts the clock again.
    starts, ends = given.phase == phases.Workflow.RUNNING, given.phase in phases.WORKFLOW_TERMINAL
    changes |= put_times(closure, given, row.started_at, starts=starts, ends=ends)
    if given.producer_id not in ("", "propeller") and given.phase in (
        phases.Workflow.UNDEFINED,
        phases.Workflow.QUEUED,
    ):
        spec = execution_pb2.ExecutionSpec.FromString(row.spec)
        spec.metadata.system_metadata.execution_cluster = given.producer_id
        changes |= {"cluster": given.producer_id, "spec": spec.SerializeToString()}
    outcome = given.WhichOneof("output_result")
    if output_uri:
        closure.outputs.uri = output_uri
    elif outcome == "output_data":
        closure.outputs.values.CopyFrom(given.output_data)
    elif outcome == "error":
        closure.error.CopyFrom(given.error)
        changes |= {"error_kind": kind_name(given.error), "error_code": given.error.code}
    changes["closure"] = closure.SerializeToString()
    return changes

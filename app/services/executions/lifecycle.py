"""Archive and terminate an execution.

Proto: flyteidl/admin/execution.proto.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2

from app import schema
from app.context import Context
from app.services import phases
from app.services.executions.reads import check_id, phase_of, row_of
from app.services.ids import execution_key


async def update_execution(
    ctx: Context, request: execution_pb2.ExecutionUpdateRequest
) -> execution_pb2.ExecutionUpdateResponse:
    """Archive an execution or take it back; its phase does not matter.

    shape:  request.state 0 ACTIVE (also when it is left out), 1 ARCHIVED
    errors: INVALID_ARGUMENT for missing parts of the id; NOT_FOUND
    source: upstream ExecutionManager.UpdateExecution
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True, columns=("closure",))
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    details = closure.state_change_details
    # Parity: any number is stored; closure.updated_at stays.
    details.state = request.state
    details.principal = ctx.principal
    details.occurred_at.FromDatetime(ctx.now)
    await ctx.db.update(schema.Execution, execution_key(id), state=request.state, closure=closure.SerializeToString())
    return execution_pb2.ExecutionUpdateResponse()


async def terminate_execution(
    ctx: Context, request: execution_pb2.ExecutionTerminateRequest
) -> execution_pb2.ExecutionTerminateResponse:
    """Ask the engine to abort an execution: ABORTING now, ABORTED when the engine reports it.

    Without an engine (`engine: none`) whoever posts events reports it. Doing it again changes the cause.
    errors: INVALID_ARGUMENT for missing parts of the id; NOT_FOUND; FAILED_PRECONDITION on an ended execution
    source: upstream ExecutionManager.TerminateExecution
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True)
    phase = phase_of(row)
    if phase in phases.WORKFLOW_TERMINAL:
        current = core_execution_pb2.WorkflowExecution.Phase.Name(phase)
        raise phases.already_terminal("Cannot abort an already terminated workflow execution", current)
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    closure.phase = core_execution_pb2.WorkflowExecution.ABORTING
    closure.abort_metadata.cause = request.cause
    closure.abort_metadata.principal = ctx.principal
    changes: dict[str, Any] = {"phase": "ABORTING", "closure": closure.SerializeToString()}
    # Deviates: an empty cause clears the column too.
    await ctx.db.update(schema.Execution, execution_key(id), abort_cause=request.cause, **changes)
    ctx.after_commit(lambda: ctx.engine.aborted(id))
    return execution_pb2.ExecutionTerminateResponse()

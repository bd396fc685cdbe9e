"""Terminate or archive an execution.

Proto: flyteidl/admin/execution.proto.
"""

from __future__ import annotations

from typing import Any

import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import phases
from app.services.execution_ids import execution_key, execution_path
from app.services.executions.reads import check_id, row_of

log = structlog.get_logger(__name__)


async def update_execution(
    ctx: Context, request: execution_pb2.ExecutionUpdateRequest
) -> execution_pb2.ExecutionUpdateResponse:
    """Archive an execution or make it active again, in any phase. A missing state means ACTIVE.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution does not exist.

    Source: upstream ExecutionManager.UpdateExecution.
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True, columns=("closure",))
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    details = closure.state_change_details
    # Parity: any number is stored, and closure.updated_at does not change.
    details.state = request.state
    details.principal = ctx.principal
    details.occurred_at.FromDatetime(ctx.now)
    await ctx.db.update(schema.Execution, execution_key(id), state=request.state, closure=closure.SerializeToString())
    return execution_pb2.ExecutionUpdateResponse()


async def terminate_execution(
    ctx: Context, request: execution_pb2.ExecutionTerminateRequest
) -> execution_pb2.ExecutionTerminateResponse:
    """Set an execution to ABORTING and notify the engine, which sends the event ABORTED.

    Without an engine (`engine: none`) the client that posts events sends ABORTED. A second call replaces the cause.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution does not exist.
        errors.FailedPrecondition: The execution has ended, or another flyteadmin on the same database launched it, so
            that this server's engine cannot end it.
        errors.Internal: Kubernetes refused the deletion. The abort is recorded, and the deletion is repeated.

    Source: upstream ExecutionManager.TerminateExecution.
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True)
    phase = phases.phase_number(phases.Workflow.Phase, row.phase)
    if phase in phases.WORKFLOW_TERMINAL:
        current = core_execution_pb2.WorkflowExecution.Phase.Name(phase)
        raise phases.already_terminal("Cannot abort an already terminated workflow execution", current)
    await _check_engine_runs(ctx, id)
    await record_abort(ctx, id, row, request.cause)
    if ctx.settings.engine.kind == "kubernetes":
        await ctx.db.update(schema.Launch, execution_key(id), next_try_at=ctx.now)
    ctx.after_commit(lambda: ctx.engine.aborted(id))
    return execution_pb2.ExecutionTerminateResponse()


async def _check_engine_runs(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Raise FAILED_PRECONDITION if this server's engine does not run the execution.

    Otherwise the call would succeed and end nothing.
    Deviates: upstream has one engine, which runs every execution of its database.
    """
    if await has_launch_record(ctx, id):
        return
    name = execution_path(id)
    if ctx.settings.engine.kind == "none":
        log.warning(
            "abort_is_recorded_only", execution=name, reason="engine.kind=none ends nothing that runs elsewhere"
        )
        return
    raise errors.FailedPrecondition(
        f"execution [{name}] has no launch record: another flyteadmin on this database launched it, or this one while "
        f"it had engine.kind=none, so engine.kind={ctx.settings.engine.kind} runs nothing of it and cannot abort it. "
        "Abort it at the flyteadmin that launched it; once nothing runs it any more, "
        f"`flyteadmin executions end {name}` records it as ABORTED"
    )


async def has_launch_record(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
    """Return whether the execution has a launch record: an engine of this server runs it, or will run it."""
    return await ctx.db.find(schema.Launch, columns=("execution_name",), **execution_key(id)) is not None


async def record_abort(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, row: Any, cause: str) -> None:
    """Set an execution to ABORTING, with the cause and the caller in its abort metadata.

    Args:
        ctx: The call.
        id: The execution.
        row: The locked row of the execution.
        cause: The reason of the abort.
    """
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    closure.phase = core_execution_pb2.WorkflowExecution.ABORTING
    closure.abort_metadata.cause = cause
    closure.abort_metadata.principal = ctx.principal
    changes: dict[str, Any] = {"phase": "ABORTING", "closure": closure.SerializeToString()}
    # Deviates: an empty cause clears the column too.
    await ctx.db.update(schema.Execution, execution_key(id), abort_cause=cause, **changes)

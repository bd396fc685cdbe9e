"""Orphans: executions that have not ended and that no engine of this server runs. List them, record them as ABORTED.

An execution that this server launches for its engine has a launch record until it ends. An orphan has none: another
flyteadmin on the same database launched it, or this server did with `engine: none`. TerminateExecution cannot end it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from flyteidl.admin import event_pb2 as admin_event_pb2
from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2
from sqlalchemy import bindparam, exists, literal, select

from app import errors
from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.runtime.context import Context
from app.services import events
from app.services.execution_ids import execution_columns, execution_key, execution_path, same_execution
from app.services.executions.reads import check_id, row_of
from app.services.executions.terminate import has_launch_record, record_abort
from app.services.executions.unfinished import OPEN_ATTEMPTS, OPEN_NODES, attempt_aborted
from app.services.phases import WORKFLOW_TERMINAL, Node, Workflow, phase_number

# The name of upstream's engine, which ran these executions.
PRODUCER = "propeller"
CAUSE = "ended by `flyteadmin executions end`: nothing runs this execution any more"

_executions, _launches = schema.table(schema.Execution), schema.table(schema.Launch)


class OrphanFilter(NamedTuple):
    """Select orphans by project, domain and the time before which they were launched; "" and None select all."""

    project: str = ""
    domain: str = ""
    before: datetime | None = None


@lru_cache(maxsize=64)
def _statement(project: bool, domain: bool, before: bool, limit: int) -> Statement:
    ended = [literal(Workflow.Phase.Name(phase)) for phase in sorted(WORKFLOW_TERMINAL)]
    launched = exists().where(same_execution(_launches, _executions))
    columns = (*execution_columns(_executions), *(_executions.c[name] for name in ("id", "phase", "created_at")))
    query = select(*columns).where(
        _executions.c.phase.not_in(ended), ~launched, _executions.c.id > bindparam("after_id")
    )
    if project:
        query = query.where(_executions.c.execution_project == bindparam("project"))
    if domain:
        query = query.where(_executions.c.execution_domain == bindparam("domain"))
    if before:
        query = query.where(_executions.c.created_at < bindparam("before", type_=_executions.c.created_at.type))
    return Statement(query.order_by(_executions.c.id).limit(limit))


async def list_orphans(db: UnitOfWork, selected: OrphanFilter, *, after_id: int = 0, limit: int) -> Sequence[Any]:
    """Return a page of orphans, oldest first: their key, id, phase and created_at.

    Args:
        db: The unit of work.
        selected: The filter.
        after_id: The id of the last row of the page before, 0 for the first page.
        limit: Rows of a page.
    """
    statement = _statement(bool(selected.project), bool(selected.domain), selected.before is not None, limit)
    parameters = {name: value for name, value in selected._asdict().items() if value}
    return await db.all(statement, after_id=after_id, **parameters)


async def end_orphan(
    ctx: Context, request: execution_pb2.ExecutionTerminateRequest
) -> execution_pb2.ExecutionTerminateResponse:
    """Record an orphan, its open nodes and its open attempts as ABORTED, with the events that an engine would send.

    The cause of the request is stored, unless the execution is ABORTING and so has a cause.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution does not exist.
        errors.FailedPrecondition: The execution has ended, or has a launch record.
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True)
    phase = phase_number(Workflow.Phase, row.phase)
    if phase in WORKFLOW_TERMINAL:
        raise errors.FailedPrecondition(f"execution [{execution_path(id)}] has ended: {Workflow.Phase.Name(phase)}")
    if await has_launch_record(ctx, id):
        raise errors.FailedPrecondition(
            f"execution [{execution_path(id)}] is run by this server's engine; abort it with TerminateExecution, as in "
            f"`flytectl delete execution`"
        )
    await end_parts(ctx, id, request.cause)
    if phase != Workflow.ABORTING:
        await record_abort(ctx, id, row, request.cause)
    await events.create_workflow_event(ctx, end_event(ctx, id, Workflow.ABORTED))
    return execution_pb2.ExecutionTerminateResponse()


async def end_parts(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, cause: str) -> None:
    """Record the open nodes and attempts of an execution as ABORTED, with the events that an engine would send."""
    for attempt in await ctx.db.all(OPEN_ATTEMPTS, **execution_key(id)):
        await events.create_task_event(ctx, _attempt_event(ctx, id, attempt))
    for node in await ctx.db.all(OPEN_NODES, **execution_key(id)):
        await events.create_node_event(ctx, _node_event(ctx, id, node, cause))


def end_event(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, phase: Any
) -> admin_event_pb2.WorkflowExecutionEventRequest:
    """Return the event of an execution that ends in a phase."""
    request = admin_event_pb2.WorkflowExecutionEventRequest()
    request.event.phase, request.event.producer_id = phase, PRODUCER
    request.event.execution_id.CopyFrom(id)
    request.event.occurred_at.FromDatetime(ctx.now)
    return request


def _node_event(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, row: Any, cause: str
) -> admin_event_pb2.NodeExecutionEventRequest:
    error = core_execution_pb2.ExecutionError(
        code="NodeAborted", message=cause, kind=core_execution_pb2.ExecutionError.UNKNOWN
    )
    event = event_pb2.NodeExecutionEvent(phase=Node.ABORTED, producer_id=PRODUCER, error=error)
    event.id.execution_id.CopyFrom(id)
    event.id.node_id = row.node_id
    event.occurred_at.FromDatetime(ctx.now)
    return admin_event_pb2.NodeExecutionEventRequest(event=event)


def _attempt_event(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, row: Any
) -> admin_event_pb2.TaskExecutionEventRequest:
    event = attempt_aborted(id, row)
    event.producer_id = PRODUCER
    event.occurred_at.FromDatetime(ctx.now)
    return admin_event_pb2.TaskExecutionEventRequest(event=event)

"""Executions that no engine of this server runs: find them, and record them as ABORTED once nothing runs them.

An execution that this server launches for its own engine has a launch record until it ends. One without was launched
by another flyteadmin on the same database, or with `engine: none`; an abort through this server reaches nothing of it.
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
from app.services.execution_ids import execution_columns, execution_key, same_execution
from app.services.executions.reads import check_id, row_of
from app.services.executions.terminate import has_launch_record, record_abort
from app.services.executions.unfinished import OPEN_ATTEMPTS, OPEN_NODES, attempt_aborted
from app.services.phases import WORKFLOW_TERMINAL, Node, Workflow, phase_number

# Upstream's name of the engine that ran these executions.
PRODUCER = "propeller"
CAUSE = "ended by `flyteadmin executions end`: nothing runs this execution any more"

_executions, _launches = schema.table(schema.Execution), schema.table(schema.Launch)


class OrphanFilter(NamedTuple):
    """Which leftovers: of a project, a domain, launched before a time; "" and None stand for any."""

    project: str = ""
    domain: str = ""
    before: datetime | None = None


@lru_cache(maxsize=64)
def _leftovers(project: bool, domain: bool, before: bool, limit: int) -> Statement:
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


async def list_orphans(db: UnitOfWork, chosen: OrphanFilter, *, after_id: int = 0, limit: int) -> Sequence[Any]:
    """Return rows of leftovers in the order in which they were launched: their key, id, phase and created_at."""
    statement = _leftovers(bool(chosen.project), bool(chosen.domain), chosen.before is not None, limit)
    given = {name: value for name, value in chosen._asdict().items() if value}
    return await db.all(statement, after_id=after_id, **given)


async def end_orphan(
    ctx: Context, request: execution_pb2.ExecutionTerminateRequest
) -> execution_pb2.ExecutionTerminateResponse:
    """Record a leftover, its open nodes and its open attempts as ABORTED, as the events of an engine do.

    Args:
        ctx: The call.
        request: The execution, and the cause for its abort metadata. One that is ABORTING keeps its cause.

    Raises:
        InvalidArgument: Parts of the id are missing.
        NotFound: There is no such execution.
        FailedPrecondition: It has ended, or has a launch record, so that its engine ends it.
    """
    id = check_id(request)
    row = await row_of(ctx, id, for_update=True)
    phase = phase_number(Workflow.Phase, row.phase)
    if phase in WORKFLOW_TERMINAL:
        raise errors.FailedPrecondition(f"execution [{_name(id)}] has ended: {Workflow.Phase.Name(phase)}")
    if await has_launch_record(ctx, id):
        raise errors.FailedPrecondition(
            f"execution [{_name(id)}] is run by this server's engine; abort it with TerminateExecution, as in "
            f"`flytectl delete execution`"
        )
    for attempt in await ctx.db.all(OPEN_ATTEMPTS, **execution_key(id)):
        await events.create_task_event(ctx, _attempt_event(ctx, id, attempt))
    for node in await ctx.db.all(OPEN_NODES, **execution_key(id)):
        await events.create_node_event(ctx, _node_event(ctx, id, node, request.cause))
    if phase != Workflow.ABORTING:
        await record_abort(ctx, id, row, request.cause)
    over = admin_event_pb2.WorkflowExecutionEventRequest()
    over.event.phase, over.event.producer_id = Workflow.ABORTED, PRODUCER
    over.event.execution_id.CopyFrom(id)
    over.event.occurred_at.FromDatetime(ctx.now)
    await events.create_workflow_event(ctx, over)
    return execution_pb2.ExecutionTerminateResponse()


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


def _name(id: identifier_pb2.WorkflowExecutionIdentifier) -> str:
    return f"{id.project}/{id.domain}/{id.name}"

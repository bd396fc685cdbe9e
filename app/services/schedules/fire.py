"""Decide one slot of a schedule: launch its execution, skip it, or record why it was not launched.

Each slot is launched once, whatever processes try: the name of its execution is derived from the slot, and the row of
the execution and the state of the schedule change in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from sqlalchemy import bindparam, case, or_, select, update

from app import errors
from app.auth.identity import Identity
from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.database.statements import Statement
from app.runtime.context import Context
from app.services import launch_plans
from app.services.execution_ids import execution_id
from app.services.executions import launch_checks, terminate
from app.services.executions.launch import launch
from app.services.schedules import activator
from app.services.schedules.options import Options
from app.services.schedules.slots import Key, execution_name

if TYPE_CHECKING:
    from app.auth.caller_access import AccessCheck

PARTS = ("project", "domain", "name", "version")
SCHEDULE_COLUMNS = ("active", "updated_at")
STATE_COLUMNS = ("last_slot", "activated_by", "activated_as", "paused")
NAME_COLUMNS = ("state",)
Outcome = Literal["launched", "skipped", "missed", "failed"]
# The most executions that one slot with overlap `replace` terminates.
REPLACED_MAX = 100

_STATES = schema.table(ScheduleState)
_COUNTED = ("launched", "missed", "skipped", "failed")


def columns_of(key: Key) -> dict[str, Any]:
    """Return the key of a schedule as column names and values."""
    return dict(zip(PARTS, key, strict=True))


def name_of(key: Key) -> dict[str, Any]:
    """Return the key of the name of a launch plan in the table of names."""
    return dict(zip(("resource_type", *PARTS[:3]), (identifier_pb2.LAUNCH_PLAN, *key[:3]), strict=True))


class NameArchived(errors.FailedPrecondition):
    """The name of the launch plan is archived."""


class Overlaps(Exception):
    """An execution of the launch plan runs, and the schedule's option `overlap` allows no second one."""


@dataclass(frozen=True, slots=True)
class Due:
    """One slot that is due.

    Attributes:
        kickoff_input: The input that receives the slot's time, "" for none.
        rate: Whether the schedule is a fixed rate.
    """

    key: Key
    slot: datetime
    options: Options
    kickoff_input: str = ""
    rate: bool = False


async def fire(ctx: Context, due: Due, access: AccessCheck | None = None) -> str | None:
    """Launch the execution of a slot and record it.

    Args:
        ctx: The call.
        due: The slot.
        access: Finds the roles of who activated the schedule; None where neither authentication nor roles are on.

    Returns:
        The name of the execution; None where the slot needs no launch, because another process decided it or the
        schedule was stopped before it.

    Deviates: upstream launches schedules of archived names.

    Raises:
        NameArchived: The name of the launch plan is archived.
        PermissionDenied: Who activated the schedule lacks a role.
        Overlaps: The option `overlap` is `skip` or `buffer-one`, and an execution runs.
        FlyteError: The launch was refused; ALREADY_EXISTS where the execution exists, or where the limit of the launch
            plan's concurrency_policy is reached.
    """
    where = columns_of(due.key)
    row = await ctx.db.find(schema.SchedulableEntity, columns=SCHEDULE_COLUMNS, **where)
    state = await ctx.db.find(ScheduleState, columns=STATE_COLUMNS, **where)
    if row is None or (state is not None and state.last_slot is not None and state.last_slot >= due.slot):
        return None
    if not row.active and (state is not None and state.paused):
        return None
    # A schedule that was deactivated after the slot was due still fires it.
    if not row.active and row.updated_at is not None and row.updated_at < due.slot:
        return None
    name = await ctx.db.find(schema.NamedEntityMetadata, columns=NAME_COLUMNS, **name_of(due.key))
    if name is not None and name.state == common_pb2.NAMED_ENTITY_ARCHIVED:
        raise NameArchived(f"the name [{due.key[2]}] of the launch plan is archived")
    # A scheduled execution acts for the user who activated the schedule.
    ctx.identity = Identity(subject=(state.activated_by if state is not None else "") or "", method="internal")
    await activator.check_roles(ctx, access, state, *due.key[:2])
    request = await request_of(ctx, due)
    await launch(ctx, request)
    await check_overlap(ctx, due, request.name)
    await record(ctx, due, "launched", execution=request.name)
    return execution_name(due.key, due.slot)


async def request_of(ctx: Context, due: Due) -> execution_pb2.ExecutionCreateRequest:
    """Return the request that launches a slot."""
    project, domain, name, version = due.key
    request = execution_pb2.ExecutionCreateRequest(
        project=project,
        domain=domain,
        name=execution_name(due.key, due.slot),
        spec=execution_pb2.ExecutionSpec(
            launch_plan=identifier_pb2.Identifier(
                resource_type=identifier_pb2.LAUNCH_PLAN, project=project, domain=domain, name=name, version=version
            ),
            metadata=execution_pb2.ExecutionMetadata(mode=execution_pb2.ExecutionMetadata.SCHEDULED),
        ),
    )
    request.spec.metadata.scheduled_at.FromDatetime(due.slot)
    if due.kickoff_input and (not due.rate or await _is_required(ctx, due)):
        literal = request.inputs.literals[due.kickoff_input]
        literal.CopyFrom(kickoff_literal(due.slot))
    return request


def kickoff_literal(moment: datetime) -> literals_pb2.Literal:
    """Return the literal of a kickoff time."""
    literal = literals_pb2.Literal()
    literal.scalar.primitive.datetime.FromDatetime(moment)
    return literal


async def _is_required(ctx: Context, due: Due) -> bool:
    """Return whether the launch plan cannot be launched without the kickoff input.

    Deviates: upstream never fills in the kickoff input of a fixed rate, so that such a launch plan never runs. Where
    the input has a default, the default is used, as upstream does.
    """
    where = columns_of(due.key)
    row = await ctx.db.find(schema.LaunchPlan, columns=("closure",), **where)
    closure = launch_plan_pb2.LaunchPlanClosure.FromString((row.closure if row is not None else None) or b"")
    parameter = closure.expected_inputs.parameters.get(due.kickoff_input)
    return parameter is not None and parameter.required


async def check_overlap(ctx: Context, due: Due, own_name: str) -> None:
    """Apply the option `overlap`. The transaction is open and holds the new execution.

    Parity: a concurrency_policy in the launch plan, which `launch` has applied, takes precedence.
    """
    overlap = due.options.overlap
    if overlap == "allow":
        return
    project, domain, name, _ = due.key
    row = await ctx.db.find(schema.LaunchPlan, columns=("spec",), **columns_of(due.key))
    if row is not None and launch_plan_pb2.LaunchPlanSpec.FromString(row.spec).HasField("concurrency_policy"):
        return
    await launch_plans.lock_name(ctx, project, domain, name)
    running = await ctx.db.all(_running(), project=project, domain=domain, name=name, own=own_name)
    if overlap != "replace":
        if running:
            raise Overlaps
        return
    for other in running:
        cause = f"replaced by {own_name}"
        request = execution_pb2.ExecutionTerminateRequest(id=execution_id(other), cause=cause)
        await terminate.terminate_execution(ctx, request)


@lru_cache(maxsize=1)
def _running() -> Statement:
    """Return the statement that selects other executions of a launch plan's name that have not ended."""
    executions, plans = schema.table(schema.Execution), schema.table(schema.LaunchPlan)
    return Statement(
        select(executions.c.execution_project, executions.c.execution_domain, executions.c.execution_name)
        .select_from(executions.join(plans, executions.c.launch_plan_id == plans.c.id))
        .where(
            *(executions.c[f"execution_{part}"] == bindparam(part) for part in ("project", "domain")),
            *(plans.c[part] == bindparam(part) for part in ("project", "domain", "name")),
            executions.c.phase.in_(launch_checks.ACTIVE_PHASES),
            executions.c.execution_name != bindparam("own"),
        )
        .limit(REPLACED_MAX)
    )


async def record(
    ctx: Context,
    due: Due,
    outcome: Outcome,
    *,
    execution: str = "",
    problem: errors.FlyteError | None = None,
    slots: int = 1,
) -> None:
    """Record the outcome of a slot, so that no process looks at the slot again.

    Args:
        ctx: The call.
        due: The slot. Later slots of the schedule that are recorded already stay the newest ones.
        outcome: The outcome.
        execution: The name of the launched execution.
        problem: Why a slot failed, or was skipped because of something archived.
        slots: The number of slots that have this outcome, up to `due.slot`.
    """
    where = columns_of(due.key)
    values = {
        **{f"key_{part}": value for part, value in where.items()},
        **{f"add_{name}": slots if name == outcome else 0 for name in _COUNTED},
        "slot": due.slot,
        "execution": execution or None,
        "outcome": outcome,
        "code": problem.code if problem is not None else None,
        "message": problem.message if problem is not None else None,
        "now": ctx.now,
    }
    if await ctx.db.run(_advance(), **values):
        return
    # Upstream's activation writes no state.
    inserted = await ctx.db.insert_if_absent(ScheduleState, **where)
    if inserted is None or not await ctx.db.run(_advance(), **values):
        raise errors.Aborted(f"another process decided the slot {due.slot.isoformat()}")


@lru_cache(maxsize=1)
def _advance() -> Statement:
    """Return the statement that moves the state of a schedule to a later slot."""
    column, time = _STATES.c, _STATES.c.last_slot.type
    outcome: Any = bindparam("outcome")
    code = bindparam("code", type_=column.problem_code.type)
    refused, launched = code.is_not(None), outcome == "launched"
    message = bindparam("message", type_=column.problem_message.type)
    values: dict[str, Any] = {
        "last_slot": bindparam("slot", type_=time),
        "last_outcome": outcome,
        "last_execution": case(
            (launched, bindparam("execution", type_=column.last_execution.type)), else_=column.last_execution
        ),
        **{name: column[name] + bindparam(f"add_{name}") for name in _COUNTED},
        "failures_in_row": case((launched, 0), else_=column.failures_in_row + bindparam("add_failed")),
        "problem_code": case((launched, None), (refused, code), else_=column.problem_code),
        "problem_since": case(
            (launched, None),
            (refused & column.problem_code.is_(None), bindparam("now", type_=time)),
            else_=column.problem_since,
        ),
        "problem_message": case((launched, None), (refused, message), else_=column.problem_message),
        "updated_at": bindparam("now", type_=time),
    }
    earlier = or_(column.last_slot.is_(None), column.last_slot < bindparam("slot", type_=time))
    key = (column[part] == bindparam(f"key_{part}") for part in PARTS)
    return Statement(update(_STATES).values(values).where(*key, earlier))

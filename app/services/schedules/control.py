"""Pause, resume and record: the changes of a schedule beside activation, which is UpdateLaunchPlan.

Each transaction locks the row of schedulable_entities before that of schedule_states, as UpdateLaunchPlan does.
Otherwise two of them could wait for each other.
"""

from __future__ import annotations

from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.runtime.changes import SCHEDULES
from app.runtime.context import Context
from app.services.checks import not_registered
from app.services.schedules.activator import columns_of_caller
from app.services.schedules.fire import Due, columns_of, record
from app.services.schedules.slots import Key

REASON_LENGTH_MAX = 1_000


async def pause(ctx: Context, key: Key, reason: str, *, by: str) -> None:
    """Stop an active schedule and keep the reason. The state of the launch plan stays ACTIVE.

    Args:
        ctx: The call.
        key: The schedule.
        reason: Shown to its owner.
        by: The user id of who pauses, or the name of the service.

    Raises:
        errors.NotFound: The launch plan has no schedule.
        errors.FailedPrecondition: The schedule is not active.
    """
    where = columns_of(key)
    row = await ctx.db.find(schema.SchedulableEntity, columns=("active",), for_update=True, **where)
    if row is None:
        raise no_schedule(key)
    if not row.active:
        raise errors.FailedPrecondition(f"the schedule of launch plan {'/'.join(key)} is not active")
    await ctx.db.update(schema.SchedulableEntity, where, active=False, updated_at=ctx.now)
    await ctx.db.insert_if_absent(ScheduleState, **where)
    await ctx.db.update(
        ScheduleState,
        where,
        paused=True,
        paused_reason=reason[:REASON_LENGTH_MAX],
        paused_by=by,
        paused_at=ctx.now,
    )
    await ctx.announce(SCHEDULES)


async def resume(ctx: Context, key: Key, *, catch_up: bool) -> None:
    """Start a paused schedule again.

    Args:
        ctx: The call.
        key: The schedule.
        catch_up: Whether the slots since the pause are launched too.

    Raises:
        errors.NotFound: The launch plan has no schedule.
        errors.FailedPrecondition: The schedule is not paused.
    """
    where = columns_of(key)
    await ctx.db.begin()
    if await ctx.db.find(schema.SchedulableEntity, columns=("id",), for_update=True, **where) is None:
        raise no_schedule(key)
    state = await ctx.db.find(ScheduleState, columns=("paused", "paused_at"), for_update=True, **where)
    if state is None or not state.paused:
        raise errors.FailedPrecondition(f"the schedule of launch plan {'/'.join(key)} is not paused")
    await ctx.db.update(schema.SchedulableEntity, where, active=True, updated_at=ctx.now)
    await ctx.db.update(
        ScheduleState,
        where,
        resume_from=state.paused_at if catch_up else None,
        **columns_of_caller(ctx),
        failures_in_row=0,
        paused=False,
        paused_reason=None,
        paused_by=None,
        paused_at=None,
    )
    await ctx.announce(SCHEDULES)


async def record_failure(ctx: Context, failure: tuple[Due, errors.FlyteError]) -> None:
    """Record that the launch of a slot was refused for good; pause the schedule where its option asks for it."""
    due, error = failure
    where = columns_of(due.key)
    if not due.options.pause_after:
        await record(ctx, due, "failed", problem=error)
        return
    await ctx.db.begin()
    row = await ctx.db.find(schema.SchedulableEntity, columns=("active",), for_update=True, **where)
    await record(ctx, due, "failed", problem=error)
    state = await ctx.db.find(ScheduleState, columns=("failures_in_row",), **where)
    if state is not None and row is not None and row.active and state.failures_in_row >= due.options.pause_after:
        reason = f"{state.failures_in_row} slots failed in a row; the last one: {error.message}"
        await pause(ctx, due.key, reason, by="scheduler")


def no_schedule(key: Key) -> errors.NotFound:
    """Return the error for a launch plan without a schedule."""
    project, domain, name, version = key
    id = identifier_pb2.Identifier(project=project, domain=domain, name=name, version=version)
    return not_registered("schedule of LAUNCH_PLAN", id)

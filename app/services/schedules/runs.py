"""Launch a schedule's launch plan outside of its slots: at once, or for past slots (backfill)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flyteidl.admin import execution_pb2

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services.execution_ids import random_name
from app.services.executions.launch import launch
from app.services.schedules import states
from app.services.schedules.control import no_schedule
from app.services.schedules.fire import Due, Overlaps, check_overlap, request_of
from app.services.schedules.slots import Key, NeverFires, execution_name, timing

# The most slots of one backfill.
BACKFILL_SLOTS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Slot:
    """One slot of a backfill.

    Attributes:
        slot: The time.
        execution: The name of its execution.
        exists: Whether the execution exists already.
    """

    slot: datetime
    execution: str
    exists: bool


async def row_of(ctx: Context, key: Key) -> Any:
    """Return the row of a schedule (app.services.schedules.states). Raises NOT_FOUND where there is none."""
    project, domain, name, version = key
    rows = await states.of_place(ctx.db, after=0, most=1, project=project, domain=domain, name=name, version=version)
    if not rows:
        raise no_schedule(key)
    return rows[0]


async def trigger(ctx: Context, key: Key, *, if_allowed: bool = False) -> str:
    """Launch the launch plan now and return the name of the execution.

    The execution is a manual one. The kickoff input receives the current time. The slots of the schedule do not change.

    Args:
        ctx: The call.
        key: The schedule.
        if_allowed: Whether a pause and the option `overlap` count.

    Raises:
        errors.FailedPrecondition: With `if_allowed`: the schedule is paused, or an execution runs.
    """
    row = await row_of(ctx, key)
    if if_allowed and row.paused:
        reason = f": {row.paused_reason}" if row.paused_reason else ""
        raise errors.FailedPrecondition(f"the schedule of launch plan {'/'.join(key)} is paused{reason}")
    now = ctx.now.replace(microsecond=0)
    due = Due(key, now, states.options_of(row, ctx.settings), row.kickoff_time_input_arg or "")
    request = await request_of(ctx, due)
    request.name = f"f{random_name(19)}"
    request.spec.metadata.mode = execution_pb2.ExecutionMetadata.MANUAL
    request.spec.metadata.ClearField("scheduled_at")
    launched = await launch(ctx, request)
    if if_allowed:
        try:
            await check_overlap(ctx, due, request.name)
        except Overlaps as error:
            text = f"an execution of launch plan {'/'.join(key)} runs, and overlap is {due.options.overlap}"
            raise errors.FailedPrecondition(text) from error
    return str(launched.id.name)


async def slots_between(ctx: Context, key: Key, start: datetime, end: datetime) -> list[Slot]:
    """Return the slots after `start` and up to `end`, with their executions.

    Raises:
        errors.InvalidArgument: The schedule cannot be evaluated, or there are more than BACKFILL_SLOTS_MAX slots.
    """
    row = await row_of(ctx, key)
    try:
        chosen = timing(
            row, states.options_of(row, ctx.settings), utc=ctx.settings.scheduler.workflow_executor.local.use_utc_tz
        )
    except NeverFires as error:
        raise errors.InvalidArgument(str(error)) from error
    if chosen.cron is None and row.created_at is not None:
        # The phase of a rate is that of its activation.
        phase = (row.updated_at or row.created_at).replace(microsecond=0)
        start = phase + (start - phase) // chosen.every * chosen.every
    found: list[Slot] = []
    slot = chosen.following(start)
    while slot is not None and slot <= end:
        if len(found) == BACKFILL_SLOTS_MAX:
            raise errors.InvalidArgument(f"more than {BACKFILL_SLOTS_MAX} slots: choose a shorter time")
        name = execution_name(key, slot)
        where = {"execution_project": key[0], "execution_domain": key[1], "execution_name": name}
        row_of_execution = await ctx.db.find(schema.Execution, columns=("id",), for_update=False, **where)
        found.append(Slot(slot, name, row_of_execution is not None))
        slot = chosen.following(slot)
    return found


async def fill_in(ctx: Context, key: Key, slot: datetime, *, again: bool) -> str:
    """Launch the execution of a past slot and return its name. The state of the schedule does not change.

    Args:
        ctx: The call.
        key: The schedule.
        slot: The slot.
        again: Launch another execution of the slot, under a name of its own.

    Raises:
        errors.AlreadyExists: The slot has an execution, and `again` is false.
    """
    row = await row_of(ctx, key)
    options, kickoff_input = states.options_of(row, ctx.settings), row.kickoff_time_input_arg or ""
    request = await request_of(ctx, Due(key, slot, options, kickoff_input, rate=not row.cron_expression))
    if again:
        request.name = f"f{secrets.token_hex(8)}000"
    launched = await launch(ctx, request)
    return str(launched.id.name)

"""Decide the slot of one schedule: apply its options for late slots, launch, and record refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from flyteidl.admin import project_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.background.schedule_entries import Entry
from app.database import schema
from app.database.read_memo import ReadMemo
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.runtime.metrics import Histogram
from app.services.schedules import control
from app.services.schedules.fire import Due, NameArchived, Outcome, Overlaps, columns_of, fire, record
from app.services.schedules.read_ahead import read_ahead
from app.services.schedules.slots import execution_name

# Time between two attempts at a slot that waits for the end of an execution (overlap `buffer-one`).
BUFFER_SECONDS = 2.0
# Slots that one step of catch-up passes over.
STEP_SLOTS = 10_000

# Slots that are due together and are not read ahead: reading them one by one takes no longer.
READ_AHEAD_MIN = 4
# Time for which launches share the rows that they read.
MEMO_SECONDS = 1.0

# A later attempt may succeed after these; after all others it cannot.
_PASSING = (
    errors.Unavailable,
    errors.ResourceExhausted,
    errors.DeadlineExceeded,
    errors.Aborted,
    errors.Internal,
    errors.Unknown,
    errors.Canceled,
)

log = structlog.get_logger(__name__)


class SlotLauncher:
    """Decides slots.

    Attributes:
        lateness_seconds: The time between the newest launched slot and its launch.
        lateness: All these times since the start of the process.
    """

    def __init__(self, server: Server, clock: Callable[[], datetime]) -> None:
        self._server = server
        self._clock = clock
        self.lateness_seconds = 0.0
        self.lateness = Histogram("scheduler", "slot_lateness_seconds")
        # Rows that the launches of slots that are due together share, until a time of the event loop's clock.
        self._memo: ReadMemo | None = None
        self._memo_until = 0.0
        self._read: set[int] = set()

    def has_read(self, entry: Entry) -> bool:
        """Return whether the rows of an entry were read ahead just now."""
        if self._memo is not None and asyncio.get_running_loop().time() > self._memo_until:
            self._memo, self._read = None, set()
        return entry.row_id in self._read

    async def read_ahead(self, entries: Sequence[Entry]) -> None:
        """Read the rows of entries whose slots are due and launched next."""
        self._memo, self._read = None, set()
        due = [(one.row_id, one.key, one.slot) for one in entries if one.slot is not None and one.attempts == 0]
        if len(due) < READ_AHEAD_MIN:
            return
        try:
            async with self._server.database.unit_of_work() as unit:
                self._memo = await read_ahead(unit, due)
        except errors.FlyteError:
            # Each launch reads for itself then, and reports what is wrong.
            return
        self._read = {row_id for row_id, _, _ in due}
        self._memo_until = asyncio.get_running_loop().time() + MEMO_SECONDS

    async def decide(self, entry: Entry, *, late_seconds: float) -> None:
        """Decide the slot of an entry and advance the entry; plan another attempt where the reason passes.

        Args:
            entry: The entry, whose slot is due.
            late_seconds: The age from which the options for late slots apply.
        """
        if not entry.buffered:
            try:
                await self._drop_late(entry, late_seconds)
            except _PASSING as error:
                self._try_again(entry, error)
                return
        slot, now = entry.slot, self._clock()
        if slot is None or slot > now:
            return
        due = Due(entry.key, slot, entry.options, entry.kickoff_input, rate=_is_rate(entry))
        try:
            name = await self._perform(self._fire_with_memo if entry.attempts == 0 else self._fire, due)
        except Overlaps:
            await self._overlapped(entry, due, now)
            return
        except errors.FlyteError as error:
            await self._refused(entry, due, error)
            return
        except DecodeError as error:
            await self._refused(entry, due, errors.FailedPrecondition(f"a stored message cannot be read: {error}"))
            return
        if name is not None:
            self.lateness_seconds = (now - slot).total_seconds()
            self.lateness.observe(self.lateness_seconds)
            entry.failing = False
        entry.advance()

    async def _fire_with_memo(self, ctx: Context, due: Due) -> str | None:
        ctx.db.memo = self._memo
        return await self._fire(ctx, due)

    async def _fire(self, ctx: Context, due: Due) -> str | None:
        return await fire(ctx, due, self._server.access)

    async def _drop_late(self, entry: Entry, late_seconds: float) -> None:
        """Pass over the late slots that the schedule's option drops, and count them as missed."""
        # A launch that waits for its jitter is not late.
        options, now = entry.options, self._clock() - entry.delay()
        if entry.slot is None or entry.timing is None or (now - entry.slot).total_seconds() <= late_seconds:
            return
        if options.catch_up == "all" and options.catch_up_seconds is None:
            return
        if options.catch_up == "all" and options.catch_up_seconds is not None:
            limit, keep_newest = now - timedelta(seconds=max(options.catch_up_seconds, late_seconds)), False
        else:
            limit = now - timedelta(seconds=0 if options.catch_up == "last" else late_seconds)
            keep_newest = options.catch_up == "last"
        dropped: datetime | None = None
        while (steps := await asyncio.to_thread(_passed, entry, limit, keep_newest))[0]:
            number, dropped = steps
            due = Due(entry.key, dropped, options)
            await self._record(due, "missed", slots=number)
            entry.advance(dropped)
        if dropped is not None:
            log.warning("slots_missed", schedule="/".join(entry.key), until=dropped.isoformat())

    async def _overlapped(self, entry: Entry, due: Due, now: datetime) -> None:
        """Skip the slot; with overlap `buffer-one` try it again until the following slot is due."""
        following = entry.timing.following(due.slot) if entry.timing is not None else None
        if entry.options.overlap == "buffer-one" and (following is None or following > now):
            entry.buffered = True
            entry.retry(now, BUFFER_SECONDS)
            return
        await self._record(due, "skipped")
        entry.advance()

    async def _refused(self, entry: Entry, due: Due, error: errors.FlyteError) -> None:
        """Record a refusal, or plan another attempt."""
        if isinstance(error, _PASSING):
            self._try_again(entry, error)
            return
        if isinstance(error, errors.AlreadyExists):
            # The execution exists, or the limit of the launch plan's concurrency_policy is reached.
            exists = await self._perform(_exists, due)
            execution = execution_name(due.key, due.slot) if exists else ""
            await self._record(due, "launched" if exists else "skipped", execution=execution)
        elif _is_archived(error):
            _log_refusal("slot_skipped", entry, due, error)
            await self._record(due, "skipped", problem=error)
            entry.failing = True
        else:
            _log_refusal("slot_failed", entry, due, error)
            await self._perform(control.record_failure, (due, error))
            entry.failing = True
            if isinstance(error, errors.NotFound) and await self._perform(_is_deleted, due):
                log.warning("schedule_set_aside", schedule="/".join(entry.key), reason=error.message)
                entry.set_aside()
                return
        entry.advance()

    def _try_again(self, entry: Entry, error: errors.FlyteError) -> None:
        entry.retry(self._clock())
        log.warning(
            "slot_delayed",
            schedule="/".join(entry.key),
            slot=entry.slot.isoformat() if entry.slot is not None else None,
            until=entry.retry_at.isoformat() if entry.retry_at is not None else None,
            reason=error.message,
        )

    async def _record(
        self,
        due: Due,
        outcome: Outcome,
        *,
        slots: int = 1,
        execution: str = "",
        problem: errors.FlyteError | None = None,
    ) -> None:
        async def write(ctx: Context, due: Due) -> None:
            await record(ctx, due, outcome, slots=slots, execution=execution, problem=problem)

        try:
            await self._perform(write, due)
        except errors.Aborted:
            # Another process decided the slot.
            log.info("slot_decided_elsewhere", schedule="/".join(due.key), slot=due.slot.isoformat())

    async def _perform(self, function: Any, request: Any) -> Any:
        return await perform(self._server, function, request)


def _log_refusal(event: str, entry: Entry, due: Due, error: errors.FlyteError) -> None:
    """Log one warning until a slot launches again; the state of the schedule has the reason."""
    write = log.info if entry.failing else log.warning
    write(event, schedule="/".join(entry.key), slot=due.slot.isoformat(), reason=error.message)


def _is_archived(error: errors.FlyteError) -> bool:
    """Return whether a launch was refused because the project or the name is archived."""
    return isinstance(error, NameArchived) or any(
        isinstance(detail, project_pb2.InactiveProject) for detail in error.details
    )


def _is_rate(entry: Entry) -> bool:
    return entry.timing is not None and entry.timing.cron is None


def _passed(entry: Entry, limit: datetime, keep_newest: bool) -> tuple[int, datetime]:
    """Return the number of slots up to a limit, and the last of them; at most STEP_SLOTS.

    Args:
        entry: The entry; its slot is the first one.
        limit: The newest time of a slot that is counted.
        keep_newest: Whether the newest slot up to the limit is left out.
    """
    assert entry.timing is not None
    assert entry.slot is not None
    number, newest, slot = 0, entry.slot, entry.slot
    while number < STEP_SLOTS and slot <= limit:
        following = entry.timing.following(slot)
        if keep_newest and (following is None or following > limit):
            break
        number, newest = number + 1, slot
        if following is None:
            break
        slot = following
    return number, newest


async def _is_deleted(ctx: Context, due: Due) -> bool:
    """Return whether the launch plan is not in the database."""
    return await ctx.db.find(schema.LaunchPlan, columns=("id",), **columns_of(due.key)) is None


async def _exists(ctx: Context, due: Due) -> bool:
    """Return whether the execution of a slot exists."""
    project, domain = due.key[:2]
    name = execution_name(due.key, due.slot)
    key = {"execution_project": project, "execution_domain": domain, "execution_name": name}
    return await ctx.db.find(schema.Execution, columns=("id",), for_update=False, **key) is not None

"""One active schedule in the scheduler's memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.services.schedules import states
from app.services.schedules.options import Options
from app.services.schedules.slots import Key, NeverFires, Timing, delay_seconds, snapshot_key, timing
from app.settings import Settings

# Time to the second attempt at a launch that failed for a passing reason; it doubles up to the largest one.
RETRY_SECONDS = 1.0
RETRY_SECONDS_MAX = 300.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Entry:
    """One schedule.

    Attributes:
        version: The part of the row that makes another entry when it changes.
        row_id: The id of the row.
        slot: The following slot; None for a schedule that never fires.
        last: The newest slot that was decided; None before the first one.
        timing: None for a schedule that cannot be evaluated.
        generation: A higher number makes all entries in the heap with a lower one void.
        ending: The schedule was stopped after `slot` was due.
        buffered: The slot waits for the end of an execution (overlap `buffer-one`).
        retry_at: The time of the next attempt at the slot; None before the first attempt.
        failing: Whether the last slot that was decided could not be launched.
        hashed: The key in upstream's snapshots, once it was needed.
    """

    key: Key
    version: tuple[Any, ...]
    options: Options
    timing: Timing | None
    slot: datetime | None
    last: datetime | None = None
    kickoff_input: str = ""
    generation: int = 0
    ending: bool = False
    retry_at: datetime | None = None
    attempts: int = 0
    row_id: int = 0
    hashed: str = ""
    failing: bool = False
    buffered: bool = False

    def snapshot_key(self) -> str:
        """Return the key in upstream's snapshots."""
        if not self.hashed:
            self.hashed = snapshot_key(self.key)
        return self.hashed

    def due_at(self) -> datetime | None:
        """Return when the slot is launched: at the slot with its jitter, or at the next attempt."""
        if self.slot is None or self.timing is None:
            return None
        return self.retry_at or self.slot + self.delay()

    def delay(self) -> timedelta:
        """Return the delay of the slot's launch by jitter."""
        if self.slot is None or self.timing is None or not self.options.jitter_seconds:
            return timedelta(0)
        following = self.timing.following(self.slot)
        return timedelta(seconds=delay_seconds(self.key, self.options, self.slot, following))

    def retry(self, now: datetime, seconds: float | None = None) -> None:
        """Plan another attempt at the slot: after some seconds, or with a growing pause."""
        if seconds is None:
            seconds = min(RETRY_SECONDS_MAX, RETRY_SECONDS * 2 ** min(self.attempts, 20))
        self.attempts += 1
        self.retry_at = now + timedelta(seconds=seconds)

    def advance(self, slot: datetime | None = None) -> None:
        """Go on to the slot after this one, or after the given one."""
        self.retry_at, self.attempts, self.buffered = None, 0, False
        newest = slot or self.slot
        self.last = newest
        self.slot = self.timing.following(newest) if self.timing is not None and newest is not None else None
        self._log_clock_change()

    def set_aside(self) -> None:
        """Decide no further slot, until the row changes or another process leads."""
        self.advance()
        self.slot = self.timing = None

    def _log_clock_change(self) -> None:
        """Log where the clocks of a cron schedule's zone change before the following slot, and what is done then."""
        if self.timing is None or self.timing.cron is None or self.last is None or self.slot is None:
            return
        zone = self.timing.cron.zone or self.timing.zone
        before, after = self.last.astimezone(zone), self.slot.astimezone(zone)
        if before.utcoffset() != after.utcoffset():
            choice = f"{self.options.gap}-gap,{self.options.repeat}"
            slots = {"slot": before.isoformat(), "following": after.isoformat()}
            log.info("clock_change_between_slots", schedule="/".join(self.key), dst=choice, **slots)


def key_of(row: Any) -> Key:
    """Return the key of a row of app.services.schedules.states."""
    return (row.project, row.domain, row.name, row.version)


def version_of(row: Any) -> tuple[Any, ...]:
    """Return the part of a row that makes another entry when it changes."""
    return (row.active, row.updated_at, row.cron_expression, row.fixed_rate_value, row.unit, row.resume_from)


def entry_of(row: Any, settings: Settings, now: datetime, snapshot: Mapping[str, datetime]) -> Entry:
    """Return the entry of a row of app.services.schedules.states, at its first slot that was not decided.

    A schedule that cannot be evaluated gets an entry without slots, and a log line.

    Args:
        row: The row.
        settings: The settings.
        now: The activation of a row that has no times.
        snapshot: The last times that upstream's scheduler stored, by `snapshot_key`.
    """
    key, version = key_of(row), version_of(row)
    options = states.options_of(row, settings)
    try:
        chosen = timing(row, options, utc=settings.scheduler.workflow_executor.local.use_utc_tz)
    except NeverFires as error:
        log.warning("schedule_set_aside", schedule="/".join(key), reason=str(error))
        return Entry(key, version, options, None, None, row_id=row.id, failing=True)
    # Slots up to the activation are not due, except those for which the schedule was resumed.
    start = row.resume_from or row.updated_at or row.created_at or now
    last = max(filter(None, (row.last_slot, snapshot.get(snapshot_key(key)))), default=None)
    if last is not None and last > start:
        start = last
    kickoff_input = row.kickoff_time_input_arg or ""
    found = Entry(key, version, options, chosen, chosen.following(start), last, kickoff_input, row_id=row.id)
    found.failing = row.problem_code is not None
    if options.problems:
        log.warning("schedule_annotations_ignored", schedule="/".join(key), reasons=options.problems)
    return found

"""The scheduler: launches the executions of active schedules when their slots are due.

Of all processes on a database one leads, by a lease; another takes over when the leader ends. The lease only saves
work: a slot is launched once whatever processes try, because its execution's name is derived from the slot and the
state of the schedule changes in the same transaction (app/services/schedules/fire.py).

The state of schedules is in the database. Memory holds the following slot of each active schedule. Changes are
announced (app/runtime/changes.py); the leader also looks for them from time to time. The process's clock decides what
is due, the database's clock whose lease it is.

Source: flyteadmin/scheduler, with the differences that docs/schedules.md lists.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from app import errors
from app.background import snapshots
from app.background.schedule_entries import Entry, entry_of, key_of, version_of
from app.background.slot_launcher import SlotLauncher
from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.engine.owner import has_ended, owner_name
from app.runtime.changes import SCHEDULES
from app.runtime.dispatch import Server
from app.runtime.leases import Leases
from app.services.schedules import states
from app.services.schedules.read_ahead import SLOTS_MAX
from app.services.schedules.slots import Key

LEASE = "scheduler"
# Time between two looks for changed schedules, and between two looks whether the lease is free.
LOOK_SECONDS = 0.5
# The same where changes by other processes are announced (app/runtime/changes.py).
ANNOUNCED_LOOK_SECONDS = 5.0
# Time between two renewals of the lease.
RENEW_SECONDS = 10.0
# Time between two snapshots for upstream's scheduler.
SNAPSHOT_SECONDS = 30.0
# Clocks of writers may differ by this much, and their transactions may take this long.
CHANGES_OVERLAP = timedelta(seconds=30)
PAGE_ROWS = 500
# Decided slots that lie further in the future than this show a wrong clock, and so does a larger jump.
CLOCKS_DIFFER_MAX = timedelta(seconds=60)
# A slot that is later than this is caught up: after the slots that are due now, and at a limited rate.
LATE_SECONDS = 60.0
# Time that launches have to end when the service stops.
STOP_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Scheduler:
    """Background service that fires schedules.

    Args:
        server: The objects of this process.
        clock: Returns the time, aware.
    """

    name = "scheduler"

    def __init__(self, server: Server, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._server = server
        self._section = server.settings.scheduler
        self._clock = clock
        self._launcher = SlotLauncher(server, clock)
        self._leases = Leases(server.database, schema.Lease, ("name",), owner=owner_name(), has_ended=has_ended)
        self._leading = False
        self._renewed = 0.0
        self._entries: dict[Key, Entry] = {}
        self._never = self._paused = 0
        self._since: datetime | None = None
        self._snapshot: dict[str, datetime] = {}
        self._snapshot_at = 0.0
        # Whether a last time may have changed since the last snapshot.
        self._times_changed = True
        # The entries by the time at which they are due: (time, number, entry, generation of the entry).
        self._heap: list[tuple[datetime, int, Entry, int]] = []
        self._numbers = itertools.count()
        # Due entries: of slots that are due now, and of slots that are caught up.
        self._live: deque[tuple[Entry, int]] = deque()
        self._late: deque[tuple[Entry, int]] = deque()
        self._late_allowed_at = 0.0
        self._launching: set[asyncio.Task[None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        # The clock and the event loop's clock when they were compared last, and how often the clock has jumped.
        self._clocks: tuple[datetime, float] | None = None
        self._jumps = 0
        # The time of the next look for changes, by the event loop's clock.
        self._look_at = 0.0
        self._failure = ""
        server.changes.subscribe(SCHEDULES, self._changed)

    async def start(self) -> None:
        """Begin to look for due slots."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Start no further launch, let the running ones end, and release the lease."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        if self._launching:
            await asyncio.wait(self._launching, timeout=STOP_SECONDS)
        for launch in self._launching:
            launch.cancel()
        if self._leading:
            try:
                await self._write_snapshot(at_once=True)
                await self._leases.release()
            except errors.FlyteError as error:
                # The lease expires by itself.
                log.warning("scheduler_lease_not_released", reason=error.message)

    def health(self) -> str:
        """Return "" while the scheduler reaches the database."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return the gauges; those of schedules are 0 in processes that do not lead."""
        return {
            "leading": float(self._leading),
            "schedules": float(len(self._entries) - self._never),
            "never": float(self._never),
            "failing": float(sum(entry.failing for entry in self._entries.values())),
            "paused": float(self._paused),
            "clock_jumps": float(self._jumps),
            "waiting": float(len(self._live) + len(self._late) + len(self._launching)),
            "lateness_seconds": self._launcher.lateness_seconds,
            **self._launcher.lateness.numbers(),
        }

    def _changed(self) -> None:
        """Look for changes now."""
        if self._leading:
            self._look_at = 0.0
            self._wake.set()

    async def _run(self) -> None:
        while True:
            self._watch_clock()
            try:
                await self._look()
                self._failure = ""
            except errors.FlyteError as error:
                if not self._failure:
                    log.warning("scheduler_cannot_read_schedules", reason=error.message)
                self._failure = error.message
            except Exception as error:
                # The task must not end: the process would keep the lease and fire nothing.
                if not self._failure:
                    log.exception("scheduler_failed")
                self._failure = f"the last look for changes failed ({type(error).__name__})"
            if self._leading:
                self._collect_due()
                if self._live and not self._launcher.has_read(self._live[0][0]):
                    await self._launcher.read_ahead([entry for entry, _ in itertools.islice(self._live, SLOTS_MAX)])
                self._launch_due()
            await self._sleep()

    def _watch_clock(self) -> None:
        """Log where the clock was set, or the machine was suspended: slots are late then, or wait."""
        now, loop_time = self._clock(), asyncio.get_running_loop().time()
        if self._clocks is not None:
            before, loop_before = self._clocks
            jump = now - before - timedelta(seconds=loop_time - loop_before)
            if abs(jump) > CLOCKS_DIFFER_MAX:
                self._jumps += 1
                log.warning("clock_jumped", seconds=round(jump.total_seconds()), clock=now.isoformat())
        self._clocks = now, loop_time

    async def _look(self) -> None:
        """Take or renew the lease; where this process leads, read changed schedules and write the snapshot."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        announced = self._leading and self._server.changes.listening
        self._look_at = now + (ANNOUNCED_LOOK_SECONDS if announced else LOOK_SECONDS)
        await self._lead()
        if self._leading:
            await self._read_changes()
            await self._write_snapshot(at_once=False)

    async def _sleep(self) -> None:
        """Wait until a slot may be due, a launch has ended, or it is time to look for changes."""
        seconds = max(0.0, self._look_at - asyncio.get_running_loop().time())
        if self._leading and self._heap:
            seconds = min(seconds, max(0.0, (self._heap[0][0] - self._clock()).total_seconds()))
        if self._late and len(self._launching) < self._section.launches_max:
            loop_time = asyncio.get_running_loop().time()
            seconds = min(seconds, max(0.0, self._late_allowed_at - loop_time))
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass
        self._wake.clear()

    async def _lead(self) -> None:
        """Take or renew the lease."""
        now = asyncio.get_running_loop().time()
        if self._leading:
            if now - self._renewed >= RENEW_SECONDS:
                self._leading = (LEASE,) in await self._leases.renew()
                self._renewed = now
                if not self._leading:
                    log.warning("scheduler_lease_lost")
                    self._forget()
            return
        if not await self._is_free():
            return
        if await self._leases.acquire(LEASE):
            self._leading, self._renewed = True, now
            log.info("scheduler_leads")

    async def _is_free(self) -> bool:
        """Return whether the lease can be taken, without a write."""
        holder = await self._leases.holder((LEASE,))
        if holder is None or holder == self._leases.owner:
            return True
        if has_ended(holder):
            await self._leases.release_ended()
            return True
        return False

    def _forget(self) -> None:
        self._entries.clear()
        self._heap.clear()
        self._live.clear()
        self._late.clear()
        self._never = self._paused = 0
        self._since = None

    async def _read_changes(self) -> None:
        """Read the active schedules at first, later those that changed."""
        started, since = self._clock(), self._since
        after = 0
        if since is None:
            async with self._server.database.unit_of_work() as unit:
                self._snapshot = await snapshots.read(unit)
        while True:
            async with self._server.database.unit_of_work() as unit:
                if since is None:
                    rows = await states.active(unit, after=after, most=PAGE_ROWS)
                else:
                    rows = await states.changed(unit, since=since - CHANGES_OVERLAP, after=after, most=PAGE_ROWS)
            for row in rows:
                self._put(row)
            if len(rows) < PAGE_ROWS:
                break
            after = rows[-1].id
        self._since = started
        if since is None:
            self._warn_of_clock(started)
        if rows or since is None:
            self._never = sum(entry.slot is None for entry in self._entries.values())
            async with self._server.database.unit_of_work() as unit:
                self._paused = await unit.count(ScheduleState, paused=True)

    def _warn_of_clock(self, now: datetime) -> None:
        """Log where the clock is before the newest stored time: schedules wait until it has passed that time."""
        newest = max((entry.last for entry in self._entries.values() if entry.last is not None), default=now)
        if newest - now > CLOCKS_DIFFER_MAX:
            times = {"clock": now.isoformat(), "newest_slot": newest.isoformat()}
            log.warning("clock_before_stored_times", advice="schedules wait for their next slot after it", **times)

    async def _write_snapshot(self, *, at_once: bool) -> None:
        """Write the last times for upstream's scheduler, where they have changed."""
        now = asyncio.get_running_loop().time()
        if not at_once and now - self._snapshot_at < SNAPSHOT_SECONDS:
            return
        self._snapshot_at = now
        if not self._times_changed:
            return
        self._times_changed = False
        last = {entry.snapshot_key(): entry.last for entry in self._entries.values() if entry.last is not None}
        # Schedules that are not active now keep the times of the snapshot that was read.
        last = {**self._snapshot, **last}
        if last == self._snapshot:
            return
        async with self._server.database.unit_of_work() as unit:
            await snapshots.write(unit, last)
        self._snapshot = last

    def _put(self, row: Any) -> None:
        """Add, replace or remove the entry of a schedule; leave an entry alone whose row has not changed."""
        known = self._entries.get(key_of(row))
        if known is not None and known.version == version_of(row):
            return
        entry = entry_of(row, self._server.settings, self._clock(), self._snapshot)
        if known is not None:
            # A slot that was due before the deactivation is launched; a new generation ends the others.
            stopped_at = None if row.active or row.paused else row.updated_at
            if stopped_at is not None and known.slot is not None and known.slot <= stopped_at:
                known.ending = True
                return
            known.generation += 1
            del self._entries[entry.key]
        if row.active:
            self._entries[entry.key] = entry
            self._push(entry)

    def _push(self, entry: Entry) -> None:
        """Put an entry into the heap, for its slot."""
        due = entry.due_at()
        if due is not None:
            heapq.heappush(self._heap, (due, next(self._numbers), entry, entry.generation))

    def _collect_due(self) -> None:
        """Move the entries whose slots are due from the heap to the queues."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            due, _, entry, generation = heapq.heappop(self._heap)
            if generation == entry.generation:
                late = (now - due).total_seconds() > LATE_SECONDS
                (self._late if late else self._live).append((entry, generation))

    def _launch_due(self) -> None:
        """Start the launches of due slots, as many as may run at the same time: live slots first."""
        loop_time = asyncio.get_running_loop().time()
        while len(self._launching) < self._section.launches_max:
            if self._live:
                self._begin(*self._live.popleft())
            elif self._late and loop_time >= self._late_allowed_at:
                self._late_allowed_at = max(self._late_allowed_at, loop_time - 1) + 1 / self._section.catch_up_rate
                self._begin(*self._late.popleft())
            else:
                return

    def _begin(self, entry: Entry, generation: int) -> None:
        task = asyncio.create_task(self._decide(entry, generation))
        self._launching.add(task)
        task.add_done_callback(self._launching.discard)

    async def _decide(self, entry: Entry, generation: int) -> None:
        """Decide the slot of an entry, then put the entry back for its following slot."""
        try:
            if generation == entry.generation:
                await self._launcher.decide(entry, late_seconds=LATE_SECONDS)
        except Exception:
            # A fault of one schedule must not stop the others; the slot is tried again.
            log.exception("slot_not_decided", schedule="/".join(entry.key))
            entry.retry(self._clock())
        finally:
            self._times_changed = True
            if entry.ending and entry.retry_at is None:
                self._entries.pop(entry.key, None)
            elif generation == entry.generation:
                self._push(entry)
            self._wake.set()

"""Delete old messages of the outbox, and count those that wait. One process of all does it, by a lease."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from app import limited_log
from app.background.outbox import claims
from app.database import schema
from app.database.base import Database
from app.engine.owner import has_ended
from app.runtime.leases import LEASE_SECONDS, Leases
from app.settings import Settings

LEASE = "outbox/cleaning"
# Time between two steps.
CLEAN_SECONDS = 30.0
# Rows of one transaction.
PAGE_ROWS = 1000
# Waiting messages are counted up to this number.
COUNTED_MAX = 10_000


class Cleaning:
    """Deletes messages by age and number.

    Args:
        database: The database.
        settings: The settings.
        targets: The names of targets.
        me: The owner of the lease.
    """

    def __init__(self, database: Database, settings: Settings, targets: tuple[str, ...], me: str) -> None:
        self._database = database
        self._settings = settings
        self._targets = targets
        self._lease = Leases(database, schema.Lease, ("name",), owner=me, has_ended=has_ended)
        self._next = 0.0
        self._backlog: dict[str, tuple[int, float]] = {}

    def backlog(self, target: str) -> Mapping[str, float]:
        """Return the number of waiting messages and the age of the oldest, 0 in a process that does not clean."""
        rows, oldest = self._backlog.get(target, (0, 0.0))
        return {"waiting": float(rows), "oldest_seconds": oldest}

    async def step(self) -> None:
        """Clean, where CLEAN_SECONDS have passed and this process has the lease or can take it."""
        if time.monotonic() < self._next:
            return
        # The lease is longer than the time between two steps, so one process keeps it.
        assert CLEAN_SECONDS <= LEASE_SECONDS
        self._next = time.monotonic() + CLEAN_SECONDS
        if not await self._leads():
            self._backlog = {}
            return
        for target in self._targets:
            await self._give_up(target)
            await self._drop(target)
            async with self._database.unit_of_work() as unit:
                rows, oldest = await claims.backlog(unit, target, most=COUNTED_MAX)
            age = (datetime.now(UTC) - oldest).total_seconds() if oldest is not None else 0.0
            self._backlog[target] = (rows, max(0.0, age))
        await self._delete_finished()

    async def stop(self) -> None:
        """Release the lease."""
        await self._lease.release((LEASE,))

    async def _leads(self) -> bool:
        await self._lease.release_ended()
        if await self._lease.acquire(LEASE):
            await self._lease.renew()
            return True
        return False

    async def _give_up(self, target: str) -> None:
        now, age = datetime.now(UTC), timedelta(seconds=self._settings.outbox.undelivered_seconds)
        text = f"not delivered within {age} (outbox.undeliveredSeconds): "
        given_up, some = 0, PAGE_ROWS
        while some == PAGE_ROWS:
            async with self._database.unit_of_work() as unit:
                some = await claims.give_up(unit, target, before=now - age, now=now, text=text, most=PAGE_ROWS)
            given_up += some
        if given_up:
            limited_log.warning("messages_too_old", key=target, target=target, messages=given_up)

    async def _drop(self, target: str) -> None:
        dropped, some = 0, PAGE_ROWS
        while some == PAGE_ROWS:
            async with self._database.unit_of_work() as unit:
                some = await claims.drop_oldest(
                    unit, target, allowed=self._settings.outbox.undelivered_max, most=PAGE_ROWS
                )
            dropped += some
        if dropped:
            limited_log.error(
                "messages_dropped", key=target, target=target, messages=dropped, setting="outbox.undeliveredMax"
            )

    async def _delete_finished(self) -> None:
        before = datetime.now(UTC) - timedelta(seconds=self._settings.outbox.kept_seconds)
        some = PAGE_ROWS
        while some == PAGE_ROWS:
            async with self._database.unit_of_work() as unit:
                some = await unit.run(claims.finished_before(), now=before, most=PAGE_ROWS)

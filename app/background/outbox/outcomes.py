"""Record the outcomes of attempts. Outcomes that arrive while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from app import errors
from app.background.outbox import claims
from app.background.outbox.targets import Delivery
from app.database.base import Database
from app.services.outbox import TEXT_LENGTH_MAX

# Outcomes of one transaction.
BATCH_MAX = 200

log = structlog.get_logger(__name__)


class Outcomes:
    """Writes outcomes to the database.

    Args:
        database: The database.
        me: The owner of the leases.
    """

    def __init__(self, database: Database, me: str) -> None:
        self._database = database
        self._me = me
        self._waiting: list[tuple[int, dict[str, Any] | None, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def delivered(self, delivery: Delivery, reply: str) -> None:
        """Record that the receiver has the message. Returns after the commit."""
        now = datetime.now(UTC)
        await self._put(
            delivery.id,
            state=claims.DELIVERED,
            attempts=delivery.attempts + 1,
            next_at=None,
            finished_at=now,
            reply=reply[:TEXT_LENGTH_MAX],
            reason=None,
            updated_at=now,
        )

    async def failed(self, delivery: Delivery, reason: str) -> None:
        """Record that the message cannot be delivered. Returns after the commit."""
        now = datetime.now(UTC)
        await self._put(
            delivery.id,
            state=claims.FAILED,
            attempts=delivery.attempts + 1,
            next_at=None,
            finished_at=now,
            reply=None,
            reason=reason[:TEXT_LENGTH_MAX],
            updated_at=now,
        )

    async def again(self, delivery: Delivery, after: timedelta, reason: str, *, counts: bool) -> None:
        """Record that the message is tried again. Returns after the commit."""
        now = datetime.now(UTC)
        await self._put(
            delivery.id,
            state=claims.PENDING,
            attempts=delivery.attempts + counts,
            next_at=now + after,
            finished_at=None,
            reply=None,
            reason=reason[:TEXT_LENGTH_MAX],
            updated_at=now,
        )

    def give_back(self, message: int) -> None:
        """Release a message that was not tried, soon."""
        future = asyncio.get_running_loop().create_future()
        # Nobody awaits it; the lease expires where the statement fails.
        future.add_done_callback(lambda done: done.exception())
        self._add(message, None, future)

    async def flush(self) -> None:
        """Wait until every outcome is written, or has failed."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _put(self, message: int, **columns: Any) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._add(message, columns, future)
        await future

    def _add(self, message: int, columns: dict[str, Any] | None, future: asyncio.Future[None]) -> None:
        self._waiting.append((message, columns, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH_MAX], self._waiting[BATCH_MAX:]
                try:
                    await self._write_batch(batch)
                except Exception as error:  # noqa: BLE001 - passed to those who wait
                    _end(batch, error if isinstance(error, errors.FlyteError) else errors.Internal(repr(error)))
                else:
                    _end(batch, None)
        finally:
            self._writer = None

    async def _write_batch(self, batch: list[tuple[int, dict[str, Any] | None, asyncio.Future[None]]]) -> None:
        async with self._database.unit_of_work() as unit:
            for message, columns, _ in batch:
                if columns is None:
                    await claims.give_back(unit, message, self._me)
                elif not await claims.record(unit, message, self._me, **columns):
                    # Another process took the message after this one's lease ran out, and will record it.
                    log.warning("outbox_lease_lost", message=message, state=columns["state"])


def _end(batch: list[tuple[int, dict[str, Any] | None, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, _, future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

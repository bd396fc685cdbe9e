"""Record the outcomes of attempts. Outcomes that arrive while a transaction runs share the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import structlog

from app import errors
from app.background.outbox import claims
from app.background.outbox.targets import Delivery
from app.database.base import Database, UnitOfWork
from app.services.outbox import TEXT_LENGTH_MAX, printable

# Outcomes of one transaction.
BATCH_MAX = 200

_Write = Callable[[UnitOfWork], Awaitable[None]]

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
        self._waiting: list[tuple[_Write, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    async def delivered(self, delivery: Delivery, reply: str) -> None:
        """Record that the receiver has the message. Returns after the commit."""
        await self._record(delivery, claims.DELIVERED, reply=printable(reply[:TEXT_LENGTH_MAX]))

    async def failed(self, delivery: Delivery, reason: str) -> None:
        """Record that the message cannot be delivered. Returns after the commit."""
        await self._record(delivery, claims.FAILED, reason=printable(reason[:TEXT_LENGTH_MAX]))

    async def again(self, delivery: Delivery, after: timedelta, reason: str, *, counts: bool) -> None:
        """Record that the message is tried again. Returns after the commit."""
        await self._record(
            delivery, claims.PENDING, reason=printable(reason[:TEXT_LENGTH_MAX]), after=after, attempts=int(counts)
        )

    async def give_back(self, target: str, execution: claims.Execution, *, after: int) -> None:
        """Release the messages of an execution that were claimed after one message. Returns after the commit."""

        async def write(unit: UnitOfWork) -> None:
            await claims.give_back(unit, target, execution, self._me, after=after)

        await self._put(write)

    async def flush(self) -> None:
        """Wait until every outcome is written, or has failed."""
        while self._writer is not None:
            await asyncio.wait((self._writer,))

    async def _record(
        self,
        delivery: Delivery,
        state: str,
        *,
        reply: str | None = None,
        reason: str | None = None,
        after: timedelta | None = None,
        attempts: int = 1,
    ) -> None:
        """Write an outcome. after: the time until the next attempt, None where there is none."""
        now = datetime.now(UTC)

        async def write(unit: UnitOfWork) -> None:
            recorded = await claims.record(
                unit,
                delivery.id,
                self._me,
                state=state,
                attempts=delivery.attempts + attempts,
                next_at=None if after is None else now + after,
                finished_at=now if after is None else None,
                reply=reply,
                reason=reason,
                updated_at=now,
            )
            if not recorded:
                # Another process took the message after this one's lease ran out, and will record it.
                log.warning("outbox_lease_lost", message=delivery.id, state=state)

        await self._put(write)

    async def _put(self, write: _Write) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await future

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

    async def _write_batch(self, batch: list[tuple[_Write, asyncio.Future[None]]]) -> None:
        async with self._database.unit_of_work() as unit:
            for write, _ in batch:
                await write(unit)


def _end(batch: list[tuple[_Write, asyncio.Future[None]]], error: Exception | None) -> None:
    for _, future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

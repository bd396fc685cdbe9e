"""A step that is repeated in the background, such as the deletion of expired rows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog

from app.database.base import Database
from app.database.statements import Statement

log = structlog.get_logger(__name__)


class Periodic:
    """A service of a process (app/runtime/lifecycle.py) that repeats a step.

    A step that fails is logged once and repeated; until it succeeds again, the service reports why it does not work.

    Args:
        name: The name of the service, in snake case.
        step: The step.
        interval_seconds: The time between the end of a step and the start of the next one.
        at_start: Whether the first step runs before the service counts as started.
        at_end: Runs when the service has stopped.
    """

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[object]],
        interval_seconds: float,
        *,
        at_start: bool = False,
        at_end: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.name = name
        self._step = step
        self._interval = interval_seconds
        self._at_start = at_start
        self._at_end = at_end
        self._task: asyncio.Task[None] | None = None
        self._failure = ""

    async def start(self) -> None:
        """Begin to repeat the step."""
        if self._at_start:
            await self._step()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, also within a step."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._at_end is not None:
            await self._at_end()

    def health(self) -> str:
        """Return "" where the last step succeeded, otherwise the reason why it did not."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            try:
                await self._step()
                self._failure = ""
            except Exception as error:
                if not self._failure:
                    log.exception("periodic_step_failed", service=self.name)
                self._failure = f"the last step failed ({type(error).__name__})"


async def delete_expired(database: Database, statement: Statement, *, most: int) -> int:
    """Delete rows that have expired, and return how many.

    Args:
        database: The database.
        statement: Deletes at most `most` rows that have expired at `now`.
        most: The number of rows of one transaction.
    """
    deleted, some = 0, most
    while some == most:
        async with database.unit_of_work() as unit:
            some = await unit.run(statement, now=datetime.now(UTC), most=most)
        deleted += some
    return deleted

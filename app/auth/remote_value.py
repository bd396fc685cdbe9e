"""A value that another server publishes: fetched once for all who wait for it, then kept and renewed from time to time.

A provider that is down, slow or wrong changes nothing for a process that has a value: it keeps the earlier one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from app import errors, limited_log

# After a failed fetch callers get its error for so long, and no request is sent.
FAILURE_SECONDS = 2.0

Value = TypeVar("Value")


class RemoteValue(Generic[Value]):
    """A value with its age.

    Args:
        name: Names the value in log lines.
        fetch: Fetches the value. It raises a FlyteError for every failure.
        seconds_max: The age from which the value is renewed in the background.
    """

    def __init__(self, name: str, fetch: Callable[[], Awaitable[Value]], seconds_max: float) -> None:
        self._name = name
        self._fetch = fetch
        self._seconds_max = seconds_max
        self._value: Value | None = None
        self._fetched_at = 0.0
        self._failed_at = -FAILURE_SECONDS
        self._failure: errors.FlyteError | None = None
        self._fetching: asyncio.Task[Value] | None = None

    async def get(self) -> Value:
        """Return the value that is kept, or fetch it.

        Raises:
            FlyteError: There is none, and it cannot be fetched.
        """
        if self._value is None:
            return await self.renew()
        if time.monotonic() - self._fetched_at > self._seconds_max and not self._failed_lately:
            self._start()
        return self._value

    async def renew(self) -> Value:
        """Fetch the value. Callers at the same time share one fetch.

        Raises:
            FlyteError: The value cannot be fetched.
        """
        if self._failed_lately and self._failure is not None:
            raise type(self._failure)(self._failure.message)
        # A caller that gives up does not end the fetch for the others.
        return await asyncio.shield(self._start())

    @property
    def problem(self) -> str:
        """Return why the last fetch failed, "" where it did not, or where none has ended."""
        return self._failure.message if self._failure is not None else ""

    async def close(self) -> None:
        """End a fetch that still runs."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])

    @property
    def _failed_lately(self) -> bool:
        return time.monotonic() - self._failed_at < FAILURE_SECONDS

    def _start(self) -> asyncio.Task[Value]:
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._run())
            # A renewal in the background has no caller who takes its error; `_run` has logged it.
            self._fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._fetching

    async def _run(self) -> Value:
        try:
            value = await self._fetch()
        except errors.FlyteError as error:
            self._failed_at, self._failure = time.monotonic(), error
            kept = self._value is not None
            limited_log.warning(
                "provider_not_read", key=(self._name, kept), what=self._name, reason=error.message, earlier_kept=kept
            )
            raise
        self._value, self._fetched_at, self._failure = value, time.monotonic(), None
        return value

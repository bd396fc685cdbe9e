"""A semaphore that is fair between keys: free permits are handed out to the keys of the waiting holders in turn.

A key is an execution. An execution with thousands of waiting tasks delays the task of another one by one permit only.
A plain semaphore would serve the thousands first.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from types import TracebackType
from typing import Self


class FairSemaphore:
    """Limit how many permits are held at once.

    Args:
        limit: The number of permits; 0 means no limit.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        # The first key is served next. A key without waiting futures is removed.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def acquire(self, key: Hashable) -> None:
        """Acquire a permit, after those that other keys are waiting for in turn."""
        if (self.held < self.limit and not self._waiting) or not self.limit:
            self.held += 1
            return
        handed_over = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(handed_over)
        try:
            await handed_over
        except asyncio.CancelledError:
            if handed_over.cancelled():
                self._hand_out()
            else:
                # The permit was handed over in the same turn of the event loop in which the waiter was cancelled.
                self.release()
            raise

    def acquire_over_limit(self) -> None:
        """Acquire a permit without waiting, even if none is free: for a process that runs already."""
        self.held += 1

    def release(self) -> None:
        """Release a permit; the next key in turn gets it."""
        self.held -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self.held < self.limit and self._waiting:
            key = next(iter(self._waiting))
            queue = self._waiting.pop(key)
            waiter = queue.popleft()
            if queue:
                self._waiting[key] = queue
            if not waiter.cancelled():
                self.held += 1
                waiter.set_result(None)


class Permit:
    """The permit of one holder, who may release it and acquire it again; `async with` holds it during a block.

    A holder that waits for others which need permits of the same semaphore releases its own first. Otherwise all
    permits could be held by such holders, and none of them would ever go on.

    Args:
        semaphore: The semaphore; None for a holder that is not limited.
        key: The key that takes turns with the keys of other holders.
    """

    def __init__(self, semaphore: FairSemaphore | None, key: Hashable = None) -> None:
        self._semaphore = semaphore
        self._key = key
        self._held = False

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def acquire(self) -> None:
        """Wait for the permit, if this holder does not hold it."""
        if self._semaphore is not None and not self._held:
            await self._semaphore.acquire(self._key)
            self._held = True

    def acquire_over_limit(self) -> None:
        """Take the permit without waiting, even if none is free."""
        if self._semaphore is not None and not self._held:
            self._semaphore.acquire_over_limit()
            self._held = True

    def release(self) -> None:
        """Release the permit, if this holder holds it."""
        if self._semaphore is not None and self._held:
            self._held = False
            self._semaphore.release()

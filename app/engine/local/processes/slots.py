"""A limit on running processes that is shared fairly: free places go round between those who ask for them.

Nobody waits behind the thousands of another: whoever asks names a key (its execution), and keys take turns.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager


class Slots:
    """At most `limit` holders at a time; 0 means no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.held = 0
        # The first key is the next to be served; a key leaves when nobody waits under it any more.
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @property
    def waiting(self) -> int:
        """How many wait for a place."""
        return sum(not place.cancelled() for queue in self._waiting.values() for place in queue)

    @asynccontextmanager
    async def hold(self, key: Hashable) -> AsyncIterator[None]:
        """Hold a place for as long as the block runs."""
        await self.acquire(key)
        try:
            yield
        finally:
            self.release()

    async def acquire(self, key: Hashable) -> None:
        """Take a place, waiting for one to be given back if need be."""
        if (self.held < self.limit and not self._waiting) or not self.limit:
            self.held += 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._serve()
            else:
                # The place was handed over at the moment when its taker gave up.
                self.release()
            raise

    def admit(self) -> None:
        """Count one that is there already, whether a place is free for it or not."""
        self.held += 1

    def release(self) -> None:
        """Give a place back; the next key in turn gets it."""
        self.held -= 1
        self._serve()

    def _serve(self) -> None:
        """Hand out what is free; those who gave up are passed over."""
        while self.held < self.limit and self._waiting:
            key = next(iter(self._waiting))
            queue = self._waiting.pop(key)
            place = queue.popleft()
            if queue:
                self._waiting[key] = queue
            if not place.cancelled():
                self.held += 1
                place.set_result(None)


class Place:
    """One place of Slots that may be given back early and taken again, and is given back once."""

    def __init__(self, slots: Slots | None, key: Hashable = None) -> None:
        self._slots = slots
        self._key = key
        self._held = False

    async def take(self) -> None:
        """Take the place; holding it already changes nothing."""
        if self._slots is not None and not self._held:
            await self._slots.acquire(self._key)
            self._held = True

    def admit(self) -> None:
        """Hold the place at once, even where none is free."""
        if self._slots is not None and not self._held:
            self._slots.admit()
            self._held = True

    def give(self) -> None:
        """Give the place back; not holding it changes nothing."""
        if self._slots is not None and self._held:
            self._held = False
            self._slots.release()

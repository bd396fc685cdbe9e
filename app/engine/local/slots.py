"""How much may run at once: processes on this machine, and nodes of one execution (max parallelism)."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """A number of places, given out in the order in which they were asked for; 0 places means no limit."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._unlimited = places == 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Wait for a place."""
        if self._unlimited:
            return
        if self._free > 0 and not self._waiting:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                # The place was given in the same moment: it goes on to the next.
                self.give()
            else:
                self._waiting.remove(turn)
            raise

    def give(self) -> None:
        """Give a place back."""
        if self._unlimited:
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Place:
    """One place of Slots that may be given back early and taken again, and is given back once."""

    def __init__(self, slots: Slots | None) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Take the place; holding it already changes nothing."""
        if self._slots is not None and not self._held:
            await self._slots.take()
            self._held = True

    def give(self) -> None:
        """Give the place back; not holding it changes nothing."""
        if self._slots is not None and self._held:
            self._held = False
            self._slots.give()

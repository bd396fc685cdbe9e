"""Deadlines of the calls under way, kept together.

asyncio.timeout makes a timer of the event loop for each call, which costs an eighth of a short one. Here one timer
looks at all of them, so a call ends up to TICK_SECONDS late; its client has given up by itself then.
"""

import asyncio
import math
from types import TracebackType
from typing import Any

from app import errors

TICK_SECONDS = 0.05
LATE = "context deadline exceeded"


class Deadlines:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self.open: set[Deadline] = set()
        self._ticking = False

    def within(self, seconds: float | None, text: str = LATE) -> "Deadline":
        """A block that may take so long (None: for ever); then it is cancelled and raises DEADLINE_EXCEEDED."""
        return Deadline(self, seconds, text)

    def start(self) -> None:
        """Look at the open deadlines until there are none."""
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._ticking = False
        now = asyncio.get_running_loop().time()
        for deadline in self.open:
            if deadline.when <= now and not deadline.late:
                deadline.late = True
                deadline.task.cancel()
        if self.open:
            self.start()


class Deadline:
    """One block with a deadline; used once, by one task."""

    __slots__ = ("_deadlines", "_seconds", "_started", "_text", "late", "task", "when")

    task: asyncio.Task[Any]
    _started: float

    def __init__(self, deadlines: Deadlines, seconds: float | None, text: str) -> None:
        self._deadlines = deadlines
        self._seconds = seconds
        self._text = text
        self.late = False
        self.when = math.inf

    def move(self, seconds: float | None) -> None:
        """Let the block last so long from its start on, None for ever; it must have begun with some deadline."""
        self._text = LATE
        self.when = math.inf if seconds is None else self._started + seconds

    def __enter__(self) -> "Deadline":
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        if self._seconds is not None:
            self._started = task.get_loop().time()
            self.when = self._started + self._seconds
            self._deadlines.open.add(self)
            self._deadlines.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._deadlines.open.discard(self)
        if self.late and self.task.uncancel() == 0 and kind is asyncio.CancelledError:
            raise errors.DeadlineExceeded(self._text) from error

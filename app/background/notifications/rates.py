"""The limit of messages to one recipient. Each process that delivers messages has an equal share of it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from app.background.outbox.targets import TryAgain

# Recipients that are counted; those not used for the longest time are forgotten first.
RECIPIENTS_MAX = 10_000
# Messages that a recipient may receive at once.
BURST = 5


class Rates:
    """Spreads messages to one recipient over time.

    A message above the rate gets a time of its own, so that each message is deferred once.

    Args:
        per_minute: Messages a minute to one recipient.
    """

    def __init__(self, per_minute: float) -> None:
        self._seconds = 60.0 / per_minute
        # By recipient: the time of the next free place, and the last place that was promised to a message.
        self._places: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, recipient: str, *, seconds: float | None = None, burst: int = BURST, processes: int = 1) -> None:
        """Count a message. Raises TryAgain, with a time, where the recipient has received too many.

        Args:
            recipient: The recipient.
            seconds: The time between two messages, None for that of the settings.
            burst: Messages at once, of all processes.
            processes: The processes that share the limit.
        """
        step = max(self._seconds, seconds or 0.0) * processes
        burst = max(1, burst // processes)
        now = asyncio.get_running_loop().time()
        free, promised = self._places.pop(recipient, (now, now))
        free = max(free, now)
        wait = free - now - step * (burst - 1)
        if wait <= 1e-6:
            self._places[recipient] = (free + step, promised)
        else:
            promised = max(promised, now + wait - step) + step
            self._places[recipient] = (free, promised)
        while len(self._places) > RECIPIENTS_MAX:
            self._places.popitem(last=False)
        if wait > 1e-6:
            reason = f"the recipient receives at most {60 / step:g} messages a minute"
            raise TryAgain(reason, after_seconds=promised - now, counts=False)

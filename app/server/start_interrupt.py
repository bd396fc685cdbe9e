"""SIGINT while the server starts."""

from __future__ import annotations

import signal


class StartInterrupt:
    """Raises KeyboardInterrupt on SIGINT, and remembers the signal.

    Python drops an exception that is raised in a callback of its garbage collector, and `asyncio.run` drops a SIGINT
    that arrives when its coroutine has just ended. `check` raises such an exception again.
    """

    def __init__(self) -> None:
        self._received = False
        signal.signal(signal.SIGINT, self._interrupt)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a SIGINT was received."""
        if self._received:
            raise KeyboardInterrupt

    def _interrupt(self, *_: object) -> None:
        self._received = True
        raise KeyboardInterrupt

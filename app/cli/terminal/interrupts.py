"""Ctrl-C in commands that wait: a flag instead of an exception in the middle of a call."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Interrupts:
    """Counts Ctrl-C while a block runs. The second one without a look in between ends the command at once.

    Attributes:
        pressed: Set by Ctrl-C.
    """

    def __init__(self) -> None:
        self.pressed = threading.Event()

    @contextmanager
    def raising(self) -> Iterator[None]:
        """Let Ctrl-C raise KeyboardInterrupt while the block runs, and count anew after it."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
            self.pressed.clear()

    def pause(self, seconds: float) -> bool:
        """Wait, and return whether Ctrl-C was pressed."""
        return self.pressed.wait(seconds)

    def handle(self, *_: Any) -> None:
        """Handle SIGINT. Raises KeyboardInterrupt the second time."""
        if self.pressed.is_set():
            raise KeyboardInterrupt
        self.pressed.set()


@contextmanager
def counted() -> Iterator[Interrupts]:
    """Handle Ctrl-C by a flag while the block runs."""
    found = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        # Only tests run a command in another thread, where signals cannot be handled.
        yield found
        return
    before = signal.signal(signal.SIGINT, found.handle)
    try:
        yield found
    finally:
        signal.signal(signal.SIGINT, before)

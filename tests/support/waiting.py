"""Waiting for a condition, in tests that watch a server from outside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_for(condition: Callable[[], Any], seconds_max: float = 60) -> None:
    """Wait until a condition is true; fails after seconds_max."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        assert time.monotonic() < deadline, f"not true after {seconds_max:g} seconds"
        time.sleep(0.02)

"""How several coroutines that belong together end together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel all and wait until none of them can do anything any more.

    What one of them raised in the same moment is not told: whoever ends them has a reason of its own.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left)
        for task in ended:
            task.cancelled() or task.exception()

"""Cancel coroutines that belong together."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any


async def cancel_and_wait(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until all of them have ended.

    Exceptions of the tasks are dropped: the caller has a reason of its own for ending them.
    """
    left = set(tasks)
    while left:
        # A task may catch its cancellation and continue, so cancel again until it has ended.
        for task in left:
            task.cancel()
        ended, left = await asyncio.wait(left)
        for task in ended:
            task.cancelled() or task.exception()

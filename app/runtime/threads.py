"""Run work in a thread when it would keep the event loop busy for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

# Compiling a message of this size takes about a millisecond.
THREAD_BYTES_MIN = 8 * 1024


async def in_thread_if_large(size_bytes: int, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread if its input is large, so that other requests continue meanwhile.

    Args:
        size_bytes: The size of the message to work on. From THREAD_BYTES_MIN a thread is used.
        function: A function whose time grows with that size.
        arguments: The arguments of the function.
    """
    if size_bytes < THREAD_BYTES_MIN:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)

"""Run work in a thread when it would keep the event loop busy for too long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")

# Compiling a message of this size takes about a millisecond.
THREAD_BYTES_MIN = 8 * 1024


async def in_thread_if_large(
    size_bytes: int,
    function: Callable[..., T],
    *arguments: Any,
    bytes_min: int = THREAD_BYTES_MIN,
    threads: Executor | None = None,
) -> T:
    """Call a function in a thread if its input is large, so that other requests continue meanwhile.

    Args:
        size_bytes: The size of the message to work on.
        function: A function whose time grows with that size.
        arguments: The arguments of the function.
        bytes_min: The size from which a thread is used.
        threads: The pool of the thread; None for that of the event loop.
    """
    if size_bytes < bytes_min:
        return function(*arguments)
    in_context = partial(copy_context().run, function, *arguments)
    return await asyncio.get_running_loop().run_in_executor(threads, in_context)

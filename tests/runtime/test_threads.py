"""Work on large messages runs in a thread, work on small ones does not."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.runtime.threads import THREAD_BYTES_MIN, in_thread_if_large


@pytest.mark.parametrize(
    ("size_bytes", "in_thread"), [(0, False), (THREAD_BYTES_MIN - 1, False), (THREAD_BYTES_MIN, True)]
)
def test_the_size_decides_whether_a_thread_is_used(size_bytes: int, in_thread: bool) -> None:
    async def scenario() -> tuple[int, int]:
        return await in_thread_if_large(size_bytes, lambda value: (threading.get_ident(), value), 7)

    ident, value = asyncio.run(scenario())
    assert (ident != threading.get_ident(), value) == (in_thread, 7)

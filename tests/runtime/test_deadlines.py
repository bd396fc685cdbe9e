"""Deadlines of calls: `dispatch.within`."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from app import errors
from app.runtime.dispatch import within


async def slow() -> str:
    await asyncio.sleep(60)
    return "never"


async def ends_when_cancelled() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)
    return "ended"


async def fails_when_cancelled() -> str:
    try:
        return await slow()
    except asyncio.CancelledError as error:
        raise errors.Unavailable("the connection broke") from error


def cancellations() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


def test_late_work_ends_with_deadline_exceeded() -> None:
    async def main() -> None:
        for _ in range(2):
            with pytest.raises(errors.DeadlineExceeded, match="too late"):
                await within(0.01, slow(), "too late")
            assert cancellations() == 0

    asyncio.run(main())


def test_late_work_that_ends_in_another_way_leaves_the_task_uncancelled() -> None:
    async def main() -> None:
        assert await within(0.01, ends_when_cancelled()) == "ended"
        assert cancellations() == 0
        with pytest.raises(errors.Unavailable):
            await within(0.01, fails_when_cancelled())
        assert cancellations() == 0
        with pytest.raises(errors.DeadlineExceeded):
            await within(0.01, slow())

    asyncio.run(main())


def test_deadlines_may_be_nested() -> None:
    async def main() -> None:
        with pytest.raises(errors.DeadlineExceeded, match="outer"):
            await within(0.01, within(60, slow(), "inner"), "outer")
        with pytest.raises(errors.DeadlineExceeded, match="inner"):
            await within(60, within(0.01, slow(), "inner"), "outer")
        assert cancellations() == 0

    asyncio.run(main())


def test_a_cancellation_from_outside_is_none_of_the_deadline() -> None:
    async def main() -> None:
        task = asyncio.create_task(within(60, slow()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

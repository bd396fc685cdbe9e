"""Deadlines of calls: `dispatch.within` and `dispatch.within_if_it_waits`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import pytest

from app import errors
from app.runtime import dispatch

Within = Callable[..., Awaitable[str]]


@pytest.fixture(params=["within", "within_if_it_waits"])
def within(request: pytest.FixtureRequest) -> Within:
    function: Within = getattr(dispatch, request.param)
    return function


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


def test_late_work_ends_with_deadline_exceeded(within: Within) -> None:
    async def main() -> None:
        for _ in range(2):
            with pytest.raises(errors.DeadlineExceeded, match="too late"):
                await within(0.01, slow(), "too late")
            assert cancellations() == 0

    asyncio.run(main())


def test_late_work_that_ends_in_another_way_leaves_the_task_uncancelled(within: Within) -> None:
    async def main() -> None:
        assert await within(0.01, ends_when_cancelled()) == "ended"
        assert cancellations() == 0
        with pytest.raises(errors.Unavailable):
            await within(0.01, fails_when_cancelled())
        assert cancellations() == 0
        with pytest.raises(errors.DeadlineExceeded):
            await within(0.01, slow())

    asyncio.run(main())


def test_deadlines_may_be_nested(within: Within) -> None:
    async def nested(seconds: float) -> str:
        return await within(seconds, slow(), "inner")

    async def main() -> None:
        with pytest.raises(errors.DeadlineExceeded, match="outer"):
            await within(0.01, nested(60), "outer")
        with pytest.raises(errors.DeadlineExceeded, match="inner"):
            await within(60, nested(0.01), "outer")
        assert cancellations() == 0

    asyncio.run(main())


def test_a_cancellation_from_outside_is_none_of_the_deadline(within: Within) -> None:
    async def main() -> None:
        async def limited() -> str:
            return await within(60, slow())

        task = asyncio.create_task(limited())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_work_that_ends_at_once_needs_no_timer() -> None:
    async def at_once() -> str:
        return "ended"

    async def refused() -> str:
        raise errors.Unknown("EOF")

    async def main() -> None:
        # A timer of 0 seconds would be late for both.
        assert await dispatch.within_if_it_waits(0, at_once()) == "ended"
        with pytest.raises(errors.Unknown):
            await dispatch.within_if_it_waits(0, refused())

    asyncio.run(main())


def test_work_that_waits_receives_results_and_exceptions_of_what_it_waits_for() -> None:
    async def main() -> None:
        failing = asyncio.get_running_loop().create_future()

        async def work() -> str:
            await asyncio.sleep(0)
            try:
                await failing
            except ValueError as error:
                await asyncio.sleep(0.001)
                return str(error)
            return "no error"

        asyncio.get_running_loop().call_later(0.001, failing.set_exception, ValueError("broken"))
        assert await dispatch.within_if_it_waits(60, work()) == "broken"

    asyncio.run(main())

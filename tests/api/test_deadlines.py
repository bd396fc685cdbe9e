"""Deadlines that are kept together: who is cancelled, who is not, and what is heard of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from app import errors
from app.api.deadlines import LATE, Deadlines


def run(scenario: Callable[[Deadlines], Awaitable[None]]) -> None:
    """A scenario on a loop of its own, at the end of which no deadline may be open."""

    async def main() -> None:
        deadlines = Deadlines()
        await scenario(deadlines)
        assert not deadlines.open
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    asyncio.run(main())


async def late(deadlines: Deadlines, seconds: float | None, *, takes: float = 10) -> str:
    """What a block that takes so long raises."""
    with pytest.raises(errors.DeadlineExceeded) as caught, deadlines.within(seconds):
        await asyncio.sleep(takes)
    return caught.value.message


def test_a_late_block_is_cancelled_and_says_so() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        started = time.monotonic()
        assert await late(deadlines, 0.1) == LATE
        assert 0.1 <= time.monotonic() - started < 2

    run(scenario)


def test_a_block_in_time_and_one_without_deadline_end_by_themselves() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        for seconds in (5.0, None):
            with deadlines.within(seconds):
                await asyncio.sleep(0.1)

    run(scenario)


def test_a_thousand_end_each_at_its_time() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        async def one(number: int) -> bool:
            try:
                with deadlines.within(0.2 if number % 2 else 5):
                    await asyncio.sleep(0.5)
            except errors.DeadlineExceeded:
                return True
            return False

        outcomes = await asyncio.gather(*(one(number) for number in range(1000)))
        assert outcomes == [bool(number % 2) for number in range(1000)]

    run(scenario)


def test_a_moved_deadline_counts_from_the_start_and_has_its_own_words() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        started = time.monotonic()

        async def moved() -> None:
            with deadlines.within(5, "first") as deadline:
                await asyncio.sleep(0.2)
                deadline.move(0.4)
                await asyncio.sleep(10)

        with pytest.raises(errors.DeadlineExceeded, match=f"^{LATE}$"):
            await moved()
        assert 0.4 <= time.monotonic() - started < 2
        with deadlines.within(0.05) as deadline:
            deadline.move(None)
            await asyncio.sleep(0.3)
        with pytest.raises(errors.DeadlineExceeded, match=r"^first$"), deadlines.within(0.1, "first"):
            await asyncio.sleep(10)

    run(scenario)


@pytest.mark.parametrize(("outer", "inner", "heard"), [(0.1, 5, "outer"), (5, 0.1, "inner"), (0.1, 0.1, "outer")])
def test_of_two_the_one_that_is_over_is_heard(outer: float, inner: float, heard: str) -> None:
    async def scenario(deadlines: Deadlines) -> None:
        with (
            pytest.raises(errors.DeadlineExceeded) as caught,
            deadlines.within(outer, "outer"),
            deadlines.within(inner, "inner"),
        ):
            await asyncio.sleep(10)
        assert caught.value.message == heard

    run(scenario)


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        async def block() -> None:
            with deadlines.within(5):
                await asyncio.sleep(10)

        task = asyncio.create_task(block())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(scenario)


def test_an_error_of_the_block_is_its_own() -> None:
    async def scenario(deadlines: Deadlines) -> None:
        with pytest.raises(ZeroDivisionError), deadlines.within(5):
            raise ZeroDivisionError

    run(scenario)

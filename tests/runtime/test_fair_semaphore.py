"""FairSemaphore: its limit holds, cancelled waiters lose no permit, and no key is starved."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.runtime.fair_semaphore import FairSemaphore, Permit


@given(
    limit=st.integers(1, 4),
    keys=st.lists(st.sampled_from("abc"), max_size=25),
    cancelled=st.sets(st.integers(0, 24)),
)
def test_the_limit_holds_and_no_permit_is_lost(limit: int, keys: list[str], cancelled: set[int]) -> None:
    async def main() -> None:
        semaphore = FairSemaphore(limit)
        inside, most, served = 0, 0, 0

        async def work(key: str) -> None:
            nonlocal inside, most, served
            async with Permit(semaphore, key):
                inside += 1
                most = max(most, inside)
                try:
                    await asyncio.sleep(0)
                finally:
                    inside -= 1
            served += 1

        tasks = [asyncio.create_task(work(key)) for key in keys]
        for index in cancelled:
            await asyncio.sleep(0)
            if index < len(tasks):
                tasks[index].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert most <= limit
        assert served == sum(result is None for result in results)
        assert semaphore.held == 0

    asyncio.run(main())


def test_keys_take_turns() -> None:
    async def main() -> list[str]:
        semaphore, order = FairSemaphore(1), []

        async def work(key: str) -> None:
            async with Permit(semaphore, key):
                order.append(key)

        await semaphore.acquire("first")
        waiting = [asyncio.create_task(work(key)) for key in "aaaabbc"]
        await asyncio.sleep(0)
        assert not order
        semaphore.release()
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(main()) == ["a", "b", "c", "a", "b", "a", "a"]


def test_a_permit_handed_to_a_cancelled_waiter_is_handed_to_the_next() -> None:
    async def main() -> None:
        semaphore = FairSemaphore(1)
        await semaphore.acquire("x")
        first, second = (asyncio.create_task(semaphore.acquire(key)) for key in "ab")
        await asyncio.sleep(0)
        semaphore.release()
        first.cancel()
        await asyncio.wait_for(second, 30)
        assert semaphore.held == 1

    asyncio.run(main())


def test_permits_over_the_limit_are_counted_before_another_is_handed_out() -> None:
    async def main() -> None:
        semaphore = FairSemaphore(1)
        adopted = [Permit(semaphore), Permit(semaphore)]
        for permit in adopted:
            permit.acquire_over_limit()
            permit.acquire_over_limit()
        assert semaphore.held == 2
        waiting = asyncio.create_task(semaphore.acquire("x"))
        await asyncio.sleep(0)
        adopted[0].release()
        await asyncio.sleep(0)
        assert not waiting.done()
        adopted[1].release()
        await asyncio.wait_for(waiting, 30)
        assert semaphore.held == 1

    asyncio.run(main())


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_parents_that_release_their_permit_do_not_starve_their_children(depth: int) -> None:
    """A dynamic parent waits for nodes that need permits of the same semaphore, which has only one."""

    async def main() -> None:
        semaphore = FairSemaphore(1)
        ran = []

        async def run(level: int) -> None:
            async with Permit(semaphore, "execution") as permit:
                if level:
                    permit.release()
                    await asyncio.gather(run(level - 1), run(level - 1))
                    await permit.acquire()
                assert semaphore.held == 1
                ran.append(level)

        await asyncio.wait_for(run(depth), 30)
        assert ran.count(0) == 2**depth
        assert semaphore.held == 0

    asyncio.run(main())

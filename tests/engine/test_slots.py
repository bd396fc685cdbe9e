"""The limit on processes holds, whatever happens to those who wait, and nobody is starved."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from app.engine.local.processes.slots import Place, Slots


@given(
    limit=st.integers(1, 4),
    keys=st.lists(st.sampled_from("abc"), max_size=25),
    cancelled=st.sets(st.integers(0, 24)),
)
def test_never_more_than_the_limit_and_none_is_lost(limit: int, keys: list[str], cancelled: set[int]) -> None:
    async def main() -> None:
        slots = Slots(limit)
        inside, most, served = 0, 0, 0

        async def work(key: str) -> None:
            nonlocal inside, most, served
            async with slots.hold(key):
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
        assert (slots.held, slots.waiting) == (0, 0)

    asyncio.run(main())


def test_keys_take_turns() -> None:
    async def main() -> list[str]:
        slots, order = Slots(1), []

        async def work(key: str) -> None:
            async with slots.hold(key):
                order.append(key)

        await slots.acquire("first")
        waiting = [asyncio.create_task(work(key)) for key in "aaaabbc"]
        await asyncio.sleep(0)
        assert slots.waiting == 7
        slots.release()
        await asyncio.gather(*waiting)
        return order

    assert asyncio.run(main()) == ["a", "b", "c", "a", "b", "a", "a"]


def test_a_place_handed_to_one_who_gives_up_goes_to_the_next() -> None:
    async def main() -> None:
        slots = Slots(1)
        await slots.acquire("x")
        first, second = (asyncio.create_task(slots.acquire(key)) for key in "ab")
        await asyncio.sleep(0)
        slots.release()
        first.cancel()
        await asyncio.wait_for(second, 1)
        assert slots.held == 1

    asyncio.run(main())


def test_who_is_there_already_is_counted_and_nobody_is_added_while_there_are_too_many() -> None:
    async def main() -> None:
        slots = Slots(1)
        adopted = [Place(slots), Place(slots)]
        for place in adopted:
            place.admit()
            place.admit()
        assert slots.held == 2
        waiting = asyncio.create_task(slots.acquire("x"))
        await asyncio.sleep(0)
        adopted[0].give()
        await asyncio.sleep(0)
        assert not waiting.done()
        adopted[1].give()
        await asyncio.wait_for(waiting, 1)
        assert slots.held == 1

    asyncio.run(main())

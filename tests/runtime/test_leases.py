"""Leases: one owner per row, taken over when the owner ends or stops renewing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from app.database import schema
from app.runtime.leases import Leases
from tests.conftest import Bench


def leases(bench: Bench, owner: str, ended: tuple[str, ...] = ()) -> Leases:
    """The named leases of one process."""
    return Leases(bench.database, schema.Lease, ("name",), owner=owner, has_ended=lambda name: name in ended)


async def let_run_out(bench: Bench, name: str) -> None:
    async with bench.database.unit_of_work() as unit:
        await unit.update(schema.Lease, {"name": name}, leased_until=datetime.now(UTC) - timedelta(seconds=1))


def test_a_row_has_one_owner_until_it_is_released(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        one, two = leases(bench, "one"), leases(bench, "two")
        assert await one.acquire("retention")
        assert await one.acquire("retention")
        assert not await two.acquire("retention")
        assert await two.acquire("scheduler")
        assert await one.renew() == {("retention",)}
        await one.release(("retention",))
        assert await two.acquire("retention")
        assert await two.renew() == {("retention",), ("scheduler",)}
        await two.release()
        assert await two.renew() == set()

    bench(scenario)


def test_a_lease_that_runs_out_is_lost(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        one, two = leases(bench, "one"), leases(bench, "two")
        assert await one.acquire("retention")
        await let_run_out(bench, "retention")
        assert await two.acquire("retention")
        assert await one.renew() == set()

    bench(scenario)


def test_rows_of_ended_processes_are_free_at_once(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        assert await leases(bench, "one").acquire("retention")
        assert await leases(bench, "other").acquire("scheduler")
        two = leases(bench, "two", ended=("one",))
        await two.release_ended()
        assert await two.acquire("retention")
        assert not await two.acquire("scheduler")

    bench(scenario)


def test_a_row_that_a_transaction_keeps_is_taken_after_its_commit(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        one, two = leases(bench, "one"), leases(bench, "two")
        assert await one.acquire("retention")
        await let_run_out(bench, "retention")
        async with bench.database.unit_of_work() as unit:
            assert await one.hold(unit, ("retention",))
            taking = asyncio.create_task(two.acquire("retention"))
            await asyncio.sleep(0.05)
            assert not taking.done()
        assert await taking
        async with bench.database.unit_of_work() as unit:
            assert not await one.hold(unit, ("retention",))
            assert not await one.hold(unit, ("nothing",))

    bench(scenario)

"""Leases between processes whose clocks differ by an hour: each user of leases, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.background import scheduler
from app.background.outbox import service
from app.background.outbox.processes import Processes
from app.background.scheduler import Scheduler
from app.database import schema
from app.database.outbox_tables import OutboxMessage
from app.engine.local import engine
from app.runtime.dispatch import Server
from app.runtime.leases import LEASE_SECONDS, Leases
from tests.auth.test_sessions import Provider, header, made, session
from tests.background.outbox.test_outbox import Recorder, outbox_of, put
from tests.conftest import DATABASES, Bench
from tests.engine.plane import Plane
from tests.engine.workflows import launch_plan, task, task_node, template, workflow
from tests.support.clocks import clock_ahead, shift

HOUR = timedelta(hours=1)
Scenario = Callable[..., Any]

pytestmark = pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=("ahead", "behind"))


@pytest.fixture(autouse=True)
def clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    shift(monkeypatch)


def leases(b: Bench, owner: str) -> Leases:
    return Leases(b.database, schema.Lease, ("name",), owner=owner, has_ended=lambda _: False)


async def wait_until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - services have no event that only tests would need
            await asyncio.sleep(0.003)


async def end_of(b: Bench, name: str) -> datetime:
    async with b.database.unit_of_work() as unit:
        row = await unit.find(schema.Lease, name=name)
    assert row is not None
    return row.leased_until  # type: ignore[no-any-return]


def test_a_wrong_clock_takes_no_lease_and_loses_none(bench: Scenario, ahead: timedelta) -> None:
    async def scenario(b: Bench) -> None:
        right, wrong = leases(b, "right"), leases(b, "wrong")
        assert await right.acquire("one")
        with clock_ahead(ahead):
            assert not await wrong.acquire("one")
            assert await wrong.holder(("one",)) == "right"
            assert await wrong.acquire("two")
        assert not await right.acquire("two")
        assert await right.holder(("two",)) == "wrong"
        with clock_ahead(ahead):
            assert await wrong.renew() == {("two",)}
        assert not await right.acquire("two")
        assert await right.renew() == {("one",)}
        with clock_ahead(ahead):
            assert not await wrong.acquire("one")

    bench(scenario)


def test_the_lease_of_a_wrong_clock_runs_out_in_time(bench: Scenario, ahead: timedelta) -> None:
    async def scenario(b: Bench) -> None:
        wrong = leases(b, "wrong")
        for take in (lambda: wrong.acquire("one"), wrong.renew):
            with clock_ahead(ahead):
                began = datetime.now(UTC)
                assert await take()
            left = await end_of(b, "one") - began
            assert timedelta(seconds=LEASE_SECONDS - 1) < left < timedelta(seconds=LEASE_SECONDS + 20)

    bench(scenario)


def test_one_scheduler_leads(bench: Scenario, ahead: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(scheduler, "RENEW_SECONDS", 0.01)
    monkeypatch.setattr(scheduler, "has_ended", lambda _: False)
    names = iter(("right", "wrong"))
    monkeypatch.setattr(scheduler, "owner_name", lambda: next(names))

    async def scenario(b: Bench) -> None:
        server = Server(b.settings, b.database, b.blobs, b.engine)
        right, wrong = Scheduler(server), Scheduler(server)
        await right.start()
        await wait_until(lambda: right.metrics()["leading"])
        with clock_ahead(ahead):
            await wrong.start()
        await asyncio.sleep(0.3)
        assert (right.metrics()["leading"], wrong.metrics()["leading"]) == (1, 0)
        await right.stop()
        await wait_until(lambda: wrong.metrics()["leading"])
        await right.start()
        await asyncio.sleep(0.3)
        assert wrong.metrics()["leading"] == 1
        await right.stop()
        await wrong.stop()

    bench(scenario)


@pytest.mark.parametrize("ordered", [False, True], ids=("unordered", "ordered"))
def test_a_message_that_is_being_delivered_is_left_alone(
    bench: Scenario, ahead: timedelta, ordered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(service, "RENEW_SECONDS", 0.05)
    monkeypatch.setattr(service, "has_ended", lambda _: False)
    names = iter(("wrong", "right"))
    monkeypatch.setattr(service, "owner_name", lambda: next(names))

    class Slow(Recorder):
        def __init__(self) -> None:
            super().__init__(ordered=ordered)
            self.let = asyncio.Event()

        async def deliver(self, delivery: Any) -> str:
            self.ids.append(delivery.delivery_id)
            await self.let.wait()
            return await super().deliver(delivery)

    async def scenario(b: Bench) -> None:
        await put(b, "1", "2")
        async with b.context() as ctx:
            # Due by both clocks.
            await ctx.db.update(OutboxMessage, {"target": "mail"}, next_at=datetime.now(UTC) - 2 * HOUR)
        slow, quick = Slow(), Recorder(ordered=ordered)
        first, second = outbox_of(b, slow), outbox_of(b, quick)
        with clock_ahead(ahead):
            await first.start()
        await wait_until(lambda: slow.ids)
        with clock_ahead(-ahead):
            await second.start()
        await asyncio.sleep(0.4)
        assert quick.got == []
        slow.let.set()
        await wait_until(lambda: len(slow.got) == 2)
        for each in (first, second):
            await each.stop()
        assert sorted(slow.got) == [b"1", b"2"]
        assert quick.got == []

    bench(scenario)


def test_processes_with_wrong_clocks_are_counted(bench: Scenario, ahead: timedelta) -> None:
    async def scenario(b: Bench) -> None:
        right, wrong = Processes(b.database, "right"), Processes(b.database, "wrong")
        for _ in range(2):
            await right.renew()
            with clock_ahead(ahead):
                await wrong.renew()
        assert (right.number, wrong.number) == (2, 2)

    bench(scenario)


@pytest.mark.parametrize("database", DATABASES)
def test_an_execution_stays_with_its_engine(
    database: str,
    emptied_database: Callable[[str], str],
    ahead: timedelta,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(engine, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(engine, "has_ended", lambda _: False)
    names = iter(("right", "wrong"))
    monkeypatch.setattr(engine, "owner_name", lambda: next(names))
    url = emptied_database(database)
    let = asyncio.Event()
    runs = []

    async def wait() -> dict[str, Any]:
        runs.append(1)
        await let.wait()
        return {}

    async def scenario() -> None:
        right, wrong = (Plane(url, tmp_path / name, {"wait": wait}) for name in ("right", "wrong"))
        async with right.running():
            await right.register(task("wait"), workflow(template("wf", task_node("n", "wait"))), launch_plan("wf"))
            id = await right.launch("wf")
            await right.until(lambda: runs)
            await wrong.server.database.open()
            with clock_ahead(ahead):
                await wrong.start()
            # Both look for free executions and renew their leases several times.
            await asyncio.sleep(0.5)
            assert right.engine.is_running(id)
            assert not wrong.engine.is_running(id)
            let.set()
            assert await right.phase(id) == "SUCCEEDED"
            await wrong.server.engine.stop()
            await wrong.server.database.close()
        assert runs == [1]

    asyncio.run(scenario())


def test_a_refresh_token_is_spent_once(bench: Scenario, ahead: timedelta) -> None:
    async def scenario(b: Bench) -> None:
        provider = Provider()
        provider.wait_seconds = 0.3
        right, wrong = made(b, provider), made(b, provider)
        value = await right.sign_in(session(0), "")
        asked = [asyncio.create_task(right.session(header(value)))]
        await asyncio.sleep(0.1)
        with clock_ahead(ahead):
            asked.append(asyncio.create_task(wrong.session(header(value))))
        assert all(one is not None and one.refresh_token == "refresh-1" for one in await asyncio.gather(*asked))
        assert provider.number == 1

    bench(scenario)

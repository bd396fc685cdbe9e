"""Changes of schedules are seen at once: between processes on PostgreSQL, within one process on both databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import text

from app.background import change_listener, scheduler
from app.background.change_listener import ChangeListener
from app.background.scheduler import Scheduler
from app.database.connect import database_at
from app.database.statements import Statement
from app.runtime.dispatch import Server, perform
from app.services import launch_plans
from app.services.schedules import control
from tests.background.test_scheduler import KEY, register, until
from tests.support.builders import an_id

Scenario = Callable[..., Any]
LISTENERS = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN %'"


@asynccontextmanager
async def process(b: Any) -> AsyncIterator[Server]:
    """Yield the objects of another process on the same database, with its service of notices."""
    database = database_at(b.url, connections_max=4, busy_timeout_seconds=20, statement_timeout_seconds=30)
    await database.open()
    server = Server(b.settings, database, b.blobs, b.engine)
    listener = ChangeListener(server)
    await listener.start()
    try:
        yield server
    finally:
        await listener.stop()
        await database.close()


async def set_active(server: Server, active: bool) -> None:
    state = launch_plan_pb2.ACTIVE if active else launch_plan_pb2.INACTIVE
    request = launch_plan_pb2.LaunchPlanUpdateRequest(id=an_id(identifier_pb2.LAUNCH_PLAN, "lp"), state=state)
    await perform(server, launch_plans.update_launch_plan, request)


async def seen(found: Scheduler, active: bool) -> float:
    """Return the seconds until the scheduler holds the schedule, or not."""
    started = time.monotonic()
    await until(lambda: (KEY in found._entries) == active)
    return time.monotonic() - started


@pytest.fixture
def rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler look by itself only once a minute, even without notices."""
    monkeypatch.setattr(scheduler, "ANNOUNCED_LOOK_SECONDS", 60.0)


@pytest.mark.parametrize("bench", ["postgresql"], indirect=True)
@pytest.mark.usefixtures("rare")
class TestTwoProcesses:
    def test_a_change_is_seen_within_a_second(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "0 0 1 1 *")
            async with process(b) as first, process(b) as second:
                await until(lambda: first.changes.listening and second.changes.listening)
                found = Scheduler(first)
                await found.start()
                await seen(found, active=True)
                # The look that found it may have begun before the process led.
                await until(lambda: found._look_at - asyncio.get_running_loop().time() > 30)
                for active in (False, True, False):
                    await set_active(second, active)
                    assert await seen(found, active) < 1
                await set_active(second, True)
                await seen(found, active=True)
                await perform(second, lambda ctx, key: control.pause(ctx, key, "x", by="bob"), KEY)
                assert await seen(found, active=False) < 1
                await found.stop()

        bench(scenario)

    @pytest.mark.slow
    def test_a_lost_connection_is_replaced_and_what_was_missed_is_seen(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(change_listener, "PAUSE_SECONDS", 0.3)

        async def scenario(b: Any) -> None:
            await register(b, "0 0 1 1 *")
            async with process(b) as server:
                await until(lambda: server.changes.listening)
                found = Scheduler(server)
                await found.start()
                await seen(found, active=True)
                await until(lambda: found._look_at - asyncio.get_running_loop().time() > 30)
                async with b.context() as ctx:
                    [row] = await ctx.db.all(Statement(text(LISTENERS).columns()))
                    await ctx.db.all(Statement(text(f"SELECT pg_terminate_backend({row[0]})").columns()))
                await until(lambda: not server.changes.listening)
                # Its notice reaches nobody.
                await set_active(Server(b.settings, b.database, b.blobs, b.engine), False)
                await seen(found, active=False)
                assert server.changes.listening
                await found.stop()

        bench(scenario)

    def test_where_no_notices_arrive_the_scheduler_looks_by_itself(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As behind a pooler of connections: the connection listens, and receives nothing."""
        monkeypatch.setattr(change_listener, "ARRIVAL_SECONDS", 0.2)
        monkeypatch.setattr("app.database.listening.CHANNEL", "another")

        async def scenario(b: Any) -> None:
            await register(b, "0 0 1 1 *")
            async with process(b) as first, process(b) as second:
                found = Scheduler(first)
                await found.start()
                await seen(found, active=True)
                await set_active(second, False)
                await seen(found, active=False)
                assert not first.changes.listening
                await found.stop()

        bench(scenario)


@pytest.mark.usefixtures("rare")
def test_within_a_process_a_change_is_seen_directly(bench: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 60.0)

    async def scenario(b: Any) -> None:
        await register(b, "0 0 1 1 *")
        server = Server(b.settings, b.database, b.blobs, b.engine)
        found = Scheduler(server)
        await found.start()
        await seen(found, active=True)
        for active in (False, True):
            await set_active(server, active)
            assert await seen(found, active) < 1
        await found.stop()

    bench(scenario)

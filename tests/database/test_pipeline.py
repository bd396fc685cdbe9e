"""Pipelined connections to a server that closes, breaks or freezes them at any moment."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import uvloop
from sqlalchemy import literal, select

from app import errors
from app.database import pipeline, postgres
from app.database.connection_pool import ConnectionPool
from app.database.pipeline import ConnectionLost
from app.database.statements import Statement
from app.system import system
from tests.support.breaking_postgres import TERMINATED, BreakingPostgres, last_words
from tests.support.servers import serving

pytestmark = pytest.mark.heavy

_ANSWER = Statement(select(literal(42).label("answer")))
_BY_KEY = Statement(select(literal(42).label("answer")), quick=True)
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}
TIMES = 1_000


@pytest.fixture
def server() -> Iterator[BreakingPostgres]:
    made = BreakingPostgres()
    yield made
    made.close()


def run(main: Callable[[], Coroutine[Any, Any, None]], loop: str = "uvloop") -> None:
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        runner.run(main())


def pool(url: str, *, response_seconds: float = 30) -> ConnectionPool:
    return ConnectionPool(
        url,
        connections_max=3,
        wait_seconds_max=5,
        response_seconds_max=response_seconds,
        options="-c timezone=UTC",
    )


async def failures(*waiting: asyncio.Task[Any]) -> list[BaseException]:
    """Return the exceptions of the tasks, which must end at once."""
    async with asyncio.timeout(20):
        done = await asyncio.gather(*waiting, return_exceptions=True)
    return [one for one in done if isinstance(one, BaseException)]


def stall(seconds: float) -> None:
    """Keep the event loop busy, so that all that arrives meanwhile is found in one turn."""
    time.sleep(seconds)


# How a server ends a connection: what it sends, and whether a reset follows.
ENDS: dict[str, tuple[bytes, bool]] = {
    "terminated, reset": (TERMINATED, True),
    "terminated, closed": (TERMINATED, False),
    "panic, reset": (last_words("PANIC", "XX000", "out of everything"), True),
    "half a message, reset": (TERMINATED[:20], True),
    "reset alone": (b"", True),
    "closed alone": (b"", False),
    "not the protocol": (b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
}


@pytest.mark.parametrize(("loop", "portable"), [("uvloop", False), ("asyncio", False), ("uvloop", True)])
@pytest.mark.parametrize("end", ENDS)
def test_pending_statements_fail_at_once_when_the_connection_ends(
    server: BreakingPostgres, end: str, loop: str, portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The portable twin has no epoll.
    monkeypatch.setattr(system, "is_portable", portable)
    compiled = _BY_KEY.compiled(postgres.POSTGRESQL)

    async def main() -> None:
        opened = pool(server.url)
        for _ in range(5):
            shared, taken = await opened.shared(), await opened.acquire()
            waiting = [asyncio.create_task(shared.execute_autocommit(compiled, [])) for _ in range(3)]
            waiting.append(asyncio.create_task(taken.execute_command("SELECT 1")))
            await asyncio.sleep(0.01)
            data, reset = ENDS[end]
            server.end(data, reset=reset)
            stall(0.01)
            raised = await failures(*waiting)
            assert [type(one) for one in raised] == [ConnectionLost] * 4
            assert not shared.alive
            assert not taken.alive
            opened.release(taken)
        opened.close()

    run(main, loop)


@pytest.mark.slow
def test_every_one_of_a_thousand_closed_connections_is_noticed(server: BreakingPostgres) -> None:
    compiled = _BY_KEY.compiled(postgres.POSTGRESQL)

    async def main() -> None:
        opened = pool(server.url)
        for _ in range(TIMES):
            shared = await opened.shared()
            waiting = asyncio.create_task(shared.execute_autocommit(compiled, []))
            await asyncio.sleep(0)
            server.end(TERMINATED, reset=True)
            (raised,) = await failures(waiting)
            assert isinstance(raised, ConnectionLost)
        opened.close()

    run(main)


@pytest.mark.parametrize("busy", [True, False])
def test_an_error_that_ends_the_session_ends_the_connection(server: BreakingPostgres, busy: bool) -> None:
    """A proxy may pass the server's last words on and keep its own connection open."""

    async def main() -> None:
        opened = pool(server.url)
        connection = await opened.shared()
        waiting = [asyncio.create_task(connection.execute_command("SELECT 1"))] if busy else []
        await asyncio.sleep(0.01)
        server.say(last_words("FATAL", "25P03", "terminating connection due to idle-in-transaction timeout"))
        await asyncio.sleep(0.05)
        assert not connection.alive
        assert [str(one) for one in await failures(*waiting)] == [
            "terminating connection due to idle-in-transaction timeout"
        ] * len(waiting)
        opened.close()

    run(main)


async def write(database: postgres.PostgresDatabase, statement: Statement) -> None:
    async with database.unit_of_work() as unit:
        await unit.begin()
        with suppress(errors.Unavailable):
            await unit.one(statement)


def unavailable(server: BreakingPostgres, *, statement_seconds: float = 0.2) -> postgres.PostgresDatabase:
    return postgres.PostgresDatabase(
        server.url, connections_max=3, wait_seconds_max=1, statement_timeout_seconds=statement_seconds
    )


@pytest.mark.slow
@pytest.mark.parametrize("statement", [_ANSWER, _BY_KEY], ids=["taken", "shared"])
def test_statements_on_a_frozen_server_time_out(
    server: BreakingPostgres, statement: Statement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "RESPONSE_MARGIN_SECONDS", 0.1)

    async def main() -> None:
        database = unavailable(server)
        await database.open()
        for _ in range(3):
            async with asyncio.timeout(20), database.unit_of_work() as unit:
                with pytest.raises(errors.Unavailable, match="the server did not answer in time"):
                    await unit.one(statement)
        # The commit of the transaction fails at once too.
        with pytest.raises(errors.Unavailable):
            async with asyncio.timeout(20):
                await write(database, statement)
        await database.close()

    run(main)


@pytest.mark.slow
def test_connecting_to_a_silent_server_times_out(server: BreakingPostgres) -> None:
    server.greets = False

    async def main() -> None:
        started = time.monotonic()
        with pytest.raises(errors.Unavailable, match="timeout expired"):
            await unavailable(server).open()
        assert time.monotonic() - started < 20

    run(main)


def test_a_cancelled_caller_does_not_wait_for_a_frozen_server(
    server: BreakingPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CANCEL_SECONDS_MAX", 0.3)

    async def main() -> None:
        database = unavailable(server, statement_seconds=30)
        await database.open()

        async def ask() -> None:
            async with database.unit_of_work() as unit:
                await unit.begin()
                await unit.one(_ANSWER)

        asking = asyncio.create_task(ask())
        await asyncio.sleep(0.1)
        # From here on the server does not answer cancel requests either.
        server.greets = False
        asking.cancel()
        async with asyncio.timeout(20):
            with pytest.raises(asyncio.CancelledError):
                await asking
        await database.close()

    run(main)


def test_a_result_that_arrived_in_time_does_not_time_out(postgres_url: str) -> None:
    """The event loop may have been busy for longer than the answer may take."""
    compiled = _BY_KEY.compiled(postgres.POSTGRESQL)

    async def main() -> None:
        opened = pool(postgres_url, response_seconds=0.3)
        connection = await opened.shared()
        for _ in range(2):
            asking = asyncio.create_task(connection.execute_autocommit(compiled, compiled.parameters({})))
            await asyncio.sleep(0)
            stall(0.4)
            rows, _ = await asking
            assert rows[0].answer == 42
        opened.close()

    run(main)


@pytest.fixture
def postgres_url(empty_database: Callable[[str], str]) -> str:
    return empty_database("postgresql")


def test_a_pool_that_was_closed_while_it_connects_keeps_no_connection(postgres_url: str) -> None:
    async def main() -> None:
        opened = pool(postgres_url)
        connecting = asyncio.create_task(opened.acquire())
        await asyncio.sleep(0)
        opened.close()
        (raised,) = await failures(connecting)
        assert isinstance(raised, psycopg.OperationalError)

    run(main)


def test_terminated_backends_are_replaced(postgres_url: str) -> None:
    async def main() -> None:
        opened = pool(postgres_url)
        for _ in range(20):
            connection = await opened.acquire()
            waiting = asyncio.create_task(connection.execute_command("SELECT pg_sleep(20)"))
            await asyncio.sleep(0.01)
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                )
            (raised,) = await failures(waiting)
            assert isinstance(raised, ConnectionLost)
            opened.release(connection)
        opened.close()

    run(main)


@pytest.mark.slow
def test_a_server_replaces_connections_to_frozen_backends(postgres_url: str, tmp_path: Path) -> None:
    """Backends that are stopped, as on a machine that hangs: requests end, and new connections take their places."""
    variables = {"FLYTEADMIN_DATABASE_URL": postgres_url, "FLYTEADMIN__LIMITS__DATABASESTATEMENTSECONDSMAX": "1"}
    with serving(tmp_path / "home", variables=variables) as server:
        paths = ["/api/v1/projects", "/api/v1/executions/flytesnacks/development/none"]
        for path in paths:
            httpx.get(f"{server.web}{path}", timeout=30)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            pids = [
                pid
                for (pid,) in connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                ).fetchall()
            ]
        assert pids
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            for path in paths:
                assert httpx.get(f"{server.web}{path}", timeout=30).status_code == 503
            assert [httpx.get(f"{server.web}{path}", timeout=30).status_code for path in paths] == [200, 404]
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

"""Broken, exhausted and cancelled connections of the pool, on a PostgreSQL of this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import bindparam, column, func, literal, select, table

from app import errors
from app.database import pipeline, schema
from app.database.base import Database
from app.database.connect import database_at
from app.database.statements import POSTGRESQL, PlanMode, Statement

pytestmark = pytest.mark.slow

_SLEEP = Statement(select(func.pg_sleep(bindparam("seconds")).label("slept")))
_PID = Statement(select(func.pg_backend_pid().label("pid")))
_ANSWER = Statement(select(literal(42).label("answer")))


@asynccontextmanager
async def opened(
    url: str, *, connections_max: int = 3, wait_seconds: float = 5, statement_seconds: float = 30
) -> AsyncIterator[Database]:
    database = database_at(
        url,
        connections_max=connections_max,
        busy_timeout_seconds=wait_seconds,
        statement_timeout_seconds=statement_seconds,
    )
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def project(database: Database, identifier: str = "p") -> Any:
    async with database.unit_of_work() as unit:
        return await unit.find(schema.Project, identifier=identifier)


async def add_project(database: Database, identifier: str = "p") -> None:
    async with database.unit_of_work() as unit:
        await unit.insert(schema.Project, identifier=identifier, name=identifier)


async def add_half_a_project(database: Database, *, seconds: float) -> None:
    """Insert project half, then sleep in the transaction."""
    async with database.unit_of_work() as unit:
        await unit.insert(schema.Project, identifier="half", name="half")
        await unit.all(_SLEEP, seconds=seconds)


async def read_while_connecting(database: Database, url: str) -> asyncio.Task[Any]:
    """A read of a project that is not there, which has begun to connect and has not done so."""
    end_all(url)
    await asyncio.sleep(0.2)
    reading = asyncio.create_task(project(database, "absent"))
    for _ in range(3):
        await asyncio.sleep(0)
    return reading


@pytest.fixture
def url(empty_database: Callable[[str], str]) -> str:
    return empty_database("postgresql")


def others(url: str) -> Any:
    """The other sessions of the database."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(
            "SELECT pid, query FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).fetchall()


def end_all(url: str) -> None:
    """Terminate all other sessions, as a restart of the server does."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_concurrent_statements_get_their_own_results(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            names = [f"p{number}" for number in range(60)]
            await asyncio.gather(*(add_project(database, name) for name in names))
            rows = await asyncio.gather(*(project(database, name) for name in [*names, "absent"] * 5))
            assert [row and row.identifier for row in rows] == [*names, None] * 5
            assert len(others(url)) <= 3

    asyncio.run(main())


def test_connections_closed_by_the_server_are_replaced(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            await add_project(database)
            for number in range(3):
                end_all(url)
                # The pool notices closed idle connections before a statement uses one.
                await asyncio.sleep(0.2)
                assert (await project(database)).identifier == "p"
                await add_project(database, f"p{number}")

    asyncio.run(main())


def test_statements_pending_at_a_restart_are_unavailable(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            async with database.unit_of_work() as unit:
                waiting = asyncio.create_task(unit.all(_SLEEP, seconds=20))
                await asyncio.sleep(0.3)
                end_all(url)
                with pytest.raises(errors.Unavailable):
                    await waiting

            async def lose() -> None:
                async with database.unit_of_work() as unit:
                    await unit.insert(schema.Project, identifier="lost", name="lost")
                    end_all(url)
                    await asyncio.sleep(0.2)

            with pytest.raises(errors.Unavailable):
                await lose()
            assert await project(database, "lost") is None

    asyncio.run(main())


def test_an_unreachable_server_is_unavailable_and_named() -> None:
    async def main() -> None:
        database = database_at(
            "postgresql://flyte@127.0.0.1:1/flyte",
            connections_max=2,
            busy_timeout_seconds=2,
            statement_timeout_seconds=2,
        )
        with pytest.raises(errors.Unavailable, match=r"^the database does not answer: .*refused"):
            await database.open()

    asyncio.run(main())


def test_connections_are_limited_and_waiting_times_out(url: str) -> None:
    async def main() -> None:
        async with opened(url, connections_max=2, wait_seconds=0.3) as database:
            async with database.unit_of_work() as holder:
                await holder.begin()
                with pytest.raises(errors.Unavailable, match="no database connection became free in time"):
                    await add_project(database)
                # Reads by key have a connection of their own.
                assert await project(database) is None
                assert len(others(url)) <= 2
            await add_project(database)
            assert len(others(url)) == 2

    asyncio.run(main())


def test_a_waiter_gets_the_released_connection(url: str) -> None:
    async def main() -> None:
        async with opened(url, connections_max=2, wait_seconds=5) as database:
            async with database.unit_of_work() as holder:
                await holder.begin()
                waiting = [asyncio.create_task(add_project(database, f"p{number}")) for number in range(3)]
                await asyncio.sleep(0.05)
                waiting[0].cancel()
                await asyncio.sleep(0.05)
            done = await asyncio.gather(*waiting, return_exceptions=True)
            assert [type(one) for one in done] == [asyncio.CancelledError, type(None), type(None)]

    asyncio.run(main())


def test_a_cancelled_read_cancels_its_statement_and_frees_its_connection(url: str) -> None:
    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            async with database.unit_of_work() as unit:
                slow = asyncio.create_task(unit.all(_SLEEP, seconds=20))
                await asyncio.sleep(0.3)
                slow.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await slow
            async with database.unit_of_work() as unit:
                # The only connection for this comes free within a second, not after twenty.
                async with asyncio.timeout(15):
                    assert (await unit.one(_ANSWER)).answer == 42
            assert not [query for _, query in others(url) if "pg_sleep" in query]

    asyncio.run(main())


def test_a_cancelled_transaction_is_rolled_back(url: str) -> None:
    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            task = asyncio.create_task(add_half_a_project(database, seconds=20))
            await asyncio.sleep(0.5)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(15):
                assert await project(database, "half") is None
                await add_project(database, "half")

    asyncio.run(main())


def test_a_cancelled_read_by_key_does_not_affect_others(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            for number in range(10):
                await add_project(database, f"p{number}")
            reads = [asyncio.create_task(project(database, f"p{number}")) for number in range(10)]
            await asyncio.sleep(0)
            for read in reads[::2]:
                read.cancel()
            done = await asyncio.gather(*reads, return_exceptions=True)
            assert [row.identifier for row in done[1::2]] == ["p1", "p3", "p5", "p7", "p9"]  # type: ignore[union-attr]

    asyncio.run(main())


def test_a_failed_statement_makes_the_commit_fail(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:

            async def fail() -> None:
                async with database.unit_of_work() as unit:
                    await unit.insert(schema.Project, identifier="gone", name="gone")
                    with pytest.raises(errors.InvalidArgument):
                        await unit.insert(schema.Project, identifier="long", description="x" * 301)

            for _ in range(4):
                with pytest.raises(errors.Internal, match="the transaction had failed before its commit"):
                    await fail()
                assert await project(database, "gone") is None
            await add_project(database)

    asyncio.run(main())


def test_a_value_that_cannot_be_sent_leaves_the_transaction_open(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:

            async def fail() -> None:
                async with database.unit_of_work() as unit:
                    await unit.begin()
                    with pytest.raises(errors.InvalidArgument):
                        await unit.insert(schema.Project, identifier="nul\0", name="x")
                    await unit.insert(schema.Project, identifier="kept", name="x")
                    raise ValueError("stop")

            with pytest.raises(ValueError, match="stop"):
                await fail()
            assert await project(database, "kept") is None

    asyncio.run(main())


def test_more_statements_than_can_stay_prepared_work(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PREPARED_MAX", 3)
    monkeypatch.setattr(pipeline, "SEEN_MAX", 4)

    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            statements = [Statement(select(literal(number).label("n"))) for number in range(8)]
            for _ in range(4):
                for number, statement in enumerate(statements):
                    for _ in range(3):
                        async with database.unit_of_work() as unit:
                            assert (await unit.one(statement)).n == number
            async with database.unit_of_work() as unit:
                kept = await unit.all(
                    Statement(select(func.count().label("n")).select_from(table("pg_prepared_statements")))
                )
            assert kept[0].n <= 4

    asyncio.run(main())


@pytest.mark.parametrize(("plan_mode", "generic", "custom"), [(PlanMode.GENERIC, 9, 0), (PlanMode.AUTO, 4, 5)])
def test_the_plan_mode_chooses_generic_or_custom_plans(
    url: str, plan_mode: PlanMode, generic: int, custom: int
) -> None:
    asked = select(literal(1).label("n")).select_from(table("projects")).where(column("identifier") == bindparam("id"))
    plans = select(
        column("generic_plans"), column("custom_plans"), func.current_setting("plan_cache_mode").label("mode")
    )
    known = table("pg_prepared_statements")

    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            statement = Statement(asked, plan_mode=plan_mode)
            for number in range(10):
                async with database.unit_of_work() as unit:
                    assert await unit.all(statement, id=f"nobody{number}") == []
            async with database.unit_of_work() as unit:
                (row,) = await unit.all(
                    Statement(plans.select_from(known).where(column("statement").like("%identifier%")))
                )
            # The first run is not of the prepared statement yet.
            assert tuple(row) == (generic, custom, "auto")

    asyncio.run(main())


def test_a_failed_preparation_is_repeated(url: str) -> None:
    missing = Statement(select(func.count().label("n")).select_from(table("made_later")))

    async def main() -> None:
        async with opened(url, connections_max=2) as database:

            async def ask() -> int:
                async with database.unit_of_work() as unit:
                    return int((await unit.one(missing)).n)  # type: ignore[union-attr]

            for _ in range(4):
                with pytest.raises(errors.Internal):
                    await ask()
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE TABLE made_later (id int)")
            for _ in range(3):
                assert await ask() == 0

    asyncio.run(main())


def test_a_statement_ends_at_its_timeout(url: str) -> None:
    async def main() -> None:
        async with opened(url, statement_seconds=0.3) as database, database.unit_of_work() as unit:
            for _ in range(3):
                with pytest.raises(errors.DeadlineExceeded):
                    await unit.all(_SLEEP, seconds=20)

    asyncio.run(main())


def test_large_values_are_sent_and_received_concurrently(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            big = "é" * 2_000_000
            echo = Statement(select(bindparam("text", type_=schema.Project.__table__.c.name.type).label("back")))

            async def one(text: str) -> None:
                async with database.unit_of_work() as unit:
                    assert (await unit.one(echo, text=text)).back == text

            await asyncio.gather(*(one(f"{number}{big}") for number in range(4)))

    asyncio.run(main())


def test_a_reader_cancelled_while_connecting_loses_no_connection(url: str) -> None:
    async def main() -> None:
        async with opened(url) as database:
            reading = await read_while_connecting(database, url)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            # The connection is opened completely, and this read uses it.
            await asyncio.sleep(1)
            assert await project(database) is None
            assert len(others(url)) == 1

    asyncio.run(main())


def test_a_writer_gets_a_connection_while_the_shared_one_opens(url: str) -> None:
    async def main() -> None:
        async with opened(url, connections_max=2, wait_seconds=10) as database:
            reading = await read_while_connecting(database, url)
            async with asyncio.timeout(5):
                await add_project(database)
            assert await reading is None

    asyncio.run(main())


def test_a_statement_that_cannot_be_cancelled_frees_its_slot(url: str) -> None:
    socket = Path(url.partition("host=")[2]) / ".s.PGSQL.5432"
    away = socket.with_name("away")

    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            task = asyncio.create_task(add_half_a_project(database, seconds=5))
            await asyncio.sleep(0.5)
            socket.rename(away)
            try:
                task.cancel()
                await asyncio.wait([task], timeout=2)
            finally:
                away.rename(socket)
            assert task.cancelled()
            async with asyncio.timeout(2):
                await add_project(database)
                assert await project(database, "half") is None

    asyncio.run(main())


@pytest.mark.parametrize("quick", [True, False])
def test_statements_work_after_a_table_was_migrated(url: str, quick: bool) -> None:
    changing = Statement(select(column("size")).select_from(table("changing")), quick=quick)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE changing AS SELECT 7::integer AS size")

    async def main() -> None:
        async with opened(url, connections_max=2) as database:

            async def ask() -> Any:
                async with database.unit_of_work() as unit:
                    return (await unit.one(changing)).size  # type: ignore[union-attr]

            for kind, value in (("integer", 7), ("bigint", 7), ("text", "7")):
                with psycopg.connect(url, autocommit=True) as connection:
                    connection.execute(f"ALTER TABLE changing ALTER COLUMN size TYPE {kind}")
                for _ in range(3):
                    assert await asyncio.gather(ask(), ask()) == [value, value]

    asyncio.run(main())


def test_too_many_parameters_are_refused_and_keep_the_connection(url: str) -> None:
    many = Statement(select(literal(1).label("found")))
    compiled = many.compiled(POSTGRESQL)
    # By hand, because SQLAlchemy takes seconds for so many.
    compiled._binds, compiled._names = [], [f"p{number}" for number in range(pipeline.PARAMETERS_MAX + 1)]
    compiled.sql = f"SELECT 1 WHERE 5 IN ({','.join(f'${place + 1}::int' for place in range(len(compiled._names)))})"

    async def main() -> None:
        async with opened(url, connections_max=2) as database:
            async with database.unit_of_work() as unit:
                pid = (await unit.one(_PID)).pid  # type: ignore[union-attr]
                with pytest.raises(errors.InvalidArgument, match="parameters, allowed are 65535"):
                    await unit.all(many)
                assert (await unit.one(_PID)).pid == pid  # type: ignore[union-attr]
            async with database.unit_of_work() as unit:
                await unit.begin()
                with pytest.raises(errors.InvalidArgument, match="parameters, allowed are 65535"):
                    await unit.all(many)
                await unit.insert(schema.Project, identifier="kept", name="x")
            assert (await project(database, "kept")).identifier == "kept"

    asyncio.run(main())


def test_a_connection_is_closed_when_cancelling_fails(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(connection: Any, **options: Any) -> None:
        raise OSError("no more sockets")

    monkeypatch.setattr(psycopg.AsyncConnection, "cancel_safe", fail)

    async def main() -> None:
        async with opened(url, connections_max=2, wait_seconds=2) as database:

            async def work() -> None:
                async with database.unit_of_work() as unit:
                    await unit.all(_SLEEP, seconds=20)

            task = asyncio.create_task(work())
            await asyncio.sleep(0.5)
            task.cancel()
            await asyncio.wait([task])
            await add_project(database)

    asyncio.run(main())

"""ANALYZE of tables that have grown since their last one, so that lookups by key stay cheap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from sqlalchemy import BigInteger, Integer, LargeBinary

from app.database import schema
from app.database.base import Database, UnitOfWork
from app.database.catalog_tables import CatalogArtifact, CatalogTag
from app.database.connect import database_at
from app.database.growth import TableGrowth

pytestmark = pytest.mark.slow

ROWS = 800
# Rows that one lookup by key may read in a grown table: its row and a few dead ones.
ROWS_READ_MAX = 5
MODELS = [
    schema.Task,
    schema.Workflow,
    schema.LaunchPlan,
    schema.NamedEntityMetadata,
    schema.DescriptionEntity,
    schema.Execution,
    schema.ExecutionTag,
    schema.NodeExecution,
    schema.TaskExecution,
    schema.Signal,
    schema.SchedulableEntity,
    schema.Launch,
    CatalogArtifact,
    CatalogTag,
]


def row(model: type[schema.Base], number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Key and other columns of a row; keys differ in their last column alone, as those of one execution's nodes do."""
    columns = schema.table(model)
    key: dict[str, Any] = {c.key: 1 if isinstance(c.type, Integer) else "same" for c in columns.primary_key}
    last = list(columns.primary_key)[-1]
    key[last.key] = number if isinstance(last.type, (Integer, BigInteger)) else f"k{number}"
    values: dict[str, Any] = {}
    for c in columns.c:
        if not c.nullable and c.key not in (*key, "id"):
            values[c.key] = b"" if isinstance(c.type, LargeBinary) else 0 if isinstance(c.type, Integer) else ""
    return key, values


async def grow(database: Database, model: type[schema.Base]) -> None:
    for start in range(0, ROWS, 50):
        async with database.unit_of_work() as unit:
            for number in range(start, start + 50):
                key, values = row(model, number)
                await unit.insert(model, **key, **values, created_at=datetime.now(UTC))
        async with database.unit_of_work() as unit:
            for number in range(start, start + 50):
                key, _ = row(model, number)
                assert await unit.find(model, columns=("created_at",), **key) is not None


async def change(unit: UnitOfWork, model: type[schema.Base], number: int) -> None:
    key, _ = row(model, number)
    assert await unit.find(model, for_update=True, **key) is not None
    assert await unit.update(model, key, created_at=datetime.now(UTC)) == 1


async def lookup(database: Database, model: type[schema.Base], number: int) -> None:
    """Read, lock and change a row by its key, on both connections: three lookups."""
    async with database.unit_of_work() as unit:
        key, _ = row(model, number)
        assert await unit.find(model, **key) is not None
    async with database.unit_of_work() as unit:
        await change(unit, model, number)


async def lookups(database: Database, model: type[schema.Base]) -> int:
    """Look up rows by their keys; return how many lookups that were."""
    numbers = range(0, ROWS, 100)
    for number in numbers:
        await lookup(database, model, number)
    return 3 * len(numbers)


async def rows_read(database: Database, url: str) -> dict[str, int]:
    """Return how many rows were read of each table.

    A session reports its counts at the end of a statement, at most once a second; until its next statement it keeps
    what it has counted since then. So both connections of the database run one more statement a second later.
    """
    await asyncio.sleep(1.1)
    await lookup(database, MODELS[0], 0)
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT relname, seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables")
        return dict(found.fetchall())


@pytest.fixture
def young(empty_database: Callable[[str], str]) -> str:
    """An empty database that was analyzed, without autovacuum."""
    url = empty_database("postgresql")
    with psycopg.connect(url, autocommit=True) as connection:
        for name in schema.Base.metadata.tables:
            connection.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = false)")  # type: ignore[arg-type]
        connection.execute("VACUUM ANALYZE")
    return url


def test_lookups_by_key_use_an_index_while_tables_grow(young: str) -> None:
    async def main() -> None:
        database = database_at(young, connections_max=2, busy_timeout_seconds=20, statement_timeout_seconds=30)
        await database.open()
        try:
            await asyncio.gather(*(grow(database, model) for model in MODELS))
            before = await rows_read(database, young)
            made = {schema.table(model).name: await lookups(database, model) for model in MODELS}
            after = await rows_read(database, young)
        finally:
            await database.close()
        found = {name: (after[name] - before[name]) / number for name, number in made.items()}
        assert {name: rows for name, rows in found.items() if rows > ROWS_READ_MAX} == {}

    asyncio.run(main())


def test_tables_that_grew_before_the_start_are_analyzed(young: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[str]] = []
    statistics = TableGrowth._statistics

    async def recorded(self: TableGrowth, names: Sequence[str]) -> Sequence[Any]:
        read.append(list(names))
        return await statistics(self, names)

    monkeypatch.setattr(TableGrowth, "_statistics", recorded)
    with psycopg.connect(young, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO node_execution_events (created_at, execution_project, execution_domain, execution_name, "
            "node_id, phase) SELECT now(), 'p', 'd', 'x', n::text, 'RUNNING' FROM generate_series(1, 3000) AS n"
        )

    async def main() -> None:
        database = database_at(young, connections_max=10, busy_timeout_seconds=20, statement_timeout_seconds=30)
        await database.open()
        async with asyncio.timeout(20):
            while len(read) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert analyzed_rows(young, "node_execution_events") == 3000
        assert analyzed_rows(young, "projects") == 0
        # One query reads the sizes of all tables, another one those of the tables that were analyzed.
        assert read == [list(schema.Base.metadata.tables), ["node_execution_events"]]
        await database.close()

    asyncio.run(main())


def analyzed_rows(url: str, table: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT reltuples::bigint FROM pg_class WHERE relname = %s", (table,)).fetchone()
    assert found is not None
    return int(found[0])

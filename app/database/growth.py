"""Analyzes tables of PostgreSQL that have grown well beyond their statistics.

PostgreSQL plans with the statistics of the last ANALYZE and keeps the plan of a prepared statement until the next one.
From an empty or small table it keeps a sequential scan, or an index that fits the key less well than the primary key.
Autovacuum looks once a minute, and a young table grows by thousands of rows until then: each lookup by key reads all
of them. So each process counts the rows that it inserts. When it has added as many rows as a table had, it runs ANALYZE
on the table, which discards the kept plans of all connections. A table with N rows is analyzed about log2(N/100) times.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

import psycopg
import structlog
from sqlalchemy import bindparam, column, func, select, table

from app import errors
from app.database import schema
from app.database.pipeline import Lines
from app.database.statements import POSTGRESQL, Statement

# A scan of fewer rows costs no more than a lookup.
ROWS_MIN = 100
# Triggers of the database insert into the second table (alembic/versions/0007).
_FILLED_BY = dict.fromkeys(("tasks", "workflows", "launch_plans"), "registered_names")

_size = func.pg_relation_size(column("oid"))
_block = func.current_setting("block_size").cast(schema.Resource.__table__.c.id.type)
_STATE = Statement(
    select(
        column("reltuples").label("rows"),
        ((_size > 0) & (_size >= 2 * column("relpages") * _block)).label("stale"),
    )
    .select_from(table("pg_class"))
    .where(column("oid") == func.to_regclass(bindparam("name")))
)

log = structlog.get_logger(__name__)


class TableGrowth:
    """Counts committed inserts by table and analyzes each table in the background when it has doubled."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._inserted: Counter[str] = Counter()
        self._due: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Analyze, in the background, tables that grew before this process began."""
        self._run(list(schema.Base.metadata.tables))

    def add(self, inserted: Mapping[str, int]) -> None:
        """Count committed rows.

        Args:
            inserted: Number of new rows by table name.
        """
        for name, rows in inserted.items():
            self._count(name, rows)
            if name in _FILLED_BY:
                self._count(_FILLED_BY[name], rows)

    def close(self) -> None:
        """Give up what runs in the background."""
        for task in self._tasks:
            task.cancel()

    def _count(self, name: str, rows: int) -> None:
        self._inserted[name] += rows
        if self._inserted[name] >= self._due.get(name, ROWS_MIN):
            self._inserted[name] = 0
            # Until the table's size has been read, another turn would find the same.
            self._due[name] = float("inf")
            self._run([name])

    def _run(self, names: list[str]) -> None:
        task = asyncio.create_task(self._analyze(names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _analyze(self, names: list[str]) -> None:
        try:
            for name in names:
                self._due[name] = max(ROWS_MIN, await self._analyze_if_stale(name))
        except (psycopg.Error, errors.FlyteError) as error:
            # Statements still work, slower, and autovacuum analyzes the table later.
            log.warning("analyze_failed", tables=names, reason=str(error))
            for name in names:
                self._due[name] = ROWS_MIN

    async def _analyze_if_stale(self, name: str) -> float:
        """Analyze the table where it has twice the size that its statistics were made of. Return its number of rows."""
        rows, stale = await self._state(name)
        if not stale:
            return rows
        line = await self._lines.take()
        try:
            # Whoever holds the lock analyzes, vacuums or migrates the table now, which serves as well.
            await line.command(f"ANALYZE (SKIP_LOCKED) {name}")
        finally:
            self._lines.give_back(line)
        rows, _ = await self._state(name)
        return rows

    async def _state(self, name: str) -> tuple[float, bool]:
        """Return the rows that the statistics know, and whether the table has outgrown them."""
        compiled = _STATE.compiled(POSTGRESQL)
        found, _ = await (await self._lines.shared()).run_alone(compiled, compiled.parameters({"name": name}))
        return (float(found[0].rows), bool(found[0].stale)) if found else (0.0, False)

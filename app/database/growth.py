"""Run ANALYZE on tables of PostgreSQL that have grown well beyond their statistics.

Problem: PostgreSQL plans with the statistics of the last ANALYZE, and keeps the plan of a prepared statement until the
next one. For an empty or small table it keeps a sequential scan, or an index that fits the key less well than the
primary key. Autovacuum checks once a minute. A young table can grow by thousands of rows until then, and each lookup by
key reads all of them.

Solution: each process counts the rows that it inserts. When it has added as many rows as a table had, it runs ANALYZE
on the table, which discards the kept plans of all connections. A table with N rows is analyzed about log2(N/100)
times.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
import structlog
from sqlalchemy import ARRAY, BigInteger, Text, bindparam, column, func, select, table

from app import errors
from app.database import schema
from app.database.connection_pool import ConnectionPool
from app.database.statements import POSTGRESQL, Statement

# A scan of fewer rows costs no more than a lookup.
ROWS_MIN = 100
# Triggers of the database insert into registered_names (alembic/versions/0007).
_FILLED_BY_TRIGGER = dict.fromkeys(("tasks", "workflows", "launch_plans"), "registered_names")

_names: Any = func.unnest(bindparam("names", type_=ARRAY(Text()))).table_valued("name").render_derived(name="wanted")
_file_bytes = func.pg_relation_size(column("oid"))
_block_bytes = func.current_setting("block_size").cast(BigInteger)
# reltuples and relpages are of the last ANALYZE; the size of the file is current.
_STATISTICS = Statement(
    select(
        _names.c.name,
        column("reltuples").label("rows"),
        ((_file_bytes > 0) & (_file_bytes >= 2 * column("relpages") * _block_bytes)).label("stale"),
    ).select_from(_names.join(table("pg_class", column("oid")), column("oid") == func.to_regclass(_names.c.name)))
)

log = structlog.get_logger(__name__)


class TableGrowth:
    """Counts committed inserts by table, and analyzes a table in the background when it has doubled."""

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._inserted: Counter[str] = Counter()
        # Table → number of inserts after which its statistics are checked again.
        self._check_after: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Analyze, in the background, tables that grew before this process began."""
        self._analyze_in_background(list(schema.Base.metadata.tables))

    def add(self, inserted: Mapping[str, int]) -> None:
        """Count committed rows.

        Args:
            inserted: Number of new rows by table name.
        """
        for name, rows in inserted.items():
            self._count(name, rows)
            if name in _FILLED_BY_TRIGGER:
                self._count(_FILLED_BY_TRIGGER[name], rows)

    def close(self) -> None:
        """Cancel the background tasks."""
        for task in self._tasks:
            task.cancel()

    def _count(self, name: str, rows: int) -> None:
        self._inserted[name] += rows
        if self._inserted[name] >= self._check_after.get(name, ROWS_MIN):
            self._inserted[name] = 0
            # No second check while this one runs.
            self._check_after[name] = float("inf")
            self._analyze_in_background([name])

    def _analyze_in_background(self, names: Sequence[str]) -> None:
        task = asyncio.create_task(self._analyze(names))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _analyze(self, names: Sequence[str]) -> None:
        """Analyze those of the tables that have at least twice the size that they had at their last ANALYZE."""
        try:
            found = await self._statistics(names)
            stale = [row.name for row in found if row.stale]
            for name in stale:
                connection = await self._pool.acquire()
                try:
                    # A locked table is being analyzed, vacuumed or migrated, which discards kept plans as well.
                    await connection.execute_command(f"ANALYZE (SKIP_LOCKED) {name}")
                finally:
                    self._pool.release(connection)
            rows = {row.name: float(row.rows) for row in found}
            if stale:
                rows |= {row.name: float(row.rows) for row in await self._statistics(stale)}
        except (psycopg.Error, errors.FlyteError) as error:
            # Statements still work, but slower, and autovacuum analyzes the tables later.
            log.warning("analyze_failed", tables=list(names), reason=str(error))
            rows = {}
        for name in names:
            self._check_after[name] = max(ROWS_MIN, rows.get(name, 0.0))

    async def _statistics(self, names: Sequence[str]) -> Sequence[Any]:
        """Return name, rows at the last ANALYZE, and whether the statistics are stale, for all tables in one query."""
        compiled = _STATISTICS.compiled(POSTGRESQL)
        connection = await self._pool.shared()
        rows, _ = await connection.execute_autocommit(compiled, compiled.parameters({"names": list(names)}))
        return rows

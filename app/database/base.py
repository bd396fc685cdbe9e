"""Interface of a database: `Database` creates a `UnitOfWork` for each call. postgres.py and sqlite.py implement both.

Reads before `begin` run in autocommit and hold no lock. `begin` opens the write transaction, which dispatch
commits at the end of the call, or rolls back after an exception. A write function does its reads and its blob I/O
before `begin`: on SQLite no other call can write until the transaction ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import structlog

from app import errors
from app.database import schema, statements
from app.database.statements import Statement

if TYPE_CHECKING:
    from app.database.listening import Listener
    from app.database.read_memo import ReadMemo

log = structlog.get_logger(__name__)
# Asked before each statement, because a debug line that is dropped takes 4 µs.
_level = logging.getLogger(__name__)

Row = Any
Runner = Callable[[Statement, dict[str, Any]], Awaitable[tuple[Sequence[Row], int]]]

SCHEMA_PROBLEM = "the database has not this version's schema; run flyteadmin migrate run"


def already_exists(constraint: str) -> errors.AlreadyExists:
    """Return the error for an existing key, with upstream's message on both databases.

    Source:
        repositories/errors/postgres.go
    """
    return errors.AlreadyExists(
        f'value with matching already exists (duplicate key value violates unique constraint "{constraint}")'
    )


def _short(sql: str) -> str:
    """Return SQL in one line, without the names of many columns."""
    text = " ".join(sql.split())
    columns, _, _ = text.removeprefix("SELECT ").partition(" FROM ")
    if text.startswith("SELECT ") and columns.count(", ") > 3:
        return text.replace(columns, f"({columns.count(', ') + 1} columns)", 1)
    head, _, tail = text.partition(" VALUES (")
    return f"{head.partition(' (')[0]} … {tail.partition(') ')[2]}".rstrip(" …") if text.startswith("INSERT ") else text


class UnitOfWork(ABC):
    """Statements of one call, and its transaction. Rows are named tuples of the selected columns.

    `async with` commits at the end of the block, or rolls back when the block raises. Commit and rollback are shielded
    from cancellation, so a client that disconnects leaves no open transaction.

    Attributes:
        writing: Whether the transaction is open.
        memo: Rows that other units of work have read just now; None for no sharing.
    """

    def __init__(self) -> None:
        self.writing = False
        self.memo: ReadMemo | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writing:
            await asyncio.shield(self.close(commit=kind is None))

    @abstractmethod
    async def begin(self) -> None:
        """Open the write transaction, in which later reads run too. Further calls have no effect."""

    @abstractmethod
    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        """Run a statement and return its rows and row count."""

    def _logs_statements(self) -> bool:
        return _level.isEnabledFor(logging.DEBUG)

    def _runner(self) -> Runner:
        return self._run_logged if self._logs_statements() else self._run

    async def _run_logged(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        """Run a statement and log its SQL and time. Parameters may hold secrets, so they are not logged."""
        started, rows = time.perf_counter(), 0
        try:
            found, count = await self._run(statement, parameters)
            rows = len(found) or max(count, 0)
            return found, count
        finally:
            log.debug("sql", ms=round((time.perf_counter() - started) * 1000, 3), rows=rows, sql=_short(statement.sql))

    @abstractmethod
    async def close(self, *, commit: bool) -> None:
        """Commit or roll back the transaction that `begin` opened."""

    async def notify(self, topic: str) -> bool:
        """Send a notice about changed rows to the listeners of other processes, with the commit.

        Returns:
            False where the database passes no notices on.
        """
        return False

    async def all(self, statement: Statement, **parameters: Any) -> Sequence[Row]:
        """Return all rows of a statement."""
        rows, _ = await self._runner()(statement, parameters)
        return rows

    async def one(self, statement: Statement, **parameters: Any) -> Row | None:
        """Return the first row of a statement, None without rows."""
        if self.memo is not None and not self.writing:
            return await self._remembered(self.memo, statement, parameters)
        rows, _ = await self._runner()(statement, parameters)
        return rows[0] if rows else None

    async def _remembered(self, memo: ReadMemo, statement: Statement, parameters: dict[str, Any]) -> Row | None:
        key = memo.key(statement, parameters)
        if not memo.has(key):
            rows, _ = await self._runner()(statement, parameters)
            memo.put(key, rows[0] if rows else None)
        return memo.get(key)

    async def run(self, statement: Statement, **parameters: Any) -> int:
        """Run a statement that writes, in the write transaction, and return how many rows it changed."""
        await self.begin()
        _, changed = await self._runner()(statement, parameters)
        return changed

    async def find(
        self, model: type[schema.Base], *, columns: tuple[str, ...] | None = None, for_update: bool = False, **key: Any
    ) -> Row | None:
        """Return the row of a table with this key, None without one.

        Args:
            model: The table.
            columns: Columns to select; None for all.
            for_update: Whether to open the transaction and lock the row.
            **key: Column names and values.
        """
        if for_update:
            await self.begin()
        return await self.one(statements.select_by_key(model, tuple(key), columns, for_update), **key)

    async def find_all(
        self, model: type[schema.Base], *, columns: tuple[str, ...] | None = None, most: int | None = None, **key: Any
    ) -> Sequence[Row]:
        """Return all rows of a table with this key, at most `most`; arguments as `find`."""
        if most is None:
            return await self.all(statements.select_by_key(model, tuple(key), columns), **key)
        return await self.all(statements.select_by_key(model, tuple(key), columns, limited=True), **key, most=most)

    async def count(self, model: type[schema.Base], **key: Any) -> int:
        """Return how many rows of a table have this key."""
        row = await self.one(statements.count_by_key(model, tuple(key)), **key)
        return int(row.rows) if row is not None else 0

    async def insert(self, model: type[schema.Base], **values: Any) -> int:
        """Insert a row and return its id. created_at and updated_at default to now.

        Raises:
            AlreadyExists: The key exists; the message names the constraint.
        """
        row_id = await self.insert_if_absent(model, **values)
        if row_id is None:
            raise already_exists(f"{schema.table(model).name}_pkey")
        return row_id

    async def insert_if_absent(self, model: type[schema.Base], **values: Any) -> int | None:
        """Insert a row and return its id; None where the key exists."""
        await self.begin()
        now = datetime.now(UTC)
        values = {"created_at": now, "updated_at": now, **values}
        rows, _ = await self._runner()(statements.insert_row(model, tuple(values), True), values)
        return int(rows[0].id) if rows else None

    async def insert_all_if_absent(self, model: type[schema.Base], rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows that have the same columns, as `insert_if_absent` does."""
        for row in rows:
            await self.insert_if_absent(model, **row)

    async def insert_in_order(self, model: type[schema.Base], order: str, **values: Any) -> int | None:
        """Insert a row as `insert_if_absent` does. Rows with the same `order` have ids in the order of their commits.

        On SQLite every transaction has that order.
        """
        return await self.insert_if_absent(model, **values)

    async def update(self, model: type[schema.Base], key: dict[str, Any], **values: Any) -> int:
        """Set columns of the rows with this key and return how many rows were changed.

        Args:
            model: The table.
            key: Column names and values of the rows.
            **values: Columns to set; None sets NULL. updated_at defaults to now.
        """
        values = {"updated_at": datetime.now(UTC), **values}
        statement = statements.update_by_key(model, tuple(key), tuple(values))
        return await self.run(statement, **values, **{f"key_{k}": v for k, v in key.items()})

    async def delete(self, model: type[schema.Base], **key: Any) -> int:
        """Delete the rows with this key and return how many there were."""
        return await self.run(statements.delete_by_key(model, tuple(key)), **key)


class Database(ABC):
    """A database of one process; `open` it before use."""

    @abstractmethod
    async def open(self) -> None:
        """Connect.

        Raises:
            Unavailable: The database cannot be reached; the message has the driver's reason.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close all connections."""

    @abstractmethod
    def unit_of_work(self) -> UnitOfWork:
        """Return a new unit of work.

        Raises:
            Unavailable: The database is not open.
        """

    def listener(self) -> Listener | None:
        """Return a listener for the notices of other processes, not opened yet; None where there are none."""
        return None

"""The database: one unit of work per request, on PostgreSQL (postgres.py) or SQLite (sqlite.py).

Reads before `begin` run on autocommit connections and hold nothing. `begin` opens the write
transaction (BEGIN IMMEDIATE on SQLite, whose writers in one process also queue on a lock); the edge
commits at the end of the call or rolls back on any exception. A write function does its reads and its
blob I/O first, then begins, then writes: on SQLite nobody else can write meanwhile.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from app import errors
from app.database import schema, statements
from app.database.statements import Statement

Row = Any


def already_exists(constraint: str) -> errors.AlreadyExists:
    """Upstream's words for a taken key (repositories/errors/postgres.go), the same on both databases."""
    return errors.AlreadyExists(
        f'value with matching already exists (duplicate key value violates unique constraint "{constraint}")'
    )


class UnitOfWork(ABC):
    """The verbs of one request. Rows come back as named tuples of the selected columns.

    As a block it commits in the end, or rolls back when the block raises. Ending is shielded: a client that goes away
    cannot leave a half-ended transaction behind.
    """

    def __init__(self) -> None:
        self.writing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.writing:
            await asyncio.shield(self.close(commit=kind is None))

    @abstractmethod
    async def begin(self) -> None:
        """Open the write transaction; once it is open, reads see it. Calling it again changes nothing."""

    @abstractmethod
    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        """Rows and row count of a statement."""

    @abstractmethod
    async def close(self, *, commit: bool) -> None:
        """Commit or roll back what begin opened."""

    async def all(self, statement: Statement, **parameters: Any) -> Sequence[Row]:
        """Every row of a statement."""
        rows, _ = await self._run(statement, parameters)
        return rows

    async def one(self, statement: Statement, **parameters: Any) -> Row | None:
        """The first row of a statement, None without any."""
        rows, _ = await self._run(statement, parameters)
        return rows[0] if rows else None

    async def run(self, statement: Statement, **parameters: Any) -> int:
        """Run a change inside the write transaction; how many rows it touched."""
        await self.begin()
        _, touched = await self._run(statement, parameters)
        return touched

    async def find(
        self, model: type[schema.Base], *, columns: tuple[str, ...] | None = None, for_update: bool = False, **key: Any
    ) -> Row | None:
        """The row of model with this key (columns and values); for_update begins and locks it."""
        if for_update:
            await self.begin()
        return await self.one(statements.find(model, tuple(key), columns, for_update), **key)

    async def find_all(
        self, model: type[schema.Base], *, columns: tuple[str, ...] | None = None, most: int | None = None, **key: Any
    ) -> Sequence[Row]:
        """Every row of model with this key; most: how many at most."""
        if most is None:
            return await self.all(statements.find(model, tuple(key), columns), **key)
        return await self.all(statements.find(model, tuple(key), columns, limited=True), **key, most=most)

    async def count(self, model: type[schema.Base], **key: Any) -> int:
        """How many rows of model have this key."""
        row = await self.one(statements.count(model, tuple(key)), **key)
        return int(row.rows) if row is not None else 0

    async def insert(self, model: type[schema.Base], **values: Any) -> int:
        """Insert a row; its id. created_at and updated_at default to now.

        errors: ALREADY_EXISTS naming the constraint when the key is taken
        """
        row_id = await self.insert_if_absent(model, **values)
        if row_id is None:
            raise already_exists(f"{schema.table(model).name}_pkey")
        return row_id

    async def insert_if_absent(self, model: type[schema.Base], **values: Any) -> int | None:
        """Insert a row unless its key is taken; its id, or None."""
        await self.begin()
        now = datetime.now(UTC)
        values = {"created_at": now, "updated_at": now, **values}
        rows, _ = await self._run(statements.insert(model, tuple(values), True), values)
        return int(rows[0].id) if rows else None

    async def update(self, model: type[schema.Base], key: dict[str, Any], **values: Any) -> int:
        """Set exactly these columns (None sets NULL, 0 sets 0) where key matches; rows touched.

        updated_at becomes now unless it is given.
        """
        values = {"updated_at": datetime.now(UTC), **values}
        statement = statements.change(model, tuple(key), tuple(values))
        return await self.run(statement, **values, **{f"key_{k}": v for k, v in key.items()})

    async def delete(self, model: type[schema.Base], **key: Any) -> int:
        """Delete the rows with this key; how many there were."""
        return await self.run(statements.remove(model, tuple(key)), **key)


class Database(ABC):
    """A database that hands out units of work."""

    @abstractmethod
    async def open(self) -> None:
        """Connect. errors: UNAVAILABLE with the driver's reason."""

    @abstractmethod
    async def close(self) -> None:
        """Give every connection back."""

    @abstractmethod
    def unit_of_work(self) -> UnitOfWork:
        """A new unit of work. errors: UNAVAILABLE before open and after close"""

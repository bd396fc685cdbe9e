"""Leases: several server processes share rows of work, and each row is worked on by one process at a time.

A table takes part when it has the columns `owner` and `leased_until`. A row belongs to the process named in `owner`
until `leased_until`. It is free when it has no owner or when the lease has run out. A process renews its leases long
before they run out; when it stops, it releases them, and the next process takes the rows at once.

Only the clock of the database counts (app/database/clock.py): a process whose clock is wrong takes no lease too early
and loses none.

The engines lease the rows of `launches`, the outbox its messages (app/background/outbox/claims.py). Work that has no
rows of its own, such as a task that only one process of all may run, leases a row of the table `leases` by a name
(`acquire`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy import ColumnElement, and_, bindparam, or_, select, update

from app import errors
from app.database import schema
from app.database.base import Database, UnitOfWork
from app.database.clock import DatabaseTime
from app.database.statements import Statement

LEASE_SECONDS = 30.0

log = structlog.get_logger(__name__)

Key = tuple[Any, ...]


def is_free(table: Any) -> ColumnElement[bool]:
    """Return the condition that a row can be taken."""
    return or_(table.c.owner.is_(None), table.c.leased_until < DatabaseTime())


def is_held(table: Any) -> ColumnElement[bool]:
    """Return the condition that a process has a row, the opposite of `is_free`."""
    return and_(table.c.owner.is_not(None), table.c.leased_until >= DatabaseTime())


def end_of_lease() -> DatabaseTime:
    """Return the end of a lease that a statement takes or renews."""
    return DatabaseTime(LEASE_SECONDS)


class Leases:
    """The leases of one process on the rows of one table.

    Args:
        model: The table; it has the columns owner and leased_until.
        key: The columns that identify a row, in the order of `Key`.
        owner: The name of this process, different from that of every other process on the database.
        has_ended: Whether the process of this name is known to have ended, so that its leases need not run out.
    """

    def __init__(
        self,
        database: Database,
        model: type[schema.Base],
        key: tuple[str, ...],
        *,
        owner: str,
        has_ended: Callable[[str], bool],
    ) -> None:
        self.owner = owner
        self._database = database
        self._model = model
        self._key = key
        self._has_ended = has_ended
        table = schema.table(model)
        columns = [table.c[name] for name in key]
        mine = table.c.owner == bindparam("me")
        same = [column == bindparam(f"key_{column.name}") for column in columns]
        self._take = (
            update(table).values(owner=bindparam("me"), leased_until=end_of_lease()).where(*same, is_free(table))
        )
        self._takes: dict[tuple[str, ...], Statement] = {}
        self._renew = Statement(update(table).values(leased_until=end_of_lease()).where(mine))
        self._mine = Statement(select(*columns).where(mine))
        self._hold = Statement(select(table.c.owner).where(*same, mine).with_for_update(read=True))
        self._holder = Statement(select(table.c.owner).where(*same, is_held(table)), quick=True)
        self._owners = Statement(select(table.c.owner).where(table.c.owner != bindparam("me")).distinct())

    async def take(self, unit: UnitOfWork, key: Key, **values: Any) -> bool:
        """Take a row if it is free, as part of a unit of work.

        Args:
            unit: The unit of work.
            key: The row.
            values: Columns to set together with the owner.

        Returns:
            False where another process has the row, or where there is none.
        """
        names = tuple(values)
        statement = self._takes.get(names)
        if statement is None:
            taken = self._take.values({name: bindparam(name) for name in names}) if names else self._take
            statement = self._takes[names] = Statement(taken)
        return await unit.run(statement, me=self.owner, **self._where(key), **values) == 1

    async def hold(self, unit: UnitOfWork, key: Key) -> bool:
        """Keep a row until the end of a unit of work: no other process takes it before the commit.

        A process that was stopped for longer than its lease writes only in units of work that have called this.
        Call it after all other writes, because other calls write into the rows of executions before this row.

        Args:
            unit: The unit of work, whose transaction begins here if it has not begun.
            key: The row.

        Returns:
            False where this process does not have the row. A lease that ran out and that nobody took counts.
        """
        await unit.begin()
        return await unit.one(self._hold, me=self.owner, **self._where(key)) is not None

    async def acquire(self, *key: Any) -> bool:
        """Take a row, which is inserted first where there is none; True also where this process has it already."""
        where = dict(zip(self._key, key, strict=True))
        async with self._database.unit_of_work() as unit:
            await unit.insert_if_absent(self._model, **where)
            if await self.take(unit, key):
                return True
            row = await unit.find(self._model, columns=("owner",), **where)
        return row is not None and row.owner == self.owner

    async def holder(self, key: Key) -> str | None:
        """Return the process that has a row, None where it is free."""
        async with self._database.unit_of_work() as unit:
            row = await unit.one(self._holder, **self._where(key))
        return None if row is None else str(row.owner)

    async def renew(self) -> set[Key]:
        """Extend all leases of this process. Return the keys that it has: a lease that ran out may be lost."""
        async with self._database.unit_of_work() as unit:
            await unit.run(self._renew, me=self.owner)
            return {tuple(row) for row in await unit.all(self._mine, me=self.owner)}

    async def release(self, key: Key | None = None) -> None:
        """Give up one row, or all rows of this process."""
        where = dict(zip(self._key, key, strict=True)) if key is not None else {}
        await self._free(owner=self.owner, **where)

    async def release_if_possible(self, key: Key | None = None) -> None:
        """Give up one row, or all rows, at the end of their work; without the database the leases expire."""
        try:
            await self.release(key)
        except errors.FlyteError as error:
            log.warning("leases_not_released", reason=error.message)

    async def release_ended(self) -> None:
        """Free the rows of processes that have ended without releasing them."""
        async with self._database.unit_of_work() as unit:
            owners = await unit.all(self._owners, me=self.owner)
        for row in owners:
            if self._has_ended(row.owner):
                await self._free(owner=row.owner)

    def _where(self, key: Key) -> dict[str, Any]:
        return {f"key_{name}": value for name, value in zip(self._key, key, strict=True)}

    async def _free(self, **where: Any) -> None:
        async with self._database.unit_of_work() as unit:
            await unit.update(self._model, where, owner=None, leased_until=None)

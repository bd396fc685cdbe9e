"""The number of processes that deliver messages, by which limits for one recipient are divided.

Each process keeps a row of the table `leases` alive. A process that ended without deleting its row stops to count when
the lease runs out.
"""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import bindparam, delete, func, select, update

from app.database import schema
from app.database.base import Database
from app.database.clock import DatabaseTime
from app.database.statements import Statement
from app.runtime.leases import end_of_lease

PREFIX = "outbox/process/"
# Rows of processes that ended are deleted when the lease ran out this long ago.
KEPT_SECONDS = 3600.0

_LEASES = schema.table(schema.Lease)
# A range of names, which the primary key finds: "0" follows "/".
_OWN = (_LEASES.c.name >= PREFIX, _LEASES.c.name < "outbox/process0")


@lru_cache(maxsize=1)
def _alive() -> Statement:
    alive = _LEASES.c.leased_until >= DatabaseTime()
    return Statement(select(func.count().label("rows")).select_from(_LEASES).where(*_OWN, alive))


@lru_cache(maxsize=1)
def _ended() -> Statement:
    return Statement(delete(_LEASES).where(*_OWN, _LEASES.c.leased_until < DatabaseTime(-KEPT_SECONDS)))


@lru_cache(maxsize=1)
def _renew() -> Statement:
    return Statement(update(_LEASES).where(_LEASES.c.name == bindparam("me")).values(leased_until=end_of_lease()))


class Processes:
    """Keeps the row of this process alive, and counts the processes that do the same.

    Args:
        database: The database.
        me: The name of this process.

    Attributes:
        number: The processes at the last renewal, at least 1.
    """

    def __init__(self, database: Database, me: str) -> None:
        self._database = database
        self._name = f"{PREFIX}{me}"
        self.number = 1

    async def renew(self) -> None:
        """Extend the lease and count the processes."""
        async with self._database.unit_of_work() as unit:
            if not await unit.run(_renew(), me=self._name):
                await unit.insert_if_absent(schema.Lease, name=self._name)
                await unit.run(_renew(), me=self._name)
                await unit.run(_ended())
            row = await unit.one(_alive())
        self.number = max(1, int(row.rows)) if row is not None else 1

    async def stop(self) -> None:
        """Delete the row."""
        async with self._database.unit_of_work() as unit:
            await unit.delete(schema.Lease, name=self._name)

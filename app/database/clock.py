"""The time of the database as SQL, for leases: clocks of machines differ, and the database has one clock for all.

On SQLite it is the clock of the machine, which all processes of the database share.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy.ext.compiler import compiles

from app.database.schema import UtcTime

# UtcTime stores text of this form. SQLite's clock has milliseconds.
_SQLITE_FORMAT = "%Y-%m-%d %H:%M:%f000+00:00"


class DatabaseTime(ColumnElement[datetime]):
    """The time at which the statement began, and some seconds more.

    A statement that waited for a lock counts from before the wait: it never finds that a lease has run out which was
    renewed meanwhile, and its own lease is shorter. PostgreSQL's now() is the start of the transaction.

    Args:
        seconds: Seconds after the start of the statement, negative for an earlier time.
    """

    inherit_cache = False
    type = UtcTime()

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = float(seconds)


@compiles(DatabaseTime, "postgresql")
def _postgresql(element: DatabaseTime, compiler: Any, **_: Any) -> str:
    if not element.seconds:
        return "statement_timestamp()"
    return f"(statement_timestamp() + interval '{element.seconds} seconds')"


@compiles(DatabaseTime, "sqlite")
def _sqlite(element: DatabaseTime, compiler: Any, **_: Any) -> str:
    return f"strftime('{_SQLITE_FORMAT}', 'now', '{element.seconds} seconds')"

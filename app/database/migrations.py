"""Brings a database to the newest revision; alembic/versions holds the history.

Several servers may start at once: an advisory lock (PostgreSQL) or the write lock (SQLite) lets one migrate
while the others wait. A revision that meets a locked table gives up instead of stopping its users.
Source: flyteadmin/pkg/server/initialize.go (Migrate).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from app import errors
from app.database import locks as database_locks

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

_ROOT = Path(__file__).resolve().parents[2]
# Any number that no other program on the database uses as advisory lock.
_LOCK = 7019305548
_LOCK_TIMEOUT_SECONDS = 4
_LOCK_PAUSE_SECONDS = 0.2
_STATEMENT_TIMEOUT_SECONDS = 600


def _config() -> Config:
    from alembic.config import Config

    return Config(str(_ROOT / "alembic.ini"))


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    sqlite = url.startswith("sqlite")
    if sqlite:
        database_locks.make_private(url.removeprefix("sqlite:///"))
    arguments = {"timeout": 60} if sqlite else {"connect_timeout": 10}
    full = url if sqlite or "+psycopg" in url else url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(full, poolclass=NullPool, connect_args=arguments)
    if sqlite:
        # Python's sqlite3 opens no transaction for DDL: without these a failed revision would stay half-applied.
        event.listen(engine, "connect", lambda raw, _record: setattr(raw, "isolation_level", None))
        event.listen(engine, "begin", lambda open_: open_.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise errors.Unavailable(f"the database cannot be reached: {str(error.orig).strip()}") from error
    with connection:
        if not sqlite:
            # Asked again and again: a session that waits inside pg_advisory_lock would have CREATE INDEX CONCURRENTLY,
            # which waits for every open statement, wait for it.
            while not connection.execute(text(f"SELECT pg_try_advisory_lock({_LOCK})")).scalar_one():
                connection.commit()
                time.sleep(_LOCK_PAUSE_SECONDS)
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
            connection.execute(text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s'"))
            connection.commit()
        # The advisory lock belongs to the session and ends with the connection.
        yield connection


def _revisions(connection: Connection) -> tuple[str | None, str]:
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = ScriptDirectory.from_config(_config())
    current = MigrationContext.configure(connection).get_current_revision()
    known = {revision.revision for revision in script.walk_revisions()}
    if current is not None and current not in known:
        raise errors.FailedPrecondition(
            f"the database is at revision {current}, which this version does not know: "
            "it was made by a newer flyteadmin, start that one"
        )
    connection.rollback()
    return current, script.get_current_head() or ""


def pending(url: str) -> bool:
    """Whether the database lacks a revision.

    errors: UNAVAILABLE when it cannot be reached, FAILED_PRECONDITION when it is newer than this code
    """
    with _connected(url) as connection:
        current, head = _revisions(connection)
        return current != head


def run(url: str) -> tuple[str | None, str]:
    """Apply what is missing; (revision before, revision after).

    errors: as pending; FAILED_PRECONDITION for a database that neither this server nor upstream made
    """
    from alembic import command

    with _connected(url) as connection:
        before, head = _revisions(connection)
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except RuntimeError as error:
            raise errors.FailedPrecondition(str(error)) from error
        connection.commit()
        return before, head


def rollback(url: str, revision: str) -> None:
    """Go back to a revision; tables of upstream stay.

    Raises:
        FailedPrecondition: A server serves the database.
        Unavailable: The database cannot be reached.
    """
    from alembic import command

    with database_locks.unserved(url), _connected(url) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()

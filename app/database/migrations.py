"""Migrate a database with Alembic; alembic/versions holds the revisions.

When several servers start at once, an advisory lock (PostgreSQL) or the write lock (SQLite) lets one migrate while the
others wait. A revision that needs a locked table fails after a few seconds: queries on the table would otherwise queue
behind it.

Source:
    flyteadmin/pkg/server/initialize.go (Migrate)
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app import bundled, errors
from app.database import server_lock, sqlite_file

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection

# A number that no other program on the database uses as advisory lock.
_LOCK_ID = 7019305548
_LOCK_TIMEOUT_SECONDS = 4
_LOCK_PAUSE_SECONDS = 0.2
_STATEMENT_TIMEOUT_SECONDS = 600


def _config() -> Config:
    from alembic.config import Config

    return Config(str(bundled.path("alembic.ini")))


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    from sqlalchemy import create_engine, event, text
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import NullPool

    sqlite = url.startswith("sqlite")
    if sqlite:
        sqlite_file.make_private(url.removeprefix("sqlite:///"))
    arguments = {"timeout": 60} if sqlite else {"connect_timeout": 10}
    full = url if sqlite or "+psycopg" in url else url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(full, poolclass=NullPool, connect_args=arguments)
    if sqlite:
        # Python's sqlite3 opens no transaction for DDL, so a failed revision would stay partly applied.
        event.listen(engine, "connect", lambda raw, _record: setattr(raw, "isolation_level", None))
        event.listen(engine, "begin", lambda open_: open_.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        connection = engine.connect()
    except DBAPIError as error:
        raise errors.Unavailable(f"the database cannot be reached: {str(error.orig).strip()}") from error
    with connection:
        if not sqlite:
            # Polls: CREATE INDEX CONCURRENTLY of another process waits for every open statement, so it would wait for
            # a session inside pg_advisory_lock, and this session for it.
            while not connection.execute(text(f"SELECT pg_try_advisory_lock({_LOCK_ID})")).scalar_one():
                connection.commit()
                time.sleep(_LOCK_PAUSE_SECONDS)
            connection.execute(text(f"SET lock_timeout = '{_LOCK_TIMEOUT_SECONDS}s'"))
            connection.execute(text(f"SET statement_timeout = '{_STATEMENT_TIMEOUT_SECONDS}s'"))
            connection.commit()
        # PostgreSQL releases the advisory lock at the end of the session.
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
    """Return whether the database lacks a revision.

    Raises:
        Unavailable: The database cannot be reached.
        FailedPrecondition: The database has a revision that this version does not have.
    """
    with _connected(url) as connection:
        current, head = _revisions(connection)
        return current != head


def run(url: str) -> tuple[str | None, str]:
    """Apply the missing revisions and return (revision before, revision after).

    Raises:
        Unavailable: The database cannot be reached.
        FailedPrecondition: The database was created by a newer version, or neither by this server nor by upstream.
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
    """Downgrade to a revision; upstream's tables stay.

    Raises:
        FailedPrecondition: A server serves the database.
        Unavailable: The database cannot be reached.
    """
    from alembic import command

    with server_lock.exclusive(url), _connected(url) as connection:
        config = _config()
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
        connection.commit()

"""Choose the driver for a database URL: PostgreSQL (postgres.py) or SQLite (sqlite.py).

Each driver is imported when it is chosen: a process uses one of them, and the other would cost start-up time.
"""

from __future__ import annotations

from app.database.base import Database
from app.settings import Settings

_SQLITE_PREFIX = "sqlite:///"


def database_of(settings: Settings, *, serves: bool = False) -> Database:
    """Return the database that the settings name, not opened yet.

    Each of the `server.workers` processes gets an equal share of `database.maxOpenConnections`, at least 2.

    Args:
        settings: The settings of this process.
        serves: Whether this process is a server of the database, see `database_at`.
    """
    return database_at(
        settings.database_url,
        connections_max=max(2, settings.database.max_open_connections // settings.server.workers),
        busy_timeout_seconds=settings.limits.database_wait_seconds_max,
        statement_timeout_seconds=settings.limits.database_statement_seconds_max,
        serves=serves,
    )


def database_at(
    url: str,
    *,
    connections_max: int,
    busy_timeout_seconds: float,
    statement_timeout_seconds: float,
    serves: bool = False,
) -> Database:
    """Return the database at a URL, not opened yet.

    Args:
        url: postgresql://… or sqlite:///absolute/path.
        connections_max: Limit of open connections; PostgreSQL only.
        busy_timeout_seconds: Longest wait for a free connection (PostgreSQL) or for the write lock (SQLite).
        statement_timeout_seconds: Longest run of one statement; PostgreSQL only.
        serves: Whether this process is a server of the database. While one is, commands that need the database for
            themselves are refused (server_lock.py).
    """
    if url.startswith(_SQLITE_PREFIX):
        from app.database.sqlite import SqliteDatabase

        return SqliteDatabase(
            url.removeprefix(_SQLITE_PREFIX), busy_timeout_seconds=busy_timeout_seconds, serves=serves
        )
    from app.database.postgres import PostgresDatabase

    return PostgresDatabase(
        url.replace("postgresql+psycopg://", "postgresql://", 1),
        connections_max=connections_max,
        wait_seconds_max=busy_timeout_seconds,
        statement_timeout_seconds=statement_timeout_seconds,
        serves=serves,
    )

"""Migrated databases for tests: new ones, and one per process that is emptied before each test."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from app.database import migrations
from tests.support.clusters import Postgres

# Migrations fill these tables, and nothing else writes to them.
MIGRATED_TABLES = ("alembic_version", "migrations")

# One row that changes whenever a table, a column, an index, a trigger, a function or a migrated row does.
_SCHEMA = """
SELECT (SELECT md5(string_agg(concat_ws(' ', oid, relname, relchecks), ',' ORDER BY oid)) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace),
       (SELECT md5(string_agg(concat_ws(' ', attrelid, attname, atttypid, attnotnull, atthasdef), ','
                              ORDER BY attrelid, attnum))
        FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)),
       (SELECT md5(string_agg(concat_ws(' ', oid, tgenabled), ',' ORDER BY oid)) FROM pg_trigger),
       (SELECT md5(string_agg(prosrc, ',' ORDER BY oid)) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
       (SELECT md5(string_agg(migrations::text, ',' ORDER BY id)) FROM migrations),
       (SELECT string_agg(version_num, ',') FROM alembic_version)
"""

# Whatever a test left open would block the statements that empty the tables.
_DISCONNECT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


@cache
def _migrated_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        migrations.run(f"sqlite:///{path}")
        return path.read_bytes()


def migrated(path: Path) -> str:
    """Make a migrated SQLite database, unless the file exists, and return its URL. Migrations take 150 ms each time."""
    if not path.exists():
        path.write_bytes(_migrated_file())
    return f"sqlite:///{path}"


class Databases:
    """Databases of one process, copied from templates that are migrated once."""

    def __init__(self, folder: Path, postgres: Callable[[], Postgres]) -> None:
        """postgres: returns the running cluster; called when a test first asks for PostgreSQL."""
        self._folder = folder
        self._postgres = postgres
        self._template: str | None = None
        self._numbers = itertools.count(1)
        self._emptied: EmptiedDatabase | None = None

    def new(self, kind: str) -> str:
        """Return the URL of a new migrated database: "sqlite" or "postgresql"."""
        if kind == "postgresql":
            cluster = self._postgres()
            if self._template is None:
                url = cluster.create()
                migrations.run(url)
                self._template = url.partition("@/")[2].partition("?")[0]
            return cluster.create(template=self._template)
        return migrated(self._folder / f"{next(self._numbers)}.db")

    def emptied(self, kind: str) -> str:
        """Return the URL of a migrated database without rows, which the next call for PostgreSQL empties again.

        PostgreSQL takes 500 ms to copy a database and 4 ms to delete its rows. SQLite copies its file in 1 ms.
        """
        if kind != "postgresql":
            return self.new(kind)
        if self._emptied is None or not self._emptied.empty():
            self._emptied = EmptiedDatabase(self.new(kind))
        return self._emptied.url

    def close(self) -> None:
        """Close the connection that empties the tables."""
        if self._emptied is not None:
            self._emptied.close()


class EmptiedDatabase:
    """A PostgreSQL database whose rows are deleted between tests, over a connection that stays open."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._connection = psycopg.connect(url, autocommit=True)
        self._schema = self._rows(_SCHEMA)
        tables = self._rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        sequences = self._rows("SELECT sequencename FROM pg_sequences WHERE schemaname = 'public'")
        statements = [
            *(sql.SQL("DELETE FROM {}").format(sql.Identifier(t)) for (t,) in tables if t not in MIGRATED_TABLES),
            # ALTER SEQUENCE … RESTART writes new files: 3 ms for each sequence.
            *(sql.SQL("SELECT setval({}, 1, false)").format(sql.Literal(s)) for (s,) in sequences),
        ]
        self._empty = sql.SQL("; ").join(statements)

    def empty(self) -> bool:
        """Disconnect clients, delete all rows and restart all sequences; return False if the schema has changed."""
        self._connection.execute(_DISCONNECT)
        if self._rows(_SCHEMA) != self._schema:
            self.close()
            return False
        self._connection.execute(self._empty)
        return True

    def close(self) -> None:
        self._connection.close()

    def _rows(self, statement: LiteralString) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()

"""SQLite driver: `Database` and `UnitOfWork` of base.py on the standard library's sqlite3."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from app import errors
from app.database import schema, server_lock, sqlite_file
from app.database.base import SCHEMA_PROBLEM, Database, Row, UnitOfWork, already_exists
from app.database.statements import SQLITE, Compiled, Statement, insert_row


class SqliteDatabase(Database):
    """A SQLite database in WAL mode: one connection for reads and one for writes per process.

    Both run on the event loop: a select by key takes 3 µs, far less than starting a thread for it. Writers of one
    process queue on an asyncio lock. While another process writes, `begin` polls without blocking the loop.

    Args:
        path: The database file.
        busy_timeout_seconds: Longest wait for the write lock.
        serves: Whether to hold the lock of servers (server_lock.py).
    """

    def __init__(self, path: str, *, busy_timeout_seconds: float, serves: bool = False) -> None:
        self._path = path
        self._serves = serves
        self._lock_descriptor: int | None = None
        self.busy_timeout_seconds = busy_timeout_seconds
        self.lock = asyncio.Lock()
        # Units of work that wait for the lock.
        self.waiting = 0
        self.reader: sqlite3.Connection | None = None
        self.writer: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open both connections, and create the file if it does not exist.

        Raises:
            Unavailable: The file cannot be opened.
            FailedPrecondition: A command uses the database exclusively.
        """
        try:
            if self._serves:
                self._lock_descriptor = server_lock.share_sqlite(self._path)
            sqlite_file.make_private(self._path)
            self.reader, self.writer = self._connect(), self._connect()
        except (sqlite3.Error, OSError) as error:
            raise errors.Unavailable(f"cannot open the database {self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        connection.execute("PRAGMA busy_timeout=1000")
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL keeps all commits when the process is killed; a power failure can lose the last ones.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA case_sensitive_like=ON")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA busy_timeout=0")
        return connection

    async def close(self) -> None:
        """Close both connections and release the lock of servers."""
        for connection in (self.reader, self.writer):
            if connection is not None:
                connection.close()
        self.reader = self.writer = None
        if self._lock_descriptor is not None:
            os.close(self._lock_descriptor)
            self._lock_descriptor = None

    def unit_of_work(self) -> UnitOfWork:
        """Return a new unit of work.

        Raises:
            Unavailable: The database is not open.
        """
        if self.reader is None:
            raise errors.Unavailable("the database is not open")
        return SqliteUnit(self)


class SqliteUnit(UnitOfWork):
    """Unit of work on SQLite: reads in autocommit until `begin`, which switches to the connection for writes."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__()
        self._database = database
        self._connection: sqlite3.Connection | None = database.reader

    async def begin(self) -> None:
        """Wait for the write lock and open the transaction, unless it is open.

        Raises:
            Unavailable: The wait took longer than the timeout.
        """
        if self.writing:
            return
        database = self._database
        deadline = time.monotonic() + database.busy_timeout_seconds
        if database.lock.locked() or database.waiting:
            await self._wait_for_lock()
        else:
            # This does not wait, so it needs no timer.
            await database.lock.acquire()
        try:
            await self._begin_immediate(deadline)
        except BaseException:
            database.lock.release()
            raise
        self._connection = database.writer
        self.writing = True

    async def _wait_for_lock(self) -> None:
        database = self._database
        database.waiting += 1
        try:
            # Not wait_for: on Python 3.11 it loses a cancellation that arrives together with the lock.
            async with asyncio.timeout(database.busy_timeout_seconds):
                await database.lock.acquire()
        except TimeoutError as error:
            raise errors.Unavailable("the database is busy: other writers kept it for too long") from error
        finally:
            database.waiting -= 1

    async def _begin_immediate(self, deadline: float) -> None:
        assert self._database.writer is not None
        pause_seconds = 0.001
        while True:
            try:
                self._database.writer.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise _sqlite_error(error) from error
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 0.02)

    async def insert_all_if_absent(self, model: type[schema.Base], rows: Sequence[dict[str, Any]]) -> None:
        """Insert rows in half the time that one statement for each takes."""
        if len(rows) < 2 or self._logs_statements():
            await super().insert_all_if_absent(model, rows)
            return
        await self.begin()
        now = datetime.now(UTC)
        rows = [{"created_at": now, "updated_at": now, **row} for row in rows]
        compiled = insert_row(model, tuple(rows[0]), True, with_id=False).compiled(SQLITE)
        assert self._connection is not None
        try:
            self._connection.executemany(compiled.sql, [_values(compiled, row) for row in rows])
        except (sqlite3.Error, OverflowError) as error:
            raise _sqlite_error(error) from error

    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        compiled = statement.compiled(SQLITE)
        values = _values(compiled, parameters)
        assert self._connection is not None
        try:
            cursor = self._connection.execute(compiled.sql, values)
            if cursor.description is None:
                return (), cursor.rowcount
            return compiled.rows(cursor.fetchall()), cursor.rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise _sqlite_error(error) from error

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # `close` does not wait, so nothing can cancel it: it needs no task of its own.
        if self.writing:
            await self.close(commit=kind is None)
            # Others get their turn between two transactions of one coroutine.
            await asyncio.sleep(0)

    async def close(self, *, commit: bool) -> None:
        """Commit or roll back, and release the write lock."""
        assert self._connection is not None
        try:
            if commit:
                self._connection.execute("COMMIT")
            elif self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise _sqlite_error(error) from error
        finally:
            self._database.lock.release()


def _values(compiled: Compiled, parameters: dict[str, Any]) -> list[Any]:
    values = compiled.parameters(parameters)
    for value in values:
        if isinstance(value, str) and "\0" in value:
            raise errors.InvalidArgument('invalid byte sequence for encoding "UTF8": 0x00')
    return values


def _sqlite_error(error: Exception) -> errors.FlyteError:
    if isinstance(error, OverflowError):
        return errors.InvalidArgument("integer out of range")
    code = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        # The message is "UNIQUE constraint failed: projects.identifier". All unique keys but one are primary keys.
        table = str(error).rpartition(": ")[2].partition(".")[0]
        return already_exists("resource_idx" if table == "resources" else f"{table}_pkey")
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.Unavailable("the database is busy: other writers kept it for too long")
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return errors.ResourceExhausted("the disk that holds the database is full")
    if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return errors.Unavailable(f"the database file cannot be used: {error}")
    if str(error).startswith(("no such table", "no such column")):
        return errors.Internal(SCHEMA_PROBLEM)
    return errors.Internal("failed database operation")

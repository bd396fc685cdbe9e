"""The database: one unit of work per request, on PostgreSQL (async psycopg) or SQLite (sqlite3).

Reads before `begin` run on autocommit connections and hold nothing. `begin` opens the write
transaction (BEGIN IMMEDIATE on SQLite, whose writers in one process also queue on a lock); the edge
commits at the end of the call or rolls back on any exception. A write function does its reads and its
blob I/O first, then begins, then writes: on SQLite nobody else can write meanwhile.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app import errors, schema, statements
from app.statements import POSTGRESQL, SQLITE, Compiled, Statement

if TYPE_CHECKING:
    from psycopg_pool import AsyncConnectionPool

Row = Any

# SQLSTATE → error. What is not listed is INTERNAL: it is our fault, not the client's.
_SQLSTATES: dict[str, type[errors.FlyteError]] = {
    "23505": errors.AlreadyExists,
    "22001": errors.InvalidArgument,  # value too long for type character varying(300)
    "22003": errors.InvalidArgument,  # integer out of range
    "22007": errors.InvalidArgument,  # invalid input syntax for a time
    "22008": errors.InvalidArgument,  # time out of range
    "22021": errors.InvalidArgument,  # invalid byte sequence
    "22025": errors.InvalidArgument,  # LIKE pattern must not end with escape character
    "22P02": errors.InvalidArgument,  # invalid text representation
    "54000": errors.InvalidArgument,  # index row size exceeds the maximum
    "40001": errors.Aborted,
    "40P01": errors.Aborted,
    "53100": errors.ResourceExhausted,
    "53200": errors.ResourceExhausted,
    "53300": errors.Unavailable,
    "57014": errors.DeadlineExceeded,
    "57P01": errors.Unavailable,
    "57P03": errors.Unavailable,
}


def already_exists(constraint: str) -> errors.AlreadyExists:
    """Upstream's words for a taken key (repositories/errors/postgres.go), the same on both databases."""
    return errors.AlreadyExists(
        f'value with matching already exists (duplicate key value violates unique constraint "{constraint}")'
    )


class UnitOfWork(ABC):
    """The verbs of one request. Rows come back as named tuples of the selected columns."""

    def __init__(self) -> None:
        self.writing = False

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
        self, model: type[schema.Base], *, columns: tuple[str, ...] | None = None, **key: Any
    ) -> Sequence[Row]:
        """Every row of model with this key."""
        return await self.all(statements.find(model, tuple(key), columns, False), **key)

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
    def _unit(self) -> UnitOfWork:
        """A new unit of work."""

    @asynccontextmanager
    async def unit_of_work(self) -> AsyncIterator[UnitOfWork]:
        """A unit of work that commits when the block ends and rolls back when it raises.

        Ending is shielded: a client that goes away cannot leave a half-ended transaction behind.
        """
        unit = self._unit()
        try:
            yield unit
        except BaseException:
            if unit.writing:
                await asyncio.shield(unit.close(commit=False))
            raise
        if unit.writing:
            await asyncio.shield(unit.close(commit=True))


def connect(
    url: str, *, connections_max: int, busy_timeout_seconds: float, statement_timeout_seconds: float
) -> Database:
    """The database at a URL: postgresql://… or sqlite:///absolute/path. Nothing is opened yet."""
    if url.startswith("sqlite:///"):
        return SqliteDatabase(url.removeprefix("sqlite:///"), busy_timeout_seconds=busy_timeout_seconds)
    return PostgresDatabase(
        url.replace("postgresql+psycopg://", "postgresql://", 1),
        connections_max=connections_max,
        statement_timeout_seconds=statement_timeout_seconds,
    )


class PostgresDatabase(Database):
    """PostgreSQL through a pool of async psycopg connections in autocommit mode."""

    def __init__(self, url: str, *, connections_max: int, statement_timeout_seconds: float) -> None:
        self._url = url
        self._connections_max = connections_max
        self._statement_timeout_ms = int(statement_timeout_seconds * 1000)
        self._pool: AsyncConnectionPool[Any] | None = None

    async def open(self) -> None:
        from psycopg_pool import AsyncConnectionPool, PoolTimeout

        self._pool = AsyncConnectionPool(
            self._url,
            open=False,
            min_size=1,
            max_size=self._connections_max,
            kwargs={
                "autocommit": True,
                "prepare_threshold": 2,
                "options": f"-c timezone=UTC -c statement_timeout={self._statement_timeout_ms}",
            },
        )
        try:
            await self._pool.open(wait=True, timeout=10)
        except PoolTimeout as error:
            await self.close()
            raise errors.Unavailable(f"the database does not answer: {error}") from error

    async def close(self) -> None:
        if self._pool is not None:
            await self._pool.close()
            self._pool = None

    def _unit(self) -> UnitOfWork:
        if self._pool is None:
            raise errors.Unavailable("the database is not open")
        return PostgresUnit(self._pool)


class PostgresUnit(UnitOfWork):
    """Autocommit reads from the pool until begin takes a connection for good."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        super().__init__()
        self._pool = pool
        self._connection: Any = None

    async def begin(self) -> None:
        if self.writing:
            return
        try:
            self._connection = await self._pool.getconn()
            self.writing = True
            await self._connection.execute("BEGIN")
        except Exception as error:
            raise _postgres_error(error) from error

    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        compiled = statement.compiled(POSTGRESQL)
        values = compiled.parameters(parameters)
        try:
            if self._connection is not None:
                return await self._execute(self._connection, compiled, values)
            async with self._pool.connection() as connection:
                return await self._execute(connection, compiled, values)
        except errors.FlyteError:
            raise
        except Exception as error:
            raise _postgres_error(error) from error

    @staticmethod
    async def _execute(connection: Any, compiled: Compiled, values: dict[str, Any]) -> tuple[Sequence[Row], int]:
        cursor = connection.cursor(binary=True)
        await cursor.execute(compiled.sql, values)
        if cursor.description is None:
            return (), cursor.rowcount
        return [compiled.row(raw) for raw in await cursor.fetchall()], cursor.rowcount

    async def close(self, *, commit: bool) -> None:
        connection, self._connection = self._connection, None
        try:
            cursor = await connection.execute("COMMIT" if commit else "ROLLBACK")
            if commit and cursor.statusmessage != "COMMIT":
                # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error.
                raise errors.Internal("the transaction had failed before its commit")
        except errors.FlyteError:
            raise
        except Exception as error:
            if commit:
                raise _postgres_error(error) from error
        finally:
            # A connection that is still inside a transaction or broken is discarded by the pool.
            await self._pool.putconn(connection)


def _postgres_error(error: Exception) -> errors.FlyteError:
    import psycopg
    from psycopg_pool import PoolTimeout

    if isinstance(error, PoolTimeout):
        return errors.Unavailable("no database connection became free in time")
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return errors.InvalidArgument('invalid byte sequence for encoding "UTF8": 0x00')
    if isinstance(error, psycopg.errors.UniqueViolation):
        return already_exists(error.diag.constraint_name or "")
    if isinstance(error, psycopg.Error):
        kind = _SQLSTATES.get(error.sqlstate or "")
        if kind is not None:
            return kind(error.diag.message_primary or str(error))
        if isinstance(error, psycopg.OperationalError):
            return errors.Unavailable("the database connection was lost")
    return errors.Internal("failed database operation")


class SqliteDatabase(Database):
    """SQLite in WAL mode: one reading and one writing connection per process, used on the event loop.

    A select by key takes 3 µs, far less than a hop to a thread. Writers of one process queue on a lock;
    writers of other processes are waited for without blocking the loop.
    """

    def __init__(self, path: str, *, busy_timeout_seconds: float) -> None:
        self._path = path
        self.busy_timeout_seconds = busy_timeout_seconds
        self.lock = asyncio.Lock()
        self.reader: sqlite3.Connection | None = None
        self.writer: sqlite3.Connection | None = None

    async def open(self) -> None:
        try:
            self.reader, self.writer = self._connect(), self._connect()
        except sqlite3.Error as error:
            raise errors.Unavailable(f"cannot open the database {self._path}: {error}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=0)
        connection.execute("PRAGMA busy_timeout=1000")
        connection.execute("PRAGMA journal_mode=WAL")
        # In WAL mode NORMAL loses nothing when the process is killed; only a power cut can take the last commits.
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA case_sensitive_like=ON")
        connection.execute("PRAGMA cache_size=-65536")
        connection.execute("PRAGMA busy_timeout=0")
        return connection

    async def close(self) -> None:
        for connection in (self.reader, self.writer):
            if connection is not None:
                connection.close()
        self.reader = self.writer = None

    def _unit(self) -> UnitOfWork:
        if self.reader is None:
            raise errors.Unavailable("the database is not open")
        return SqliteUnit(self)


class SqliteUnit(UnitOfWork):
    """Autocommit reads on the reading connection; begin takes the writing one."""

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__()
        self._database = database
        self._connection: sqlite3.Connection | None = database.reader

    async def begin(self) -> None:
        if self.writing:
            return
        database = self._database
        deadline = time.monotonic() + database.busy_timeout_seconds
        try:
            await asyncio.wait_for(database.lock.acquire(), database.busy_timeout_seconds)
        except TimeoutError as error:
            raise errors.Unavailable("the database is busy: other writers kept it for too long") from error
        try:
            await self._begin_immediate(deadline)
        except BaseException:
            database.lock.release()
            raise
        self._connection = database.writer
        self.writing = True

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

    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        compiled = statement.compiled(SQLITE)
        values = compiled.parameters(parameters)
        for value in values.values():
            if isinstance(value, str) and "\0" in value:
                raise errors.InvalidArgument('invalid byte sequence for encoding "UTF8": 0x00')
        assert self._connection is not None
        try:
            cursor = self._connection.execute(compiled.sql, values)
            if cursor.description is None:
                return (), cursor.rowcount
            return [compiled.row(raw) for raw in cursor.fetchall()], cursor.rowcount
        except (sqlite3.Error, OverflowError) as error:
            raise _sqlite_error(error) from error

    async def close(self, *, commit: bool) -> None:
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


def _sqlite_error(error: Exception) -> errors.FlyteError:
    if isinstance(error, OverflowError):
        return errors.InvalidArgument("integer out of range")
    code = getattr(error, "sqlite_errorcode", 0)
    if code in (sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY):
        # The text is "UNIQUE constraint failed: projects.identifier"; every unique key but one is the table's key.
        table = str(error).rpartition(": ")[2].partition(".")[0]
        return already_exists("resource_idx" if table == "resources" else f"{table}_pkey")
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.Unavailable("the database is busy: other writers kept it for too long")
    if code & 0xFF == sqlite3.SQLITE_FULL:
        return errors.ResourceExhausted("the disk that holds the database is full")
    if code & 0xFF in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return errors.Unavailable(f"the database file cannot be used: {error}")
    return errors.Internal("failed database operation")

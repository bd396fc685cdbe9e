"""PostgreSQL driver: `Database` and `UnitOfWork` of base.py on the connections of connection_pool.py."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import Text, bindparam, func, select

from app import errors
from app.database import schema
from app.database.base import SCHEMA_PROBLEM, Database, Row, UnitOfWork, already_exists
from app.database.connection_pool import RESPONSE_MARGIN_SECONDS, ConnectionPool
from app.database.growth import TableGrowth
from app.database.listening import CHANNEL, Listener
from app.database.pipeline import ConnectionLost, PipelinedConnection
from app.database.server_lock import SERVER_LOCK_SQL
from app.database.statements import POSTGRESQL, Statement, insert_row_in_order

_NOTIFY = Statement(select(func.pg_notify(CHANNEL, bindparam("topic", type_=Text())).label("sent")))

# SQLSTATE → error. Others become INTERNAL: the server caused them, not the client.
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


class PostgresDatabase(Database):
    """A PostgreSQL database, reached through a pool of pipelined connections.

    Args:
        url: postgresql://…
        connections_max: Limit of open connections, at least 2.
        wait_seconds_max: Longest wait for a free connection, and for connecting to each host.
        statement_timeout_seconds: Longest run of one statement.
        serves: Whether the shared connection holds the lock of servers (server_lock.py).
    """

    def __init__(
        self,
        url: str,
        *,
        connections_max: int,
        wait_seconds_max: float,
        statement_timeout_seconds: float,
        serves: bool = False,
    ) -> None:
        self._url = url
        self._connections_max = connections_max
        self._wait_seconds_max = wait_seconds_max
        self._statement_timeout_seconds = statement_timeout_seconds
        self._serves = serves
        self._pool: ConnectionPool | None = None
        self._growth: TableGrowth | None = None

    async def open(self) -> None:
        """Open the shared connection and check the sizes of the tables in the background.

        Raises:
            Unavailable: The server cannot be reached.
        """
        pool = ConnectionPool(
            self._url,
            connections_max=self._connections_max,
            wait_seconds_max=self._wait_seconds_max,
            response_seconds_max=self._statement_timeout_seconds + RESPONSE_MARGIN_SECONDS,
            options=f"-c timezone=UTC -c statement_timeout={int(self._statement_timeout_seconds * 1000)}",
            shared_sql=SERVER_LOCK_SQL if self._serves else "",
        )
        try:
            await pool.shared()
        except psycopg.Error as error:
            raise errors.Unavailable(f"the database does not answer: {error}") from error
        self._pool, self._growth = pool, TableGrowth(pool)
        self._growth.start()

    async def close(self) -> None:
        """Close all connections."""
        if self._growth is not None:
            self._growth.close()
            self._growth = None
        if self._pool is not None:
            self._pool.close()
            self._pool = None

    def unit_of_work(self) -> UnitOfWork:
        """Return a new unit of work.

        Raises:
            Unavailable: The database is not open.
        """
        if self._pool is None or self._growth is None:
            raise errors.Unavailable("the database is not open")
        return PostgresUnit(self._pool, self._growth)

    def listener(self) -> Listener:
        """Return a listener for the notices of other processes. Raises Unavailable where the database is not open."""
        if self._pool is None:
            raise errors.Unavailable("the database is not open")
        return self._pool.listener()


class PostgresUnit(UnitOfWork):
    """Unit of work on PostgreSQL.

    Reads before `begin` run in autocommit: short ones on the shared connection, others on a connection that is acquired
    for one statement. `begin` acquires one connection until `close`; BEGIN is sent together with the first statement.
    """

    def __init__(self, pool: ConnectionPool, growth: TableGrowth) -> None:
        super().__init__()
        self._pool = pool
        self._growth = growth
        self._inserted: Counter[str] = Counter()
        self._connection: PipelinedConnection | None = None

    async def begin(self) -> None:
        """Acquire the connection of the transaction, unless the unit has one."""
        if self.writing:
            return
        try:
            self._connection = await self._pool.acquire()
        except psycopg.Error as error:
            raise _error(error) from error
        self._connection.begin_pending = self.writing = True

    async def insert_if_absent(self, model: type[schema.Base], **values: Any) -> int | None:
        """Insert a row as the base class does, and count it for `TableGrowth`."""
        row_id = await super().insert_if_absent(model, **values)
        if row_id is not None:
            self._inserted[schema.table(model).name] += 1
        return row_id

    async def insert_in_order(self, model: type[schema.Base], order: str, **values: Any) -> int | None:
        """Insert a row under a lock, as the base class describes it, and count it for `TableGrowth`."""
        await self.begin()
        now = datetime.now(UTC)
        values = {"created_at": now, "updated_at": now, **values}
        rows, _ = await self._runner()(insert_row_in_order(model, tuple(values)), {**values, "order": order})
        if rows:
            self._inserted[schema.table(model).name] += 1
        return int(rows[0].id) if rows else None

    async def notify(self, topic: str) -> bool:
        """Send a notice, with the commit."""
        await self.begin()
        await self.one(_NOTIFY, topic=topic)
        return True

    async def _run(self, statement: Statement, parameters: dict[str, Any]) -> tuple[Sequence[Row], int]:
        compiled = statement.compiled(POSTGRESQL)
        values = compiled.parameters(parameters)
        try:
            if self._connection is not None:
                return await self._connection.execute(compiled, values, statement.plan_mode)
            if statement.quick:
                return await (await self._pool.shared()).execute_autocommit(compiled, values)
            connection = await self._pool.acquire()
            try:
                return await connection.execute_autocommit(compiled, values, statement.plan_mode)
            finally:
                self._pool.release(connection)
        except psycopg.Error as error:
            raise _error(error) from error

    async def close(self, *, commit: bool) -> None:
        """Commit or roll back, and release the connection."""
        connection, self._connection = self._connection, None
        assert connection is not None
        try:
            if connection.begin_pending:
                # BEGIN was never sent: no statement has run.
                return
            if connection.busy:
                # The caller was cancelled while a statement ran.
                await connection.cancel()
            tag = await connection.execute_command("COMMIT" if commit else "ROLLBACK")
            if commit and tag != b"COMMIT":
                # PostgreSQL answers COMMIT of a failed transaction with ROLLBACK and no error.
                raise errors.Internal("the transaction had failed before its commit")
            if commit and self._inserted:
                self._growth.add(self._inserted)
        except psycopg.Error as error:
            if commit:
                raise _error(error) from error
        finally:
            self._pool.release(connection)


def _error(error: psycopg.Error) -> errors.FlyteError:
    if isinstance(error, psycopg.DataError) and error.sqlstate is None:
        return errors.InvalidArgument('invalid byte sequence for encoding "UTF8": 0x00')
    if isinstance(error, psycopg.errors.UniqueViolation):
        return already_exists(error.diag.constraint_name or "")
    kind = _SQLSTATES.get(error.sqlstate or "")
    if kind is not None:
        return kind(error.diag.message_primary or str(error))
    if isinstance(error, ConnectionLost):
        return errors.Unavailable(f"the database connection was lost: {error}")
    if isinstance(error, psycopg.OperationalError):
        return errors.Unavailable(f"the database does not answer: {error}")
    if isinstance(error, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return errors.Internal(SCHEMA_PROBLEM)
    return errors.Internal("failed database operation")

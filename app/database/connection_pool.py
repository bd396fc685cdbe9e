"""Pool of pipelined connections of one process to PostgreSQL.

One connection is shared: short reads by key of all requests are sent on it at once (pipeline.py). Every other user,
such as a transaction, acquires a connection for itself and releases it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any

import psycopg

from app import errors
from app.database.listening import Listener
from app.database.pipeline import PipelinedConnection

IDLE_SECONDS_MAX = 600.0
# PostgreSQL ends a statement at its own time limit. A server that takes this much longer is frozen or unreachable.
RESPONSE_MARGIN_SECONDS = 5.0
# Detects a server that disappeared without closing the connection within about a minute.
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}


class ConnectionPool:
    """Opens, lends and closes connections: one shared by short reads, the others lent to one user at a time.

    Args:
        conninfo: URL or connection string of libpq.
        connections_max: Limit of all connections together, at least 2.
        wait_seconds_max: Longest wait for a free connection, and for connecting to each host.
        response_seconds_max: Longest wait for one result; a connection that exceeds it is closed.
        options: Settings of each session, as `-c name=value`.
        shared_sql: Statement to run on each new shared connection before its first use; "" for none.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        connections_max: int,
        wait_seconds_max: float,
        response_seconds_max: float,
        options: str,
        shared_sql: str = "",
    ) -> None:
        self._conninfo = conninfo
        self._connections_max = max(2, connections_max)
        self._wait_seconds_max = wait_seconds_max
        self._response_seconds_max = response_seconds_max
        self._shared_sql = shared_sql
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        defaults = {**_KEEPALIVE, "connect_timeout": max(1, round(wait_seconds_max))}
        self._parameters: dict[str, Any] = {name: value for name, value in defaults.items() if name not in given}
        self._parameters["options"] = options
        # libpq tries hosts one after the other. Its connect_timeout does not cover name resolution.
        self._connect_seconds_max = float(given.get("connect_timeout") or wait_seconds_max) * (
            1 + str(given.get("host") or "").count(",")
        )
        self._open: set[PipelinedConnection] = set()
        self._idle: deque[PipelinedConnection] = deque()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._shared: PipelinedConnection | None = None
        self._opening_shared: asyncio.Task[PipelinedConnection] | None = None
        self._cancelling: set[asyncio.Task[None]] = set()
        self._closed = False

    def listener(self) -> Listener:
        """Return a listener that connects as this pool does. Its connection is not one of the pool."""
        return Listener(self._conninfo, self._parameters, connect_seconds_max=self._connect_seconds_max + 1)

    async def shared(self) -> PipelinedConnection:
        """Return the connection of the short reads, opening it when necessary.

        Raises:
            psycopg.OperationalError: The server cannot be reached.
        """
        connection = self._shared
        if connection is not None and connection.alive:
            return connection
        # All callers wait for one attempt: separate attempts would each wait as long.
        if self._opening_shared is None or self._opening_shared.done():
            self._opening_shared = asyncio.create_task(self._open_shared())
            # Retrieve the error even when every caller was cancelled; asyncio would log it as never retrieved.
            self._opening_shared.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(self._opening_shared)

    async def acquire(self) -> PipelinedConnection:
        """Return a connection for one user, who must `release` it.

        Raises:
            Unavailable: No connection became free in time.
            psycopg.OperationalError: The server cannot be reached.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_seconds_max
        while True:
            if self._idle:
                return self._idle.pop()
            # One slot stays reserved for a shared connection that is closed and may have to be opened again.
            reserved = 0 if self._shared is not None and self._shared.alive else 1
            if len(self._open) + self._connecting + reserved < self._connections_max:
                return await self._connect()
            waiter = loop.create_future()
            self._waiters.append(waiter)
            try:
                # Another caller may take the freed connection first. The deadline stays the same.
                async with asyncio.timeout_at(deadline):
                    await waiter
            except (TimeoutError, asyncio.CancelledError) as error:
                if waiter.done() and not waiter.cancelled():
                    # This waiter was woken and gives up at the same moment: wake the next one instead.
                    self._wake_next_waiter()
                if isinstance(error, TimeoutError):
                    raise errors.Unavailable("no database connection became free in time") from error
                raise

    def release(self, connection: PipelinedConnection) -> None:
        """Take a connection back. Pending statements are cancelled; one with an open transaction is closed."""
        if connection.busy and not self._closed:
            task = asyncio.create_task(self._cancel_and_release(connection))
            self._cancelling.add(task)
            task.add_done_callback(self._cancelling.discard)
        elif not connection.reusable or self._closed:
            connection.close()
        else:
            connection.begin_pending = False
            now = connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if self._idle[0].idle_since < now - IDLE_SECONDS_MAX:
                self._idle[0].close()
            self._wake_next_waiter()

    def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for connection in list(self._open):
            connection.close()

    async def _cancel_and_release(self, connection: PipelinedConnection) -> None:
        try:
            await connection.cancel()
        except BaseException:
            # Nothing else refers to this connection, and it counts against the limit while it is open.
            connection.close()
            raise
        self.release(connection)

    async def _open_shared(self) -> PipelinedConnection:
        connection = await self._connect()
        if self._shared_sql:
            try:
                await connection.execute_command(self._shared_sql)
            except BaseException:
                connection.close()
                raise
        # This task stores the connection, because all callers may have been cancelled.
        self._shared = connection
        # While the connection was being opened, it counted twice: as connecting and as reserved.
        self._wake_next_waiter()
        return connection

    async def _connect(self) -> PipelinedConnection:
        self._connecting += 1
        try:
            async with asyncio.timeout(self._connect_seconds_max + 1):
                raw = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, **self._parameters)
        except TimeoutError as error:
            self._wake_next_waiter()
            raise psycopg.errors.ConnectionTimeout("connection timeout expired") from error
        except BaseException:
            self._wake_next_waiter()
            raise
        finally:
            self._connecting -= 1
        if self._closed:
            await raw.close()
            raise psycopg.OperationalError("the connection pool is closed")
        connection = PipelinedConnection(raw, self._remove, response_seconds_max=self._response_seconds_max)
        self._open.add(connection)
        return connection

    def _remove(self, connection: PipelinedConnection) -> None:
        self._open.discard(connection)
        with suppress(ValueError):
            self._idle.remove(connection)
        if connection.timed_out:
            # The cause of one timeout probably affects idle connections too; each would cost its user the same time.
            for other in list(self._idle):
                other.close()
        self._wake_next_waiter()

    def _wake_next_waiter(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

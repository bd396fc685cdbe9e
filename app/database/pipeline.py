"""One connection to PostgreSQL in libpq's pipeline mode, on the event loop.

Pipeline mode: a statement is sent without waiting for the results of earlier ones; results arrive in the order of the
statements. Short reads of many requests share one connection in this way (connection_pool.py).

Why not psycopg's own cursors and pool: a short select costs them 170 to 290 µs of CPU, and 20 to 40 µs here. psycopg
still connects, converts values and binds libpq.

Each statement is followed by a Sync message: its failure ends there and does not reach the next statement.

Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from app import errors
from app.database.statements import Compiled, PlanMode
from app.system.socket_events import SocketEvents

# A statement is prepared at its second run. Each takes memory of the server, so their number is limited.
PREPARED_MAX = 200
SEEN_MAX = 1_000
CANCEL_SECONDS_MAX = 5.0
# The protocol counts the parameters of a statement in 16 bits.
PARAMETERS_MAX = 65_535
# Holds until the end of the transaction; without an open transaction, until the end of the statement.
_FORCE_GENERIC_PLAN = b"SELECT set_config('plan_cache_mode', 'force_generic_plan', true)"

_CONNECTED, _NO_TRANSACTION = pq.ConnStatus.OK, pq.TransactionStatus.IDLE
_SYNC, _ROWS = pq.ExecStatus.PIPELINE_SYNC, pq.ExecStatus.TUPLES_OK
_FAILURES = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED, pq.ExecStatus.BAD_RESPONSE})
# The server closes the connection after an error of these severities, whatever its SQLSTATE.
_CLOSING_SEVERITIES = ("FATAL", "PANIC")
# SQLSTATEs for a prepared statement that is missing, or that became invalid because a table has changed.
_PREPARED_INVALID = ("26000", "0A000")

Rows = tuple[list[Any], int]


class ConnectionLost(psycopg.OperationalError):
    """The connection broke or was closed before the result arrived."""


class _PendingStatement:
    """A statement that was sent and whose results have not all arrived.

    Attributes:
        future: Gets the result, or the statement's failure.
        key: SQL text and parameter types, by which prepared statements are found.
        results_until_prepared: How many results arrive up to that of PREPARE; 0 once the statement is prepared.
        result: The latest result, or the first failure.
    """

    __slots__ = ("future", "key", "result", "results_until_prepared")

    def __init__(self, future: asyncio.Future[Any], key: Any) -> None:
        self.future = future
        self.key = key
        self.results_until_prepared = 0
        self.result: Any = None


class PipelinedConnection:
    """One connection to the server with a queue of pending statements, oldest first.

    The oldest pending statement must get its result within `response_seconds_max`; otherwise the connection is closed.

    Args:
        connection: An open connection in autocommit mode.
        on_lost: Called once, when the connection has broken or was closed.
        response_seconds_max: Longest wait for one result, in seconds.

    Attributes:
        alive: Whether the connection is open.
        timed_out: Whether it was closed because a result took too long.
        idle_since: When the pool got it back, by the event loop's clock.
        begin_pending: Whether the next statement opens a transaction. BEGIN is sent together with that statement, which
            saves a round trip. When BEGIN fails, the server skips the statement.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        on_lost: Callable[[PipelinedConnection], None],
        *,
        response_seconds_max: float,
    ) -> None:
        self.connection = connection
        self.alive = True
        self.timed_out = False
        self.idle_since = 0.0
        self.begin_pending = False
        self._on_lost = on_lost
        self._pgconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._pending: deque[_PendingStatement] = deque()
        self._prepared: dict[Any, bytes] = {}
        self._prepared_count = 0
        self._seen: set[Any] = set()
        self._drained: asyncio.Future[None] | None = None
        self._response_seconds_max = response_seconds_max
        # When the oldest pending statement times out, by the event loop's clock.
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # Message of a server that closes a connection without pending statements.
        self._closing_notice = ""
        self._loop = asyncio.get_running_loop()
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        connection.add_notice_handler(self._receive_notice)
        self._socket_events = SocketEvents(self._pgconn.socket, self._on_socket_event)

    @property
    def busy(self) -> bool:
        """Whether a statement is pending."""
        return bool(self._pending)

    @property
    def reusable(self) -> bool:
        """Whether the connection is open, without a pending statement and without an open transaction."""
        return self.alive and not self._pending and self._pgconn.transaction_status == _NO_TRANSACTION

    async def execute(self, compiled: Compiled, values: Sequence[Any], plan_mode: PlanMode = PlanMode.AUTO) -> Rows:
        """Run a statement and return its rows and its row count.

        Raises:
            InvalidArgument: The statement has too many parameters.
            ConnectionLost: The connection broke meanwhile.
            psycopg.Error: The server refused the statement.
        """
        return self._rows(compiled, await self._send(compiled.sql, values, plan_mode))

    async def execute_autocommit(
        self, compiled: Compiled, values: Sequence[Any], plan_mode: PlanMode = PlanMode.AUTO
    ) -> Rows:
        """Run a statement outside a transaction, and once more when a migration has invalidated the prepared one.

        Every connection finds out by itself that a statement is invalid. Inside a transaction this retry is impossible:
        the failure has aborted the transaction.

        Raises:
            psycopg.Error: As `execute`.
        """
        try:
            return await self.execute(compiled, values, plan_mode)
        except psycopg.Error as error:
            if plan_mode is PlanMode.CUSTOM or error.sqlstate not in _PREPARED_INVALID:
                raise
        return await self.execute(compiled, values, PlanMode.CUSTOM)

    def _rows(self, compiled: Compiled, result: Any) -> Rows:
        if result.status != _ROWS:
            return [], result.command_tuples or 0
        transformer = self._transformer
        transformer.set_pgresult(result)
        try:
            return transformer.load_rows(0, result.ntuples, compiled.make), result.command_tuples or 0
        finally:
            transformer.set_pgresult(None)

    async def execute_command(self, sql: str) -> bytes:
        """Run a statement without parameters and return its command tag, such as b"COMMIT".

        Raises:
            psycopg.Error: As `execute`.
        """
        result = await self._send(sql, ())
        return result.command_status or b""

    async def cancel(self) -> None:
        """Cancel the pending statements and wait until the server has answered them or the connection is closed."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                await self.connection.cancel_safe(timeout=CANCEL_SECONDS_MAX)
        except (psycopg.Error, TimeoutError):
            # The request may still reach the server, and would then cancel the next statement of this connection.
            self.close()
        if self._pending:
            # The server has received the request, so the result is due soon.
            self._restart_timeout(min(CANCEL_SECONDS_MAX, self._response_seconds_max))
        while self._pending:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """Close the connection; pending statements fail with ConnectionLost."""
        self._disconnect(ConnectionLost("the connection was closed"))

    def _send(self, sql: str, values: Sequence[Any], plan_mode: PlanMode = PlanMode.AUTO) -> asyncio.Future[Any]:
        if len(values) > PARAMETERS_MAX:
            # libpq reports this case with the text of a lost connection.
            raise errors.InvalidArgument(f"the query has {len(values)} parameters, allowed are {PARAMETERS_MAX}")
        transformer, pgconn = self._transformer, self._pgconn
        data = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = transformer.types, transformer.formats
        statement = _PendingStatement(self._loop.create_future(), (sql, types))
        begin, self.begin_pending = self.begin_pending, False
        try:
            if begin:
                pgconn.send_query_params(b"BEGIN", None)
            name = None
            if plan_mode is not PlanMode.CUSTOM:
                name = self._prepared.get(statement.key) or self._prepare(sql, types, statement, begin)
            if plan_mode is PlanMode.GENERIC:
                pgconn.send_query_params(_FORCE_GENERIC_PLAN, None)
            if name is None:
                pgconn.send_query_params(sql.encode(), data, types, formats, pq.Format.BINARY)
            else:
                pgconn.send_query_prepared(name, data, formats, pq.Format.BINARY)
            # After a failure the server skips everything up to this Sync. It also flushes libpq's buffer.
            pgconn.pipeline_sync()
            if not self._pending:
                self._restart_timeout(self._response_seconds_max)
            self._pending.append(statement)
            if pgconn.flush():
                self._socket_events.watch_writable(True)
        except psycopg.OperationalError as error:
            self._disconnect(error)
            raise ConnectionLost(str(error)) from error
        return statement.future

    def _prepare(self, sql: str, types: Any, statement: _PendingStatement, begin: bool) -> bytes | None:
        """Send PREPARE and return the name of the prepared statement; None at the first run of a statement."""
        if statement.key not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(statement.key)
            return None
        statement.results_until_prepared = 2 if begin else 1
        if len(self._prepared) >= PREPARED_MAX:
            oldest = self._prepared.pop(next(iter(self._prepared)))
            self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
            statement.results_until_prepared += 1
        self._prepared_count += 1
        name = self._prepared[statement.key] = b"s%d" % self._prepared_count
        self._pgconn.send_prepare(name, sql.encode(), types)
        return name

    def _restart_timeout(self, seconds_max: float) -> None:
        """Give the oldest pending statement `seconds_max` from now.

        Setting a timer for each statement would cost too much: one timer is set, and moves on when it fires.
        """
        self._deadline = self._loop.time() + seconds_max
        if self._timer is None or self._timer.when() > self._deadline:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._check_timeout)

    def _check_timeout(self) -> None:
        self._timer = None
        if self._pending and self._loop.time() >= self._deadline:
            # The result may have arrived while the event loop was busy with something else.
            self._on_socket_event()
        if not self._pending:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._check_timeout)
        else:
            self.timed_out = True
            self._disconnect(ConnectionLost("the server did not answer in time"))

    def _on_socket_event(self) -> None:
        """Write and read as much as the socket allows, and complete statements whose results have all arrived."""
        pgconn, pending = self._pgconn, self._pending
        try:
            self._socket_events.watch_writable(bool(pgconn.flush()))
            pgconn.consume_input()
            # is_busy must be called without pending statements too: it makes libpq parse the server's closing notice.
            while not pgconn.is_busy() and pending:
                result = pgconn.get_result()
                if result is None:
                    # This ends the results of one statement. After a protocol error nothing else would end this loop.
                    if pgconn.status != _CONNECTED:
                        raise ConnectionLost("the connection has failed")
                elif result.status == _SYNC:
                    self._complete(pending.popleft())
                    self._deadline = self._loop.time() + self._response_seconds_max
                else:
                    self._receive_result(pending[0], result)
            if self._closing_notice:
                raise ConnectionLost(self._closing_notice)
        except psycopg.OperationalError as error:
            self._disconnect(error)
        self._notify_if_drained()

    def _receive_notice(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized in _CLOSING_SEVERITIES:
            self._closing_notice = notice.message_primary or "the server has ended the connection"

    def _notify_if_drained(self) -> None:
        if not self._pending and self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def _receive_result(self, statement: _PendingStatement, result: Any) -> None:
        if result.status in _FAILURES and (
            _severity(result) in _CLOSING_SEVERITIES or self._pgconn.status != _CONNECTED
        ):
            # A failure that libpq itself reports (a protocol error) has no fields.
            raise ConnectionLost(_message(result) or result.get_error_message().strip())
        if statement.result is None or statement.result.status not in _FAILURES:
            statement.result = result
            if result.status in _FAILURES and (
                statement.results_until_prepared or _sqlstate(result) in _PREPARED_INVALID
            ):
                self._prepared.pop(statement.key, None)
        statement.results_until_prepared = max(0, statement.results_until_prepared - 1)

    @staticmethod
    def _complete(statement: _PendingStatement) -> None:
        if statement.future.done():
            # The caller was cancelled.
            return
        if statement.result.status in _FAILURES:
            statement.future.set_exception(error_from_result(statement.result))
        else:
            statement.future.set_result(statement.result)

    def _disconnect(self, error: Exception) -> None:
        if not self.alive:
            return
        self.alive = False
        self._socket_events.close()
        if self._timer is not None:
            self._timer.cancel()
        statements = list(self._pending)
        self._pending.clear()
        for statement in statements:
            if statement.result is not None and statement.result.status in _FAILURES:
                self._complete(statement)
            elif not statement.future.done():
                statement.future.set_exception(ConnectionLost(str(error)))
        self._notify_if_drained()
        self._pgconn.finish()
        self._on_lost(self)


def _sqlstate(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def _severity(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b"").decode()


def _message(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")

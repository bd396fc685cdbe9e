"""Connections to PostgreSQL in libpq's pipeline mode: statements leave at once, results come back in their order.

psycopg connects, converts values and binds libpq; its cursors and its pool are left out, because they make a short
select cost five times what libpq takes for it (170 to 290 µs of CPU against 20 to 40). Quick reads share one line, so
that the statements of many requests travel together; all else takes a line for itself.
Source: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result

from app import errors
from app.database.readiness import Readiness
from app.database.statements import Compiled, Planned

# A statement becomes a prepared one when it comes for the second time; each takes memory of the server.
PREPARED_MAX = 200
SEEN_MAX = 1_000
IDLE_SECONDS_MAX = 600.0
CANCEL_SECONDS_MAX = 5.0
# PostgreSQL ends a statement at its own time limit; a server that is silent for this much longer is frozen or cut off.
ANSWER_MARGIN_SECONDS = 5.0
# The protocol counts the parameters of a statement in 16 bits.
PARAMETERS_MAX = 65_535
# Up to the end of the transaction, which ends with the statement where none is open.
_ONE_PLAN = b"SELECT set_config('plan_cache_mode', 'force_generic_plan', true)"
# A server that is gone without a word is noticed within about a minute.
_KEEPALIVE = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 30_000}

_OK, _IDLE = pq.ConnStatus.OK, pq.TransactionStatus.IDLE
_SYNC, _ROWS = pq.ExecStatus.PIPELINE_SYNC, pq.ExecStatus.TUPLES_OK
_FAILURES = frozenset({pq.ExecStatus.FATAL_ERROR, pq.ExecStatus.PIPELINE_ABORTED, pq.ExecStatus.BAD_RESPONSE})
# The server ends the connection after an error of these severities, whatever its SQLSTATE.
_ENDING = ("FATAL", "PANIC")
# The server does not know the prepared statement, or cannot use it since a table has changed.
_STALE = ("26000", "0A000")

Rows = tuple[list[Any], int]


class Lost(psycopg.OperationalError):
    """The connection broke before the answer came."""


def _sqlstate(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()


def _severity(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) or b"").decode()


def _text(result: Any) -> str:
    return (result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or b"").decode("utf-8", "replace")


class _Call:
    """A statement under way. key: which one; to_prepare: how many results come until it has been prepared, 0 if it has.

    result: the last that came, or the first failure
    """

    __slots__ = ("future", "key", "result", "to_prepare")

    def __init__(self, future: asyncio.Future[Any], key: Any, to_prepare: int) -> None:
        self.future = future
        self.key = key
        self.to_prepare = to_prepare
        self.result: Any = None


class Line:
    """One connection to the server, with the statements that are under way on it, oldest first.

    The oldest statement has `answer_seconds_max` for its answer; then the connection counts as lost.

    Args:
        connection: An open connection in autocommit mode.
        lost: Called once, when the connection has broken or was closed.
        answer_seconds_max: Time limit of each answer, in seconds.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        lost: Callable[[Line], None],
        *,
        answer_seconds_max: float,
    ) -> None:
        self.connection = connection
        self.alive = True
        # Whether it was lost because the server did not answer.
        self.silent = False
        # When it was last given back, by the event loop's clock.
        self.idle_since = 0.0
        # Whether the next statement opens a transaction: BEGIN leaves in one breath with it, and should BEGIN fail, the
        # server skips the statement.
        self.begins = False
        self._lost = lost
        self._pgconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._calls: deque[_Call] = deque()
        self._names: dict[Any, bytes] = {}
        self._seen: set[Any] = set()
        self._made = 0
        self._drained: asyncio.Future[None] | None = None
        self._answer_seconds_max = answer_seconds_max
        # When the oldest statement must have its answer, by the event loop's clock.
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        # The last words of a server that ends a connection on which nothing is under way.
        self._ending = ""
        self._loop = asyncio.get_running_loop()
        self._pgconn.nonblocking = 1
        self._pgconn.enter_pipeline_mode()
        connection.add_notice_handler(self._note)
        self._readiness = Readiness(self._pgconn.socket, self._on_ready)

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._calls)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is under way and no transaction is open."""
        return self.alive and not self._calls and self._pgconn.transaction_status == _IDLE

    async def run(self, compiled: Compiled, values: Sequence[Any], planned: Planned = Planned.FREELY) -> Rows:
        """Rows and row count of a statement. errors: INVALID_ARGUMENT; psycopg.Error, of it Lost"""
        return self._rows(compiled, await self._send(compiled.sql, values, planned))

    async def run_alone(self, compiled: Compiled, values: Sequence[Any], planned: Planned = Planned.FREELY) -> Rows:
        """Like run, outside of a transaction: there a statement that has failed can be sent once more.

        That is done where a migration has made the prepared one useless, which every connection finds out for itself.
        """
        try:
            return await self.run(compiled, values, planned)
        except psycopg.Error as error:
            if planned is Planned.ANEW or error.sqlstate not in _STALE:
                raise
        return await self.run(compiled, values, Planned.ANEW)

    def _rows(self, compiled: Compiled, result: Any) -> Rows:
        if result.status != _ROWS:
            return [], result.command_tuples or 0
        transformer = self._transformer
        transformer.set_pgresult(result)
        try:
            return transformer.load_rows(0, result.ntuples, compiled.make), result.command_tuples or 0
        finally:
            transformer.set_pgresult(None)

    async def command(self, sql: str) -> bytes:
        """Run a statement without parameters; what the server calls it. errors: psycopg.Error, of it Lost"""
        result = await self._send(sql, ())
        return result.command_status or b""

    async def cancel(self) -> None:
        """Ask the server to give up what is under way; until it has, the line must not be used for anything else."""
        try:
            async with asyncio.timeout(CANCEL_SECONDS_MAX):
                await self.connection.cancel_safe(timeout=CANCEL_SECONDS_MAX)
        except (psycopg.Error, TimeoutError):
            # It may still arrive, and would then find the next statement of this line.
            self.close()
        if self._calls:
            # The server has been told, so its answer must come soon.
            self._expect_answer(min(CANCEL_SECONDS_MAX, self._answer_seconds_max))
        while self._calls:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)

    def close(self) -> None:
        """End the connection; whoever waits for an answer gets Lost."""
        self._lose(Lost("the connection was closed"))

    def _send(self, sql: str, values: Sequence[Any], planned: Planned = Planned.FREELY) -> asyncio.Future[Any]:
        if len(values) > PARAMETERS_MAX:
            # libpq refuses it in the words of a connection that is lost, which it is not.
            raise errors.InvalidArgument(f"the query has {len(values)} parameters, allowed are {PARAMETERS_MAX}")
        transformer, pgconn = self._transformer, self._pgconn
        data = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
        types, formats = transformer.types, transformer.formats
        call = _Call(self._loop.create_future(), (sql, types), 0)
        begin, self.begins = self.begins, False
        try:
            if begin:
                pgconn.send_query_params(b"BEGIN", None)
            name = None
            if planned is not Planned.ANEW:
                name = self._names.get(call.key) or self._prepare(sql, types, call, begin)
            if planned is Planned.ONCE:
                pgconn.send_query_params(_ONE_PLAN, None)
            if name is None:
                pgconn.send_query_params(sql.encode(), data, types, formats, pq.Format.BINARY)
            else:
                pgconn.send_query_prepared(name, data, formats, pq.Format.BINARY)
            # This ends what the server skips after a failure, and sends it all.
            pgconn.pipeline_sync()
            if not self._calls:
                self._expect_answer(self._answer_seconds_max)
            self._calls.append(call)
            if pgconn.flush():
                self._readiness.watch_writable(True)
        except psycopg.OperationalError as error:
            self._lose(error)
            raise Lost(str(error)) from error
        return call.future

    def _prepare(self, sql: str, types: Any, call: _Call, begin: bool) -> bytes | None:
        """The name under which the statement is being prepared; None where it comes for the first time."""
        if call.key not in self._seen:
            if len(self._seen) >= SEEN_MAX:
                self._seen.clear()
            self._seen.add(call.key)
            return None
        call.to_prepare = 2 if begin else 1
        if len(self._names) >= PREPARED_MAX:
            oldest = self._names.pop(next(iter(self._names)))
            self._pgconn.send_query_params(b"DEALLOCATE " + oldest, None)
            call.to_prepare += 1
        self._made += 1
        name = self._names[call.key] = b"s%d" % self._made
        self._pgconn.send_prepare(name, sql.encode(), types)
        return name

    def _expect_answer(self, seconds_max: float) -> None:
        """Give the oldest statement this much time from now. The timer is set once and moves on when it fires."""
        self._due = self._loop.time() + seconds_max
        if self._timer is None or self._timer.when() > self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_at(self._due, self._check_due)

    def _check_due(self) -> None:
        self._timer = None
        if self._calls and self._loop.time() >= self._due:
            # The answer may wait to be read: the event loop was perhaps busy with something else.
            self._on_ready()
        if not self._calls:
            return
        if self._loop.time() < self._due:
            self._timer = self._loop.call_at(self._due, self._check_due)
        else:
            self.silent = True
            self._lose(Lost("the server did not answer in time"))

    def _on_ready(self) -> None:
        """Write and read as much as the socket takes and gives."""
        pgconn, calls = self._pgconn, self._calls
        try:
            self._readiness.watch_writable(bool(pgconn.flush()))
            pgconn.consume_input()
            # Asked even where nothing is under way: this is what makes libpq read the server's last words.
            while not pgconn.is_busy() and calls:
                result = pgconn.get_result()
                if result is None:
                    # The end of one statement's results; after a broken protocol there would be no other end.
                    if pgconn.status != _OK:
                        raise Lost("the connection has failed")
                elif result.status == _SYNC:
                    self._finish(calls.popleft())
                    self._due = self._loop.time() + self._answer_seconds_max
                else:
                    self._take(calls[0], result)
            if self._ending:
                raise Lost(self._ending)
        except psycopg.OperationalError as error:
            self._lose(error)
        self._tell_drained()

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        if notice.severity_nonlocalized in _ENDING:
            self._ending = notice.message_primary or "the server has ended the connection"

    def _tell_drained(self) -> None:
        if not self._calls and self._drained is not None:
            self._drained.set_result(None)
            self._drained = None

    def _take(self, call: _Call, result: Any) -> None:
        if result.status in _FAILURES and (_severity(result) in _ENDING or self._pgconn.status != _OK):
            # A failure that libpq itself has found (a broken protocol) carries no fields.
            raise Lost(_text(result) or result.get_error_message().strip())
        if call.result is None or call.result.status not in _FAILURES:
            call.result = result
            if result.status in _FAILURES and (call.to_prepare or _sqlstate(result) in _STALE):
                self._names.pop(call.key, None)
        call.to_prepare = max(0, call.to_prepare - 1)

    @staticmethod
    def _finish(call: _Call) -> None:
        if call.future.done():
            # Whoever asked has been cancelled.
            return
        if call.result.status in _FAILURES:
            call.future.set_exception(error_from_result(call.result))
        else:
            call.future.set_result(call.result)

    def _lose(self, error: Exception) -> None:
        if not self.alive:
            return
        self.alive = False
        self._readiness.close()
        if self._timer is not None:
            self._timer.cancel()
        calls = list(self._calls)
        self._calls.clear()
        for call in calls:
            if call.result is not None and call.result.status in _FAILURES:
                self._finish(call)
            elif not call.future.done():
                call.future.set_exception(Lost(str(error)))
        self._tell_drained()
        self._pgconn.finish()
        self._lost(self)


class Lines:
    """The lines of a process to one database: one shared for quick reads, the others lent to one user at a time.

    Args:
        conninfo: URL or connection string of libpq.
        lines_max: Number of lines of both kinds together, at least 2.
        wait_seconds_max: Time limit for a line that becomes free, and for connecting to each host.
        answer_seconds_max: Time limit of each answer; a line that misses it is closed.
        options: Settings of each session, as `-c name=value`.
        shared_sql: Statement to run on each shared line that is opened, before it is used; "" for none.
    """

    def __init__(
        self,
        conninfo: str,
        *,
        lines_max: int,
        wait_seconds_max: float,
        answer_seconds_max: float,
        options: str,
        shared_sql: str = "",
    ) -> None:
        self._conninfo = conninfo
        self._lines_max = max(2, lines_max)
        self._wait_seconds_max = wait_seconds_max
        self._answer_seconds_max = answer_seconds_max
        self._shared_sql = shared_sql
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
        connecting = {**_KEEPALIVE, "connect_timeout": max(1, round(wait_seconds_max))}
        self._parameters: dict[str, Any] = {name: value for name, value in connecting.items() if name not in given}
        self._parameters["options"] = options
        # Hosts are tried one after the other. Names are resolved by threads that connect_timeout does not limit.
        self._connect_seconds_max = float(given.get("connect_timeout") or wait_seconds_max) * (
            1 + str(given.get("host") or "").count(",")
        )
        self._open: set[Line] = set()
        self._idle: deque[Line] = deque()
        self._connecting = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._shared: Line | None = None
        self._sharing: asyncio.Task[Line] | None = None
        self._giving_up: set[asyncio.Task[None]] = set()
        self._closed = False

    async def shared(self) -> Line:
        """The line of quick reads. errors: psycopg.OperationalError where the server does not answer"""
        line = self._shared
        if line is not None and line.alive:
            return line
        # One attempt for all who wait: each of theirs could last as long.
        if self._sharing is None or self._sharing.done():
            self._sharing = asyncio.create_task(self._share())
            # Its error is looked at here even where nobody waits for it any more.
            self._sharing.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        return await asyncio.shield(self._sharing)

    async def take(self) -> Line:
        """A line for one user, who gives it back.

        errors: UNAVAILABLE when none becomes free in time; psycopg.OperationalError where the server does not answer
        """
        loop = asyncio.get_running_loop()
        due = loop.time() + self._wait_seconds_max
        while True:
            if self._idle:
                return self._idle.pop()
            # One place is kept for the shared line, should it have to be opened again.
            kept = 0 if self._shared is not None and self._shared.alive else 1
            if len(self._open) + self._connecting + kept < self._lines_max:
                return await self._connect()
            waiter = loop.create_future()
            self._waiting.append(waiter)
            try:
                # Others may be faster at what became free, which does not begin the time anew.
                async with asyncio.timeout_at(due):
                    await waiter
            except (TimeoutError, asyncio.CancelledError) as error:
                if waiter.done() and not waiter.cancelled():
                    # Woken in the moment of giving up: the next one is to look instead.
                    self._wake()
                if isinstance(error, TimeoutError):
                    raise errors.Unavailable("no database connection became free in time") from error
                raise

    def give_back(self, line: Line) -> None:
        """The user is done with a line; one that is in the middle of something is made to give that up, or ended."""
        if line.busy and not self._closed:
            task = asyncio.create_task(self._give_up(line))
            self._giving_up.add(task)
            task.add_done_callback(self._giving_up.discard)
        elif not line.at_rest or self._closed:
            line.close()
        else:
            line.begins = False
            now = line.idle_since = asyncio.get_running_loop().time()
            self._idle.append(line)
            if self._idle[0].idle_since < now - IDLE_SECONDS_MAX:
                self._idle[0].close()
            self._wake()

    def close(self) -> None:
        """End all of them."""
        self._closed = True
        for line in list(self._open):
            line.close()

    async def _give_up(self, line: Line) -> None:
        try:
            await line.cancel()
        except BaseException:
            # Nobody else holds it any more, and as long as it is open it counts.
            line.close()
            raise
        self.give_back(line)

    async def _share(self) -> Line:
        # Kept here, not by those who wait: they may all have given up by now.
        line = await self._connect()
        if self._shared_sql:
            try:
                await line.command(self._shared_sql)
            except BaseException:
                line.close()
                raise
        self._shared = line
        # While it was being opened it counted twice, as under way and as kept.
        self._wake()
        return line

    async def _connect(self) -> Line:
        self._connecting += 1
        try:
            async with asyncio.timeout(self._connect_seconds_max + 1):
                connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True, **self._parameters)
        except TimeoutError as error:
            self._wake()
            raise psycopg.errors.ConnectionTimeout("connection timeout expired") from error
        except BaseException:
            self._wake()
            raise
        finally:
            self._connecting -= 1
        line = Line(connection, self._lost, answer_seconds_max=self._answer_seconds_max)
        self._open.add(line)
        return line

    def _lost(self, line: Line) -> None:
        self._open.discard(line)
        with suppress(ValueError):
            self._idle.remove(line)
        if line.silent:
            # What froze one connection has probably frozen the others; each would cost its user the same time.
            for other in list(self._idle):
                other.close()
        self._wake()

    def _wake(self) -> None:
        """Let the first who waits look again."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

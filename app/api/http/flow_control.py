"""Flow control of replies: bounds the unsent bytes, and closes connections whose clients read too slowly.

A body is written in pieces of at most PIECE_BYTES. A piece is written only when the transport has room and, over
HTTP/2, when the windows of its stream and its connection are open. So a transport buffers little more than one piece
for each stream, zttp buffers no body, and the rest of a body waits in the task that sends it.

Three limits apply (section `limits` of the settings):

1. A connection begins no further request while more than connection_unsent_bytes_max of its replies are unsent.
2. When more than unsent_bytes_max are unsent in a process, no connection with unsent bytes begins a request. Then
   connections that read less than SLOW_BYTES_PER_SECOND are closed, the slowest first, until the limit holds.
3. A connection that reads less than PROGRESS_BYTES_MIN in send_wait_seconds_max is closed.
"""

from __future__ import annotations

import asyncio
import functools
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
import zttp
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl

from app.settings import Settings

log = structlog.get_logger(__name__)

# Four DATA frames of the largest size that every HTTP/2 client accepts.
FRAMES_PER_PIECE = 4
PIECE_BYTES = FRAMES_PER_PIECE * 16 * 1024
PROGRESS_BYTES_MIN = 16 * 1024
SLOW_BYTES_PER_SECOND = 64 * 1024
TICK_SECONDS = 0.5

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class BatchingTransport:
    """Transport that joins the writes of one turn of the event loop into one system call.

    uvicorn writes a reply in three parts, and over HTTP/2 the replies of several streams come in one turn. Separate
    system calls would cost up to a third of the time of a short call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._written_bytes = 0

    @property
    def unsent_bytes(self) -> int:
        """Return the number of bytes that the operating system has not accepted yet."""
        return self._waiting_bytes + self._transport.get_write_buffer_size()

    @property
    def taken_bytes(self) -> int:
        """Return the number of bytes that the operating system has accepted since the connection was made."""
        return self._written_bytes - self._transport.get_write_buffer_size()

    def write(self, data: bytes) -> None:
        """Write the data at the end of this turn of the event loop."""
        if not data:
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > HIGH_WATER_LIMIT:
            # The transport asks for a pause only when it has received the bytes.
            self._flush()

    def close(self) -> None:
        """Write the waiting data and close the transport."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
            self._written_bytes += self._waiting_bytes
        self._waiting.clear()
        self._waiting_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class ProcessFlow:
    """Flow control of all connections of one process, on one event loop."""

    def __init__(self, settings: Settings) -> None:
        limits = settings.limits
        self.bytes_max = limits.unsent_bytes_max
        self.connection_bytes_max = limits.connection_unsent_bytes_max
        self.seconds_max = limits.send_wait_seconds_max
        self.waiting_bytes = 0
        self._connections: set[ConnectionFlow] = set()
        self._ticking = False

    @property
    def over_limit(self) -> bool:
        """Return whether more than unsent_bytes_max wait."""
        return self.waiting_bytes > self.bytes_max

    def add(self, connection: ConnectionFlow) -> None:
        """Check a connection every TICK_SECONDS until `remove`."""
        self._connections.add(connection)
        if not self._ticking:
            self._ticking = True
            connection.loop.call_later(TICK_SECONDS, self._tick, connection.loop)

    def remove(self, connection: ConnectionFlow) -> None:
        """Remove a connection that was lost."""
        self._connections.discard(connection)

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        now, unsent_bytes = loop.time(), 0
        for connection in list(self._connections):
            if connection.due <= now:
                connection.due = math.inf
                connection.expire()
            unsent_bytes += connection.check(now, self.seconds_max)
        if unsent_bytes > self.bytes_max:
            self._end_slowest(unsent_bytes - self.bytes_max)
        for connection in self._connections:
            connection.admit()
        self._ticking = bool(self._connections)
        if self._ticking:
            loop.call_later(TICK_SECONDS, self._tick, loop)

    def _end_slowest(self, excess_bytes: int) -> None:
        slow = [one for one in self._connections if one.bytes_per_second < SLOW_BYTES_PER_SECOND]
        slow.sort(key=lambda one: (one.bytes_per_second, -one.unsent_bytes))
        for connection in slow:
            if excess_bytes <= 0:
                return
            excess_bytes -= connection.unsent_bytes
            log.warning(
                "slow_reader_ended",
                client=connection.client,
                unsent_bytes=connection.unsent_bytes,
                limit="limits.unsentBytesMax",
            )
            connection.end()


class ConnectionFlow(FlowControl):
    """Flow control of one connection.

    Attributes:
        due: The time at which `expire` is called, by the clock of the event loop; up to TICK_SECONDS late.

    Args:
        transport: The transport to which replies are written.
        process_flow: The flow control of the process.
        loop: The event loop of the connection.
        end: Ends the connection at once.
        connection: The HTTP/2 connection; None over HTTP/1.1, which has no windows.
    """

    def __init__(
        self,
        transport: BatchingTransport,
        process_flow: ProcessFlow,
        loop: asyncio.AbstractEventLoop,
        end: Callable[[], None],
        connection: zttp.H2Connection | None = None,
    ) -> None:
        super().__init__(transport)  # type: ignore[arg-type]
        self.loop = loop
        self.end = end
        self.due = math.inf
        self.expire: Callable[[], None] = end
        self.waiting_bytes = 0
        self.bytes_per_second: float = SLOW_BYTES_PER_SECOND
        self._transport_writer = transport
        self._process_flow = process_flow
        self._connection = connection
        self._window_waiters: deque[tuple[asyncio.Future[None], zttp.Stream]] = deque()
        self._begin_waiters: list[asyncio.Future[None]] = []
        self._taken_bytes = self._progress_bytes = self._pieces = 0
        self._checked_at = self._progress_at = 0.0

    @property
    def unsent_bytes(self) -> int:
        """Return the number of unsent bytes, in tasks and in the transport."""
        return self.waiting_bytes + self._transport_writer.unsent_bytes

    @property
    def client(self) -> Any:
        """Return the address of the client, for the log."""
        return self._transport_writer.get_extra_info("peername")

    def check(self, now: float, seconds_max: float) -> int:
        """Measure the client's speed, and close the connection when it makes no progress. Return the unsent bytes."""
        unsent_bytes, taken_bytes = self.unsent_bytes, self._transport_writer.taken_bytes
        if not unsent_bytes or not self._checked_at:
            self.bytes_per_second = SLOW_BYTES_PER_SECOND
            self._progress_at, self._progress_bytes = now, taken_bytes
        else:
            self.bytes_per_second = (taken_bytes - self._taken_bytes) / max(now - self._checked_at, 0.001)
            if taken_bytes - self._progress_bytes >= PROGRESS_BYTES_MIN:
                self._progress_at, self._progress_bytes = now, taken_bytes
            elif now - self._progress_at > seconds_max:
                log.info(
                    "slow_reader_ended",
                    client=self.client,
                    unsent_bytes=unsent_bytes,
                    limit="limits.sendWaitSecondsMax",
                )
                self.end()
        self._taken_bytes, self._checked_at = taken_bytes, now if unsent_bytes else 0.0
        return unsent_bytes

    # Beginning requests

    @property
    def full(self) -> bool:
        """Return whether further requests of this connection must wait."""
        return (
            self.write_paused
            or self.waiting_bytes > self._process_flow.connection_bytes_max
            or (self.waiting_bytes > 0 and self._process_flow.over_limit)
        )

    def serving(self, application: Application) -> Application:
        """Return the application under flow control: its start waits, and its replies are sent in pieces."""

        def begin(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            # uvicorn gives the bound method of its RequestResponseCycle, which holds the state of the reply.
            cycle = send.__self__  # type: ignore[attr-defined]
            send_paced = functools.partial(self._send, send, cycle)
            if (self.write_paused or self.waiting_bytes) and self.full:
                return self._begin_later(cycle, application, scope, receive, send_paced)
            return application(scope, receive, send_paced)

        return begin

    async def _begin_later(
        self, cycle: Any, application: Application, scope: Scope, receive: Receive, send: Send
    ) -> None:
        while self.full and not cycle.disconnected:
            future = self.loop.create_future()
            self._begin_waiters.append(future)
            await future
        if not cycle.disconnected:
            await application(scope, receive, send)

    def admit(self) -> None:
        """Start waiting requests when the limits allow it."""
        if self._begin_waiters and not self.full:
            _wake(self._begin_waiters)

    # Sending replies

    def _send(self, send: Send, cycle: Any, message: Message) -> Awaitable[None]:
        """Send one ASGI message. This is no coroutine, so that a short reply costs no further one."""
        if self._connection is not None and cycle.stream.send_window is None:
            # zttp has closed the stream after an error of the connection, without an event for uvicorn. uvicorn drops
            # the messages of a disconnected cycle; zttp would raise.
            cycle.disconnected = True
        body = message.get("body")
        if not body:
            return send(message)
        size = len(body)
        fits = size <= PIECE_BYTES and not self.write_paused
        if fits and (self._connection is None or size <= self._window(cycle)):
            return send(message)
        return self._send_in_pieces(send, cycle, message)

    async def _send_in_pieces(self, send: Send, cycle: Any, message: Message) -> None:
        left, more = memoryview(message["body"]), message.get("more_body", False)
        self._add_waiting(len(left))
        try:
            while left and (size := await self._wait_for_room(cycle)):
                piece, left = left[:size], left[size:]
                self._add_waiting(-len(piece))
                self._pieces += 1
                await send({**message, "body": piece, "more_body": more or bool(left)})
        finally:
            self._add_waiting(-len(left))
            self.windows_changed()

    def take_pieces(self) -> int:
        """Return how many pieces were sent since the last call."""
        pieces, self._pieces = self._pieces, 0
        return pieces

    async def _wait_for_room(self, cycle: Any) -> int:
        """Wait until a piece of the reply can be written. Return its largest size, or 0 after the client has left."""
        while not cycle.disconnected:
            if self.write_paused:
                await self.drain()
                continue
            size = min(PIECE_BYTES, self._window(cycle))
            if size > 0:
                return size
            if cycle.stream.send_window is None:
                # zttp has closed the stream; see the same condition above.
                cycle.disconnected = True
                return 0
            future = self.loop.create_future()
            self._window_waiters.append((future, cycle.stream))
            self.windows_changed()
            await future
        return 0

    def _window(self, cycle: Any) -> int:
        if self._connection is None:
            return PIECE_BYTES
        return min(self._connection.send_window, cycle.stream.send_window or 0)

    def _add_waiting(self, size: int) -> None:
        self.waiting_bytes += size
        self._process_flow.waiting_bytes += size
        if size < 0:
            self.admit()

    def windows_changed(self) -> None:
        """Wake replies whose stream is closed or has an open window, within the window of the connection."""
        if not self._window_waiters:
            return
        assert self._connection is not None
        room, closed = self._connection.send_window, []
        for _ in range(len(self._window_waiters)):
            future, stream = self._window_waiters.popleft()
            window = stream.send_window
            if future.done():
                continue
            if window is None:
                closed.append(future)
            elif window > 0 and room > 0:
                room -= min(window, PIECE_BYTES)
                future.set_result(None)
            else:
                self._window_waiters.append((future, stream))
        _wake(closed)

    def resume_writing(self) -> None:
        """Continue after the transport has room again."""
        super().resume_writing()
        self.admit()

    def close(self) -> None:
        """Wake every task that waits for the connection, which was lost."""
        self._process_flow.remove(self)
        self.resume_writing()
        _wake(self._begin_waiters)
        _wake([future for future, _ in self._window_waiters])
        self._window_waiters.clear()


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
    waiting.clear()

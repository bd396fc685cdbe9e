"""The protocol that serves HTTP/1.1 and HTTP/2 on one port: uvicorn's protocols on zttp, with further limits.

zttp closes a connection after 4,096 streams or 256 resets, and every running call with it. Here a connection is retired
before that: GOAWAY asks the client to open a new one, and running calls are finished. An idle connection and a server
that stops retire connections in the same way.

There are two ways to retire a connection, because clients read GOAWAY differently:

- gRPC: GOAWAY with the highest stream id is sent at once. Clients finish open calls, and later ones are served too.
- HTTP: httpx fails each open request up to the stream id of a GOAWAY, also where the reply is in the same packet, and
  sends later requests again. So from the moment when no stream is open, no further one is served. A little later
  GOAWAY is sent with the id of the last one that was served.

A flood of frames without requests closes a connection. Each received byte is subtracted from an allowance, which
requests, their bodies, replies and time refill. So no kind of frame needs its own counter.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from typing import cast

import zttp
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol
from uvicorn.protocols.utils import is_ssl

from app import errors, limited_log
from app.api.http.flow_control import FRAMES_PER_PIECE, PIECE_BYTES, BatchingTransport, ConnectionFlow, ProcessFlow
from app.api.http.http1 import LAST_REQUEST_SECONDS, Http1Protocol
from app.api.http.refusals import Refusal
from app.runtime.health import Health
from app.settings import Settings

# The difference to zttp's limits is for streams that a client opens before it has read the GOAWAY.
STREAMS_MAX = 3_500
# A connection of HTTP that always has an open stream serves no further one from here on, so that all of them end.
STREAMS_SERVED_MAX = 3_800
RESETS_MAX = 128
GOODBYE_SECONDS = 5.0
# Time for a client of HTTP to read the last reply before the GOAWAY.
LAST_REPLY_SECONDS = 0.5

# Bytes of frames that may come without a request: 4,800 PINGs of 17 bytes, or 9,100 empty frames. zttp's limit for
# the headers of a request, 64 KiB, lies below, since they may come in many pieces.
ALLOWANCE_BYTES = 80 * 1024
ALLOWANCE_BYTES_PER_SECOND = 1024
ALLOWANCE_BYTES_PER_REQUEST = 16 * 1024
# Two WINDOW_UPDATE frames for each DATA frame of a reply, and some more.
ALLOWANCE_BYTES_PER_FRAME = 64

# Without this limit the system buffers megabytes for a client that reads nothing, and hides its progress.
_NOTSENT_LOWAT: int | None = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_NO_ERROR = 0
_ENHANCE_YOUR_CALM = 11
# RFC 9113 6.8: GOAWAY with the highest stream id announces the end and cancels no stream.
_ANY_STREAM = 2**31 - 1
_TLS_HANDSHAKE = 0x16
# A fatal alert of TLS 1.0, which every client reads: protocol_version.
_TLS_ALERT = bytes((21, 3, 1, 0, 2, 2, 70))
_TLS_HINT = "this port serves HTTP without TLS: use http://, or an insecure channel for gRPC"


class Http2Protocol(ZttpH2Protocol):
    """One HTTP/2 connection.

    Attributes:
        head_seconds_max: The time limit for an incomplete frame on an idle connection.
    """

    head_seconds_max: float
    process_flow: ProcessFlow
    health: Health
    flow: ConnectionFlow
    streams_opened = 0
    streams_reset = 0
    retired = False
    _retired_at = 0.0
    _grpc = False
    _serves_streams = True
    _last_served = 0
    _left = False
    _leave_timer: asyncio.TimerHandle | None = None
    _allowance = ALLOWANCE_BYTES
    _allowance_at = 0.0
    _head_due: float | None = None
    _saw_event = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the connection under flow control."""
        super().connection_made(transport)
        self.flow = ConnectionFlow(
            cast(BatchingTransport, transport), self.process_flow, self.loop, self.end, self.conn
        )
        self.app = self.flow.serving(self.app)
        self.process_flow.add(self.flow)
        self._allowance_at = self.loop.time()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the tasks that wait for the connection."""
        super().connection_lost(exc)
        self.flow.close()

    def data_received(self, data: bytes) -> None:
        """Handle the frames, and charge their bytes to the allowance."""
        self._saw_event = False
        self._allowance = min(self._allowance, ALLOWANCE_BYTES) - len(data)
        self._unset_keepalive_if_required()
        try:
            self.conn.receive_data(data)
            self.handle_events()
        except zttp.RemoteProtocolError as error:
            limited_log.warning("bad_http2", client=self.client, reason=str(error))
            self.flush()
            self.transport.close()
            return
        self.flush()
        self.flow.windows_changed()
        if self._allowance < 0 and self._is_flood():
            limited_log.warning("http2_flood", client=self.client, allowance_bytes=ALLOWANCE_BYTES)
            self.end()
        elif not self.cycles and not self.transport.is_closing():
            self._limit_idle()

    def _is_flood(self) -> bool:
        """Return whether the allowance is used up, after adding what the time since the last call refills."""
        now = self.loop.time()
        self._allowance += int((now - self._allowance_at) * ALLOWANCE_BYTES_PER_SECOND)
        self._allowance += self.flow.take_pieces() * ALLOWANCE_BYTES_PER_FRAME * FRAMES_PER_PIECE
        self._allowance_at = now
        return self._allowance < 0

    def _limit_idle(self) -> None:
        """Set the time limit of an idle connection. Bytes of an incomplete frame do not extend it."""
        now = self.loop.time()
        if self._saw_event:
            self._head_due = None
        elif self._head_due is None:
            self._head_due = now + min(self.head_seconds_max, self.timeout_keep_alive)
        due = self._head_due or now + self.timeout_keep_alive
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_at(due, self.timeout_keep_alive_handler)

    def events(self) -> Generator[zttp.Event]:
        """Yield the events of the parser, and refill the allowance for request bodies."""
        while (event := self.conn.next_event()) is not zttp.NEED_DATA:
            self._saw_event = True
            if type(event) is zttp.Data:
                self._allowance += len(event.data) + ALLOWANCE_BYTES_PER_FRAME
            yield event

    def handle_request(self, event: zttp.Request) -> None:
        """Serve a stream whose headers are complete."""
        self._allowance += ALLOWANCE_BYTES_PER_REQUEST
        self.streams_opened += 1
        if self.streams_opened == 1:
            self._grpc = _is_grpc(event)
        if not self._serves_streams:
            # The client sends the request again after the GOAWAY, which does not wait for open streams from here on.
            self._leave_in(LAST_REQUEST_SECONDS)
            return
        self._last_served = event.stream_id
        if event.target.isascii() and event.method.isascii():
            self._serve(event)
        else:
            self._refuse(event.stream_id)
        if self.streams_opened >= STREAMS_MAX or self.health.draining.is_set():
            self._serves_streams = self._grpc or self.streams_opened < STREAMS_SERVED_MAX
            self.retire()

    def _serve(self, event: zttp.Request) -> None:
        super().handle_request(event)
        if event.end_stream:
            # No body follows, and zttp has no event for that. Without this, receive() would never return.
            cycle = self.cycles[event.stream_id]
            cycle.more_body = False
            cycle.message_event.set()

    def _refuse(self, stream_id: int) -> None:
        """Answer a request that uvicorn cannot decode."""
        refusal = Refusal(400, errors.InvalidArgument("the request's path or method holds bytes that are not ASCII"))
        headers, body = refusal.response()
        stream = self.conn.stream(stream_id)
        stream.send_response(refusal.status, headers)
        stream.send_data(body)
        stream.end_message()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """Count a stream that was reset."""
        super().handle_rst_stream(event)
        self.streams_reset += 1
        if self.streams_reset == RESETS_MAX:
            self.retire()

    def retire(self) -> None:
        """Ask the client to open a new connection, in the way of the connection's clients (see above)."""
        if not self.retired:
            self.retired = True
            self._retired_at = self.loop.time()
            if self._grpc:
                self.conn.close(_NO_ERROR, _ANY_STREAM)
                self.flush()
            elif not self.cycles and self.streams_opened:
                self._leave_in(LAST_REPLY_SECONDS)

    def on_stream_closed(self) -> None:
        """Leave a retired connection of HTTP when its last stream has ended."""
        super().on_stream_closed()
        if self.retired and not self._grpc and not self.cycles:
            self._leave_in(LAST_REPLY_SECONDS)

    def _leave(self) -> None:
        """Send GOAWAY with the id of the last served stream, and close the connection a little later.

        The client sends later streams again on another connection. It needs time to read the GOAWAY.
        """
        if not self._left and not self.transport.is_closing():
            self._left = True
            self.conn.close(_NO_ERROR, self._last_served)
            self.flush()
            seconds = LAST_REQUEST_SECONDS if self.health.draining.is_set() else GOODBYE_SECONDS
            self.loop.call_later(seconds, self.transport.close)

    def _leave_in(self, seconds: float) -> None:
        """Serve no further stream, and leave after this time or the one of an earlier call, whichever is shorter."""
        self._serves_streams = False
        due = self.loop.time() + seconds
        if self._leave_timer is None or due < self._leave_timer.when():
            if self._leave_timer is not None:
                self._leave_timer.cancel()
            self._leave_timer = self.loop.call_at(due, self._leave)

    def end(self) -> None:
        """End the connection at once with ENHANCE_YOUR_CALM, which a client that reads nothing does not receive."""
        if not self.transport.is_closing():
            self.conn.close(_ENHANCE_YOUR_CALM)
            self.flush()
            self.transport.close()
        if self.flow.unsent_bytes:
            self.transport.abort()

    def timeout_keep_alive_handler(self) -> None:
        """Send GOAWAY to an idle connection first, so that no request is lost when the connection closes."""
        if self.retired:
            super().timeout_keep_alive_handler()
            return
        self.retire()
        if not self._serves_streams:
            return
        self.timeout_keep_alive_task = self.loop.call_later(GOODBYE_SECONDS, self.timeout_keep_alive_handler)

    def shutdown(self) -> None:
        """End the connection when its streams have ended.

        While the server drains, a client that has just received GOAWAY gets time to read it: until then it may
        begin a stream, which a second GOAWAY would take for one that was never served (RFC 9113 6.8).
        """
        if self.health.draining.is_set() and not self._grpc:
            self._serves_streams = False
            self.retire()
            if not self.cycles:
                self._leave_in(LAST_REPLY_SECONDS)
            return
        seconds = 0.0
        if self.health.draining.is_set():
            self.retire()
            seconds = self._retired_at + LAST_REQUEST_SECONDS - self.loop.time()
        if seconds > 0:
            self.loop.call_later(seconds, self._end_gracefully)
        else:
            self._end_gracefully()

    def _end_gracefully(self) -> None:
        super().shutdown()
        if not self.transport.is_closing():
            self.conn.close()
            self.flush()


def _is_grpc(event: zttp.Request) -> bool:
    """Return whether a request is a gRPC call."""
    return any(
        name.lower() == b"content-type" and value.startswith(b"application/grpc") for name, value in event.headers
    )


class Protocol(AutoZttpProtocol):
    """Choose HTTP/1.1 or HTTP/2 by the first bytes of a connection. Made by `protocol`."""

    http1: type[Http1Protocol]
    http2: type[Http2Protocol]
    health: Health
    head_seconds_max: float
    _stopping = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Apply the time limit of a head to the first bytes, and limit the buffer of the operating system.

        The first bytes choose the protocol over TLS too: clients without ALPN exist, and the preface is the same.
        """
        self.transport = transport
        self.connections.add(self)
        if _NOTSENT_LOWAT is not None:
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, PIECE_BYTES)
        self.timeout_task = self.loop.call_later(self.head_seconds_max, transport.close)

    def data_received(self, data: bytes) -> None:
        """Choose the protocol. Close a TLS connection on a port without TLS."""
        if not self.buffer and data[0] == _TLS_HANDSHAKE and not is_ssl(self.transport):
            limited_log.warning("tls_on_plain_port", client=self.transport.get_extra_info("peername"), hint=_TLS_HINT)
            self.transport.write(_TLS_ALERT)
            self.transport.close()
            return
        super().data_received(data)

    def shutdown(self) -> None:
        """Close the connection. While the server drains, requests of LAST_REQUEST_SECONDS are served first."""
        if not self.health.draining.is_set():
            super().shutdown()
            return
        self._stopping = True
        if self.timeout_task is not None:
            self.timeout_task.cancel()
        self.timeout_task = self.loop.call_later(LAST_REQUEST_SECONDS, self.transport.close)

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:
        chosen = self.http2 if http2 else self.http1
        protocol = chosen(self.config, self.server_state, self.app_state, self.loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(cast(asyncio.Transport, BatchingTransport(self.transport, self.loop)))
        if initial_data:
            protocol.data_received(initial_data)
        if self._stopping:
            protocol.shutdown()


def protocol(settings: Settings, health: Health) -> type[Protocol]:
    """Return the protocol to give uvicorn as `http`. Its connections share the limits of one process.

    Args:
        settings: The settings.
        health: The readiness of the process; while it drains, clients are asked to leave.
    """
    shared = {
        "health": health,
        "head_seconds_max": settings.server.read_header_timeout_seconds,
        "process_flow": ProcessFlow(settings),
    }
    http1 = type("Http1", (Http1Protocol,), dict(shared))
    http2 = type("Http2", (Http2Protocol,), dict(shared))
    return type("Served", (Protocol,), {**shared, "http1": http1, "http2": http2})

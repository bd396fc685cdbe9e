"""The protocol that serves HTTP/1.1 and HTTP/2 on one port, with what uvicorn and zttp leave open.

zttp ends a connection that has opened 4,096 streams or seen 256 of them reset, and every call in flight with it.
Here a connection is retired before: GOAWAY asks the client to go on with a new one and what is in flight ends in
peace. An idle connection and a server that stops say goodbye in the same way. Give the class to uvicorn as `http`.
"""

import asyncio
from typing import Any, cast

import zttp
from uvicorn.protocols.http.auto_zttp_impl import AutoZttpProtocol
from uvicorn.protocols.http.zttp_h2_impl import ZttpH2Protocol

from app.api.http1 import Http1Protocol

# Between these and zttp's own limits lie the streams that a client opens before it has read the GOAWAY.
STREAMS_MAX = 3_500
RESETS_MAX = 128
GOODBYE_SECONDS = 5.0

_NO_ERROR = 0
# RFC 9113 6.8: with the highest stream id GOAWAY announces the end and gives up none of the streams under way.
_ANY_STREAM = 2**31 - 1


class _Batch:
    """A transport whose writes of one turn of the event loop leave together.

    A reply is three writes of uvicorn's, and over HTTP/2 the replies of several streams come in one turn: together they
    cost one system call instead of several each, which is up to a third of the time of a short call.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._waiting: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not data:
            return
        if not self._waiting:
            self._loop.call_soon(self._flush)
        self._waiting.append(data)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._waiting and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
        self._waiting.clear()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Http2Protocol(ZttpH2Protocol):
    """One HTTP/2 connection."""

    streams_opened = 0
    streams_reset = 0
    retired = False

    def handle_request(self, event: zttp.Request) -> None:
        """A stream opened; its headers are complete."""
        super().handle_request(event)
        if event.end_stream:
            # No body follows and zttp sends no other event about it, so without this receive() never returns.
            cycle = self.cycles[event.stream_id]
            cycle.more_body = False
            cycle.message_event.set()
        self.streams_opened += 1
        if self.streams_opened == STREAMS_MAX:
            self.retire()

    def handle_rst_stream(self, event: zttp.RstStream) -> None:
        """A stream was reset, by the client or for its fault."""
        super().handle_rst_stream(event)
        self.streams_reset += 1
        if self.streams_reset == RESETS_MAX:
            self.retire()

    def retire(self) -> None:
        """Ask the client for a new connection; go on serving this one until it is left."""
        if not self.retired:
            self.retired = True
            self.conn.close(_NO_ERROR, _ANY_STREAM)
            self.flush()

    def timeout_keep_alive_handler(self) -> None:
        """The connection has been idle: say goodbye first, so that no request can be on its way when it closes."""
        if self.retired:
            super().timeout_keep_alive_handler()
            return
        self.retire()
        self.timeout_keep_alive_task = self.loop.call_later(GOODBYE_SECONDS, self.timeout_keep_alive_handler)

    def shutdown(self) -> None:
        """The server stops: clients take what comes after this to another server, what is under way is finished."""
        super().shutdown()
        if not self.transport.is_closing():
            self.conn.close()
            self.flush()


class Protocol(AutoZttpProtocol):
    """Tells HTTP/1.1 and HTTP/2 apart by the first bytes of a connection, or by ALPN."""

    http1: type[Http1Protocol] = Http1Protocol

    def _switch(self, http2: bool, initial_data: bytes = b"") -> None:
        chosen = Http2Protocol if http2 else self.http1
        protocol = chosen(self.config, self.server_state, self.app_state, self.loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(cast(asyncio.Transport, _Batch(self.transport, self.loop)))
        if initial_data:
            protocol.data_received(initial_data)

"""The HTTP/1.1 protocol: uvicorn's on zttp, with flow control, a time limit for heads, and errors as JSON."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import cast

import zttp
from uvicorn.protocols.http.zttp_impl import ZttpProtocol

from app import errors, limited_log
from app.api.http.flow_control import BatchingTransport, ConnectionFlow, ProcessFlow
from app.api.http.refusals import Refusal
from app.runtime.health import Health

# zttp does not decode other transfer codings before `chunked`.
_CODING = b"chunked"
# Time for a request that was on its way when the listening socket was closed.
LAST_REQUEST_SECONDS = 1.0
_OF_BODIES = frozenset((zttp.Data, zttp.EndOfMessage))
# The message of zttp for a head, or trailers, of more than 16 KiB or 100 fields.
_TOO_LARGE = "message exceeded configured size limit"


class RequestRefused(zttp.RemoteProtocolError):
    """The protocol refuses a request: it is answered with an error, and the connection is closed."""

    def __init__(self, status: int, error: errors.FlyteError) -> None:
        super().__init__(error.message)
        self.refusal = Refusal(status, error)

    @classmethod
    def of(cls, error: BaseException | None) -> RequestRefused:
        """Return the exception that refuses a request after an error of the parser."""
        if isinstance(error, cls):
            return error
        if str(error) == _TOO_LARGE:
            text = "the request's head is larger than 16 KiB or has more than 100 fields"
            return cls(431, errors.ResourceExhausted(text))
        return cls(400, errors.InvalidArgument(f"the request is no valid HTTP/1.1: {error}"))


class Http1Protocol(ZttpProtocol):
    """One HTTP/1.1 connection.

    Attributes:
        head_seconds_max: The time limit from the first byte of a request to the end of its headers.
    """

    head_seconds_max: float
    process_flow: ProcessFlow
    health: Health
    flow: ConnectionFlow
    _head_due: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Put the connection under flow control."""
        super().connection_made(transport)
        self.flow = ConnectionFlow(cast(BatchingTransport, transport), self.process_flow, self.loop, transport.abort)
        self.flow.expire = self.timeout_keep_alive_handler
        self.app = self.flow.serving(self.app)
        self.process_flow.add(self.flow)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the tasks that wait for the connection."""
        super().connection_lost(exc)
        self.flow.close()

    def data_received(self, data: bytes) -> None:
        """Parse the bytes. Bytes of an incomplete head do not extend its time limit."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            # More requests behind the one that is served wait in the socket, not in zttp, whose buffer has no limit
            # and is moved for each of them. uvicorn resumes reading with the end of the reply.
            self.flow.pause_reading()
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_due = None
            self.flow.due = math.inf
        else:
            if self._head_due is None:
                self._head_due = self.loop.time() + self.head_seconds_max
            self.flow.due = self._head_due

    def on_response_complete(self) -> None:
        """Begin the next request if it is there, else wait for it.

        uvicorn makes a timer of the event loop for each wait, which costs 2 µs. Here ProcessFlow checks the time limit.
        """
        self.server_state.total_requests += 1
        self._head_due = None
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        self.flow.due = self.loop.time() + self.timeout_keep_alive
        if self.cycle is not None and not self.cycle.more_body:
            self.conn.start_next_cycle()
            try:
                self.handle_events(self.conn.next_event())
            except zttp.RemoteProtocolError:
                self.handle_remote_protocol_error()
            if not self.cycle.response_complete:
                self.flow.due = math.inf

    def handle_events(self, event: zttp.Event) -> None:
        """Handle the events of the parser; check each request before uvicorn serves it.

        The rest of a body whose reply is complete is dropped here, because uvicorn would handle the next request in the
        same call.
        """
        if event is zttp.NEED_DATA:
            return
        cycle = self.cycle
        while cycle is not None and cycle.response_complete and type(event) in _OF_BODIES:
            if type(event) is zttp.EndOfMessage:
                cycle.more_body = False
                self.conn.start_next_cycle()
            event = self.conn.next_event()
        if type(event) is zttp.Request:
            if not event.target.isascii():
                # uvicorn decodes the target as ASCII; RFC 9112 3.2 allows nothing else.
                raise RequestRefused(400, errors.InvalidArgument("the request target holds bytes that are not ASCII"))
            if not event.end_stream:
                self._check_coding(event)
        super().handle_events(event)

    def _check_coding(self, request: zttp.Request) -> None:
        """Raise RequestRefused for a body with a coding that zttp would not decode."""
        if isinstance(request.headers, zttp.HeaderBlock):
            for coding in request.headers.getall(b"transfer-encoding"):
                if coding.strip().lower() != _CODING:
                    text = f"unsupported transfer encoding: {coding.decode('latin-1')}; only chunked is decoded"
                    raise RequestRefused(501, errors.Unimplemented(text))

    def handle_remote_protocol_error(self) -> None:
        """Answer a request that cannot be served, and close the connection. uvicorn calls this in its except clause."""
        refusal = RequestRefused.of(sys.exception()).refusal
        limited_log.warning("bad_request", client=self.client, status=refusal.status, reason=refusal.error.message)
        if self.cycle is not None and not self.cycle.response_complete:
            # The handler of the request gets no further body, and this reply replaces the reply of the handler.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        headers, body = refusal.response()
        try:
            self.conn.send_response(refusal.status, [*headers, (b"connection", b"close")])
            self.conn.send_data(body)
            self.conn.end_message()
        except zttp.LocalProtocolError:
            # A reply has begun or is complete, and the connection has no place for another.
            self.transport.close()
            return
        self.transport.write(self.conn.data_to_send())
        self.transport.close()

    def shutdown(self) -> None:
        """Close the connection when its request is answered. When the server has drained, a head may still arrive."""
        between_requests = self.cycle is None or self.cycle.response_complete
        if self.health.draining.is_set() and between_requests and self._head_due is not None:
            self.flow.due = min(self.flow.due, self.loop.time() + LAST_REQUEST_SECONDS)
        else:
            super().shutdown()

    def _unsupported_upgrade_warning(self) -> None:
        """Serve the request without the upgrade, as RFC 9110 7.8 allows; uvicorn would log two lines."""

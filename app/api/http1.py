"""The HTTP/1.1 protocol, with what uvicorn and zttp leave open: heads that come too slowly, bytes that are no ASCII."""

import zttp
from uvicorn.protocols.http.zttp_impl import ZttpProtocol


class Http1Protocol(ZttpProtocol):
    """One HTTP/1.1 connection. head_seconds_max: from the first byte of a request to the end of its headers."""

    head_seconds_max = 32.0
    _head_due: float | None = None

    def data_received(self, data: bytes) -> None:
        """Bytes came; those of a head that is still incomplete buy no further time."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_due = None
        elif not self.transport.is_closing():
            if self._head_due is None:
                self._head_due = self.loop.time() + self.head_seconds_max
            self.timeout_keep_alive_task = self.loop.call_at(self._head_due, self.timeout_keep_alive_handler)

    def on_response_complete(self) -> None:
        """A reply is out: what follows is the next request's."""
        self._head_due = None
        super().on_response_complete()

    def handle_events(self, event: zttp.Event) -> None:
        """Deal with what the parser found."""
        try:
            super().handle_events(event)
        except UnicodeDecodeError as error:
            # uvicorn decodes the request target as ASCII, which is all that RFC 9112 3.2 allows in it.
            raise zttp.RemoteProtocolError("the request target is not ASCII") from error

"""The request side of one gRPC call: its messages, read from the ASGI events of the request body."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from google.protobuf.message import Message
from starlette.types import Receive

from app import errors
from app.api.grpc import protocol
from app.runtime import dispatch


class RequestStream:
    """The messages of one call, decompressed.

    Args:
        encoding: The value of the header grpc-encoding.
        bytes_max: The limit for one message.
        wait_seconds_max: The limit for the arrival of one message; None where the call has a deadline of its own.
    """

    __slots__ = ("_buffer", "_bytes_max", "_encoding", "_ended", "_receive", "_wait_seconds_max")

    def __init__(self, receive: Receive, encoding: bytes, bytes_max: int, wait_seconds_max: float | None) -> None:
        self._receive = receive
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._wait_seconds_max = wait_seconds_max
        self._buffer = bytearray()
        self._ended = False

    async def read(self) -> bytes | None:
        """Return the next message; None when the client has ended its side.

        Raises:
            FlyteError: From `protocol.take_message`; DEADLINE_EXCEEDED when nothing arrives; CANCELED when the
                client disconnects.
        """
        if self._wait_seconds_max is None:
            return await self._read()
        return await dispatch.within_if_it_waits(
            self._wait_seconds_max, self._read(), no_message_text(self._wait_seconds_max)
        )

    async def _read(self) -> bytes | None:
        buffer = self._buffer
        while True:
            message = protocol.take_message(buffer, self._encoding, self._bytes_max) if buffer else None
            if message is not None:
                return message
            if self._ended:
                if buffer:
                    raise errors.Unknown("unexpected EOF")
                return None
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise errors.Canceled("context canceled")
            buffer += event["body"]
            self._ended = not event["more_body"]

    async def read_one(self) -> bytes:
        """Return the only message of a call. Raises UNKNOWN where the client sends none."""
        message = await (self._read() if self._wait_seconds_max is None else self.read())
        if message is None:
            raise errors.Unknown("EOF")
        return message

    async def wait_for_disconnect(self) -> None:
        """Wait, without a limit, until the client disconnects."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


def no_message_text(seconds: float) -> str:
    """Return the error text for a message that does not arrive in time."""
    return f"no message arrived within {seconds:g} seconds"


# Serves one streaming method: takes the request's messages, yields those of the reply.
StreamHandler = Callable[[RequestStream], AsyncIterator[Message]]

"""An API of Kubernetes that accepts every object and keeps none: it counts them. GET /count returns the number.

It reads as little as possible, so that its CPU time does not hide the server's.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop

_CREATED = b'{"metadata":{"uid":"00000000-0000-0000-0000-000000000000"}}'
_END, _LENGTH = b"\r\n\r\n", b"content-length:"
_created = 0


class _Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after the other."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have another base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        global _created
        assert self._transport is not None
        self._received += data
        while (end := self._received.find(_END)) >= 0:
            head = self._received[:end].lower()
            start = head.find(_LENGTH)
            size = int(head[start + len(_LENGTH) :].split(b"\r", 1)[0]) if start >= 0 else 0
            if len(self._received) < end + len(_END) + size:
                return
            self._received = self._received[end + len(_END) + size :]
            if head.startswith(b"post "):
                _created += 1
                self._transport.write(_answer(b"201 Created", _CREATED))
            else:
                self._transport.write(_answer(b"200 OK", b"%d" % _created if head.startswith(b"get /count") else b"{}"))


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    return head + body


async def _serve() -> None:
    server = await asyncio.get_running_loop().create_server(_Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve())

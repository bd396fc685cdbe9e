"""A server that speaks just enough of PostgreSQL's protocol to be connected to, and then breaks in a chosen way."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

_READY = (
    b"R" + struct.pack(">II", 8, 0)
    + b"".join(
        b"S" + struct.pack(">I", 4 + len(pair)) + pair
        for pair in (b"client_encoding\0UTF8\0", b"server_version\x0015.0\0", b"standard_conforming_strings\0on\0")
    )
    + b"K" + struct.pack(">III", 12, 7, 7)
    + b"Z" + struct.pack(">I", 5) + b"I"
)  # fmt: skip


def last_words(severity: str, sqlstate: str, text: str) -> bytes:
    """An ErrorResponse as the server sends before it ends a connection."""
    fields = f"S{severity}\0V{severity}\0C{sqlstate}\0M{text}\0\0".encode()
    return b"E" + struct.pack(">I", len(fields) + 4) + fields


TERMINATED = last_words("FATAL", "57P01", "terminating connection due to administrator command")


class BreakingPostgres:
    """Accepts connections on a free TCP port and answers nothing after the start-up messages.

    Attributes:
        greets: Whether new connections get the start-up answer at all; one that does not is frozen from the start.
    """

    def __init__(self) -> None:
        self.greets = True
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        port = self._listening.getsockname()[1]
        return f"postgresql://flyte@127.0.0.1:{port}/flyte?sslmode=disable&gssencmode=disable"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                (size,) = struct.unpack(">I", client.recv(4))
                client.recv(size - 4)
                self._clients.append(client)
                if self.greets:
                    client.sendall(_READY)

    def say(self, data: bytes) -> None:
        """Send data on every connection, and leave them open."""
        for client in self._clients:
            client.sendall(data)

    def end(self, data: bytes = b"", *, reset: bool = False) -> None:
        """Send data on every connection and close it at once; reset: with RST, not FIN."""
        while self._clients:
            client = self._clients.pop()
            client.sendall(data)
            if reset:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()

    def close(self) -> None:
        self.end()
        self._listening.close()

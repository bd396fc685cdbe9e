"""A supervisor's connection to its server, which never makes the supervisor wait for the server."""

from __future__ import annotations

import json
import select
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">I")
_READ_BYTES = 65536


class ServerConnection:
    """Receives requests and sends messages. A message in either direction is JSON after its length in four bytes.

    Messages that the server does not read yet are kept in memory. Their number has a bound: the server sends a request
    after the answer to the one before, so there is at most one answer, and one end for each task that has started.

    Args:
        connection: The connected socket.
        poll: Where the socket is registered while the connection is open.

    Attributes:
        descriptors: Received descriptors, each for the next request that needs one.
        is_open: Whether the server still reads.
    """

    def __init__(self, connection: socket.socket, poll: select.poll) -> None:
        self.descriptors: list[int] = []
        self.is_open = True
        self._socket = connection
        self._poll = poll
        self._received = bytearray()
        self._unsent = bytearray()
        # Whether the server has closed its side, so that the connection ends with the last message.
        self._finishes = False
        poll.register(connection, select.POLLIN)

    def fileno(self) -> int:
        """Return the descriptor of the socket; -1 after `close`."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message to the server, if it still runs; keep the part of it that the socket does not take."""
        if not self.is_open:
            return
        body = json.dumps(message).encode()
        self._unsent += _LENGTH.pack(len(body)) + body
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes. Poll reports when it takes more."""
        had = len(self._unsent)
        try:
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if self._finishes and not self._unsent:
            self.close()
        elif had:
            self._watch()

    def receive(self) -> list[dict[str, Any]] | None:
        """Return the requests that have arrived; None when the server sends no more."""
        if self._finishes:
            return []
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _READ_BYTES, 1, socket.MSG_DONTWAIT)
            self.descriptors += descriptors
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return None
        self._received += data
        requests = []
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                break
            requests.append(json.loads(self._received[_LENGTH.size : end]))
            del self._received[:end]
        return requests

    def finish(self) -> None:
        """Close the connection when the last message is sent."""
        self._finishes = True
        if self.is_open:
            self._watch()
            self.flush()

    def close(self) -> None:
        """Close the connection, whose messages the server does not need any more."""
        if self.is_open:
            self._poll.unregister(self._socket)
            self._socket.close()
            self.is_open = False

    def _watch(self) -> None:
        reading = 0 if self._finishes else select.POLLIN
        self._poll.modify(self._socket, reading | (select.POLLOUT if self._unsent else 0))

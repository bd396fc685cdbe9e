"""HTTP/1.1 to one API server: connections that are kept open, and answers that httptools parses.

A general client takes ten times the CPU time of a call: each launch is a call, so that cost limits the launches of a
server (benchmarks/README.md).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

# A connection that was idle for longer is not used again: a load balancer may have dropped it without a notice.
IDLE_SECONDS_MAX = 15.0
# Bytes of an answer that are read. A page of metadata takes about 1 MB.
ANSWER_BYTES_MAX = 64 * 1024 * 1024
HEADER_BYTES_MAX = 256 * 1024


class NoAnswer(Exception):
    """A request without an answer. The text is that of Go's HTTP client, which upstream's messages contain."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request.

    Attributes:
        status: The HTTP status.
        headers: The values by names in lower case. Of several the last one counts.
        content: The body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes


class Connections:
    """The connections to one server. The caller limits the number of requests at once.

    Args:
        address: The server's address of http or https, maybe with a path.

    Raises:
        ValueError: The address is none of http or https, or has no host.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{address!r} is no address of http or https")
        self._host, self._is_https = parts.hostname, parts.scheme == "https"
        self._port = parts.port or (443 if self._is_https else 80)
        self._path = parts.path.rstrip("/")
        self._netloc = parts.netloc.rpartition("@")[2]
        self._idle: list[_Connection] = []
        self._tls: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, *, tls: ssl.SSLContext | None
    ) -> Answer:
        """Send one request and return the answer, whatever its status.

        Args:
            method: The method.
            target: Path and query.
            headers: Further headers than Host and Content-Length.
            body: The body, b"" for none.
            tls: The TLS context. Connections with another one are closed.

        Raises:
            NoAnswer: There is no connection, or it broke.
            ValueError: A header has a character that none can have.
        """
        fields = {"Host": self._netloc, **headers}
        if body:
            fields["Content-Length"] = str(len(body))
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        head = f"{method} {self._path}{target} HTTP/1.1\r\n{lines}\r\n"
        if not head.count("\n") == head.count("\r") == len(fields) + 2:
            raise ValueError("a header has a line break")
        if tls is not self._tls:
            self.close()
            self._tls = tls
        connection = self._take() or await self._connect(tls)
        try:
            answer = await connection.request(head.encode("latin-1") + body)
        except BaseException:
            # Also a timeout: an answer that comes later belongs to no request.
            connection.abort()
            raise
        if connection.is_usable and tls is self._tls:
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    def _take(self) -> _Connection | None:
        """Return the connection that was used last; close those that were idle for too long."""
        since = asyncio.get_running_loop().time() - IDLE_SECONDS_MAX
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable and connection.used_at >= since:
                return connection
            connection.abort()
        return None

    async def _connect(self, tls: ssl.SSLContext | None) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: _Connection(loop), self._host, self._port, ssl=tls if self._is_https else None
            )
        except socket.gaierror as error:
            reason = "no such host" if error.errno == socket.EAI_NONAME else error.strerror
            raise NoAnswer(f"dial tcp: lookup {self._host}: {reason}") from error
        except ssl.SSLError as error:
            raise NoAnswer(f"tls: {error}") from error
        except OSError as error:
            refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
            reason = "connect: connection refused" if refused else str(error) or type(error).__name__
            raise NoAnswer(f"dial tcp {self._netloc}: {reason}") from error
        return connection


class _Connection(asyncio.Protocol):
    """One connection, which has one request at a time. The methods `on_…` are called by the parser.

    Attributes:
        used_at: The time of the last answer, in the loop's clock.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.used_at = loop.time()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[Answer] | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._size = 0
        self._header_bytes = 0
        self._has_head = False

    @property
    def is_usable(self) -> bool:
        """Whether another request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def request(self, content: bytes) -> asyncio.Future[Answer]:
        """Send a request and return its answer, later."""
        self._waiting = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            self._fail("EOF")
            return self._waiting
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._pieces, self._size, self._header_bytes = {}, [], 0, 0
        self._has_head = False
        self._transport.write(content)
        return self._waiting

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport. uvloop's transports have another base class."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse a part of an answer."""
        if self._parser is None:
            # The server sent data without a request.
            self.abort()
            return
        if not self._has_head:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(f"net/http: HTTP/1.x transport connection broken: malformed HTTP response: {error}")
            self.abort()
            return
        if not self._has_head and self._header_bytes > HEADER_BYTES_MAX:
            self._fail(f"the answer has more than {HEADER_BYTES_MAX} bytes of headers")
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """End a request that has no answer."""
        self._transport = None
        lengths = self._headers.keys() & {"content-length", "transfer-encoding"}
        if error is None and self._has_head and not lengths:
            # The body of such an answer ends with the connection.
            self.on_message_complete()
        self._fail("EOF")

    # httptools.HttpResponseParser.

    def on_message_begin(self) -> None:
        """Use the connection no more after an answer to no request, which follows another one in the same data."""
        if self._parser is None:
            self._headers = {}
            self.abort()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Expect the body."""
        self._has_head = True

    def on_body(self, piece: bytes) -> None:
        """Keep a part of the body."""
        self._size += len(piece)
        if self._size > ANSWER_BYTES_MAX:
            self._fail(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            self.abort()
            return
        self._pieces.append(piece)

    def on_message_complete(self) -> None:
        """Pass the answer on. One of 1xx only announces the answer."""
        if self._parser is not None and self._parser.get_status_code() < 200:
            self._headers, self._has_head = {}, False
            return
        parser, self._parser = self._parser, None
        if parser is None or self._waiting is None or self._waiting.done():
            return
        self.used_at = self._loop.time()
        self._waiting.set_result(Answer(parser.get_status_code(), self._headers, b"".join(self._pieces)))
        if not parser.should_keep_alive():
            self.abort()

    def _fail(self, text: str) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(NoAnswer(text))

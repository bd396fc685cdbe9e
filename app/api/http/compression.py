"""Replies with Content-Encoding gzip, for clients that accept it.

JSON and text from `limits.gzip_reply_bytes_min` on are compressed: below that, gzip saves no packet. Partial content,
encoded bodies, binary messages and stored objects are sent as they are. The API's replies hold no secret of the
session beside text that the sender chose, so their length reveals none (BREACH).

REST replies are whole bodies: `app/api/rest/exchange.py` calls `encoded`. Pages may stream: `Gzip` wraps them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.cache import ByteCache
from app.runtime.threads import in_thread_if_large

Header = tuple[bytes, bytes]

# Level 4 takes twice the time of level 3 and makes JSON of the API 10 % smaller (4.6 MB: 40 and 20 ms).
LEVEL = 3
# Compressing this much takes 0.3 ms. zlib releases the interpreter.
THREAD_BYTES_MIN = 64 * 1024
_GZIP_WINDOW = zlib.MAX_WBITS | 16

VARY: Header = (b"vary", b"Accept-Encoding")
ENCODING: Header = (b"content-encoding", b"gzip")
_TYPES = (b"text/", b"application/json", b"application/javascript", b"image/svg+xml")
# A stream of events is read while it is written, and has no end.
_EVENTS = b"text/event-stream"
# These headers describe the body as it is without encoding.
_OF_IDENTITY = frozenset({b"content-length", b"accept-ranges"})


def accepts_gzip(headers: Iterable[Header]) -> bool:
    """Return whether the headers of a request prefer gzip to no encoding (RFC 9110, 12.5.3)."""
    return _prefers_gzip(b",".join(value for name, value in headers if name == b"accept-encoding"))


@lru_cache(maxsize=256)
def _prefers_gzip(given: bytes) -> bool:
    weights: dict[bytes, float] = {}
    for part in given[:1024].lower().split(b","):
        coding, *parameters = (one.strip() for one in part.split(b";"))
        weights[coding] = _weight(parameters)
    gzip = weights.get(b"gzip", weights.get(b"x-gzip", weights.get(b"*", 0.0)))
    return gzip > 0 and gzip >= weights.get(b"identity", 0.0)


def _weight(parameters: Sequence[bytes]) -> float:
    """Return the weight `q`: 1 without one, 0 where it is no number from 0 to 1."""
    for parameter in parameters:
        if parameter.startswith(b"q="):
            try:
                weight = float(parameter[2:])
            except ValueError:
                return 0.0
            return weight if 0.0 <= weight <= 1.0 else 0.0
    return 1.0


def compress(body: bytes) -> bytes:
    """Return the body as gzip."""
    return zlib.compress(body, LEVEL, _GZIP_WINDOW)


async def encoded(
    scope: Scope, headers: list[Header], body: bytes, cached: tuple[ByteCache, tuple[Any, ...]] | None = None
) -> tuple[list[Header], bytes]:
    """Return headers and body of a reply that is large enough, compressed where the client accepts that.

    Args:
        scope: The request.
        headers: The headers of the reply, without Content-Length.
        body: JSON or text.
        cached: A cache, and the key of this reply in it: the compressed form is cached, too.
    """
    if not accepts_gzip(scope["headers"]):
        return [*headers, VARY], body
    headers = [*headers, VARY, ENCODING]
    if cached is None:
        return headers, await in_thread_if_large(len(body), compress, body, bytes_min=THREAD_BYTES_MIN)
    cache, key = cached
    found = cache.get(("gzip", *key))
    if found is None:
        found = await in_thread_if_large(len(body), compress, body, bytes_min=THREAD_BYTES_MIN)
        cache.put(("gzip", *key), found)
    return headers, found


class Gzip:
    """ASGI middleware for pages. Each piece of a stream is sent when it is written, compressed.

    Args:
        bytes_min: The size of a body from which it is compressed; 0 compresses none.
    """

    def __init__(self, app: ASGIApp, bytes_min: int) -> None:
        self._app = app
        self._bytes_min = bytes_min

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; compress the reply where its headers and size allow it."""
        if scope["type"] == "http" and self._bytes_min:
            send = _Reply(scope, send, self._bytes_min).send
        await self._app(scope, receive, send)


class _Reply:
    """Holds the head of a reply back until the first piece of its body."""

    def __init__(self, scope: Scope, send: Send, bytes_min: int) -> None:
        self._scope = scope
        self._send = send
        self._bytes_min = bytes_min
        self._head: Message | None = None
        self._compressor: zlib._Compress | None = None

    async def send(self, message: Message) -> None:
        """Send a message of the application to the client."""
        kind = message["type"]
        if kind == "http.response.start" and _compressible(message):
            self._head = message
            return
        if kind == "http.response.body":
            if self._head is not None:
                await self._begin(message)
            if self._compressor is not None:
                message = {**message, "body": await self._piece(message)}
        elif self._head is not None:
            # A server's extension, such as the path of a file, in place of a body.
            head, self._head = self._head, None
            await self._send(head)
        await self._send(message)

    async def _begin(self, message: Message) -> None:
        """Send the head, with the encoding that the size of the body and the request allow."""
        head, self._head = self._head, None
        assert head is not None
        if message.get("more_body", False) or len(message.get("body", b"")) >= self._bytes_min:
            headers = [*head["headers"], VARY]
            if accepts_gzip(self._scope["headers"]) and self._scope["method"] != "HEAD":
                self._compressor = zlib.compressobj(LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
                headers = [_weakened(one) for one in headers if one[0] not in _OF_IDENTITY] + [ENCODING]
            head = {**head, "headers": headers}
        await self._send(head)

    async def _piece(self, message: Message) -> bytes:
        body, last = message.get("body", b""), not message.get("more_body", False)
        return await in_thread_if_large(len(body), self._compressed, body, last, bytes_min=THREAD_BYTES_MIN)

    def _compressed(self, body: bytes, last: bool) -> bytes:
        assert self._compressor is not None
        return self._compressor.compress(body) + self._compressor.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


def _compressible(head: Message) -> bool:
    """Return whether a reply is whole, may be changed on its way, has no encoding yet, and is JSON or text."""
    headers = dict(head["headers"])
    content_type = headers.get(b"content-type", b"")
    return (
        head["status"] != 206
        and b"content-encoding" not in headers
        and b"no-transform" not in headers.get(b"cache-control", b"")
        and content_type.startswith(_TYPES)
        and not content_type.startswith(_EVENTS)
    )


def _weakened(header: Header) -> Header:
    """Return a strong ETag as a weak one: the compressed body is equivalent, and not the same bytes."""
    name, value = header
    return (name, b"W/" + value) if name == b"etag" and not value.startswith(b"W/") else header

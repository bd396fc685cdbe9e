"""REST requests and replies on ASGI: headers, bodies within their limits, codecs, errors, redirects."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.http.compression import encoded
from app.api.http.refusals import challenge
from app.api.status import http_status
from app.api.timeouts import timeout_seconds
from app.cache import ByteCache
from app.runtime.rows import Rpc
from app.runtime.threads import in_thread_if_large
from app.wire.codecs import BY_MEDIA_TYPE, CAMEL_JSON, CAMEL_TYPE, Codec
from app.wire.go.gojson import has_more_values

if TYPE_CHECKING:
    from app.settings import Settings

T = TypeVar("T")
Header = tuple[bytes, bytes]
Headers = list[Header]
Cached = tuple[ByteCache, tuple[Any, ...]]

# JSON may be longer than its message. A body of more than this many times the limit for messages is not read.
BODY_PER_MESSAGE_MAX = 4
# Replies above this size are written in a thread, so that other requests are served meanwhile.
THREAD_BYTES_MIN = 256 * 1024
# JSON bodies above this size are read in a thread: the exact reader takes up to 5 µs a byte.
JSON_THREAD_BYTES_MIN = 16 * 1024
# Threads for both. Each busy one keeps the event loop from the interpreter for up to 5 ms at a time.
THREADS = ThreadPoolExecutor(2, thread_name_prefix="large-bodies")

_FORM = b"application/x-www-form-urlencoded"
_CAMEL_PARAMETER = CAMEL_TYPE.partition("; ")[2].encode()
_READ = frozenset(
    {
        b"content-type",
        b"content-length",
        b"transfer-encoding",
        b"te",
        b"host",
        b"grpc-timeout",
        b"x-request-id",
        b"x-http-method-override",
    }
)
_CONTENT_TYPES = {codec: (b"content-type", codec.content_type.encode()) for codec in BY_MEDIA_TYPE.values()}
# Parity: the gateway adds these to replies of its gRPC server.
_GRPC = (b"grpc-metadata-content-type", b"application/grpc")
TRAILER = (b"grpc-trailer-content-type", b"application/grpc")


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


async def read_body(
    receive: Receive, bytes_max: int, wait_seconds_max: float, too_large: Callable[[int], errors.FlyteError]
) -> bytes:
    """Return a request's whole body.

    Raises:
        FlyteError: The error that `too_large` makes for a body of that many bytes; DEADLINE_EXCEEDED for a body that is
            not complete in time.
        ClientDisconnected: The body did not arrive.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(wait_seconds_max):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise ClientDisconnected
                body += event.get("body", b"")
                if len(body) > bytes_max:
                    raise too_large(len(body))
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise errors.DeadlineExceeded(f"the body did not arrive within {wait_seconds_max:g} seconds") from error


@dataclass(slots=True)
class Head:
    """The head of one request.

    Attributes:
        fields: The first value of each header that this module reads.
        reader: The codec of the request body.
        writer: The codec of the reply.
        form: Whether the body is a posted HTML form.
        accepted: Whether the header Accept names the codec of the reply.
        gzip_bytes_min: The size of a reply from which it is compressed; 0 compresses none.
    """

    fields: dict[bytes, bytes]
    reader: Codec
    writer: Codec
    form: bool = False
    accepted: bool = True
    gzip_bytes_min: int = 0

    @classmethod
    def of(cls, scope: Scope, gzip_bytes_min: int = 0) -> Head:
        """Parse the head of a request.

        Parity: an Accept header counts only when it equals one media type (MarshalerForRequest).
        """
        fields: dict[bytes, bytes] = {}
        writer = None
        for name, value in scope["headers"]:
            if name in _READ:
                fields.setdefault(name, value)
            elif name == b"accept" and writer is None:
                writer = BY_MEDIA_TYPE.get(value)
        reader: Codec = CAMEL_JSON
        content_type = fields.get(b"content-type")
        if content_type:
            media_type, *parameters = content_type.split(b";")
            if _CAMEL_PARAMETER not in map(bytes.strip, parameters):
                reader = BY_MEDIA_TYPE.get(media_type.strip().lower(), CAMEL_JSON)
        form = content_type == _FORM and scope["method"] == "POST"
        return cls(fields, reader, writer or reader, form, writer is not None, gzip_bytes_min)

    def compresses(self, body: bytes) -> bool:
        """Return whether a reply with this body is compressed for a client that accepts it."""
        return 0 < self.gzip_bytes_min <= len(body) and self.writer.is_json

    @property
    def trailers(self) -> bool:
        """Return whether the client accepts trailers."""
        return b"trailers" in self.fields.get(b"te", b"").lower()

    def text(self, name: bytes) -> str:
        """Return a header as text, "" where it is absent."""
        return self.fields.get(name, b"").decode("latin-1")

    def seconds(self) -> float | None:
        """Return the header Grpc-Timeout in seconds, None without one. Raises INVALID_ARGUMENT for a malformed one."""
        value = self.text(b"grpc-timeout")
        if not value:
            return None
        try:
            amount = timeout_seconds(value)
        except ValueError as error:
            raise errors.InvalidArgument(f"invalid grpc-timeout: {value}") from error
        # Parity: a timeout of zero is none (annotateContext).
        return amount or None


class BodyReader:
    """Reads request bodies within the limits of one server.

    Limits: `server.grpc.maxMessageSizeBytes` for a message, `limits.body_wait_seconds_max` for the arrival of a body,
    `limits.json_values_max` for JSON.
    """

    def __init__(self, settings: Settings) -> None:
        self._message_bytes_max = settings.request_body_bytes_max
        self._values_max = settings.limits.json_values_max
        self._wait_seconds_max = settings.limits.body_wait_seconds_max

    async def read(self, scope: Scope, receive: Receive, head: Head) -> bytes:
        """Return the whole body, b"" where the request has none.

        Raises:
            FlyteError: RESOURCE_EXHAUSTED for a body that is too large, DEADLINE_EXCEEDED for one that is late.
            ClientDisconnected: The body did not arrive.
        """
        declared = head.fields.get(b"content-length")
        if declared is None and not _may_have_body(scope, head):
            return b""
        bytes_max = self._message_bytes_max * BODY_PER_MESSAGE_MAX
        if declared is not None and declared.isdigit():
            if int(declared) == 0:
                return b""
            if int(declared) > bytes_max:
                raise self._too_large(int(declared))
        return await read_body(receive, bytes_max, self._wait_seconds_max, self._too_large)

    async def message(self, type_: type[Message], body: bytes, codec: Codec) -> Message:
        """Decode a body; a large one in a thread. Raises FlyteError: INVALID_ARGUMENT, RESOURCE_EXHAUSTED."""
        if not body:
            return type_()
        if not codec.is_json:
            self._check_size(len(body))
            return await in_thread_if_large(
                len(body), codec.read, type_, body, bytes_min=THREAD_BYTES_MIN, threads=THREADS
            )
        return await in_thread_if_large(
            len(body), self._read_json, type_, body, codec, bytes_min=JSON_THREAD_BYTES_MIN, threads=THREADS
        )

    def _read_json(self, type_: type[Message], body: bytes, codec: Codec) -> Message:
        # Deviates: upstream reads any number of values, in a thread of its own.
        if has_more_values(body, self._values_max):
            raise errors.ResourceExhausted(
                f"the body has more than {self._values_max} JSON values (limits.jsonValuesMax); "
                "binary bodies (application/octet-stream) and gRPC have no such limit"
            )
        message = codec.read(type_, body)
        if len(body) > self._message_bytes_max // 8:
            self._check_size(message.ByteSize())
        return message

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._message_bytes_max:
            raise self._too_large(size_bytes)

    def _too_large(self, size_bytes: int) -> errors.ResourceExhausted:
        text = f"grpc: received message larger than max ({size_bytes} vs. {self._message_bytes_max})"
        return errors.ResourceExhausted(text)


def _may_have_body(scope: Scope, head: Head) -> bool:
    """Return whether a request without Content-Length may have a body."""
    if scope["http_version"].startswith("2"):
        # Some servers never announce the end of the body of such a DELETE, so reading it could wait forever.
        return bool(scope["method"] != "DELETE")
    return b"transfer-encoding" in head.fields


def cache_key(rpc: Rpc, scope: Scope, head: Head) -> tuple[Any, ...]:
    """Return the cache key of a request: the target as sent, because other spellings may name other entities."""
    return rpc.name, head.writer, b"%b?%b" % (scope.get("raw_path") or b"", scope["query_string"])


async def send_reply(
    send: Send, scope: Scope, head: Head, body: bytes, headers: Sequence[Header] = (), cached: Cached | None = None
) -> None:
    """Send a successful reply, with further headers.

    Args:
        send: Sends to the client.
        scope: The request.
        head: The head of the request.
        body: The body.
        headers: Further headers.
        cached: Where the body is cached, so that its compressed form is, too.
    """
    headers = [_CONTENT_TYPES[head.writer], _GRPC, *headers]
    if head.compresses(body):
        headers, body = await encoded(scope, headers, body, cached)
    await send_answer(send, scope, 200, headers, body, chunked=head.trailers)


async def send_error(
    send: Send,
    scope: Scope,
    head: Head,
    error: errors.FlyteError,
    *,
    chunked: bool = False,
    trailer: tuple[bytes, bytes] | None = None,
) -> None:
    """Send an error as google.rpc.Status. See `send_answer` for the arguments."""
    headers = [_CONTENT_TYPES[head.writer]]
    if error.code == errors.Unauthenticated.code:
        headers.append(challenge(error))
    body = head.writer.write_error(error)
    if head.compresses(body):
        headers, body = await encoded(scope, headers, body)
    await send_answer(send, scope, http_status(error.code), headers, body, chunked=chunked, trailer=trailer)


async def redirect(send: Send, scope: Scope, path: str) -> None:
    """Send a redirect to a path.

    Parity: status 307 with a small HTML page (Redirect of net/http).

    Deviates: upstream escapes percent signs once more, so its redirects of escaped paths are broken.
    """
    query = scope["query_string"].decode("latin-1")
    address = f"{path}?{query}" if query else path
    headers: Headers = [(b"location", address.encode("latin-1"))]
    body = b""
    if scope["method"] in ("GET", "HEAD"):
        headers.insert(0, (b"content-type", b"text/html; charset=utf-8"))
        body = f'<a href="{html.escape(address)}">Temporary Redirect</a>.\n\n'.encode("latin-1")
    await send_answer(send, scope, 307, headers, body)


async def send_answer(
    send: Send,
    scope: Scope,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    chunked: bool = False,
    trailer: tuple[bytes, bytes] | None = None,
) -> None:
    """Send a whole reply.

    A chunked reply has no Content-Length, because its client accepts trailers. The trailer is sent after it where the
    ASGI server supports trailers.
    """
    trailing = chunked and trailer is not None and "http.response.trailers" in scope.get("extensions", {})
    if not chunked:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    if trailing:
        headers = [*headers, (b"trailer", b"Grpc-Trailer-Content-Type")]
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": trailing})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
    if trailing:
        await send({"type": "http.response.trailers", "headers": [trailer]})

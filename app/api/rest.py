"""REST: the one handler behind every binding of every RPC, as upstream's gateway answers.

Rest is an ASGI application of its own, because the gateway's rules (one 404 and one 501 for all paths, redirects to
cleaned paths, empty variables, forms as GET) do not fit routes that are matched one by one. `routes` mounts it in the
FastAPI application as the last route, behind documentation, storage and console, so all of it stays one application.

Limits: server.grpc.maxMessageSizeBytes for a message, limits.body_wait_seconds_max for the arrival of a body.
Upstream: newHTTPServer of flyteadmin/pkg/server/service.go on grpc-gateway v2 and net/http.
"""

from __future__ import annotations

import asyncio
import html
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import structlog
from google.protobuf.message import Message
from starlette.routing import BaseRoute, Mount
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.call import Server, invoke_for_rows, kept
from app.api.router import Route, Router, chosen, cleaned
from app.api.status import http_status
from app.cache import Kept
from app.runtime.rows import Rpc
from app.wire import bind, decode
from app.wire.go.gojson import has_more_values
from app.wire.go.goparse import parse_int
from app.wire.render import CAMEL_TYPE, Encoding, size, status_bytes, to_bytes

log = structlog.get_logger(__name__)

T = TypeVar("T")
Headers = list[tuple[bytes, bytes]]

# JSON may be longer than the message it stands for; what is longer than this many times the limit is not even read.
BODY_PER_MESSAGE_MAX = 4
# Printing more than this takes long enough that other requests should go on meanwhile.
THREAD_BYTES_MIN = 256 * 1024
# So does reading more JSON than this: the exact reader takes up to 5 µs a byte.
JSON_THREAD_BYTES_MIN = 16 * 1024
# Threads for both, in a process. Each one that is busy keeps others from the interpreter for up to 5 ms at a time.
THREADS = ThreadPoolExecutor(2, thread_name_prefix="large-bodies")
REQUEST_ID_LENGTH_MAX = 128
# Where an authenticating layer in front leaves the name of the caller.
PRINCIPAL_KEY = "flyteadmin.principal"

_FORM = b"application/x-www-form-urlencoded"
_BY_MEDIA_TYPE = {
    b"application/json": Encoding.PROTO_NAMES,
    b"application/octet-stream": Encoding.BINARY,
    CAMEL_TYPE.encode(): Encoding.CAMEL_NAMES,
}
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
_SECONDS_BY_UNIT = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_TYPES = {encoding: (b"content-type", encoding.content_type.encode()) for encoding in Encoding}
_GRPC = (b"grpc-metadata-content-type", b"application/grpc")
_NOTHING_KEPT = Kept(0)
_TRAILER = (b"grpc-trailer-content-type", b"application/grpc")


def routes(server: Server, rpcs: tuple[Rpc, ...]) -> list[BaseRoute]:
    """The route that serves what no route before it has taken; put it last."""
    return [Mount("", app=Rest(server, rpcs))]


class Gone(Exception):
    """The client has left before its request was complete."""


async def read_body(
    receive: Receive, bytes_max: int, wait_seconds_max: float, too_large: Callable[[int], errors.FlyteError]
) -> bytes:
    """A request's whole body. errors: what too_large makes of its size; DEADLINE_EXCEEDED; Gone"""
    body = bytearray()
    try:
        async with asyncio.timeout(wait_seconds_max):
            while True:
                event = await receive()
                if event["type"] == "http.disconnect":
                    raise Gone
                body += event.get("body", b"")
                if len(body) > bytes_max:
                    raise too_large(len(body))
                if not event.get("more_body", False):
                    return bytes(body)
    except TimeoutError as error:
        raise errors.DeadlineExceeded(f"the body did not arrive within {wait_seconds_max:g} seconds") from error


@dataclass(slots=True)
class Call:
    """What the headers of a request say. fields: the first value of each header that matters here."""

    fields: dict[bytes, bytes]
    reader: Encoding
    writer: Encoding
    form: bool = False

    @classmethod
    def of(cls, scope: Scope) -> Call:
        """Parity: an Accept header counts only when it is one media type, letter for letter (MarshalerForRequest)."""
        fields: dict[bytes, bytes] = {}
        writer = None
        for name, value in scope["headers"]:
            if name in _READ:
                fields.setdefault(name, value)
            elif name == b"accept" and writer is None:
                writer = _BY_MEDIA_TYPE.get(value)
        content_type = fields.get(b"content-type", b"")
        media_type, *parameters = content_type.split(b";")
        reader = _BY_MEDIA_TYPE.get(media_type.strip().lower(), Encoding.CAMEL_NAMES)
        if _CAMEL_PARAMETER in map(bytes.strip, parameters):
            reader = Encoding.CAMEL_NAMES
        form = content_type == _FORM and scope["method"] == "POST"
        return cls(fields, reader, writer or reader, form)

    @property
    def trailers(self) -> bool:
        return b"trailers" in self.fields.get(b"te", b"").lower()

    def text(self, name: bytes) -> str:
        return self.fields.get(name, b"").decode("latin-1")

    def seconds(self) -> float | None:
        """What Grpc-Timeout leaves for the call; None without one. errors: INVALID_ARGUMENT for a malformed one"""
        value = self.text(b"grpc-timeout")
        if not value:
            return None
        try:
            amount = parse_int(value[:-1], 64) * _SECONDS_BY_UNIT[value[-1]]
        except (ValueError, KeyError) as error:
            raise errors.InvalidArgument(f"invalid grpc-timeout: {value}") from error
        # Parity: a timeout of zero is none (annotateContext).
        return amount or None


class Rest:
    """The ASGI application. It reads a body only where a binding has one."""

    def __init__(self, server: Server, rpcs: tuple[Rpc, ...]) -> None:
        self._server = server
        self._router = Router(rpcs)
        self._message_bytes_max = server.settings.request_body_bytes_max
        self._values_max = server.settings.limits.json_values_max
        # What the paths of immutable things begin with; what else begins like that is found not to be kept.
        self._immutable = [
            (binding.template.partition("{")[0].encode(), rpc)
            for rpc in rpcs
            if rpc.immutable
            for binding in rpc.bindings
        ]
        self._wait_seconds_max = server.settings.limits.body_wait_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            raise RuntimeError(f"REST does not speak {scope['type']}")
        call = Call.of(scope)
        try:
            raw_path: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
            reply = self._kept_reply(scope, call)
            if reply is not None:
                await _send_reply(send, scope, call, reply)
                return
            clean = cleaned(raw_path.decode("latin-1"))
            if clean is not None:
                await _redirect(send, scope, clean)
                return
            segments = bind.path_segments(raw_path)
            if segments == ["healthcheck"]:
                await _send(send, scope, 200, [], b"")
                return
            if not raw_path.startswith(b"/"):
                raise errors.InvalidArgument("Bad Request")
            await self._serve(scope, receive, send, call, segments)
        except errors.FlyteError as error:
            # Refused before the function was called, so there is nothing of gRPC in the answer.
            await _send_error(send, scope, call, error)
        except Gone:
            log.info("client_left", path=scope["path"])

    def _kept_reply(self, scope: Scope, call: Call) -> bytes | None:
        """The body of an earlier reply to a request that says the same, before anything is looked at or up."""
        if scope["method"] == "GET" and b"grpc-timeout" not in call.fields:
            raw_path = scope.get("raw_path") or b""
            for prefix, rpc in self._immutable:
                if raw_path.startswith(prefix):
                    return kept(self._server, rpc, _key(rpc, scope, call))
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send, call: Call, segments: list[str]) -> None:
        verb, form = scope["method"], None
        if call.form and (override := call.text(b"x-http-method-override")):
            form = bind.query_pairs(await self._body(scope, receive, call))
            bind.query_pairs(scope["query_string"])
            verb = override.upper()
        found = self._router.match(segments)
        match = chosen(found, verb)
        if match is None and call.form and verb == "POST" and (match := chosen(found, "GET")) is not None:
            # Parity: a form posted to a path that only knows GET is that GET (ServeMux.ServeHTTP).
            form = form if form is not None else bind.query_pairs(await self._body(scope, receive, call))
        if match is None:
            raise errors.Unimplemented("Method Not Allowed") if found else errors.NotFound("Not Found")
        route, values = match
        seconds = call.seconds()
        try:
            request = await self._request(scope, receive, call, route, values, form)
        except errors.FlyteError as error:
            await _send_error(send, scope, call, error, chunked=call.trailers)
            return
        try:
            keeps = route.rpc.immutable and verb == scope["method"] == "GET"
            body = await self._answer(scope, call, route.rpc, request, seconds, keeps)
            if keeps:
                self._server.kept.put(_key(route.rpc, scope, call), body)
        except errors.FlyteError as error:
            await _send_error(send, scope, call, error, chunked=call.trailers, trailer=_TRAILER)
        else:
            await _send_reply(send, scope, call, body)

    async def _request(
        self, scope: Scope, receive: Receive, call: Call, route: Route, values: list[str], form: bind.Pairs | None
    ) -> Message:
        """The request message. form: what a form's body said, which has then been read already"""
        if not route.binding.body:
            return self._from_query(route, values, scope["query_string"], form or [])
        body = b"" if form is not None else await self._body(scope, receive, call)
        return await self._from_body(route, values, body, call)

    def _from_query(self, route: Route, values: list[str], query: bytes, form: bind.Pairs) -> Message:
        request = route.rpc.request()
        for variable, value in zip(route.variables, values, strict=True):
            bind.put_path(request, variable, value)
        # Parity: a query is looked at only where the message has fields beside those of the path.
        if (query or form) and request.DESCRIPTOR.fields:
            bind.put_query(request, bind.merged([*form, *bind.query_pairs(query)]), route.bound)
        return request

    async def _from_body(self, route: Route, values: list[str], body: bytes, call: Call) -> Message:
        type_ = route.rpc.request
        request: Message
        if not body:
            request = type_()
        elif call.reader is Encoding.BINARY:
            self._check_size(len(body))
            request = await _in_thread_if_large(len(body), decode.from_binary, type_, body)
        else:
            read = partial(self._from_json, type_, body, strict=call.reader is Encoding.PROTO_NAMES)
            request = await _in_thread_if_large(len(body), read, bytes_min=JSON_THREAD_BYTES_MIN)
        # Parity: the path wins over the same field of the body.
        for variable, value in zip(route.variables, values, strict=True):
            bind.put_path(request, variable, value)
        return request

    def _from_json(self, type_: type[Message], body: bytes, *, strict: bool) -> Message:
        """Read a JSON body. errors: INVALID_ARGUMENT; RESOURCE_EXHAUSTED for too many values or too large a message."""
        # Deviates: upstream reads any number of values, in a thread of its own.
        if has_more_values(body, self._values_max):
            raise errors.ResourceExhausted(
                f"the body has more than {self._values_max} JSON values (limits.jsonValuesMax); "
                "binary bodies (application/octet-stream) and gRPC have no such limit"
            )
        request = decode.from_json(type_, body, strict=strict)
        if len(body) > self._message_bytes_max // 8:
            self._check_size(request.ByteSize())
        return request

    async def _answer(
        self, scope: Scope, call: Call, rpc: Rpc, request: Message, seconds: float | None, keeps: bool
    ) -> bytes:
        """The body. keeps: it is kept whole, and need not be kept as printed too.

        errors: those of the function; DEADLINE_EXCEEDED; INTERNAL without a message for what nobody foresaw
        """
        if seconds is not None and seconds < 0:
            raise errors.DeadlineExceeded("context deadline exceeded")
        request_id = call.text(b"x-request-id")[:REQUEST_ID_LENGTH_MAX] or f"a-{random.getrandbits(80):020x}"

        async def answer() -> bytes:
            reply = await invoke_for_rows(
                self._server,
                rpc,
                request,
                principal=scope.get(PRINCIPAL_KEY, ""),
                request_id=request_id,
                endpoint=f"{scope['scheme']}://{call.text(b'host')}",
            )
            printed = _NOTHING_KEPT if keeps else self._server.kept
            return await _in_thread_if_large(size(reply), to_bytes, reply, call.writer, printed)

        try:
            if seconds is None:
                return await answer()
            async with asyncio.timeout(seconds) as clock:
                return await answer()
        except errors.FlyteError:
            raise
        except TimeoutError as error:
            if seconds is None or not clock.expired():
                log.exception("rpc_failed", rpc=rpc.path, request_id=request_id)
                raise errors.Internal("") from error
            raise errors.DeadlineExceeded("context deadline exceeded") from error
        except Exception as error:
            # Parity: the client learns nothing of what nobody foresaw (the recovery interceptor).
            log.exception("rpc_failed", rpc=rpc.path, request_id=request_id)
            raise errors.Internal("") from error

    async def _body(self, scope: Scope, receive: Receive, call: Call) -> bytes:
        """The whole body. errors: RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED; Gone when the client leaves"""
        declared = call.fields.get(b"content-length")
        if declared is None and not _may_have_body(scope, call):
            return b""
        bytes_max = self._message_bytes_max * BODY_PER_MESSAGE_MAX
        if declared is not None and declared.isdigit():
            if int(declared) == 0:
                return b""
            if int(declared) > bytes_max:
                raise self._too_large(int(declared))
        return await read_body(receive, bytes_max, self._wait_seconds_max, self._too_large)

    def _check_size(self, size_bytes: int) -> None:
        if size_bytes > self._message_bytes_max:
            raise self._too_large(size_bytes)

    def _too_large(self, size_bytes: int) -> errors.ResourceExhausted:
        text = f"grpc: received message larger than max ({size_bytes} vs. {self._message_bytes_max})"
        return errors.ResourceExhausted(text)


def _may_have_body(scope: Scope, call: Call) -> bool:
    """Whether a body can come that no Content-Length announces."""
    if scope["http_version"].startswith("2"):
        # Some servers never say that the body of such a DELETE has ended, so waiting for it could last forever.
        return bool(scope["method"] != "DELETE")
    return b"transfer-encoding" in call.fields


async def _in_thread_if_large(
    size_bytes: int, function: Callable[..., T], *arguments: Any, bytes_min: int = THREAD_BYTES_MIN
) -> T:
    if size_bytes < bytes_min:
        return function(*arguments)
    return await asyncio.get_running_loop().run_in_executor(THREADS, function, *arguments)


def _key(rpc: Rpc, scope: Scope, call: Call) -> tuple[Any, ...]:
    """By what a reply to an immutable RPC is kept: the target as it was sent, since other spellings may mean others."""
    return rpc.name, call.writer, b"%b?%b" % (scope.get("raw_path") or b"", scope["query_string"])


async def _send_reply(send: Send, scope: Scope, call: Call, body: bytes) -> None:
    await _send(send, scope, 200, [_TYPES[call.writer], _GRPC], body, chunked=call.trailers)


async def _send_error(
    send: Send,
    scope: Scope,
    call: Call,
    error: errors.FlyteError,
    *,
    chunked: bool = False,
    trailer: tuple[bytes, bytes] | None = None,
) -> None:
    headers = [_TYPES[call.writer]]
    if error.code == errors.Unauthenticated.code:
        # What cannot stand in a header must not break the answer.
        challenge = "".join(letter if letter.isprintable() else " " for letter in error.message)
        headers.append((b"www-authenticate", challenge.encode("latin-1", "replace")))
    body = status_bytes(error, call.writer)
    await _send(send, scope, http_status(error.code), headers, body, chunked=chunked, trailer=trailer)


async def _redirect(send: Send, scope: Scope, path: str) -> None:
    """Parity: 307 with a small page for those who read it (Redirect of net/http).

    Deviates: upstream escapes percent signs once more, so its redirects of escaped paths lead nowhere.
    """
    query = scope["query_string"].decode("latin-1")
    address = f"{path}?{query}" if query else path
    headers: Headers = [(b"location", address.encode("latin-1"))]
    body = b""
    if scope["method"] in ("GET", "HEAD"):
        headers.insert(0, (b"content-type", b"text/html; charset=utf-8"))
        body = f'<a href="{html.escape(address)}">Temporary Redirect</a>.\n\n'.encode("latin-1")
    await _send(send, scope, 307, headers, body)


async def _send(
    send: Send,
    scope: Scope,
    status: int,
    headers: Headers,
    body: bytes,
    *,
    chunked: bool = False,
    trailer: tuple[bytes, bytes] | None = None,
) -> None:
    """chunked: the client takes trailers, so the length is left out; the trailer goes where the server can send it"""
    trailing = chunked and trailer is not None and "http.response.trailers" in scope.get("extensions", {})
    if not chunked:
        headers = [*headers, (b"content-length", str(len(body)).encode())]
    if trailing:
        headers = [*headers, (b"trailer", b"Grpc-Trailer-Content-Type")]
    await send({"type": "http.response.start", "status": status, "headers": headers, "trailers": trailing})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})
    if trailing:
        await send({"type": "http.response.trailers", "headers": [trailer]})

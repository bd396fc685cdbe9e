"""The gRPC server: one ASGI application for each POST of application/grpc over HTTP/2.

A unary call reads one message, runs `dispatch.call` like every other transport, and sends one message and trailers
with its status. Health and reflection are streams, in modules of their own.

Source: newGRPCServer of flyteadmin/pkg/server/service.go on grpc-go.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf.message import Message
from starlette.types import Message as ASGIMessage
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.grpc import health, protocol, reflection
from app.api.grpc.stream import RequestStream, StreamHandler, no_message_text
from app.auth.credentials import Credentials
from app.runtime import dispatch, failures
from app.runtime.dispatch import LATE, Call, Server
from app.runtime.rows import Rpc
from app.settings import Settings
from app.wire.go.goparse import go_quote
from app.wire.page import message_of

# The services that upstream registers only where callers are authenticated.
AUTHENTICATION_SERVICES = ("flyteidl.service.AuthMetadataService", "flyteidl.service.IdentityService")

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_START: ASGIMessage = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_END_OF_BODY: ASGIMessage = {"type": "http.response.body", "body": b"", "more_body": False}
_OK: ASGIMessage = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


def is_grpc(scope: Scope) -> bool:
    """Return whether a request is for GrpcApp: application/grpc, application/grpc+proto and the like, not grpc-web."""
    if scope["type"] != "http":
        return False
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.startswith(b"application/grpc") and value[16:17] in (b"", b"+", b";"))
    return False


class CallHead:
    """The headers of one call.

    Attributes:
        seconds: The time left until the client's deadline when the call arrived; None without a deadline.
    """

    __slots__ = ("caller", "credentials", "encoding", "endpoint", "identity", "path", "request_id", "seconds")

    def __init__(self, scope: Scope, server: Server) -> None:
        """Parse the headers. Raises INTERNAL for a malformed timeout and for malformed binary metadata."""
        headers = scope["headers"]
        protocol.check_binary(headers)
        fields = dict(headers)
        if b"te" not in fields:
            # uvicorn sends trailers only where this header asks for them; some proxies drop it, and grpc-go ignores it.
            headers.append((b"te", b"trailers"))
        timeout = fields.get(b"grpc-timeout")
        self.path: str = _path(scope)
        self.encoding: bytes = fields.get(b"grpc-encoding") or b"identity"
        self.seconds = None if timeout is None else protocol.timeout_seconds(timeout)
        self.request_id = protocol.request_id(fields.get(b"x-request-id", b"").decode("latin-1"))
        client = scope.get("client")
        self.caller: str = client[0] if client else ""
        self.credentials = dispatch.credentials(server, scope, "grpc")
        self.identity = dispatch.front_identity(scope)
        self.endpoint = f"{scope['scheme']}://{fields.get(b'host', b'').decode('latin-1')}"


class GrpcApp:
    """The ASGI application for every request of which `is_grpc` is true.

    Limits: `server.grpc.maxMessageSizeBytes` for a message, `limits.body_wait_seconds_max` for its arrival.
    """

    def __init__(self, server: Server, rpcs: tuple[Rpc, ...]) -> None:
        settings = server.settings
        self._server = server
        self._bytes_max = settings.request_body_bytes_max
        self._wait_seconds_max = settings.limits.body_wait_seconds_max
        self._no_message_text = no_message_text(self._wait_seconds_max)
        self._rpcs = {rpc.path: rpc for rpc in registered(settings, rpcs)}
        self._streams: dict[str, StreamHandler] = health.streams(server.health)
        if settings.server.grpc.server_reflection:
            self._streams |= reflection.streams({path.split("/")[1] for path in (*self._rpcs, *self._streams)})
        self._services = {path.split("/")[1] for path in (*self._rpcs, *self._streams)}
        self._open: set[asyncio.Task[Any]] = set()
        self._closing = False

    def close(self) -> None:
        """End the streams that would stay open until their clients disconnect. The stopping server calls it."""
        self._closing = True
        for task in self._open:
            task.cancel()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one call."""
        if "http.response.trailers" not in scope.get("extensions", ()):
            await _refuse(send, 505, errors.Internal("gRPC requires HTTP/2"))
            return
        if scope["method"] != "POST":
            text = f'Received a HEADERS frame with :method "{scope["method"]}" which should be POST'
            await _refuse(send, 405, errors.Internal(text))
            return
        try:
            head = CallHead(scope, self._server)
        except errors.Internal as error:
            await _refuse(send, 400, error)
            return
        rpc = self._rpcs.get(head.path)
        if rpc is not None:
            await self._unary(rpc, head, receive, send)
        else:
            await self._stream(head, receive, send)

    async def _unary(self, rpc: Rpc, head: CallHead, receive: Receive, send: Send) -> None:
        """Serve a call of one message each way. The reply is sent outside of the call's deadline."""
        try:
            reply = await self._reply(rpc, head, receive)
        except Exception as error:  # noqa: BLE001 - every failure is answered, and _status logs unexpected ones
            await send(_START)
            await send(_END_OF_BODY)
            await send(_trailers(_status(error, head)))
            return
        await send(_START)
        await send({"type": "http.response.body", "body": reply})
        await send(_OK)

    async def _reply(self, rpc: Rpc, head: CallHead, receive: Receive) -> bytes:
        """Return the reply's frame.

        Raises:
            FlyteError: From the request stream and `dispatch.call`; INTERNAL for bytes that are no message.
        """
        started = 0.0 if head.seconds is None else time.monotonic()
        message = await self._read_one(head, receive)
        key = (rpc.name, "gRPC", message)
        if rpc.immutable:
            cached = dispatch.cached_reply(self._server, rpc, key, head.credentials)
            if cached is not None:
                return cached
        request = protocol.parse(rpc.request, message)
        seconds = None if head.seconds is None else head.seconds - (time.monotonic() - started)
        call = Call(rpc, head.credentials, head.identity, head.request_id, head.caller, head.endpoint, seconds)
        response = message_of(await dispatch.call(self._server, call, request))
        reply = protocol.frame(response.SerializeToString())
        if rpc.immutable:
            self._server.cache.put(key, reply)
        return reply

    async def _read_one(self, head: CallHead, receive: Receive) -> bytes:
        """Return the only message of a call, within the shorter of the call's deadline and the limit for arrival."""
        seconds, text = self._wait_seconds_max, self._no_message_text
        if head.seconds is not None and head.seconds <= seconds:
            seconds, text = head.seconds, LATE
        return await dispatch.within_if_it_waits(seconds, self._request(head, receive, None).read_one(), text)

    async def _stream(self, head: CallHead, receive: Receive, send: Send) -> None:
        """Serve a call that may send several messages and stay open."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        trailers = _OK
        await send(_START)
        try:
            handler = self._handler(head.path)
            await authenticate_health_check(self._server, head.path, head.credentials)
            replies = handler(self._request(head, receive, self._wait_seconds_max))
            sending = _send_messages(send, replies)
            await (sending if head.seconds is None else dispatch.within(head.seconds, sending))
        except asyncio.CancelledError:
            if not self._closing:
                raise
            trailers = _trailers(errors.Unavailable("the server is stopping"))
        except Exception as error:  # noqa: BLE001 - every failure is answered, and _status logs unexpected ones
            trailers = _trailers(_status(error, head))
        finally:
            self._open.discard(task)
        await send(_END_OF_BODY)
        await send(trailers)

    def _request(self, head: CallHead, receive: Receive, wait_seconds_max: float | None) -> RequestStream:
        """Return the messages of a call. Raises UNIMPLEMENTED for its compression, DEADLINE_EXCEEDED for 0 seconds."""
        if head.seconds == 0:
            raise errors.DeadlineExceeded(LATE)
        protocol.check_encoding(head.encoding)
        return RequestStream(receive, head.encoding, self._bytes_max, wait_seconds_max)

    def _handler(self, path: str) -> StreamHandler:
        """Return the handler of a streaming method. Raises UNIMPLEMENTED with the text of grpc-go's handleStream."""
        if path in self._streams:
            return self._streams[path]
        service, slash, method = path[1:].rpartition("/")
        if not path.startswith("/") or not slash:
            raise errors.Unimplemented(f"malformed method name: {go_quote(path)}")
        if service not in self._services:
            raise errors.Unimplemented(f"unknown service {service}")
        raise errors.Unimplemented(f"unknown method {method} for service {service}")


def registered(settings: Settings, rpcs: tuple[Rpc, ...]) -> tuple[Rpc, ...]:
    """Return the RPCs that are served with these settings."""
    if settings.server.security.use_auth:
        return rpcs
    return tuple(rpc for rpc in rpcs if rpc.service not in AUTHENTICATION_SERVICES)


async def authenticate_health_check(server: Server, path: str, credentials: Credentials | None) -> None:
    """Raise UNAUTHENTICATED for an anonymous Health/Check, unless `auth.openHealthCheck` allows it.

    Parity: upstream authenticates calls of one message each way, so Health/Watch and reflection are open.
    """
    if server.auth is not None and path == health.CHECK and not server.settings.auth.open_health_check:
        await dispatch.identity(server.auth, credentials)


async def _send_messages(send: Send, messages: AsyncIterator[Message]) -> None:
    async for message in messages:
        payload = protocol.frame(message.SerializeToString())
        await send({"type": "http.response.body", "body": payload, "more_body": True})


def _status(error: Exception, head: CallHead) -> errors.FlyteError:
    return failures.as_flyte_error(error, rpc=head.path, request_id=head.request_id)


def _trailers(error: errors.FlyteError) -> ASGIMessage:
    return {"type": "http.response.trailers", "headers": protocol.trailers(error)}


def _path(scope: Scope) -> str:
    """Return the path without the prefix under which this application is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    return path.removeprefix(root) if root and path.startswith(f"{root}/") else path


async def _refuse(send: Send, http_status: int, error: errors.FlyteError) -> None:
    """Answer a request that is no gRPC call, without reading its body."""
    headers = [_CONTENT_TYPE, *protocol.trailers(error), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

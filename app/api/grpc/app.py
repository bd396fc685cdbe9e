"""gRPC by the ASGI application that serves REST: each POST of application/grpc over HTTP/2 is one call.

A call reads its message, goes through dispatch.call like every other transport and answers with one message and the
trailers that hold its status. Health and reflection are streams (health.py, reflection.py).
Upstream: newGRPCServer of flyteadmin/pkg/server/service.go on grpc-go.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

from google.protobuf.message import Message
from starlette.types import Message as ASGIMessage
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.deadlines import LATE, Deadline, Deadlines
from app.api.grpc import health, reflection
from app.api.grpc import wire as grpc_wire
from app.runtime import dispatch
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from app.settings import Settings
from app.wire.page import message_of
from app.wire.text import quoted

# The services that upstream registers only where callers are authenticated.
AUTHENTICATION_SERVICES = ("flyteidl.service.AuthMetadataService", "flyteidl.service.IdentityService")

Stream = Callable[["Messages"], AsyncIterator[Message]]

# Ids of the calls that bring none: told apart between processes and within one.
_PROCESS = f"{secrets.token_hex(5)}-"
_numbers = itertools.count(1)

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_START: ASGIMessage = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_NO_MORE: ASGIMessage = {"type": "http.response.body", "body": b"", "more_body": False}
_OK: ASGIMessage = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


def is_grpc(scope: Scope) -> bool:
    """Whether a request is for GrpcApp: application/grpc, application/grpc+proto and the like, not grpc-web."""
    if scope["type"] != "http":
        return False
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.startswith(b"application/grpc") and value[16:17] in (b"", b"+", b";"))
    return False


class Messages:
    """The messages that arrive in one call, decompressed.

    arrival makes the deadline of one message; None where the caller has set one.
    """

    __slots__ = ("_arrival", "_buffer", "_bytes_max", "_encoding", "_ended", "_receive")

    def __init__(
        self, receive: Receive, encoding: bytes, bytes_max: int, arrival: Callable[[], Deadline] | None
    ) -> None:
        self._receive = receive
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._arrival = arrival
        self._buffer = bytearray()
        self._ended = False

    async def next(self) -> bytes | None:
        """The next message; None when the client has ended its side.

        errors: those of grpc_wire.take; DEADLINE_EXCEEDED when nothing comes; CANCELED when the client goes away
        """
        if self._arrival is None:
            return await self._next()
        with self._arrival():
            return await self._next()

    async def _next(self) -> bytes | None:
        buffer = self._buffer
        while True:
            message = grpc_wire.take(buffer, self._encoding, self._bytes_max) if buffer else None
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

    async def one(self) -> bytes:
        """The message of a call that has only one. errors: UNKNOWN without any."""
        message = await self.next()
        if message is None:
            raise errors.Unknown("EOF")
        return message

    async def gone(self) -> None:
        """Wait, however long, until the client goes away."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


class Head:
    """The headers of one call. seconds: the time that was left until its deadline; None without one."""

    __slots__ = ("caller", "encoding", "endpoint", "path", "principal", "request_id", "seconds")

    def __init__(self, scope: Scope) -> None:
        """errors: INTERNAL for a malformed timeout or malformed binary metadata"""
        headers = scope["headers"]
        grpc_wire.check_binary(headers)
        fields = dict(headers)
        if b"te" not in fields:
            # Without this header uvicorn sends no trailers; some proxies drop it and grpc-go does not ask for it.
            headers.append((b"te", b"trailers"))
        timeout = fields.get(b"grpc-timeout")
        self.path: str = scope["path"]
        self.encoding: bytes = fields.get(b"grpc-encoding") or b"identity"
        self.seconds = None if timeout is None else grpc_wire.timeout_seconds(timeout)
        self.request_id = fields.get(b"x-request-id", b"").decode("latin-1") or f"{_PROCESS}{next(_numbers)}"
        client = scope.get("client")
        self.caller: str = client[0] if client else ""
        self.principal = dispatch.authenticate(scope)
        self.endpoint = f"{scope['scheme']}://{fields.get(b'host', b'').decode('latin-1')}"


class GrpcApp:
    """The ASGI application of every request for which is_grpc is true.

    Limits: server.grpc.maxMessageSizeBytes for a message, limits.body_wait_seconds_max for its arrival.
    """

    def __init__(self, server: Server, rpcs: tuple[Rpc, ...]) -> None:
        settings = server.settings
        self._server = server
        self._bytes_max = settings.request_body_bytes_max
        self._wait_seconds = settings.limits.body_wait_seconds_max
        self._wait_text = f"no message arrived within {self._wait_seconds:g} seconds"
        self._rpcs = {rpc.path: rpc for rpc in registered(settings, rpcs)}
        self._streams: dict[str, Stream] = dict(health.STREAMS)
        if settings.server.grpc.server_reflection:
            self._streams |= reflection.streams({path.split("/")[1] for path in (*self._rpcs, *self._streams)})
        self._services = {path.split("/")[1] for path in (*self._rpcs, *self._streams)}
        self._deadlines = Deadlines()
        self._open: set[asyncio.Task[Any]] = set()
        self._closing = False

    def close(self) -> None:
        """End the streams that would stay open until their clients leave; to be called when the server stops."""
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
            head = Head(scope)
        except errors.Internal as error:
            await _refuse(send, 400, error)
            return
        rpc = self._rpcs.get(head.path)
        if rpc is not None:
            await self._unary(rpc, head, receive, send)
        else:
            await self._stream(head, receive, send)

    async def _unary(self, rpc: Rpc, head: Head, receive: Receive, send: Send) -> None:
        """Serve a call of one message each way. Whatever comes of it is sent after its deadline has been lifted."""
        try:
            messages, reply = self._messages(head, receive, None), None
            # One deadline for both waits: looking up the current task is dear, and most calls end at once.
            with self._until_arrival(head) as deadline:
                message = await messages.one()
                key = (rpc.name, "gRPC", message)
                if rpc.immutable:
                    reply = dispatch.cached_reply(self._server, rpc, key)
                if reply is None:
                    deadline.move(head.seconds)
                    reply = await self._reply(rpc, head, message)
                    if rpc.immutable:
                        self._server.kept.put(key, reply)
        except Exception as error:  # noqa: BLE001 - every failure is answered, and _status logs the unforeseen ones
            await send(_START)
            await send(_NO_MORE)
            await send(_trailers(_status(error, head)))
            return
        await send(_START)
        await send({"type": "http.response.body", "body": reply})
        await send(_OK)

    async def _reply(self, rpc: Rpc, head: Head, message: bytes) -> bytes:
        """The answer to a message, framed. errors: INTERNAL for bytes that are no message; those of the function"""
        request = grpc_wire.parsed(rpc.request, message)
        call = Call(rpc, head.principal, head.request_id, head.caller, head.endpoint)
        response = message_of(await dispatch.call(self._server, call, request))
        return grpc_wire.framed(response.SerializeToString())

    async def _stream(self, head: Head, receive: Receive, send: Send) -> None:
        """Serve a call that may send several messages and stay open."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        trailers = _OK
        await send(_START)
        try:
            with self._deadlines.within(head.seconds):
                async for message in self._find(head.path)(self._messages(head, receive, self._arrival)):
                    payload = grpc_wire.framed(message.SerializeToString())
                    await send({"type": "http.response.body", "body": payload, "more_body": True})
        except asyncio.CancelledError:
            if not self._closing:
                raise
            trailers = _trailers(errors.Unavailable("the server is stopping"))
        except Exception as error:  # noqa: BLE001 - every failure is answered, and _status logs the unforeseen ones
            trailers = _trailers(_status(error, head))
        finally:
            self._open.discard(task)
        await send(_NO_MORE)
        await send(trailers)

    def _messages(self, head: Head, receive: Receive, arrival: Callable[[], Deadline] | None) -> Messages:
        """The messages of a call. errors: UNIMPLEMENTED compression; DEADLINE_EXCEEDED for a deadline that is over."""
        if head.seconds == 0:
            raise errors.DeadlineExceeded(LATE)
        grpc_wire.check_encoding(head.encoding)
        return Messages(receive, head.encoding, self._bytes_max, arrival)

    def _arrival(self) -> Deadline:
        return self._deadlines.within(self._wait_seconds, self._wait_text)

    def _until_arrival(self, head: Head) -> Deadline:
        in_time = head.seconds is not None and head.seconds <= self._wait_seconds
        return self._deadlines.within(head.seconds) if in_time else self._arrival()

    def _find(self, path: str) -> Stream:
        """The stream at a path. errors: UNIMPLEMENTED in grpc-go's words (Server.handleStream)."""
        if path in self._streams:
            return self._streams[path]
        service, slash, method = path[1:].rpartition("/")
        if not path.startswith("/") or not slash:
            raise errors.Unimplemented(f"malformed method name: {quoted(path)}")
        if service not in self._services:
            raise errors.Unimplemented(f"unknown service {service}")
        raise errors.Unimplemented(f"unknown method {method} for service {service}")


def registered(settings: Settings, rpcs: tuple[Rpc, ...]) -> tuple[Rpc, ...]:
    """The RPCs of the services that exist in this setting."""
    if settings.server.security.use_auth:
        return rpcs
    return tuple(rpc for rpc in rpcs if rpc.service not in AUTHENTICATION_SERVICES)


def _status(error: Exception, head: Head) -> errors.FlyteError:
    return dispatch.as_flyte_error(error, rpc=head.path, request_id=head.request_id)


def _trailers(error: errors.FlyteError) -> ASGIMessage:
    return {"type": "http.response.trailers", "headers": grpc_wire.trailers(error)}


async def _refuse(send: Send, http_status: int, error: errors.FlyteError) -> None:
    """Answer a request that is no gRPC call; nothing of its body is waited for."""
    headers = [_CONTENT_TYPE, *grpc_wire.trailers(error), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

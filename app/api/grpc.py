"""gRPC by the ASGI application that serves REST: each POST of application/grpc over HTTP/2 is one call.

A call reads its message, goes through call.invoke like every other transport and answers with one message and the
trailers that hold its status. Health and reflection are streams (health.py, reflection.py).
Upstream: newGRPCServer of flyteadmin/pkg/server/service.go on grpc-go.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import structlog
from google.protobuf.message import Message
from starlette.types import Receive, Scope, Send

from app import errors
from app.api import grpc_wire, health, reflection
from app.api.call import Server, invoke
from app.api.rows import Rpc
from app.settings import Settings
from app.wire.text import quoted

log = structlog.get_logger(__name__)

# The services that upstream registers only where callers are authenticated.
AUTHENTICATION_SERVICES = ("flyteidl.service.AuthMetadataService", "flyteidl.service.IdentityService")

Stream = Callable[["Messages"], AsyncIterator[Message]]

_CONTENT_TYPE = (b"content-type", b"application/grpc")
_START = {"type": "http.response.start", "status": 200, "headers": [_CONTENT_TYPE], "trailers": True}
_NO_MORE = {"type": "http.response.body", "body": b"", "more_body": False}
_OK = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}


def is_grpc(scope: Scope) -> bool:
    """Whether a request is for GrpcApp: application/grpc, application/grpc+proto and the like, not grpc-web."""
    if scope["type"] != "http":
        return False
    for name, value in scope["headers"]:
        if name == b"content-type":
            return bool(value.startswith(b"application/grpc") and value[16:17] in (b"", b"+", b";"))
    return False


class Messages:
    """The messages that arrive in one call, decompressed, each waited for wait_seconds at most."""

    def __init__(self, receive: Receive, encoding: bytes, bytes_max: int, wait_seconds: float) -> None:
        self._receive = receive
        self._encoding = encoding
        self._bytes_max = bytes_max
        self._wait_seconds = wait_seconds
        self._buffer = bytearray()
        self._ended = False

    async def next(self) -> bytes | None:
        """The next message; None when the client has ended its side.

        errors: those of grpc_wire.take; DEADLINE_EXCEEDED when nothing comes; CANCELED when the client goes away
        """
        while (message := grpc_wire.take(self._buffer, self._encoding, self._bytes_max)) is None:
            if self._ended:
                if self._buffer:
                    raise errors.Unknown("unexpected EOF")
                return None
            await self._fill()
        return message

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

    async def _fill(self) -> None:
        try:
            async with asyncio.timeout(self._wait_seconds):
                event = await self._receive()
        except TimeoutError as error:
            raise errors.DeadlineExceeded(f"no message arrived within {self._wait_seconds:g} seconds") from error
        if event["type"] == "http.disconnect":
            raise errors.Canceled("context canceled")
        self._buffer += event["body"]
        self._ended = not event["more_body"]


@dataclass(slots=True)
class Call:
    """What the headers of a call say. seconds: what is left until its deadline, None without one."""

    path: str
    encoding: bytes = b""
    seconds: float | None = None
    request_id: str = ""
    endpoint: str = ""

    @classmethod
    def of(cls, scope: Scope) -> "Call":
        """Read the headers. errors: INTERNAL for a malformed timeout or malformed binary metadata."""
        headers = scope["headers"]
        grpc_wire.check_binary(headers)
        fields = dict(headers)
        if b"te" not in fields:
            # Without this header uvicorn sends no trailers; some proxies drop it and grpc-go does not ask for it.
            headers.append((b"te", b"trailers"))
        timeout = fields.get(b"grpc-timeout")
        return cls(
            path=scope["path"],
            encoding=fields.get(b"grpc-encoding", b""),
            seconds=None if timeout is None else grpc_wire.timeout_seconds(timeout),
            request_id=fields.get(b"x-request-id", b"").decode("latin-1") or uuid.uuid4().hex,
            endpoint=f"{scope['scheme']}://{fields.get(b'host', b'').decode('latin-1')}",
        )


class Reply:
    """What has been answered to one call so far."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def only(self, payload: bytes) -> None:
        """The one message of a unary call, and OK."""
        send = self._send
        await send(_START)
        await send({"type": "http.response.body", "body": grpc_wire.framed(payload)})
        await send(_OK)

    async def message(self, message: Message) -> None:
        """One more message of a stream."""
        await self._start()
        payload = grpc_wire.framed(message.SerializeToString())
        await self._send({"type": "http.response.body", "body": payload, "more_body": True})

    async def end(self, error: errors.FlyteError | None = None) -> None:
        """The status of the call, OK without an error."""
        await self._start()
        await self._send(_NO_MORE)
        if error is None:
            await self._send(_OK)
        else:
            await self._send({"type": "http.response.trailers", "headers": grpc_wire.trailers(error)})

    async def _start(self) -> None:
        if not self._started:
            self._started = True
            await self._send(_START)


class GrpcApp:
    """The ASGI application of every request for which is_grpc is true.

    Limits: server.grpc.maxMessageSizeBytes for a message, limits.body_wait_seconds_max for its arrival.
    """

    def __init__(self, server: Server, rpcs: tuple[Rpc, ...]) -> None:
        settings = server.settings
        self._server = server
        self._bytes_max = settings.request_body_bytes_max
        self._wait_seconds = settings.limits.body_wait_seconds_max
        self._rpcs = {rpc.path: rpc for rpc in registered(settings, rpcs)}
        self._streams: dict[str, Stream] = dict(health.STREAMS)
        if settings.server.grpc.server_reflection:
            self._streams |= reflection.streams({path.split("/")[1] for path in (*self._rpcs, *self._streams)})
        self._services = {path.split("/")[1] for path in (*self._rpcs, *self._streams)}
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
            call = Call.of(scope)
        except errors.Internal as error:
            await _refuse(send, 400, error)
            return
        await self._answer(call, receive, Reply(send))

    async def _answer(self, call: Call, receive: Receive, reply: Reply) -> None:
        try:
            async with asyncio.timeout(call.seconds) as clock:
                await self._serve(call, receive, reply, clock)
        except errors.FlyteError as error:
            await reply.end(error)
        except asyncio.CancelledError:
            if not self._closing:
                raise
            await reply.end(errors.Unavailable("the server is stopping"))
        except Exception as error:
            if isinstance(error, TimeoutError) and clock.expired():
                await reply.end(_late())
                return
            # Parity: what nobody foresaw is INTERNAL with an empty message (upstream's recovery interceptor).
            log.exception("rpc_failed", rpc=call.path, request_id=call.request_id)
            await reply.end(errors.Internal(""))

    async def _serve(self, call: Call, receive: Receive, reply: Reply, clock: asyncio.Timeout) -> None:
        if call.seconds == 0:
            raise _late()
        rpc = self._rpcs.get(call.path)
        stream = self._stream(call.path) if rpc is None else None
        grpc_wire.check_encoding(call.encoding)
        messages = Messages(receive, call.encoding, self._bytes_max, self._wait_seconds)
        if rpc is not None:
            response = await self._unary(rpc, call, messages)
            # The call has happened: from here on the deadline could only hide that.
            clock.reschedule(None)
            await reply.only(response.SerializeToString())
        elif stream is not None:
            await self._run(stream, messages, reply)

    async def _unary(self, rpc: Rpc, call: Call, messages: Messages) -> Message:
        request = grpc_wire.parsed(rpc.request, await messages.one())
        return await invoke(self._server, rpc, request, request_id=call.request_id, endpoint=call.endpoint)

    async def _run(self, stream: Stream, messages: Messages, reply: Reply) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            async for message in stream(messages):
                await reply.message(message)
        finally:
            self._open.discard(task)
        await reply.end()

    def _stream(self, path: str) -> Stream:
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


def _late() -> errors.DeadlineExceeded:
    return errors.DeadlineExceeded("context deadline exceeded")


async def _refuse(send: Send, http_status: int, error: errors.FlyteError) -> None:
    """Answer a request that is no gRPC call; nothing of its body is waited for."""
    headers = [_CONTENT_TYPE, *grpc_wire.trailers(error), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": http_status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

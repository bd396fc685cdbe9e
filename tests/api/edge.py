"""A served application with a few RPCs of every kind, and a client that says exactly what it is told over HTTP/2."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
import zttp
from flyteidl.admin import execution_pb2, project_pb2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.grpc.app import GrpcApp, is_grpc
from app.api.http.flow_control import ProcessFlow
from app.api.http.http2 import protocol
from app.blobs import Blobs
from app.database import schema
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime.context import Context
from app.runtime.dispatch import Server
from app.runtime.rows import Rpc
from app.settings import Settings
from tests.support.databases import migrated

ADMIN = "flyteidl.service.AdminService"
GET_EXECUTION = f"/{ADMIN}/GetExecution"
REGISTER_PROJECT = f"/{ADMIN}/RegisterProject"


class Functions:
    """The functions behind the RPCs of Edge; id.name says what GetExecution does."""

    def __init__(self) -> None:
        self.failures: dict[str, BaseException] = {}
        self.cancelled = 0
        self.finished = 0
        self.hellos = 0
        self.principal: str | None = None
        self.caller: str | None = None
        self.pieces = 0

    async def get_execution(
        self, ctx: Context, request: execution_pb2.WorkflowExecutionGetRequest
    ) -> execution_pb2.Execution:
        """Answers the id with the request id as principal; fails, sleeps or grows when told to."""
        self.principal = ctx.principal
        self.caller = ctx.caller
        name = request.id.name
        if name in self.failures:
            raise self.failures[name]
        if name == "sleep":
            try:
                await asyncio.sleep(float(request.id.domain))
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        reply = execution_pb2.Execution(id=request.id)
        reply.spec.metadata.principal = ctx.request_id
        reply.closure.abort_metadata.cause = ctx.endpoint
        if name == "big":
            reply.spec.metadata.principal = "x" * int(request.id.domain)
        self.finished += 1
        return reply

    async def register_project(
        self, ctx: Context, request: project_pb2.ProjectRegisterRequest
    ) -> project_pb2.ProjectRegisterResponse:
        """Inserts the project, then takes as many seconds as its description says."""
        await ctx.db.insert(
            schema.Project, identifier=request.project.id, name=request.project.id, description="", labels=b"", state=0
        )
        await asyncio.sleep(float(request.project.description or 0))
        return project_pb2.ProjectRegisterResponse()

    async def unknown_service(self, ctx: Context, request: Any) -> Any:
        """Would be reached only if a service that is not registered were."""
        raise errors.Internal("reached")

    def rpcs(self) -> tuple[Rpc, ...]:
        """The rows."""
        from app.api.routers import auth_metadata, identity

        return (
            Rpc(
                ADMIN,
                "GetExecution",
                self.get_execution,
                execution_pb2.WorkflowExecutionGetRequest,
                execution_pb2.Execution,
            ),
            Rpc(
                ADMIN,
                "RegisterProject",
                self.register_project,
                project_pb2.ProjectRegisterRequest,
                project_pb2.ProjectRegisterResponse,
                writes=True,
            ),
            *identity.RPCS,
            *auth_metadata.RPCS,
        )


@dataclass
class Edge:
    """A running server. loop runs its requests, in a thread of its own."""

    port: int
    grpc: GrpcApp
    functions: Functions
    database_path: Path
    loop: asyncio.AbstractEventLoop
    uvicorn: uvicorn.Server = field(repr=False)
    process_flow: ProcessFlow

    @property
    def target(self) -> str:
        """The address for gRPC clients."""
        return f"127.0.0.1:{self.port}"


def _pages(functions: Functions) -> Starlette:
    """A little REST: /hello, a reply of a given size, a reply that never ends."""

    async def hello(request: Request) -> Response:
        functions.hellos += 1
        return PlainTextResponse(f"{request.method} {len(await request.body())}")

    async def big(request: Request) -> Response:
        return PlainTextResponse("x" * int(request.path_params["size"]))

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            functions.pieces += 1
            yield bytes(100_000)
            await asyncio.sleep(0)

    async def stream(request: Request) -> Response:
        return StreamingResponse(pieces())

    hello_route = Route("/hello", hello, methods=["GET", "POST", "DELETE"])
    return Starlette(routes=[hello_route, Route("/big/{size}", big), Route("/stream", stream)])


def server_of(folder: Path, **settings: Any) -> Server:
    """A Server on a migrated SQLite database in folder, not opened yet."""
    url = migrated(folder / "flyte.db")
    chosen = Settings(home=folder, **settings)
    database = database_at(url, connections_max=2, busy_timeout_seconds=5, statement_timeout_seconds=5)
    return Server(settings=chosen, database=database, blobs=Blobs(chosen), engine=NoEngine())


@contextmanager
def serving(folder: Path, *, keep_alive_seconds: int = 75, **settings: Any) -> Iterator[Edge]:
    """Serve gRPC and a little REST on a free port until the block ends."""
    server, functions = server_of(folder, **settings), Functions()
    grpc = GrpcApp(server, functions.rpcs())
    rest = _pages(functions)
    served = protocol(server.settings, server.health)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (grpc if is_grpc(scope) else rest)(scope, receive, send)

    config = uvicorn.Config(
        app,
        http=served,
        ws="none",
        lifespan="off",
        loop="uvloop",
        log_config=None,
        proxy_headers=False,
        timeout_keep_alive=keep_alive_seconds,
        timeout_graceful_shutdown=5,
    )
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(config)
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        await server.database.open()
        await running.serve([listener])
        await server.database.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(main())

    thread = threading.Thread(target=run)
    thread.start()
    while not running.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.01)
    edge = Edge(
        listener.getsockname()[1], grpc, functions, folder / "flyte.db", loops[0], running, served.http2.process_flow
    )
    try:
        yield edge
    finally:
        # The loop is closed where the test itself has stopped the server.
        with suppress(RuntimeError):
            loops[0].call_soon_threadsafe(grpc.close)
        running.should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server did not stop"


@dataclass
class Answer:
    """What came back on one stream. reset: the code of RST_STREAM, None without one."""

    status: int = 0
    headers: dict[bytes, bytes] = field(default_factory=dict)
    trailers: dict[bytes, bytes] = field(default_factory=dict)
    body: bytes = b""
    ended: bool = False
    reset: int | None = None

    @property
    def code(self) -> int:
        """The gRPC code, from the trailers or, of a request that was no call, from the headers."""
        return int((self.trailers or self.headers)[b"grpc-status"])

    @property
    def message(self) -> str:
        """The gRPC message as it stands on the wire."""
        return (self.trailers or self.headers).get(b"grpc-message", b"").decode()


class RawConnection:
    """One HTTP/2 connection, driven by hand."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._connection = zttp.Connection(zttp.CLIENT, protocol=zttp.HTTP2)
        self._connection.initiate_connection()
        self.answers: dict[int, Answer] = {}
        self.goodbyes: list[tuple[int, int]] = []
        self.pongs = 0
        self.closed = False
        self.flush()

    def send(
        self,
        path: str,
        body: bytes = b"",
        *,
        headers: tuple[tuple[bytes, bytes], ...] = ((b"te", b"trailers"),),
        method: bytes = b"POST",
        content_type: bytes = b"application/grpc",
        end: bool = True,
    ) -> int:
        """Send a request; its stream id."""
        fields = [(b"host", b"localhost"), *headers]
        if content_type:
            fields.append((b"content-type", content_type))
        stream = self._connection.send_request(method, path.encode(), b"2", fields)
        if body:
            stream.send_data(body)
        if end:
            stream.end_message()
        self.answers[stream.stream_id] = Answer()
        self.flush()
        return stream.stream_id

    def data(self, stream_id: int, body: bytes, *, end: bool = False) -> None:
        """Send a DATA frame of a request's body."""
        stream = self._connection.stream(stream_id)
        stream.send_data(body)
        if end:
            stream.end_message()
        self.flush()

    def send_headers_only(self, path: str, method: bytes) -> int:
        """Send a request that ends with its headers, which zttp's client cannot say by itself; its stream id."""
        stream = self._connection.send_request(method, path.encode(), b"2", [(b"host", b"localhost")])
        frame = bytearray(self._connection.data_to_send())
        # RFC 9113 6.2: the fifth byte of the frame holds its flags, the lowest of which is END_STREAM.
        frame[4] |= 1
        self._socket.sendall(frame)
        self.answers[stream.stream_id] = Answer()
        return stream.stream_id

    def reset(self, stream_id: int) -> None:
        """Cancel a stream."""
        self._connection.stream(stream_id).reset(8)
        self.flush()

    def ping(self) -> None:
        """Send a PING frame."""
        self._socket.sendall(b"\0\0\x08\x06\0\0\0\0\0" + bytes(8))

    def flush(self) -> None:
        """Send what the connection has ready."""
        data = self._connection.data_to_send()
        if data:
            self._socket.sendall(data)

    def receive(self) -> None:
        """Wait for the next bytes and take them in. errors: TimeoutError after ten seconds"""
        data = self._socket.recv(65536)
        if not data:
            self.closed = True
            return
        self._connection.receive_data(data)
        while (event := self._connection.next_event()) is not zttp.NEED_DATA:
            self._take(event)
        self.flush()

    def _take(self, event: Any) -> None:
        if isinstance(event, zttp.GoAway):
            self.goodbyes.append((event.error_code, event.last_stream_id))
        elif isinstance(event, zttp.Ping):
            self.pongs += event.ack
        elif isinstance(event, zttp.Response):
            self.answers[event.stream_id].status = event.status_code
            self.answers[event.stream_id].headers = dict(event.headers)
        elif isinstance(event, zttp.Data):
            self.answers[event.stream_id].body += event.data
        elif isinstance(event, zttp.EndOfMessage):
            self.answers[event.stream_id].trailers = dict(event.trailers)
            self.answers[event.stream_id].ended = True
        elif isinstance(event, zttp.RstStream):
            self.answers[event.stream_id].reset = event.error_code

    def answer(self, stream_id: int) -> Answer:
        """The whole answer to a request."""
        answer = self.answers[stream_id]
        while not (answer.ended or self.closed or answer.reset is not None):
            self.receive()
        return answer

    def close(self) -> None:
        """Drop the connection."""
        self._socket.close()


@contextmanager
def raw(port: int) -> Iterator[RawConnection]:
    """A connection that is closed at the end of the block."""
    connection = RawConnection(port)
    try:
        yield connection
    finally:
        connection.close()

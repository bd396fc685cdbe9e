"""The web server of one process: uvicorn around the application, and grpcio's server where uvicorn has no HTTP/2."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import FlyteError
from app.runtime.metrics import Book
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    import uvicorn

    from app.main import FlyteAdmin

# The engine and the connection pools need some time to close after the graceful time of requests.
CLOSE_SECONDS_MAX = 5.0
KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger(__name__)


def run(
    settings: Settings,
    sockets: Sequence[socket.socket],
    book: Book,
    ready: Callable[[], None],
    stop: Stop | None = None,
) -> None:
    """Serve from this process until SIGTERM or SIGINT.

    Args:
        ready: Called when requests are served.
        stop: Handles the signals; by default from now on.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, sockets, book, ready, stop or Stop()))


class Stop:
    """SIGTERM and SIGINT as a wish, from now until the end.

    While uvicorn serves it handles them itself. Before, they would be lost; afterwards it raises them once more, which
    must not end the process while the application is being closed.
    """

    def __init__(self) -> None:
        self.wished = False
        self._server: uvicorn.Server | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.wish())

    def wish(self) -> None:
        """Stop the server, or do not even begin."""
        self.wished = True
        if self._server is not None:
            self._server.should_exit = True

    def reaches(self, server: uvicorn.Server) -> None:
        """Let wishes of the past and the future reach a server."""
        self._server = server
        if self.wished:
            server.should_exit = True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        # uvloop has no build for this platform; the loop of the standard library serves, slower.
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(
    settings: Settings,
    sockets: Sequence[socket.socket],
    book: Book,
    ready: Callable[[], None],
    stop: Stop,
) -> None:
    from app.main import create_app

    app = create_app(settings, metrics=book)
    async with _running(app):
        server = _uvicorn_server(app, settings, ready)
        stop.reaches(server)
        parent = multiprocessing.parent_process()
        if parent is not None:
            # The supervisor is gone when its sentinel becomes readable; nobody would restart or stop this worker.
            asyncio.get_running_loop().add_reader(parent.sentinel, stop.wish)
        async with _grpc_beside(app, settings):
            await server.serve(list(sockets))
        end_in_time()
    if settings.engine.kind == "local":
        # The engine has stopped, so nothing fails of it; a thread that waits for the installer would keep the process.
        from app.engine.local.processes import environment

        environment.interrupt()


@asynccontextmanager
async def _grpc_beside(app: FlyteAdmin, settings: Settings) -> AsyncIterator[None]:
    """grpcio's server on the gRPC port, where the protocol library of REST cannot speak HTTP/2."""
    if settings.server.http == "zttp":
        yield
        return
    from app.api import routers
    from app.api.grpc import grpcio_server

    host = settings.server.host
    address = f"[{host}]:{settings.server.grpc.port}" if ":" in host else f"{host}:{settings.server.grpc.port}"
    try:
        server, _ = await grpcio_server.start(app.server, routers.ALL, address)
    except RuntimeError as error:
        raise BadSetting(
            f"port {settings.server.grpc.port} cannot be used for gRPC; choose another with --grpc-port"
        ) from error
    try:
        yield
    finally:
        await server.stop(settings.server.graceful_shutdown_timeout_seconds)


@asynccontextmanager
async def _running(app: FlyteAdmin) -> AsyncIterator[None]:
    """The application's life, with what keeps it from starting as one line."""
    running = app.running()
    try:
        await running.__aenter__()
    except FlyteError as error:
        raise BadSetting(error.message) from error
    try:
        yield
    finally:
        await running.__aexit__(None, None, None)


def end_in_time() -> None:
    """End the process when closing lasts too long: a thread that nobody can interrupt must not keep it."""

    def give_up() -> None:
        log.warning("closing_took_too_long", seconds_max=CLOSE_SECONDS_MAX)
        os._exit(0)

    watch = threading.Timer(CLOSE_SECONDS_MAX, give_up)
    watch.daemon = True
    watch.start()


def _uvicorn_server(app: FlyteAdmin, settings: Settings, ready: Callable[[], None]) -> uvicorn.Server:
    import uvicorn

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            if not self.should_exit:
                ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            app.stop_streams()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            http=_protocol(settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.server.graceful_shutdown_timeout_seconds,
        )
    )


def _protocol(settings: Settings) -> Any:
    if settings.server.http == "httptools":
        return "httptools"
    from app.api.http.http2 import protocol

    return protocol(settings)

"""The web server of one process: uvicorn around the application, and grpcio's server where uvicorn has no HTTP/2.

On SIGTERM the server drains before it stops, in this order:

1. The process is no longer ready, and each reply asks the client to leave (`Connection: close`, GOAWAY). New
   connections are still accepted. This lasts `server.drainSeconds`.
2. The listening sockets ignore new connections. The server accepts those that wait in their queues.
3. uvicorn closes the sockets and idle connections, and lets running requests end.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import FlyteError
from app.runtime.metrics import CallMetrics
from app.server import listeners
from app.server.reload import SettingsSource, reload_on_hangup
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    import uvicorn

    from app.main import FlyteAdmin
    from app.server.tls import ServerTls

# The engine and the connection pools need some time to close after the graceful time of requests.
CLOSE_SECONDS_MAX = 5.0
KEEP_ALIVE_SECONDS = 75
# Time for handshakes that had begun when the sockets stopped taking new connections.
LAST_CONNECTIONS_SECONDS = 0.5
_TICK_SECONDS = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """The parameters of a process that serves requests.

    Attributes:
        source: Reads the settings again on SIGHUP.
        ready: Called when requests are served.
        shares_sockets: Whether other processes accept connections from the same sockets, so that this process must
            not make them refuse connections.
    """

    settings: Settings
    source: SettingsSource
    sockets: Sequence[socket.socket]
    counts: CallMetrics
    ready: Callable[[], None]
    shares_sockets: bool = False


def run(serving: Serving, stop: StopSignals | None = None) -> None:
    """Serve from this process until SIGTERM or SIGINT.

    Args:
        serving: The parameters.
        stop: Handles the signals; by default from now on.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(serving, stop or StopSignals()))


class StopSignals:
    """Handles SIGTERM and SIGINT before uvicorn serves and after it has served.

    uvicorn handles both signals while it serves, and raises them again afterwards. They must not end the process while
    the application is being started or closed.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._server: uvicorn.Server | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: self.stop(received))

    def stop(self, number: int | None = None) -> None:
        """Stop the server at once, or as soon as it has started.

        Args:
            number: The signal; None when the supervisor has ended.
        """
        self.received = number if number is not None else signal.SIGINT
        if self._server is not None:
            self._server.should_exit = True

    def attach(self, server: uvicorn.Server) -> None:
        """Set the server that `stop` stops; stop it where a signal has been received already."""
        self._server = server
        if self.received is not None:
            server.should_exit = True


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:
        # uvloop has no build for this platform; the loop of the standard library serves, slower.
        return asyncio.new_event_loop
    return uvloop.new_event_loop


async def _serve(serving: Serving, stop: StopSignals) -> None:
    from app.main import create_app

    settings = serving.settings
    app = create_app(settings, metrics=serving.counts)
    tls = _tls(app, settings)
    async with _running(app), tls.watching() if tls is not None else nullcontext():
        server = _uvicorn_server(app, serving, stop, tls)
        stop.attach(server)
        reload_on_hangup(serving.source, *([] if tls is None else [tls.reload]))
        parent = multiprocessing.parent_process()
        if parent is not None:
            # The sentinel becomes readable when the supervisor has ended, and nobody would restart or stop this worker.
            asyncio.get_running_loop().add_reader(parent.sentinel, _stop_with_parent, parent.sentinel, stop)
        async with _grpc_beside(app, settings, tls):
            await server.serve(list(serving.sockets))
        end_in_time()
    if settings.engine.kind == "local":
        # The engine has stopped, so no task fails by this. A thread that waits for an installer would keep the process.
        from app.engine.local.processes import environment

        environment.interrupt()


def _tls(app: FlyteAdmin, settings: Settings) -> ServerTls | None:
    if not settings.server.security.secure:
        return None
    from app.server.tls import ServerTls

    protocols = ("h2", "http/1.1") if settings.server.http == "zttp" else ("http/1.1",)
    return ServerTls(settings, protocols, app.use_certificate_names)


def _stop_with_parent(sentinel: int, stop: StopSignals) -> None:
    # The sentinel stays readable: while it is watched, the event loop calls this without a pause.
    asyncio.get_running_loop().remove_reader(sentinel)
    stop.stop()


@asynccontextmanager
async def _grpc_beside(app: FlyteAdmin, settings: Settings, tls: ServerTls | None) -> AsyncIterator[None]:
    """Run grpcio's server on the gRPC port where the protocol library of REST has no HTTP/2."""
    if settings.server.http == "zttp":
        yield
        return
    from app.api import routers
    from app.api.grpc import grpcio_server

    host = settings.server.host
    address = f"[{host}]:{settings.server.grpc.port}" if ":" in host else f"{host}:{settings.server.grpc.port}"
    try:
        credentials = None if tls is None else tls.grpcio_credentials()
        server, _ = await grpcio_server.start(app.server, routers.ALL, address, credentials)
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
    """Run the application. Raises BadSetting where it cannot start."""
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
    """End the process in CLOSE_SECONDS_MAX at the latest: a thread that waits for something could keep it."""

    def end() -> None:
        log.warning("closing_took_too_long", seconds_max=CLOSE_SECONDS_MAX)
        os._exit(0)

    timer = threading.Timer(CLOSE_SECONDS_MAX, end)
    timer.daemon = True
    timer.start()


def _uvicorn_server(app: FlyteAdmin, serving: Serving, stop: StopSignals, tls: ServerTls | None) -> uvicorn.Server:
    import uvicorn

    settings = serving.settings

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            if self.should_exit:
                # A signal came before the start: connections that are not accepted here go to the other workers.
                return
            if tls is None:
                await super().startup(sockets)
            else:
                self.servers = await _listen_with_tls(self, sockets or [], settings, tls)
                self.started = True
            if not self.should_exit:
                # A full collection would look at all modules again, which stops the event loop for 0.1 s.
                gc.freeze()
                serving.ready()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            terminated = signal.SIGTERM in (*self._captured_signals, stop.received)
            if terminated and settings.server.drain_seconds > 0:
                await _drain(self, app, serving)
            app.stop_streams()
            await super().shutdown(sockets)

    return Server(
        uvicorn.Config(
            app,
            http=_protocol(app, settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=settings.server.graceful_shutdown_timeout_seconds,
            headers=_headers(settings),
        )
    )


def _headers(settings: Settings) -> list[tuple[str, str]]:
    """Return the headers of every reply."""
    security = settings.server.security
    if not security.secure or not security.hsts_max_age_seconds:
        return []
    return [("strict-transport-security", f"max-age={security.hsts_max_age_seconds}")]


async def _listen_with_tls(
    server: uvicorn.Server, sockets: Sequence[socket.socket], settings: Settings, tls: ServerTls
) -> list[asyncio.Server]:
    """Accept TLS connections from the sockets. uvicorn's `startup` has no time limits for handshakes and their end."""
    from app.server.tls import SHUTDOWN_SECONDS

    def connected() -> asyncio.Protocol:
        make: Any = server.config.http_protocol_class
        made: asyncio.Protocol = make(
            config=server.config, server_state=server.server_state, app_state=server.lifespan.state
        )
        return made

    loop = asyncio.get_running_loop()
    await server.lifespan.startup()
    return [
        await loop.create_server(
            connected,
            sock=one,
            ssl=tls.entry,
            backlog=server.config.backlog,
            ssl_handshake_timeout=settings.server.security.ssl.handshake_timeout_seconds,
            ssl_shutdown_timeout=SHUTDOWN_SECONDS,
        )
        for one in sockets
    ]


async def _drain(server: uvicorn.Server, app: FlyteAdmin, serving: Serving) -> None:
    """Serve on until clients have left, see the top of this module. A second SIGINT ends it."""
    seconds = serving.settings.server.drain_seconds
    log.info("draining", seconds=seconds)
    app.drain()
    close = (b"connection", b"close")
    # uvicorn makes the default headers of the config once a second; running requests have the present list.
    server.config.encoded_headers.append(close)
    server.server_state.default_headers.append(close)
    for connection in list(server.server_state.connections):
        if hasattr(connection, "retire"):
            connection.retire()
    await _tick(server, seconds)
    if not serving.shares_sockets:
        listeners.refuse_connections(serving.sockets)
    await _tick(server, LAST_CONNECTIONS_SECONDS)


async def _tick(server: uvicorn.Server, seconds: float) -> None:
    """Wait, and keep the Date header up to date meanwhile, which uvicorn does no longer when it shuts down."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end and not server.force_exit:
        await server.on_tick(0)
        await asyncio.sleep(_TICK_SECONDS)


def _protocol(app: FlyteAdmin, settings: Settings) -> Any:
    if settings.server.http == "httptools":
        return "httptools"
    from app.api.http.http2 import protocol

    return protocol(settings, app.server.health)

"""The serving processes: one, or a supervisor with several workers that share the listening sockets.

A worker that dies is started again, later each time it dies early; when the supervisor dies, its workers end.
Everything that can fail at start-up ends as one BadSetting with one line of advice, before anything is served.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any

import structlog

from app.errors import FlyteError
from app.runtime import metrics, own_environment
from app.server import logs
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    import uvicorn

    from app.main import FlyteAdmin

RESTART_SECONDS_MIN = 0.5
RESTART_SECONDS_MAX = 30.0
# A worker that lived this long died of something new, so its restarts count from the start again.
HEALTHY_SECONDS = 60.0
# On top of the graceful time for requests, the engine and the pools need a moment to end.
CLOSE_SECONDS_MAX = 5.0
KEEP_ALIVE_SECONDS = 75

log = structlog.get_logger(__name__)


def run(settings: Settings, sockets: Sequence[socket.socket], book: metrics.Book, ready: Callable[[], None]) -> None:
    """Serve from this process until SIGTERM or SIGINT; ready is called when requests are answered."""
    stop = _Stop()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(settings, sockets, book, ready, stop))


class _Stop:
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
    book: metrics.Book,
    ready: Callable[[], None],
    stop: _Stop,
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


@dataclass(slots=True)
class _Worker:
    """One worker's slot: the process that fills it now, and when to fill it again if it is empty."""

    index: int
    numbers: Any
    process: SpawnProcess | None = None
    told: Connection | None = None
    ready: bool = False
    started_at: float = 0.0
    deaths: int = 0
    start_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Keeps `server.workers` processes serving; made in the process that holds the lock and the sockets."""

    settings: Settings
    sockets: Sequence[socket.socket]
    ready: Callable[[], None]
    workers: list[_Worker] = field(default_factory=list)
    taken: dict[str, str] = field(default_factory=dict)
    stopping: bool = False
    all_ready: bool = False

    def __post_init__(self) -> None:
        # Workers get these another way, so that no environment of theirs shows a secret.
        self.taken = own_environment.take()
        # Starting it later, between two workers, would lift the block that _start puts on SIGINT.
        resource_tracker.ensure_running()
        context = multiprocessing.get_context("spawn")
        names = [name for _, name in metrics.rpcs()]
        self.workers = [
            _Worker(index, context.RawArray("d", metrics.Book.size(names)))
            for index in range(self.settings.server.workers)
        ]

    def books(self) -> list[metrics.Book]:
        """What the workers have recorded; a restarted worker goes on in the book of the one before it."""
        return [_book(worker.numbers) for worker in self.workers]

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT.

        errors: BadSetting with a worker's own words where it cannot start in the first place
        """
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        for ended_by in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ended_by, lambda *_: setattr(self, "stopping", True))
        signal.set_wakeup_fd(wake)
        try:
            while not self.stopping:
                self._start_due()
                self._wait(woken)
        finally:
            signal.set_wakeup_fd(-1)
            self._stop()

    def _start_due(self) -> None:
        now = time.monotonic()
        for worker in self.workers:
            if worker.process is None and worker.start_at <= now:
                self._start(worker)

    def _start(self, worker: _Worker) -> None:
        context = multiprocessing.get_context("spawn")
        worker.told, tell = context.Pipe(duplex=False)
        worker.ready = False
        worker.started_at = time.monotonic()
        worker.process = context.Process(
            target=_work,
            args=(self.settings, self.taken, list(self.sockets), worker.index, worker.numbers, tell),
            name=f"flyteadmin-worker-{worker.index}",
            daemon=True,
        )
        # A worker must not be interrupted while it imports: Ctrl-C reaches the whole group, and it is told anyway.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            worker.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        tell.close()

    def _wait(self, woken: int) -> None:
        """Sleep until a worker speaks or dies, a signal comes, or a restart is due; deal with it."""
        idle = [worker.start_at for worker in self.workers if worker.process is None]
        timeout = max(0.0, min(idle) - time.monotonic()) if idle else None
        waited: list[Any] = [woken]
        waited += [worker.told for worker in self.workers if worker.told is not None]
        waited += [worker.process.sentinel for worker in self.workers if worker.process is not None]
        happened = connection.wait(waited, timeout)
        for worker in self.workers:
            if worker.told in happened:
                self._hear(worker)
            if worker.process is not None and worker.process.sentinel in happened and not self.stopping:
                self._bury(worker)

    def _hear(self, worker: _Worker) -> None:
        assert worker.told is not None
        try:
            message = worker.told.recv()
        except EOFError:
            message = None
        worker.told.close()
        worker.told = None
        if message == "":
            worker.ready = True
            if not self.all_ready and all(other.ready for other in self.workers):
                self.all_ready = True
                self.ready()
        elif message is not None and not self.all_ready:
            raise BadSetting(message)

    def _bury(self, worker: _Worker) -> None:
        assert worker.process is not None
        worker.process.join()
        lived = time.monotonic() - worker.started_at
        worker.deaths = 0 if lived > HEALTHY_SECONDS else worker.deaths + 1
        pause = min(RESTART_SECONDS_MIN * 2 ** max(worker.deaths - 1, 0), RESTART_SECONDS_MAX)
        worker.start_at = time.monotonic() + pause
        log.error("worker_died", worker=worker.index, exit_code=worker.process.exitcode, restart_in_seconds=pause)
        worker.process.close()
        worker.process = None
        worker.ready = False

    def _stop(self) -> None:
        graceful = self.settings.server.graceful_shutdown_timeout_seconds + CLOSE_SECONDS_MAX
        running = [worker.process for worker in self.workers if worker.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + graceful + 1
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                process.kill()
                process.join()


def _book(numbers: Any) -> metrics.Book:
    view = memoryview(numbers).cast("B").cast("d")
    return metrics.Book([name for _, name in metrics.rpcs()], view)


def _work(
    settings: Settings, taken: dict[str, str], sockets: list[socket.socket], index: int, numbers: Any, tell: Connection
) -> None:
    """A worker's whole life; it tells "" when it serves, or the one line why it cannot."""
    own_environment.give(taken)
    logs.set_up(settings)
    structlog.contextvars.bind_contextvars(worker=index)
    stop = _Stop()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_serve(settings, sockets, _book(numbers), lambda: tell.send(""), stop))
    except BadSetting as error:
        tell.send(str(error))
        sys.exit(1)
    except Exception:
        # The traceback goes through the log, which masks secrets; multiprocessing would print it as it is.
        log.exception("worker_failed")
        sys.exit(1)

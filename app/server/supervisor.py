"""Several worker processes that share the listening sockets, and the supervisor that keeps them running.

A worker that ends is started again, after a pause that grows while workers end early. When the supervisor is killed,
its workers stop.

uvicorn's Multiprocess serves another purpose. It starts an ended worker again at once, however often it ends; polls
every worker twice a second; tells nobody when requests are served; and its workers outlive a supervisor that is
killed. Nor can it give a worker its own memory for metrics, or secrets that its environment does not show.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, resource_tracker
from typing import TYPE_CHECKING, Any

import structlog

from app.runtime import metrics, own_environment
from app.server import logs, web_server
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

RESTART_SECONDS_MIN = 0.5
RESTART_SECONDS_MAX = 30.0
# A worker that lived this long ended for a new reason, so the pauses begin anew.
HEALTHY_SECONDS = 60.0

log = structlog.get_logger(__name__)


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
        size = metrics.Book.size([name for _, name in metrics.rpcs()])
        self.workers = [_Worker(index, context.RawArray("d", size)) for index in range(self.settings.server.workers)]
        for book in self.books():
            book.clear_gauges()

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
        _book(worker.numbers).clear_gauges()
        worker.process.close()
        worker.process = None
        worker.ready = False

    def _stop(self) -> None:
        graceful = self.settings.server.graceful_shutdown_timeout_seconds + web_server.CLOSE_SECONDS_MAX
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
    stop = web_server.Stop()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        web_server.run(settings, sockets, _book(numbers), lambda: tell.send(""), stop)
    except BadSetting as error:
        tell.send(str(error))
        sys.exit(1)
    except Exception:
        # The traceback goes through the log, which masks secrets; multiprocessing would print it as it is.
        log.exception("worker_failed")
        sys.exit(1)

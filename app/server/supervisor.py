"""Several worker processes that share the listening sockets, and the supervisor that keeps them running.

A worker that ends is started again, after a pause that grows while workers end early. The server ends when a worker
fails STARTS_MAX times before it serves, unless other workers serve meanwhile. When the supervisor is killed, its
workers stop.

uvicorn's Multiprocess serves another purpose. It starts an ended worker again at once, however often it ends; polls
every worker twice a second; does not report when requests are served; and its workers outlive a supervisor that is
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
from app.server import listeners, logs, web_server
from app.server.reload import SettingsSource, ignore_hangup
from app.settings import BadSetting, Settings

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

RESTART_SECONDS_MIN = 0.5
RESTART_SECONDS_MAX = 30.0
# After this time a worker ends for a new reason, so the pauses between restarts begin anew.
HEALTHY_SECONDS = 60.0
# Starts that fail for an unknown reason, as opposed to one that the worker reports.
STARTS_MAX = 4
_BLOCKED_AT_START = frozenset({signal.SIGINT, signal.SIGHUP})

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Worker:
    """One worker: its process, or the time at which to start the next one.

    Attributes:
        numbers: Shared memory of the worker's metrics, kept when its process is replaced.
        messages: The pipe on which the process reports its start.
        exits: How often in a row a process has ended early.
        failed_starts: How often in a row a process has ended before it served, without a reason.
    """

    index: int
    numbers: Any
    process: SpawnProcess | None = None
    messages: Connection | None = None
    ready: bool = False
    started_at: float = 0.0
    exits: int = 0
    failed_starts: int = 0
    start_at: float = 0.0


@dataclass(slots=True)
class Supervisor:
    """Keeps `server.workers` processes running. It runs in the process that has the lock and the sockets."""

    settings: Settings
    source: SettingsSource
    sockets: Sequence[socket.socket]
    ready: Callable[[], None]
    workers: list[_Worker] = field(init=False)
    all_ready: bool = False
    _variables: dict[str, str] = field(init=False)
    _stopped_by: int | None = None
    _hung_up: bool = False

    def __post_init__(self) -> None:
        # Workers get their variables by a pipe, so that the environment that the system shows of them has no secret.
        self._variables = own_environment.take()
        # The tracker would otherwise be started by the first worker's start, which blocks signals.
        resource_tracker.ensure_running()
        context = multiprocessing.get_context("spawn")
        size = metrics.CallMetrics.size([name for _, name in metrics.rpcs()])
        self.workers = [_Worker(index, context.RawArray("d", size)) for index in range(self.settings.server.workers)]
        for counts in self.call_metrics():
            counts.clear_gauges()

    def call_metrics(self) -> list[metrics.CallMetrics]:
        """Return the metrics of the workers."""
        return [_counts(worker.numbers) for worker in self.workers]

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT.

        Raises:
            BadSetting: A worker cannot start; its message is the worker's. Or no worker serves after STARTS_MAX
                starts of one.
        """
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda received, _: setattr(self, "_stopped_by", received))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "_hung_up", True))
        # The pipe becomes readable with each signal, which ends the wait below.
        signal.set_wakeup_fd(wake)
        try:
            while self._stopped_by is None:
                self._start_due()
                self._wait(woken)
                if self._hung_up:
                    self._reload()
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
        worker.messages, sender = context.Pipe(duplex=False)
        worker.ready = False
        worker.started_at = time.monotonic()
        worker.process = context.Process(
            target=_run_worker,
            args=(
                self.settings,
                self.source,
                self._variables,
                list(self.sockets),
                worker.index,
                worker.numbers,
                sender,
            ),
            name=f"flyteadmin-worker-{worker.index}",
            daemon=True,
        )
        # SIGINT and SIGHUP may reach the whole process group. Neither may end a worker that imports its modules.
        signal.pthread_sigmask(signal.SIG_BLOCK, _BLOCKED_AT_START)
        try:
            worker.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_AT_START)
        sender.close()

    def _wait(self, woken: int) -> None:
        """Wait for a message or the end of a worker, for a signal, or until a restart is due; handle it."""
        idle = [worker.start_at for worker in self.workers if worker.process is None]
        timeout = max(0.0, min(idle) - time.monotonic()) if idle else None
        waited: list[Any] = [woken]
        waited += [worker.messages for worker in self.workers if worker.messages is not None]
        waited += [worker.process.sentinel for worker in self.workers if worker.process is not None]
        happened = connection.wait(waited, timeout)
        if woken in happened:
            os.read(woken, 512)
        for worker in self.workers:
            if worker.messages in happened:
                self._receive(worker)
            if worker.process is not None and worker.process.sentinel in happened and self._stopped_by is None:
                self._schedule_restart(worker)

    def _receive(self, worker: _Worker) -> None:
        """Handle the one message of a worker: "" when it serves, otherwise the reason why it cannot."""
        assert worker.messages is not None
        try:
            message = worker.messages.recv()
        except EOFError:
            message = None
        worker.messages.close()
        worker.messages = None
        if message is not None:
            worker.failed_starts = 0
        if message == "":
            worker.ready = True
            if self.all_ready:
                log.info("worker_restarted", worker=worker.index)
            if not self.all_ready and all(other.ready for other in self.workers):
                self.all_ready = True
                self.ready()
        elif message is not None:
            if not self.all_ready:
                raise BadSetting(message)
            log.error("worker_cannot_start", worker=worker.index, reason=message)

    def _schedule_restart(self, worker: _Worker) -> None:
        assert worker.process is not None
        worker.process.join()
        lived = time.monotonic() - worker.started_at
        worker.exits = 0 if lived > HEALTHY_SECONDS else worker.exits + 1
        pause = min(RESTART_SECONDS_MIN * 2 ** max(worker.exits - 1, 0), RESTART_SECONDS_MAX)
        worker.start_at = time.monotonic() + pause
        code = worker.process.exitcode
        worker.process.close()
        worker.process = None
        _counts(worker.numbers).clear_gauges()
        if not worker.ready:
            worker.failed_starts += 1
        worker.ready = False
        if worker.failed_starts >= STARTS_MAX and not (self.all_ready and any(other.ready for other in self.workers)):
            log.error("worker_given_up", worker=worker.index, exit_code=code, starts=worker.failed_starts)
            raise BadSetting(
                f"worker {worker.index} ended {worker.failed_starts} times before it served requests, the last time "
                f"with exit code {code}; lines with worker_failed in the log have the cause"
            )
        log.error("worker_died", worker=worker.index, exit_code=code, restart_in_seconds=pause)

    def _reload(self) -> None:
        self._hung_up = False
        self.source.apply_logger()
        for worker in self.workers:
            if worker.process is not None and worker.process.pid is not None:
                os.kill(worker.process.pid, signal.SIGHUP)

    def _stop(self) -> None:
        """Stop the workers, and kill those that do not end in time."""
        server = self.settings.server
        running = [worker.process for worker in self.workers if worker.process is not None]
        for process in running:
            process.terminate()
        serves = any(worker.ready for worker in self.workers)
        if self._stopped_by == signal.SIGTERM and serves and server.drain_seconds > 0:
            # The workers drain now. They share the sockets, so the supervisor ends new connections for all of them.
            self._wait_for_end(running, server.drain_seconds)
            listeners.refuse_connections(self.sockets)
            self._wait_for_end(running, web_server.LAST_CONNECTIONS_SECONDS)
        # While any process has a socket open, clients that connect wait instead of being refused.
        for one in self.sockets:
            one.close()
        seconds = server.graceful_shutdown_timeout_seconds + web_server.CLOSE_SECONDS_MAX
        self._wait_for_end(running, seconds + web_server.LAST_CONNECTIONS_SECONDS + 1)
        for process in running:
            if process.is_alive():
                process.kill()
                process.join()

    def _wait_for_end(self, processes: Sequence[SpawnProcess], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for process in processes:
            process.join(max(0.0, deadline - time.monotonic()))


def _counts(numbers: Any) -> metrics.CallMetrics:
    view = memoryview(numbers).cast("B").cast("d")
    return metrics.CallMetrics([name for _, name in metrics.rpcs()], view)


def _run_worker(
    settings: Settings,
    source: SettingsSource,
    variables: dict[str, str],
    sockets: list[socket.socket],
    index: int,
    numbers: Any,
    sender: Connection,
) -> None:
    """Serve as a worker. Send "" when requests are served, or the reason why the worker cannot start."""
    own_environment.give(variables)
    logs.set_up(settings)
    structlog.contextvars.bind_contextvars(worker=index)
    ignore_hangup()
    stop = web_server.StopSignals()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _BLOCKED_AT_START)
    serving = web_server.Serving(
        settings, source, sockets, _counts(numbers), ready=lambda: sender.send(""), shares_sockets=True
    )
    try:
        web_server.run(serving, stop)
    except BadSetting as error:
        sender.send(str(error))
        sys.exit(1)
    except Exception:
        # The log masks secrets in the traceback; multiprocessing would print it as it is.
        log.exception("worker_failed")
        sys.exit(1)

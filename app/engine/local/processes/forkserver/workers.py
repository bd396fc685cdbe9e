"""The workers of a supervisor (worker.py): those that run a task, and those that wait for the next one."""

from __future__ import annotations

import socket
import time
from dataclasses import dataclass, field


@dataclass(eq=False)
class Worker:
    """One worker.

    Attributes:
        pid: Its process.
        key: The tasks that may share it.
        channel: The connection to it.
        started: Number of tasks that it has got.
        idle_until: When it ends without another task, by the monotonic clock.
    """

    pid: int
    key: str
    channel: socket.socket
    started: int = 0
    idle_until: float = 0.0


@dataclass
class Workers:
    """All workers of a supervisor, by their processes."""

    all: dict[int, Worker] = field(default_factory=dict)
    _idle: dict[str, list[Worker]] = field(default_factory=dict)

    def take(self, key: str) -> Worker | None:
        """Return a worker that waits for a task of these; None without one."""
        waiting = self._idle.get(key)
        if not waiting:
            return None
        worker = waiting.pop()
        if not waiting:
            del self._idle[key]
        return worker

    def add(self, worker: Worker) -> None:
        """Remember a new worker."""
        self.all[worker.pid] = worker

    def wait(self, worker: Worker, seconds: float) -> None:
        """Let a worker wait for its next task."""
        worker.idle_until = time.monotonic() + seconds
        self._idle.setdefault(worker.key, []).append(worker)

    def end(self, worker: Worker) -> None:
        """Let a worker end: it exits when its channel is closed."""
        worker.channel.close()
        waiting = self._idle.get(worker.key, [])
        if worker in waiting:
            waiting.remove(worker)
            if not waiting:
                del self._idle[worker.key]

    def overdue(self, now: float) -> list[Worker]:
        """Return the workers that have waited too long."""
        return [one for waiting in self._idle.values() for one in waiting if one.idle_until <= now]

    @property
    def next_end(self) -> float | None:
        """Return when the next waiting worker ends; None without one."""
        times = [one.idle_until for waiting in self._idle.values() for one in waiting]
        return min(times, default=None)

"""The workers of a supervisor (worker.py): those that run a task, and those that wait for the next one."""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

# Messages between a supervisor and a worker: the length of a task, and the answer to it.
LENGTH = struct.Struct(">I")
ANSWER = struct.Struct(">BB")
_SEND_SECONDS_MAX = 5.0


class Worker:
    """One worker.

    Args:
        pid: Its process.
        key: The tasks that may share it.
        channel: The connection to it.

    Attributes:
        started: Number of tasks that it has got.
        idle_until: When it ends without another task, by the monotonic clock.
    """

    def __init__(self, pid: int, key: str, channel: socket.socket) -> None:
        self.pid = pid
        self.key = key
        self.channel = channel
        self.started = 0
        self.idle_until = 0.0


class Workers:
    """All workers of a supervisor, by their processes."""

    def __init__(self) -> None:
        self.all: dict[int, Worker] = {}
        self._idle: dict[str, list[Worker]] = {}

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


def send(channel: socket.socket, request: dict[str, Any], output: int) -> None:
    """Hand a task to a worker.

    Raises:
        OSError: The worker has ended, or does not read the task in time.
    """
    body = json.dumps(request).encode()
    # The supervisor must not wait longer for one worker, which a user may have stopped.
    channel.settimeout(_SEND_SECONDS_MAX)
    socket.send_fds(channel, [LENGTH.pack(len(body))], [output])
    channel.sendall(body)


def answer_of(channel: socket.socket) -> tuple[int, bool] | None:
    """Return the exit code of the task, and whether the worker can run another one.

    Returns:
        None if the worker has ended, or its task has written something else to the channel.
    """
    try:
        data = channel.recv(ANSWER.size, socket.MSG_DONTWAIT)
    except OSError:
        return None
    if len(data) < ANSWER.size:
        return None
    code, again = ANSWER.unpack(data)
    return code, bool(again)

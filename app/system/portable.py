"""The requests on any POSIX system, by process groups, sessions and psutil.

Without the parts that only Linux has: a task outlives a supervisor that is killed, until the server kills it; a process
that a task has left behind is found by its session or by its variable TMPDIR; CPUs are not limited.
"""

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

import psutil

from app.system.interface import System, physical_memory

# All tasks that are examined in one round of the supervisor share one list of processes.
_LIST_SECONDS = 0.05


class Portable(System):
    """Requests to a system of which only POSIX and psutil are expected."""

    is_portable = True
    reports_leftovers = False
    # A measurement lists all processes of the machine.
    memory_seconds = 0.5
    live_files = ("/dev/",)

    def __init__(self) -> None:
        self._children: dict[int, list[int]] = {}
        self._listed_at = 0.0
        # The variable TMPDIR of the processes of the last search.
        self._marks: dict[int, str] = {}

    def stamp(self, pid: int) -> str:
        """See `System`."""
        if pid <= 0:
            return ""
        try:
            process = psutil.Process(pid)
            return "" if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
        except psutil.Error:
            return ""

    def switches(self, pid: int) -> int:
        """See `System`."""
        try:
            return sum(psutil.Process(pid).num_ctx_switches())
        except (psutil.Error, NotImplementedError):
            return 0

    def open_process(self, pid: int) -> int:
        """See `System`."""
        return -1

    def send_signal(self, handle: int, pid: int, number: int) -> None:
        """See `System`."""
        os.kill(pid, number)

    def adopt_orphans(self) -> None:
        """See `System`: no POSIX system has to be able to do it."""

    def end_with_parent(self) -> None:
        """See `System`: no POSIX system has to be able to do it."""

    def volunteer_for_oom(self) -> None:
        """See `System`: no POSIX system has to be able to do it."""

    def oom_kills(self) -> int:
        """See `System`."""
        return 0

    def family(self, pid: int, count_max: int) -> list[int]:
        """See `System`. A descendant whose parent has ended counts while it stays in the session of the task."""
        if time.monotonic() - self._listed_at > _LIST_SECONDS:
            self._list()
        found = dict.fromkeys([pid, *(one for one in self._children if one != pid and _session(one) == pid)])
        waiting = list(found)
        while waiting and len(found) < count_max:
            below = [one for one in self._children.get(waiting.pop(), ()) if one not in found]
            found.update(dict.fromkeys(below))
            waiting += below
        return list(found)

    def left_behind(self, ended: Mapping[int, str], known: Collection[int]) -> dict[int, int]:
        """See `System`."""
        owners = {mark: pid for pid, mark in ended.items()}
        marks: dict[int, str] = {}
        found = {}
        for pid in psutil.pids():
            if pid in known or pid == os.getpid():
                continue
            session = _session(pid)
            if session not in ended:
                marks[pid] = self._marks[pid] if pid in self._marks else _mark(pid)
                session = owners.get(marks[pid], 0)
            if session and self.stamp(pid):
                found[pid] = session
        self._marks = marks
        return found

    def memory_of(self, pids: Iterable[int], enough: int) -> int:
        """See `System`. Pages that processes share do not count above `enough`."""
        processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
        total = sum(_resident(process) for process in processes)
        return total if total <= enough else sum(_unshared(process) for process in processes)

    def limit_cpus(self, count: int) -> None:
        """See `System`: no POSIX system has to be able to do it."""

    def use_huge_pages(self) -> None:
        """See `System`."""

    def native_threads(self) -> int:
        """See `System`."""
        return int(psutil.Process().num_threads())

    def limit_descriptors(self, pid: int, limits: tuple[int, int]) -> None:
        """See `System`: the process keeps the limits of its parent."""

    def machine_memory(self) -> int:
        """See `System`."""
        return physical_memory()

    def hide_environment(self) -> None:
        """See `System`: other processes of the same user can read the environment."""

    def path_of(self, descriptor: int, path: str) -> str:
        """See `System`. This takes 60 µs."""
        real = os.path.realpath(path)
        try:
            same = os.path.samestat(os.stat(real, follow_symlinks=False), os.fstat(descriptor))
        except OSError:
            return ""
        return real if same else ""

    def refuse_connections(self, listening: socket.socket) -> None:
        """See `System`: connections of the last moment are reset."""

    def _list(self) -> None:
        children: dict[int, list[int]] = defaultdict(list)
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                children[process.ppid()].append(process.pid)
                children.setdefault(process.pid, [])
        self._children = children
        self._listed_at = time.monotonic()


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _mark(pid: int) -> str:
    try:
        return str(psutil.Process(pid).environ().get("TMPDIR", ""))
    except (psutil.Error, OSError):
        # The process has ended, or belongs to another user.
        return ""


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _unshared(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.AccessDenied:
        return _resident(process)
    except psutil.Error:
        return 0

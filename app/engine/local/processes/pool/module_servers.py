"""Module servers: processes that have the module of a registered version imported, so that its tasks need not do that.

A module server is made in the background when a version runs its second task, forked from the fork server of its
environment. It forks the version's tasks until it is the one used longest ago of too many. If anything fails
here, the fork server starts the task.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import signal
import socket
import subprocess
import threading
import time
from collections import OrderedDict
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from app.engine.local.processes.forkserver.preload import FAST
from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.engine.local.processes.pool.fork_server_client import ForkServer, failure_of
from app.engine.local.processes.pool.spec import NotStarted, ProcessSpec
from app.engine.local.processes.pool.supervisor_connection import StartedTask, SupervisorConnection, SupervisorEnded
from app.system import system

log = structlog.get_logger(__name__)

_IMPORT_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.01
# Pause after an import that failed for a reason that may pass. Each failure doubles it.
_RETRY_SECONDS = 30.0
# Time without a task after which a module server may end for the sake of another one.
KEPT_SECONDS = 10.0
# Versions whose use is remembered before they have a module server, and those that cannot have one.
_REMEMBERED_MAX = 1000
MODULE, DISTRIBUTION = "task-module", "--additional-distribution"


class _Process:
    """A process that is no child of this one, with the part of Popen's interface that ForkServer uses."""

    def __init__(self, pid: int, stamp: str) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._process = ForeignProcess(pid, stamp)

    def poll(self) -> int | None:
        if self.returncode is None and not self._process.is_running():
            self.returncode = 0
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("module server", timeout or 0)
            threading.Event().wait(_POLL_SECONDS)
        return code

    def kill(self) -> None:
        self._process.send(signal.SIGKILL)


class ModuleServer(ForkServer):
    """One module server.

    Args:
        base: The fork server to fork it from.
        request: The import (forkserver/imported_module.py), without its folder.
        directory: Its folder.

    Attributes:
        used_at: When a task last asked for it, by the monotonic clock.
    """

    def __init__(self, base: ForkServer, request: Mapping[str, Any], directory: Path) -> None:
        super().__init__(Path(), warm=True, variables={}, directory=directory)
        self._base = base
        self.used_at = time.monotonic()
        self._request = {**request, "directory": str(directory)}

    async def prepare(self, bytes_max: int) -> str:
        """Fork the process and let it import the module; return why it cannot serve, or "".

        Args:
            bytes_max: Memory beyond which the process is killed.

        Raises:
            NotStarted: The system refused a process, the import raises an exception or takes too long.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        own_end, other_end = socket.socketpair()
        with other_end:
            try:
                answer = await self._base.fork(self._request, other_end)
            except BaseException:
                own_end.close()
                raise
        async with self._lock:
            self._connection = await SupervisorConnection.open(own_end)
            self._process = _Process(answer["pid"], answer["stamp"])
            if self._closed:
                await self._kill_now()
                raise NotStarted("the server stops")
            try:
                self._report = await asyncio.wait_for(self._imported(bytes_max), _IMPORT_SECONDS_MAX)
            except (SupervisorEnded, TimeoutError) as error:
                await self._kill_now()
                raise NotStarted("its process ended, or its import takes too long") from error
            self._report["packages"] = self._base.packages
            self._packages_seen = self._package_times()
        if self._report["may_pass"]:
            raise NotStarted(self._report["why"])
        return str(self._report["why"])

    async def _imported(self, bytes_max: int) -> dict[str, Any]:
        """Return the report of the import; kill the process if it needs too much memory."""
        assert self._process is not None
        assert self._connection is not None
        report = asyncio.create_task(self._connection.answer())
        try:
            while not (await asyncio.wait((report,), timeout=system.memory_seconds))[0]:
                if system.memory_of([self._process.pid], bytes_max) > bytes_max:
                    self._process.kill()
                    return {"why": f"its import needs more than {bytes_max} bytes of memory", "may_pass": False}
            return await report
        finally:
            report.cancel()

    @property
    def bytes(self) -> int:
        """Return the memory of the process after the import, without what it shares with others."""
        return int(self._report["bytes"])

    def serves(self, tasks_max: int) -> bool:
        """Return whether the process runs, and is not outdated."""
        return self._process is not None and self._started < tasks_max and self._packages_seen == self._package_times()

    def fits(self, variables: Mapping[str, str]) -> bool:
        """Return whether the import has read the values that these variables have."""
        return all(variables.get(name) == value for name, value in self._report["variables"].items())

    async def try_start(self, request: dict[str, Any]) -> StartedTask | None:
        """Start one task; return None where the fork server has to do it."""
        async with self._lock:
            if self._process is None:
                return None
            try:
                started = await self._send_start(request)
            except (SupervisorEnded, TimeoutError) as error:
                log.warning("module_server_ended", pid=self._process.pid, reason=failure_of(error))
                await self._kill_now()
                return None
            if started.answer.get("stale"):
                await self._stop()
                return None
            self._started += 1
            if self._closed:
                await self._stop()
            return started

    def abort(self) -> None:
        """End the process before it is prepared."""
        self._closed = True
        if self._process is not None:
            self._process.kill()

    async def _kill_now(self) -> None:
        if self._process is not None:
            self._process.kill()
        await self._kill()


class ModuleServers:
    """All module servers of this process.

    Args:
        directory: The folder that holds their folders.
        count_max: Module servers at once; 0 for none.
        bytes_max: Memory of all of them.
        tasks_max: Number of tasks after which a module server is replaced.
    """

    def __init__(self, directory: Path, *, count_max: int, bytes_max: int, tasks_max: int) -> None:
        self._directory = directory
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._tasks_max = tasks_max
        self._numbers = itertools.count(1)
        # Ordered by last use.
        self._ready: OrderedDict[_Key, ModuleServer] = OrderedDict()
        # The versions that have had a task.
        self._tried: OrderedDict[_Key, _Trial] = OrderedDict()
        self._making: set[ModuleServer] = set()
        self._working: set[asyncio.Task[None]] = set()

    def find(self, base: ForkServer, spec: ProcessSpec) -> ModuleServer | None:
        """Return the module server for a process; None without one. The second call for a version makes one."""
        key = _key_of(base, spec) if self._count_max else None
        if key is None:
            return None
        found = self._ready.get(key)
        if found is not None and found.serves(self._tasks_max):
            self._ready.move_to_end(key)
            found.used_at = time.monotonic()
            return found if found.fits(spec.variables) else None
        if found is not None:
            del self._ready[key]
            self._in_background(found.close())
            self._tried[key] = _Trial()
        trial = self._tried.get(key)
        if trial is None:
            self._tried[key] = _Trial()
            while len(self._tried) > _REMEMBERED_MAX:
                self._tried.popitem(last=False)
        elif trial.not_before <= time.monotonic() and self._has_room():
            trial.not_before = math.inf
            self._in_background(self._make(key, base, spec, trial))
        return None

    def _has_room(self) -> bool:
        """Return whether another module server may be made: there is room, or one is out of use."""
        if len(self._ready) + len(self._making) < self._count_max:
            return True
        oldest = next(iter(self._ready.values()), None)
        # Without this pause, many versions at once would end each other's module servers all the time.
        return oldest is not None and oldest.used_at < time.monotonic() - KEPT_SECONDS

    async def close(self) -> None:
        """End all module servers. Tasks run on."""
        self._count_max = 0
        # These coroutines are not cancelled: the fork server answers each request, and no other may get the answer.
        for server in self._making:
            server.abort()
        await asyncio.gather(*self._working)
        for server in self._ready.values():
            await server.close()

    async def _make(self, key: _Key, base: ForkServer, spec: ProcessSpec, trial: _Trial) -> None:
        server = ModuleServer(base, _request(key, spec), self._directory / f"module-{next(self._numbers)}")
        self._making.add(server)
        try:
            why = await server.prepare(self._bytes_max)
        except (NotStarted, OSError) as error:
            why = str(error)
            trial.failed()
        finally:
            self._making.discard(server)
        if not self._count_max:
            await server.close()
        elif why:
            # The reason names functions and packages, never values.
            log.info("tasks_import_their_module", module=key.module, reason=why)
            await server.close()
        else:
            self._ready[key] = server
            await self._end_too_many()

    async def _end_too_many(self) -> None:
        ready = self._ready
        while ready and (len(ready) > self._count_max or sum(one.bytes for one in ready.values()) > self._bytes_max):
            key, ended = ready.popitem(last=False)
            # A module server that is too large alone would be too large again.
            self._tried[key] = _Trial(not_before=0.0 if ready else math.inf)
            await ended.close()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._working.add(task)
        task.add_done_callback(self._working.discard)


@dataclass(slots=True)
class _Trial:
    """How the module servers of one version have failed.

    Attributes:
        not_before: The time, by the monotonic clock, from which another module server may be made.
        failures: Number of failures for a reason that may pass: no memory, no processes, an import that takes too long
            on a busy machine, or one that raises an exception.
    """

    not_before: float = 0.0
    failures: int = 0

    def failed(self) -> None:
        """Allow another module server after a pause."""
        self.not_before = time.monotonic() + _RETRY_SECONDS * 2**self.failures
        self.failures += 1


@dataclass(frozen=True, slots=True)
class _Key:
    """The properties that tasks of one module server have in common."""

    base: ForkServer
    module: str
    distribution: str
    image: str
    python_path: str
    script: str


def _key_of(base: ForkServer, spec: ProcessSpec) -> _Key | None:
    module = word_after(spec.argv, MODULE)
    if not module:
        return None
    return _Key(
        base=base,
        module=module,
        distribution=word_after(spec.argv, DISTRIBUTION) if Path(spec.program).name == FAST else "",
        image=spec.image,
        python_path=spec.shared.get("PYTHONPATH", ""),
        script=spec.program,
    )


def word_after(words: Sequence[str], word: str) -> str:
    """Return the word that follows another one; "" without it."""
    try:
        return words[words.index(word) + 1]
    except (ValueError, IndexError):
        return ""


def _request(key: _Key, spec: ProcessSpec) -> dict[str, Any]:
    return {
        "module": key.module,
        "distribution": key.distribution,
        "image": key.image,
        "argv": [spec.program, *spec.argv[1:]],
        "env": dict(spec.shared),
    }

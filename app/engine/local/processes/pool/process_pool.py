"""The process pool: starts processes from descriptions, adopts those of an earlier server, waits for them, kills them.

The supervisor of processes (forkserver/supervisor.py) writes `process.json` into the private folder of a process when
it begins and `exit.json` when it has ended. From these records any server on this machine can wait for the process and
read its exit status. The server that has started it receives its end over the connection to the supervisor. Nothing
here uses Flyte's messages.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from app.engine.local.processes.forkserver.layout import (
    EXIT_RECORD,
    KILL,
    PROCESS_RECORD,
    SECRETS,
    STOP_REQUEST,
    TERMINATE,
    VARIABLES,
)
from app.engine.local.processes.pool.claims import Claim, Machine
from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.engine.local.processes.pool.fork_server_client import ForkServers, fresh_command
from app.engine.local.processes.pool.module_servers import ModuleServers
from app.engine.local.processes.pool.spec import NotExecutable, NotStarted, ProcessSpec, temporary_link
from app.engine.local.processes.pool.supervisor_connection import ExitRecord
from app.engine.local.processes.pool.supervisor_watch import SupervisorWatch
from app.runtime.fair_semaphore import FairSemaphore, Permit
from app.system import system

# Time for a supervisor to end a process after SIGKILL, before this server kills its group itself.
_END_SECONDS_MAX = 15.0
# Between the end of the first process of a task and the record of its end, the supervisor ends what remains.
_RECORD_SECONDS = (0.001, 0.2)
_UNRECORDED_SECONDS_MAX = 60.0

# The stamp of a process whose record is lost; no process has it.
_LOST = "lost"


@dataclass(frozen=True, slots=True)
class RunningProcess:
    """A process that was started, by this server or an earlier one.

    Attributes:
        folder: Its private folder.
        supervisor: The process that supervises it: a fork server.
        first: The first process of the task; its pid is also its process group.
        started_at: Seconds since 1970.
        end: The record of its end, where this server has started it (`StartedTask.end`).
    """

    folder: Path
    supervisor: ForeignProcess
    first: ForeignProcess
    started_at: float
    end: asyncio.Future[ExitRecord | None] | None = field(default=None, kw_only=True, compare=False)

    def is_running(self) -> bool:
        """Return whether it has not ended, or its supervisor has not recorded the end yet."""
        return not self.is_recorded() and self.supervisor.is_running()

    def is_recorded(self) -> bool:
        """Return whether its supervisor has recorded its end."""
        if self.end is not None and not self.end.done():
            # The task itself can write a file with this name.
            return False
        return os.path.exists(f"{self.folder}/{EXIT_RECORD}")

    async def wait(self) -> ExitRecord | None:
        """Wait until it has ended with all processes that it started, or its end will not be recorded any more.

        Returns:
            The record of its end (`ForkedTask.finish`); None if its supervisor was killed too.
        """
        received = None if self.end is None else await asyncio.shield(self.end)
        if received is not None:
            return received
        if self.is_running():
            await self._wait_for_record()
        if not self.is_recorded() and self.first.is_running():
            # Where a supervisor that was killed has not taken its tasks along (System.end_with_parent).
            self.kill_group()
            await self.first.wait()
        return read_record(self.folder / EXIT_RECORD) or None

    async def _wait_for_record(self) -> None:
        if not system.is_portable:
            await self.first.wait()
        seconds, seconds_max = _RECORD_SECONDS
        # Where the supervisor cannot write the record, for example on a full disk, the process counts as lost.
        loop, limit = asyncio.get_running_loop(), _UNRECORDED_SECONDS_MAX if self.first.stamp != _LOST else math.inf
        ended_at = math.inf
        while self.is_running() and loop.time() - ended_at < limit:
            if ended_at == math.inf and not self.first.is_running():
                ended_at = loop.time()
            await asyncio.sleep(seconds)
            seconds = min(seconds * 2, seconds_max)

    def request_stop(self, request: str) -> bool:
        """Ask the supervisor to stop the process (layout.STOP_REQUEST); return False if the process has ended."""
        if not self.is_running():
            return False
        own = self.folder / f".{STOP_REQUEST}-{os.getpid()}"
        own.write_text(request, encoding="ascii")
        own.replace(self.folder / STOP_REQUEST)
        # Supervisors of earlier versions have one process each, and read the request from the signal alone.
        return self.supervisor.send(signal.SIGUSR2 if request == KILL else signal.SIGUSR1)

    def kill_group(self) -> None:
        """Send SIGKILL to the group of the process, without the supervisor."""
        if self.first.is_running():
            os.killpg(self.first.pid, signal.SIGKILL)


class ProcessPool:
    """The processes of one server. All methods may be called for many processes at once.

    Args:
        fork_servers: The fork servers that start the processes.
        preload: Whether processes may be forked from an interpreter that has imported flytekit.
        semaphores: The semaphores, by the names that `ProcessSpec.queue` uses.
        machine: Memory and graphics cards, which processes claim; None for no limit.
        module_servers: Processes with modules of users; None for none.
    """

    def __init__(
        self,
        fork_servers: ForkServers,
        *,
        preload: bool,
        semaphores: Mapping[str, FairSemaphore],
        machine: Machine | None = None,
        module_servers: ModuleServers | None = None,
    ) -> None:
        self._machine = machine
        self._module_servers = module_servers
        self._fork_servers = fork_servers
        self._preload = preload
        self._semaphores = semaphores
        # Tasks that wait for the ends of processes, to release their permits.
        self._holders: dict[Path, asyncio.Task[None]] = {}
        self._watch = SupervisorWatch()

    async def start(self, spec: ProcessSpec, *, before: Callable[[], Awaitable[None]] | None = None) -> RunningProcess:
        """Wait for a permit and start the process. It holds the permit until it has ended.

        A process that was started for the same folder before is returned instead of a second one.

        Args:
            spec: The description.
            before: Called when the permit is held, before the process is started.

        Raises:
            NotStarted: The system refused a process.
            NotExecutable: The system refused the program.
            EnvironmentBroken: The interpreter of the environment does not run.
            TooMuch: The process claims more graphics cards than there are.
        """
        permit = self._claim(spec.folder, spec.queue, spec.key, spec.limits.memory_claimed, spec.limits.gpus)
        await permit.acquire()
        if permit.gpu_ids:
            spec = replace(spec, variables={**spec.variables, "CUDA_VISIBLE_DEVICES": ",".join(permit.gpu_ids)})
        try:
            if before is not None:
                await before()
            await self._write_files(spec.files)
            starting = asyncio.create_task(self._start(spec, permit))
        except BaseException:
            permit.release()
            raise
        # The exception must be retrieved even if a second cancellation ends this coroutine before the task ends.
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # The start is completed, so that adopt() finds the process if there is one.
            await asyncio.wait((starting,))
            raise

    def was_started(self, folder: Path) -> bool:
        """Return whether a process was ever started for a folder."""
        return os.path.exists(f"{folder}/{PROCESS_RECORD}")

    async def adopt(
        self, folder: Path, *, queue: str, key: Hashable, memory: int = 0, gpus: int = 0
    ) -> RunningProcess | None:
        """Return the process that was started for a folder, running or ended; None if there never was one.

        A running process gets a permit even if none is free, because it runs already.
        """
        record = read_record(folder / PROCESS_RECORD)
        if record is None:
            return None
        running = _running(folder, record)
        if queue and running.is_running():
            permit = self._claim(folder, queue, key, memory, gpus)
            permit.acquire_over_limit()
            self._release_at_end(running, permit)
        return running

    async def wait(self, running: RunningProcess) -> ExitRecord | None:
        """Wait until a process has ended; return the record of its end (`RunningProcess.wait`)."""
        holder = self._holders.get(running.folder)
        if holder is not None and running.end is None:
            # The process holds a permit, so one task looks for its record already.
            await asyncio.wait((holder,))
        return await self._wait_for_end(running)

    async def _wait_for_end(self, running: RunningProcess) -> ExitRecord | None:
        with self._watch.during(running.supervisor):
            return await running.wait()

    async def kill(self, running: RunningProcess, *, grace_seconds: float) -> None:
        """Send SIGTERM to a process, and SIGKILL after the grace period; return when all its processes have ended."""
        if grace_seconds > 0 and running.request_stop(TERMINATE):
            try:
                await asyncio.wait_for(running.wait(), grace_seconds)
            except TimeoutError:
                pass
            else:
                return
        if running.request_stop(KILL):
            try:
                await asyncio.wait_for(running.wait(), _END_SECONDS_MAX)
            except TimeoutError:
                running.kill_group()

    async def kill_below(self, folder: Path, *, grace_seconds: float) -> None:
        """Kill every process whose private folder lies below a folder, also those of earlier servers."""
        found = await asyncio.to_thread(_running_below, folder)
        await asyncio.gather(*(self.kill(running, grace_seconds=grace_seconds) for running in found))

    async def close(self) -> None:
        """End the fork servers. Processes run on, and a later server can adopt them."""
        for holder in self._holders.values():
            holder.cancel()
        self._watch.close()
        if self._module_servers is not None:
            await self._module_servers.close()
        if self._machine is not None:
            self._machine.close()
        await self._fork_servers.close()

    async def _start(self, spec: ProcessSpec, permit: Claim) -> RunningProcess:
        running = None
        try:
            running = await self._fork(spec)
            return running
        finally:
            if running is None:
                permit.release()
            elif spec.queue:
                self._release_at_end(running, permit)

    async def _fork(self, spec: ProcessSpec) -> RunningProcess:
        environment = spec.preload if self._preload else None
        fork_server = await self._fork_servers.for_command(environment, spec.variables)
        hidden = {name: spec.variables[name] for name in spec.private} if spec.preload and not fork_server.warm else {}
        variables = spec.folder / SECRETS / VARIABLES if hidden else None
        if variables is not None:
            await self._write_files({variables: json.dumps(hidden).encode()})
        request = _request(spec, warm=fork_server.warm, variables=variables)
        servers = self._module_servers if fork_server.warm else None
        module_server = servers.find(fork_server, spec) if servers is not None else None
        started = None if module_server is None else await module_server.try_start(request)
        if started is None:
            started = await fork_server.start(request)
        answer = started.answer
        if answer.get("claimed"):
            record = read_record(spec.folder / PROCESS_RECORD)
            if record is not None:
                return _running(spec.folder, record)
        if answer.get("exec"):
            raise NotExecutable(answer["error"])
        if "error" in answer:
            raise NotStarted(answer["error"])
        return _running(spec.folder, answer, started.end)

    def _claim(self, folder: Path, queue: str, key: Hashable, memory: int, gpus: int) -> Claim:
        permit = Permit(self._semaphores[queue] if queue else None, key)
        return Claim(permit, self._machine if memory or gpus else None, memory, gpus, folder, key)

    def _release_at_end(self, running: RunningProcess, permit: Claim) -> None:
        """Let a process hold a permit until it has ended. A second permit for the same process is released at once."""
        if running.folder in self._holders:
            permit.release()
            return

        async def hold() -> None:
            try:
                await self._wait_for_end(running)
            finally:
                del self._holders[running.folder]
                permit.release()

        self._holders[running.folder] = asyncio.create_task(hold())

    async def _write_files(self, files: Mapping[Path, bytes]) -> None:
        if not files:
            return
        try:
            await asyncio.to_thread(write_private, files)
        except OSError as error:
            raise NotStarted(f"{error.strerror}: {error.filename}") from error


def runs_in(folder: Path) -> bool:
    """Return whether the process of a private folder runs."""
    record = read_record(folder / PROCESS_RECORD)
    return bool(record) and _running(folder, record or {}).is_running()


def write_private(files: Mapping[Path, bytes]) -> None:
    """Write files that only their owner may read.

    Raises:
        OSError: A file cannot be written.
    """
    for path, data in files.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)


def read_record(path: Path) -> dict[str, Any] | None:
    """Return a record of a supervisor; None without a file, {} where the machine stopped before it was on the disk."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record: dict[str, Any] = json.loads(data)
    except ValueError:
        return {}
    return record


def _request(spec: ProcessSpec, *, warm: bool, variables: Path | None) -> dict[str, Any]:
    """Return the request for a process (forkserver/task.py). variables: the file with the private ones, if any."""
    program, argv = spec.program, list(spec.argv)
    if spec.preload is not None:
        # The system passes the path of a console script to its interpreter, so the script sees its own path.
        argv[0] = program
        if not warm:
            program, argv = fresh_command(spec.preload, spec.image, str(variables or ""), argv)
    limits = spec.limits
    return {
        "directory": str(spec.folder),
        "temporary": str(temporary_link(spec.folder)),
        "log": str(spec.log),
        "notice": spec.notice,
        "held": str(spec.held or ""),
        "program": program,
        "argv": argv,
        "image": spec.image,
        "env": {name: value for name, value in spec.variables.items() if not variables or name not in spec.private},
        "warm": warm,
        "worker": spec.worker if warm else "",
        "worker_tasks_max": limits.worker_tasks_max,
        "worker_idle_seconds": limits.worker_idle_seconds,
        "grace_seconds": limits.grace_seconds,
        "data_paths": list(spec.data_folders),
        "log_bytes_max": limits.log_bytes_max,
        "printed_bytes_max": limits.printed_bytes_max,
        "free_bytes_min": limits.free_bytes_min,
        "processes_max": limits.processes_max,
        "memory_bytes_max": limits.memory_bytes_max,
        "cpus_max": limits.cpus_max,
    }


def _running(
    folder: Path, record: Mapping[str, Any], end: asyncio.Future[ExitRecord | None] | None = None
) -> RunningProcess:
    return RunningProcess(
        folder=folder,
        supervisor=ForeignProcess(record.get("pid", 0), record.get("stamp", _LOST)),
        # Earlier versions recorded no stamp of the first process.
        first=ForeignProcess(record.get("task_pid", 0), record.get("task_stamp", _LOST)),
        started_at=record.get("started_at", 0.0),
        end=end,
    )


def _running_below(folder: Path) -> list[RunningProcess]:
    """Return what runs in <attempt>/ of a node's folder, and in <attempt>/<index>/<retry>/ for the indices of a map."""
    found = []
    for pattern in (f"[0-9]*/{PROCESS_RECORD}", f"[0-9]*/[0-9]*/[0-9]*/{PROCESS_RECORD}"):
        for path in folder.glob(pattern):
            # A map leaves thousands of records, nearly all of processes that have ended.
            record = None if (path.parent / EXIT_RECORD).exists() else read_record(path)
            if record:
                found.append(_running(path.parent, record))
    return [running for running in found if running.is_running()]

"""Clients of the fork servers, the processes in forkserver/ that start and supervise tasks.

A fork server is started when it is first needed. It is replaced after a number of tasks, when packages of its
environment have changed, and when it was killed. One fork server is "plain" and executes any program. The others are
"warm": they have imported flytekit. Some variables are read by the interpreter or by flytekit only at their start, so
there is one warm fork server for each set of values of these variables.
"""

from __future__ import annotations

import asyncio
import fnmatch
import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import structlog

import app
from app.engine.local.processes.environment import NAME_SETTING, Environment, EnvironmentBroken
from app.engine.local.processes.pool.locked_folder import LockedFolder
from app.engine.local.processes.pool.spec import NotStarted
from app.engine.local.processes.pool.supervisor_connection import StartedTask, SupervisorConnection, SupervisorEnded
from app.runtime.descriptors import restore_limit
from app.system import PORTABLE, system

log = structlog.get_logger(__name__)

_IMPORT_SECONDS_MAX = 120.0
_ANSWER_SECONDS_MAX = 30.0
_WARM_SERVERS_MAX = 4
_END_SECONDS_MAX = 2.0
# Programs for `python -c`. They import modules of this server by the path of its package `app`, which is not in
# sys.path, so that later imports find neither the packages of this server nor the working directory.
_BOOT = """
import sys, types
app = sys.modules["app"] = types.ModuleType("app")
app.__path__ = [sys.argv.pop()]
path = [*filter(None, sys.path)]
sys.path[:] = [*path, *filter(None, [sys.argv.pop()])]
from app.engine.local.processes.forkserver.main import main
sys.path[:] = path
main()
"""
_BOOT_FRESH = """
import sys, types
app = sys.modules["app"] = types.ModuleType("app")
app.__path__ = [sys.argv.pop(1)]
del sys.path[0]
from app.engine.local.processes.forkserver.flytekit_command import main
main()
"""
_APP = str(Path(app.__file__).parent)

# Variables that the interpreter, the C library, OpenSSL or flytekit's imports read once, at their start. In a forked
# task a new value has no effect. A fork server reports further variables that its imports have read.
_READ_AT_START = (
    *("PYTHON*", "LD_*", "MALLOC_*", "GLIBC_TUNABLES", "LANG", "LANGUAGE", "LC_*", "LOCPATH", "HOME"),
    *("SSL_CERT_*", "SSLKEYLOGFILE", "OPENSSL_*", "GRPC_*", "FSSPEC_*"),
    *("FLYTE_SDK_*", "FLYTE_PLATFORM_*", "FLYTE_AWS_*", "FLYTE_AZURE_*", "FLYTE_GCP_*"),
    *("FLYTECTL_CONFIG", "_F_P_WRITE_CHUNK_SIZE", "_F_TE_MAX_COROS"),
)
# Variables that are read at the start too, but have an effect in a forked task as well (flytekit_command.py).
_SET_AGAIN = frozenset(
    (
        *("PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "TMPDIR", "TEMP", "TMP", "FLYTE_INTERNAL_EXECUTION_ID"),
        *("FLYTE_SECRETS_DEFAULT_DIR", "FLYTE_SECRETS_ENV_PREFIX", "FLYTE_SECRETS_FILE_PREFIX"),
    )
)
# flytekit chooses the format of its log when it is imported; the execution id makes it choose that of a task.
_IN_A_TASK = {"PYTHONUNBUFFERED": "1", "FLYTE_INTERNAL_EXECUTION_ID": "not-yet-known"}


class Process(Protocol):
    """The part of Popen's interface that a fork server needs of its process."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end."""

    def kill(self) -> None:
        """Send SIGKILL."""


class ForkServer:
    """One fork server. It starts one task after the other, each in a few milliseconds.

    Args:
        python: The interpreter.
        warm: Whether it imports flytekit.
        variables: The environment variables of the interpreter.
        directory: The folder of its log and its temporary files.
    """

    def __init__(self, python: Path, *, warm: bool, variables: Mapping[str, str], directory: Path) -> None:
        self._command = [str(python), *([] if warm else ["-I", "-S"]), "-c", _BOOT]
        self.warm = warm
        self._variables = dict(variables)
        self._directory = directory
        self._lock = asyncio.Lock()
        self._process: Process | None = None
        self._connection: SupervisorConnection | None = None
        self._report: dict[str, Any] = {}
        self._packages_seen: tuple[int, ...] = ()
        # Earlier processes, which supervise their last tasks.
        self._retired: list[Process] = []
        self._started = 0
        self._closed = False

    async def can_fork(self, tasks_max: int) -> bool:
        """Return whether tasks may be forked from this process.

        Args:
            tasks_max: Number of tasks after which the process is replaced.

        Raises:
            EnvironmentBroken: The interpreter does not run.
            NotStarted: The system refused a process.
        """
        async with self._lock:
            if self._process and (self._started >= tasks_max or self._packages_seen != self._package_times()):
                await self._stop()
            if self._process is None:
                await self._start_process()
            return bool(self._report["warm"])

    @property
    def variables_read(self) -> frozenset[str]:
        """Return the names of the environment variables that its imports have read."""
        return frozenset(self._report.get("read", ())) - _SET_AGAIN

    async def start(self, request: dict[str, Any]) -> StartedTask:
        """Start one task.

        Args:
            request: The request (forkserver/task.py).

        Raises:
            NotStarted: Neither this fork server nor its replacement answers.
        """
        async with self._lock:
            # A fork server that was killed is replaced once. If it had started the task already, the second answer has
            # `claimed`, so that the task does not run twice.
            for _ in range(2):
                if self._process is None:
                    await self._start_process()
                try:
                    started = await self._send_start(request)
                except (SupervisorEnded, TimeoutError) as error:
                    process = self._process
                    assert process is not None
                    await self._kill()
                    log.warning(
                        "fork_server_replaced",
                        pid=process.pid,
                        exit_code=process.returncode,
                        reason=failure_of(error),
                    )
                    continue
                self._started += 1
                if self._closed:
                    await self._stop()
                return started
        raise NotStarted("the fork server ended or did not answer, twice")

    @property
    def packages(self) -> list[str]:
        """Return the folders of installed packages."""
        return list(self._report["packages"])

    async def fork(self, request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        """Fork a process that is no task, and pass it a socket.

        Args:
            request: The request (forkserver/imported_module.py).
            connection: The socket.

        Returns:
            The `pid` and the `stamp` of the process.

        Raises:
            NotStarted: There is no fork server, or the system refused a process.
        """
        async with self._lock:
            if self._connection is None:
                raise NotStarted("the fork server has ended")
            try:
                async with asyncio.timeout(_ANSWER_SECONDS_MAX):
                    answer = await self._connection.request(request, connection)
            except TimeoutError as error:
                # The process is busy for too long, and may have tasks.
                self._retire()
                raise NotStarted(f"the fork server: {failure_of(error)}") from error
            except (OSError, SupervisorEnded) as error:
                await self._stop()
                raise NotStarted(f"the fork server: {failure_of(error)}") from error
        if "error" in answer:
            raise NotStarted(answer["error"])
        return answer

    async def close(self) -> None:
        """End the fork server. Tasks that it started run on."""
        async with self._lock:
            self._closed = True
            await self._stop()
            for process in self._retired:
                # The process outlives this server on purpose; without a code, Popen warns about it.
                process.returncode = process.poll() or 0
            await asyncio.to_thread(_remove, self._directory)

    async def _send_start(self, request: dict[str, Any]) -> StartedTask:
        """Send the request to start a task. Raises SupervisorEnded or TimeoutError without an answer."""
        if self._connection is None:
            raise SupervisorEnded
        async with asyncio.timeout(_ANSWER_SECONDS_MAX):
            return await self._connection.start(request)

    async def _start_process(self) -> None:
        self._retired = [process for process in self._retired if process.poll() is None]
        own_end, other_end = socket.socketpair()
        try:
            self._spawn(other_end)
        except OSError as error:
            own_end.close()
            raise NotStarted(f"{error.strerror}: {error.filename or self._command[0]}") from error
        finally:
            other_end.close()
        self._connection = await SupervisorConnection.open(own_end)
        try:
            async with asyncio.timeout(_IMPORT_SECONDS_MAX):
                self._report = await self._connection.answer()
        except (SupervisorEnded, TimeoutError) as error:
            was_killed = isinstance(error, SupervisorEnded) and await self._was_killed()
            await self._kill()
            if was_killed:
                # For example for lack of memory. The environment is not to blame.
                raise NotStarted("the fork server was killed while it started") from error
            lines = self._log_path.read_text(errors="replace").strip().splitlines()[-5:]
            raise EnvironmentBroken(
                f"{self._command[0]} does not serve as the interpreter of tasks: {' | '.join(lines) or 'no answer'}. "
                f"Set {NAME_SETTING} to the path of a virtual environment that has flytekit"
            ) from error
        self._started = 0
        self._packages_seen = self._package_times()
        if "why" in self._report:
            log.warning("tasks_start_in_fresh_processes", reason=self._report["why"], python=self._command[0])

    async def _was_killed(self) -> bool:
        """Return whether the process, whose connection has ended, was ended by SIGKILL."""
        assert self._process is not None
        try:
            return await asyncio.to_thread(self._process.wait, _END_SECONDS_MAX) == -signal.SIGKILL
        except subprocess.TimeoutExpired:
            return False

    @property
    def _log_path(self) -> Path:
        return self._directory / "forkserver.log"

    def _spawn(self, other_end: socket.socket) -> None:
        scratch = self._directory / "tmp"
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, str(other_end.fileno()), "warm" if self.warm else "plain", _psutil_folder(), _APP],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # flytekit makes folders while it is imported; each task sets a TMPDIR of its own.
                env={
                    **_IN_A_TASK,
                    **self._variables,
                    "TMPDIR": str(scratch),
                    # Both processes use the same module of app/system: stamps of processes have to agree.
                    PORTABLE: "1" if system.is_portable else "0",
                },
                cwd="/",
                pass_fds=(other_end.fileno(),),
                # Ctrl-C in the terminal of the server must not reach tasks.
                start_new_session=True,
            )
        restore_limit(self._process.pid)

    async def _stop(self) -> None:
        """Let the process end when its last task has ended, which may be now."""
        if self._process is None or self._connection is None:
            return
        try:
            self._connection.finish()
            async with asyncio.timeout(_END_SECONDS_MAX):
                running = (await self._connection.answer())["running"]
        except TimeoutError:
            # The fork server is busy. It may have tasks, which would end with it; it ends by itself after the last.
            running = 1
        except SupervisorEnded:
            running = 0
        if running:
            self._retire()
        else:
            await self._kill()

    def _retire(self) -> None:
        """Use this process for no more requests. It ends by itself after its last task."""
        assert self._process is not None
        assert self._connection is not None
        self._connection.close()
        self._retired.append(self._process)
        self._process = self._connection = None

    async def _kill(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            process = self._process
            try:
                await asyncio.to_thread(process.wait, _END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        self._process = self._connection = None

    def _package_times(self) -> tuple[int, ...]:
        """Return the times at which packages of the environment were last installed or removed."""
        found = []
        for path in self._report.get("packages", ()):
            try:
                found.append(os.stat(path).st_mtime_ns)
            except FileNotFoundError:
                found.append(0)
        return tuple(found)


def failure_of(error: Exception) -> str:
    """Return why a fork server has not answered, for messages."""
    return "it did not answer in time" if isinstance(error, TimeoutError) else "it has ended"


def _remove(directory: Path) -> None:
    """Remove a folder from which a task may be copying files, so that it gets all of them or an error."""
    ended = directory.with_name(f"{directory.name}.ended")
    with suppress(OSError):
        directory.rename(ended)
    shutil.rmtree(ended, ignore_errors=True)


class ForkServers:
    """All fork servers of this server.

    Args:
        directory: The folder that holds one folder for each server of the home.
        tasks_max: Number of tasks after which a warm fork server is replaced.
    """

    def __init__(self, directory: Path, *, tasks_max: int) -> None:
        # Servers may share a home, and a later server may have the same pid.
        self._folder = LockedFolder(directory / f"{os.getpid()}-{uuid.uuid4().hex[:8]}")
        self._tasks_max = tasks_max
        self._warm: dict[tuple[object, ...], ForkServer] = {}
        # By the path of an environment: the variables that the imports there have read.
        self._read: dict[Path, frozenset[str]] = {}
        self._made = 0
        # The plain fork server needs no packages, so the interpreter of this server can run it.
        self._plain = ForkServer(Path(sys.executable), warm=False, variables={}, directory=self._folder.path / "plain")

    @property
    def folder(self) -> Path:
        """Return the private folder of all fork servers. It is made when the first of them starts."""
        return self._folder.path

    async def for_command(self, environment: Environment | None, variables: Mapping[str, str]) -> ForkServer:
        """Return a fork server for a command.

        Args:
            environment: The environment whose flytekit runs the command; None for any other program.
            variables: The variables of the command.

        Returns:
            A warm fork server, or the plain one if tasks cannot be forked in this environment.

        Raises:
            EnvironmentBroken: The interpreter of the environment does not run.
            NotStarted: The system refused a process.
        """
        self._lock_folder()
        if environment is None:
            return self._plain
        while True:
            read = self._read.get(environment.path, frozenset())
            fork_server = await self._with_values(environment, variables, read)
            can_fork = await fork_server.can_fork(self._tasks_max)
            if read >= fork_server.variables_read:
                return fork_server if can_fork else self._plain
            # The first fork server of an environment reports which variables its imports read. Now the variables of
            # this command may need another one.
            self._read[environment.path] = self._read.get(environment.path, frozenset()) | fork_server.variables_read

    async def _with_values(
        self, environment: Environment, variables: Mapping[str, str], read: frozenset[str]
    ) -> ForkServer:
        """Return the warm fork server whose imports have read the values that these variables have."""
        fixed = {name: value for name, value in variables.items() if name in read or _fixed_at_start(name)}
        key = (environment.path, *sorted(fixed.items()))
        fork_server = self._warm.pop(key, None)
        if fork_server is None:
            self._made += 1
            fork_server = ForkServer(
                environment.python,
                warm=True,
                variables={**fixed, "PATH": variables["PATH"]},
                directory=self._folder.path / f"warm-{self._made}",
            )
        # The dictionary is ordered by last use.
        self._warm[key] = fork_server
        if len(self._warm) > _WARM_SERVERS_MAX:
            await self._warm.pop(next(iter(self._warm))).close()
        return fork_server

    def _lock_folder(self) -> None:
        try:
            self._folder.lock()
        except OSError as error:
            raise NotStarted(f"{error.strerror}: {error.filename}") from error

    async def close(self) -> None:
        """End all fork servers. Tasks run on."""
        for fork_server in (self._plain, *self._warm.values()):
            await fork_server.close()
        await asyncio.to_thread(self._folder.remove)


def _psutil_folder() -> str:
    """Return the folder from which a fork server imports psutil; "" if it needs none."""
    if not system.is_portable:
        return ""
    import psutil

    return str(Path(psutil.__file__).parent.parent)


@functools.lru_cache(maxsize=1000)
def _fixed_at_start(name: str) -> bool:
    return name not in _SET_AGAIN and any(fnmatch.fnmatchcase(name, pattern) for pattern in _READ_AT_START)


def fresh_command(environment: Environment, image: str, variables: str, argv: list[str]) -> tuple[str, list[str]]:
    """Return program and arguments that run one of flytekit's commands in a new interpreter.

    Args:
        environment: The environment of the interpreter.
        image: The image that the task names.
        variables: The path of a file with further variables, as JSON; "" for none.
        argv: The command.
    """
    python = str(environment.python)
    return python, [python, "-c", _BOOT_FRESH, _APP, image, variables, *argv]

"""This server's half of the fork servers: started when first used, replaced when worn out, outdated or gone.

One fork server is "plain" and executes any command. The others are "warm": each has imported flytekit, and there is
one for every set of values that an interpreter or flytekit reads only when it starts.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from app.engine.local.processes.environment import NAME_SETTING, Environment, EnvironmentBroken
from app.engine.local.processes.forkserver.stamp import started
from app.engine.local.processes.task_attempt import StartFailed
from app.runtime.descriptors import restore_limit

log = structlog.get_logger(__name__)

_HELLO_SECONDS_MAX = 120.0
_ANSWER_SECONDS_MAX = 30.0
_WARM_SERVERS_MAX = 4
_LENGTH = struct.Struct(">I")
_HALF = Path(__file__).parent
# Neither the working directory nor this package's own modules may be found by what is imported later.
_BOOT = (
    "import sys; sys.path[:] = [sys.argv.pop(), *filter(None, sys.path)]; "
    "from forkserver.main import main; sys.path.pop(0); main()"
)

_BOOT_FRESH = "import sys; sys.path[0] = sys.argv.pop(1); from forkserver.child import main; sys.path.pop(0); main()"

# Read once by the interpreter, the C library, OpenSSL or flytekit's imports: a forked task cannot change them any more.
# A fork server reports what else its imports have read; these are the first guess, and the names that C code reads.
_READ_AT_START = (
    *("PYTHON*", "LD_*", "MALLOC_*", "GLIBC_TUNABLES", "LANG", "LANGUAGE", "LC_*", "LOCPATH", "HOME"),
    *("SSL_CERT_*", "SSLKEYLOGFILE", "OPENSSL_*", "GRPC_*", "FSSPEC_*"),
    *("FLYTE_SDK_*", "FLYTE_PLATFORM_*", "FLYTE_AWS_*", "FLYTE_AZURE_*", "FLYTE_GCP_*"),
    *("FLYTECTL_CONFIG", "_F_P_WRITE_CHUNK_SIZE", "_F_TE_MAX_COROS"),
)
# Read at start too, but made again in each task (forkserver/child.py), or equal in its effect.
_SET_AGAIN = frozenset(
    (
        *("PATH", "PYTHONPATH", "PYTHONUNBUFFERED", "TMPDIR", "TEMP", "TMP", "FLYTE_INTERNAL_EXECUTION_ID"),
        *("FLYTE_SECRETS_DEFAULT_DIR", "FLYTE_SECRETS_ENV_PREFIX", "FLYTE_SECRETS_FILE_PREFIX"),
    )
)
# flytekit chooses the format of its log when it is imported: the one of a task, not the one of a terminal.
_IN_A_TASK = {"PYTHONUNBUFFERED": "1", "FLYTE_INTERNAL_EXECUTION_ID": "not-yet-known"}


class _Gone(Exception):
    """The fork server ended before it answered."""


class ForkServer:
    """One fork server. Requests are answered in turn, which takes milliseconds; tasks run on side by side."""

    def __init__(self, python: Path, *, warm: bool, variables: Mapping[str, str], directory: Path) -> None:
        self._command = [str(python), *([] if warm else ["-I", "-S"]), "-c", _BOOT]
        self.warm = warm
        self._variables = dict(variables)
        self._directory = directory
        self._turn = asyncio.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader | None = None
        self._hello: dict[str, Any] = {}
        self._packages: tuple[int, ...] = ()
        self._started = 0
        self._closed = False

    async def can_fork(self, tasks_max: int) -> bool:
        """Whether flytekit is imported here and tasks may be forked; replaces a worn out or outdated process.

        errors: EnvironmentBroken when the process cannot run in this environment at all
        """
        async with self._turn:
            if self._process and (self._started >= tasks_max or self._packages != self._stamps()):
                await self._stop()
            if self._process is None:
                await self._begin()
            return bool(self._hello["warm"])

    @property
    def read(self) -> frozenset[str]:
        """Names of the environment variables that the imports have read."""
        return frozenset(self._hello.get("read", ())) - _SET_AGAIN

    @property
    def why_not(self) -> str:
        """Why tasks may not be forked from this process."""
        return str(self._hello.get("why", ""))

    async def start(self, request: dict[str, Any]) -> dict[str, Any]:
        """Start one supervisor; its answer is where it runs, or `error`.

        errors: StartFailed when no fork server answers
        """
        async with self._turn:
            # A fork server that was killed is replaced once. If it had started the task before, the claim says so.
            for _ in range(2):
                if self._process is None:
                    await self._begin()
                try:
                    answer = await asyncio.wait_for(self._ask(request), _ANSWER_SECONDS_MAX)
                except (_Gone, TimeoutError) as error:
                    process = self._process
                    assert process is not None
                    await self._stop()
                    log.warning(
                        "fork_server_replaced",
                        pid=process.pid,
                        exit_code=process.returncode,
                        reason="it did not answer in time" if isinstance(error, TimeoutError) else "it has ended",
                    )
                    continue
                self._started += 1
                if self._closed:
                    await self._stop()
                return answer
        raise StartFailed("the fork server ended or did not answer, twice")

    async def close(self) -> None:
        """End the fork server; tasks that it started run on."""
        async with self._turn:
            self._closed = True
            await self._stop()
            await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)

    async def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._writer is not None
        body = json.dumps(request).encode()
        try:
            self._writer.write(_LENGTH.pack(len(body)) + body)
            await self._writer.drain()
            return await self._receive()
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            raise _Gone from error

    async def _receive(self) -> dict[str, Any]:
        assert self._reader is not None
        size = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))[0]
        answer: dict[str, Any] = json.loads(await self._reader.readexactly(size))
        return answer

    async def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            self._spawn(theirs)
        except OSError as error:
            ours.close()
            raise StartFailed(f"{error.strerror}: {error.filename or self._command[0]}") from error
        finally:
            theirs.close()
        self._reader, self._writer = await asyncio.open_unix_connection(sock=ours)
        try:
            self._hello = await asyncio.wait_for(self._receive(), _HELLO_SECONDS_MAX)
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError) as error:
            await self._stop()
            lines = self._log_path.read_text(errors="replace").strip().splitlines()[-5:]
            raise EnvironmentBroken(
                f"{self._command[0]} does not serve as the interpreter of tasks: {' | '.join(lines) or 'no answer'}. "
                f"Set {NAME_SETTING} to the path of a virtual environment that has flytekit"
            ) from error
        self._started = 0
        self._packages = self._stamps()
        if self.why_not:
            log.warning("tasks_start_in_fresh_processes", reason=self.why_not, python=self._command[0])

    @property
    def _log_path(self) -> Path:
        return self._directory / "forkserver.log"

    def _spawn(self, theirs: socket.socket) -> None:
        scratch = self._directory / "tmp"
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._command, str(theirs.fileno()), "warm" if self.warm else "plain", str(_HALF)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # What flytekit makes while it is imported goes to a directory of ours; a task sets its own again.
                env={**_IN_A_TASK, **self._variables, "TMPDIR": str(scratch)},
                cwd="/",
                pass_fds=(theirs.fileno(),),
                # Ctrl-C in the terminal of the server is not for tasks.
                start_new_session=True,
            )
        restore_limit(self._process.pid)

    async def _stop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._process is not None:
            process = self._process
            try:
                await asyncio.to_thread(process.wait, 2.0)
            except subprocess.TimeoutExpired:
                process.kill()
                await asyncio.to_thread(process.wait)
        self._process = self._writer = self._reader = None

    def _stamps(self) -> tuple[int, ...]:
        """When packages of the environment were last installed or removed."""
        found = []
        for path in self._hello.get("packages", ()):
            try:
                found.append(os.stat(path).st_mtime_ns)
            except FileNotFoundError:
                found.append(0)
        return tuple(found)


class ForkServers:
    """All fork servers of this server, below one directory."""

    def __init__(self, directory: Path, *, tasks_max: int) -> None:
        # Servers that share a home, or one after the other with the same pid, must not share this.
        self._all = directory
        self._directory = directory / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self._tasks_max = tasks_max
        self._warm: dict[tuple[object, ...], ForkServer] = {}
        # By environment: what its imports have read.
        self._read: dict[Path, frozenset[str]] = {}
        self._made = 0
        # The plain one needs no packages, so this server's own interpreter serves.
        self._plain = ForkServer(Path(sys.executable), warm=False, variables={}, directory=self._directory / "plain")

    def remove_leftovers(self) -> None:
        """Remove the folders of servers that were killed. A task never uses them, so it may still run."""
        for folder in self._all.glob("*-*"):
            pid = folder.name.partition("-")[0]
            if pid.isdigit() and not started(int(pid)):
                shutil.rmtree(folder, ignore_errors=True)

    async def for_command(self, environment: Environment, variables: Mapping[str, str], *, warm: bool) -> ForkServer:
        """A fork server that can start a command with these variables, the plain one if forking is not possible.

        errors: EnvironmentBroken when the environment's interpreter does not run
        """
        if not warm:
            return self._plain
        while True:
            read = self._read.get(environment.path, frozenset())
            fork_server = await self._with_values(environment, variables, read)
            can_fork = await fork_server.can_fork(self._tasks_max)
            if read >= fork_server.read:
                return fork_server if can_fork else self._plain
            # Only now it is known what the imports read, so these variables may need a fork server of their own.
            self._read[environment.path] = self._read.get(environment.path, frozenset()) | fork_server.read

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
                directory=self._directory / f"warm-{self._made}",
            )
        # The last one of the dictionary is the one used last.
        self._warm[key] = fork_server
        if len(self._warm) > _WARM_SERVERS_MAX:
            await self._warm.pop(next(iter(self._warm))).close()
        return fork_server

    async def close(self) -> None:
        """End all fork servers; tasks run on."""
        for fork_server in (self._plain, *self._warm.values()):
            await fork_server.close()
        await asyncio.to_thread(shutil.rmtree, self._directory, ignore_errors=True)


def _fixed_at_start(name: str) -> bool:
    return name not in _SET_AGAIN and any(fnmatch.fnmatchcase(name, pattern) for pattern in _READ_AT_START)


def fresh_command(environment: Environment, image: str, argv: list[str]) -> tuple[str, list[str]]:
    """Return program and arguments that run one of flytekit's commands in a fresh interpreter, as child.main() does."""
    python = str(environment.python)
    return python, [python, "-c", _BOOT_FRESH, str(_HALF), image, *argv]

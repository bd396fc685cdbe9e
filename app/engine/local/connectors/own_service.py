"""flytekit's own service of connectors, which this server starts in the environment of tasks when a task needs it.

There is one process for each archive of code, because Python caches modules. A process that ends is started again after
1, 2, 4 … 60 seconds; tasks wait meanwhile. A process without tasks is stopped after some minutes. The process ends with
this server; the next server starts another one, and the bytes by which tasks are named stay valid.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import grpc
import structlog
from flyteidl.core import tasks_pb2

from app.engine.local.connectors.connection import CallFailed, ConnectorConnection
from app.engine.local.connectors.deployments import OWN, ConnectorTarget
from app.engine.local.connectors.registry import ServiceState
from app.engine.local.processes.environment import REQUIREMENTS_SETTING, Environment, EnvironmentBroken
from app.engine.local.processes.platform_access import PlatformAccess
from app.engine.local.processes.provided_variables import ProvidedVariables
from app.engine.local.processes.task_attempt import CannotBuild
from app.settings import Settings
from app.settings.connectors import CONNECTOR_SERVICE, Deployment

log = structlog.get_logger(__name__)

MakeEnvironment = Callable[[], Awaitable[Environment]]

_PROGRAM = Path(__file__).parent / "serviceside" / "flyteadmin_connectors.py"
_PORT_VARIABLE = "FLYTEADMIN_CONNECTORS_PORT"
_PAUSE_SECONDS_MAX = 60.0
# A process that lived longer than this begins anew with short pauses.
_STABLE_SECONDS = 60.0
_END_SECONDS = 5.0
# Time between the end of a process's output and its end.
_EXIT_SECONDS = 1.0
_IDLE_CHECK_SECONDS = 5.0
_LOG_BYTES_MAX = 10 * 1024 * 1024
_TAIL_BYTES = 2000
_LINE_BYTES_MAX = 64 * 1024


class ServiceBroken(Exception):
    """The service cannot be started."""


def down(reason: str) -> CallFailed:
    """Return the error of a call while the service does not run."""
    return CallFailed(grpc.StatusCode.UNAVAILABLE, reason, not_sent=True)


class OwnService:
    """One process with flytekit's connectors.

    Args:
        settings: The settings.
        environment: Returns the environment of tasks.
        distribution: The archive of code that the process unpacks; "" for none.
    """

    def __init__(self, settings: Settings, environment: MakeEnvironment, distribution: str) -> None:
        self._settings = settings
        self._local = settings.engine.local.connectors
        self._make_environment = environment
        self._provided = ProvidedVariables(settings, PlatformAccess(None))
        self.distribution = distribution
        key = sha256(distribution.encode()).hexdigest()[:12] if distribution else "default"
        self._folder = settings.home_path / "connectors" / f"{key}-{os.getpid()}"
        self._starting = asyncio.Lock()
        self._process: asyncio.subprocess.Process | None = None
        # Locked, so that nobody removes the environment.
        self._used: IO[bytes] | None = None
        self._state: ServiceState | None = None
        self._started_at = 0.0
        self._deaths = 0
        self._not_before = 0.0
        self.last_used = time.monotonic()
        self.problem = ""

    @property
    def running(self) -> bool:
        """Return whether the process runs."""
        return self._process is not None and self._process.returncode is None

    @property
    def current(self) -> ServiceState | None:
        """Return types and connection of the running process; None while it does not run."""
        return self._state if self.running else None

    @property
    def log_path(self) -> Path:
        """Return the path of the log of the process."""
        return self._folder.with_suffix(".log")

    async def state(self) -> ServiceState:
        """Return the types and the connection of the running process; start it if it does not run.

        Raises:
            CallFailed: The process has ended and is started again later.
            ServiceBroken: The process cannot be started.
        """
        self.last_used = time.monotonic()
        async with self._starting:
            if self.running and self._state is not None:
                return self._state
            if self._process is not None:
                await self._record_death()
            if self._not_before > time.monotonic():
                raise self._down()
            self._state = await self._start()
            return self._state

    def _down(self) -> CallFailed:
        left = max(self._not_before - time.monotonic(), 0.0)
        return down(f"flytekit's service of connectors is started again in {left:.0f} s: {self.problem}")

    async def _record_death(self, reason: str = "") -> None:
        """End the process, and set the time of the next start.

        Args:
            reason: Why it is not used any more; by default its exit code and the end of its log.
        """
        assert self._process is not None
        process, lived = self._process, time.monotonic() - self._started_at
        await self._end()
        self._deaths = 1 if lived > _STABLE_SECONDS else self._deaths + 1
        pause = min(2.0 ** (self._deaths - 1), _PAUSE_SECONDS_MAX)
        self._not_before = time.monotonic() + pause
        code = process.returncode
        self.problem = reason or f"the process exited with {code}: {self._tail()}"
        log.warning("connector_service_ended", code=code, restart_in_seconds=pause, log=str(self.log_path))
        await self._close_connection()

    async def _start(self) -> ServiceState:
        try:
            environment = await self._make_environment()
        except (EnvironmentBroken, CannotBuild) as error:
            raise ServiceBroken(str(error)) from error
        token = secrets.token_hex(32)
        variables = self._variables(environment)
        given = {
            "token": token,
            "modules": list(self._local.service_modules),
            "distribution": self.distribution,
            "secrets": await self._secrets(variables),
        }
        self._unlock()
        try:
            self._used = await asyncio.to_thread(_locked, environment)
            answer = await self._run(environment, variables, given)
        except OSError as error:
            raise ServiceBroken(f"flytekit's service of connectors cannot start: {error}") from error
        if answer is None:
            await self._record_death(await self._silence())
            raise self._down()
        if "error" in answer:
            self.problem = str(answer["error"])
            raise self._broken(environment, answer)
        target = ConnectorTarget(
            plugin=CONNECTOR_SERVICE,
            id=OWN,
            deployment=Deployment(endpoint=f"127.0.0.1:{answer['port']}", insecure=True),
            poll_seconds_max=self._local.service_poll_seconds_max,
            calls_a_second=100.0,
            token=token,
        )
        connection = ConnectorConnection(target, message_bytes_max=self._local.message_bytes_max)
        state = ServiceState(connection)
        await state.ask()
        if state.problem:
            await connection.close()
            await self._record_death(f"it does not reply: {state.problem}")
            raise self._down()
        self.problem = ""
        return state

    def _broken(self, environment: Environment, answer: Mapping[str, Any]) -> ServiceBroken:
        reason = f"flytekit's service of connectors cannot start in {environment.path}: {answer['error']}"
        if answer.get("kind") != "missing" or self._local.service_environment or self._local.service_requirements:
            return ServiceBroken(f"{reason}. Its log is {self.log_path}")
        return ServiceBroken(
            f"{reason}. Install the packages by `{environment.python} -m pip install 'flytekit[connector]'`, or start "
            f'the server with {REQUIREMENTS_SETTING}="flytekit[connector]"'
        )

    async def _secrets(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the secrets of the settings, as variables. Raises ServiceBroken where one is missing."""
        task = tasks_pb2.TaskTemplate()
        task.id.name = "flytekit's service of connectors"
        for name in self._local.service_secrets:
            *groups, key = name.split("/")
            group, version = (*groups, "", "")[:2]
            task.security_context.secrets.add(group=group, group_version=version, key=key)
        try:
            found = await self._provided.secrets(task, variables, self._folder)
        except CannotBuild as error:
            raise ServiceBroken(f"{error} (engine.local.connectors.serviceSecrets)") from error
        return dict(found.variables)

    async def _run(
        self, environment: Environment, variables: Mapping[str, str], given: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Start the process; return the line in which it names its port or its error, None without one.

        Args:
            environment: Its environment.
            variables: Its variables. Others of this user can read them.
            given: The object that it reads from standard input.

        Raises:
            OSError: The system refuses the process or its files.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with os.fdopen(os.open(self.log_path, flags, 0o600), "wb") as output:
            if os.fstat(output.fileno()).st_size > _LOG_BYTES_MAX:
                output.truncate(0)
            reading, writing = os.pipe()
            try:
                self._started_at = time.monotonic()
                self._process = await asyncio.create_subprocess_exec(
                    str(environment.python),
                    str(_PROGRAM),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=output,
                    stderr=output,
                    pass_fds=(writing,),
                    cwd=self._folder,
                    env={**variables, _PORT_VARIABLE: str(writing)},
                    start_new_session=True,
                )
            except OSError:
                os.close(reading)
                raise
            finally:
                os.close(writing)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(given).encode() + b"\n")
        line = await self._first_line(reading)
        return dict(json.loads(line)) if line else None

    async def _silence(self) -> str:
        """Return why a process has named no port; "" for one that has ended."""
        assert self._process is not None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EXIT_SECONDS)
            return ""
        seconds = self._local.service_start_seconds
        return f"it named no port within {seconds:g} s (engine.local.connectors.serviceStartSeconds)"

    async def _first_line(self, descriptor: int) -> bytes:
        """Read one line of a pipe, and close it; b"" where none comes in time."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=_LINE_BYTES_MAX)
        pipe = os.fdopen(descriptor, "rb")
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            async with asyncio.timeout(self._local.service_start_seconds):
                return await reader.readline()
        except (TimeoutError, ValueError):
            return b""
        finally:
            transport.close()

    def _variables(self, environment: Environment) -> dict[str, str]:
        local = self._settings.engine.local
        passed = {
            name: value
            for name, value in os.environ.items()
            if any(fnmatchcase(name, pattern) for pattern in local.passed_variables)
        }
        variables = {**passed, **self._provided.defaults, "PYTHONUNBUFFERED": "1"}
        variables["PATH"] = f"{environment.programs}{os.pathsep}{variables.get('PATH') or os.defpath}"
        if local.python_path:
            variables["PYTHONPATH"] = local.python_path
        return variables

    def _tail(self) -> str:
        """Return the end of the log."""
        try:
            with self.log_path.open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
                return file.read().decode(errors="replace").strip()[-_TAIL_BYTES:]
        except OSError as error:
            return f"no log: {error.strerror}"

    async def _close_connection(self) -> None:
        state, self._state = self._state, None
        if state is not None:
            await state.connection.close()

    async def _end(self) -> None:
        """End the process and its children."""
        process = self._process
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), _END_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        self._process = None
        self._unlock()

    def _unlock(self) -> None:
        if self._used is not None:
            self._used.close()
            self._used = None

    async def stop(self) -> None:
        """End the process, and close the connection."""
        async with self._starting:
            await self._close_connection()
            await self._end()


def _locked(environment: Environment) -> IO[bytes] | None:
    """Lock the file of an environment together with tasks; return it. None for an environment without one."""
    if environment.lock is None:
        return None
    file = os.fdopen(os.open(environment.lock, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "rb")
    fcntl.flock(file, fcntl.LOCK_SH)
    return file


class OwnServices:
    """The processes with flytekit's connectors of this server.

    Args:
        settings: The settings.
        environment: Returns the environment of tasks; None where none can be made.
    """

    def __init__(self, settings: Settings, environment: MakeEnvironment | None) -> None:
        self._settings = settings
        self._environment = environment
        self._services: dict[str, OwnService] = {}
        self._tidying: asyncio.Task[None] | None = None

    @property
    def enabled(self) -> bool:
        """Return whether this server starts the service."""
        return self._environment is not None and self._settings.engine.local.connectors.service == "auto"

    @property
    def all(self) -> list[OwnService]:
        """Return the services that were needed so far and not stopped."""
        return list(self._services.values())

    def of(self, distribution: str) -> OwnService:
        """Return the service for an archive of code; its process may not run yet."""
        assert self._environment is not None
        service = self._services.get(distribution)
        if service is None:
            service = self._services[distribution] = OwnService(self._settings, self._environment, distribution)
        if self._tidying is None:
            self._tidying = asyncio.create_task(self._stop_idle())
        return service

    async def _stop_idle(self) -> None:
        while True:
            await asyncio.sleep(_IDLE_CHECK_SECONDS)
            limit = self._settings.engine.local.connectors.service_idle_seconds
            for distribution, service in list(self._services.items()):
                if time.monotonic() - service.last_used > limit:
                    log.info("idle_connector_service_stopped")
                    del self._services[distribution]
                    await service.stop()

    async def stop(self) -> None:
        """End all processes."""
        if self._tidying is not None:
            self._tidying.cancel()
            await asyncio.gather(self._tidying, return_exceptions=True)
        await asyncio.gather(*(service.stop() for service in self._services.values()))

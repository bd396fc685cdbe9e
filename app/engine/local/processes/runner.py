"""Attempts as processes: prepare, start, wait, kill, and take over those that an earlier server started.

What is known of a process lies in the directory of its attempt, written by its supervisor: `process.json` when it
begins, `exit.json` when it has ended. So any server on this machine can wait for it and learn how it ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flyteidl.core import literals_pb2

from app.blobs import DOWNLOAD_LIMIT, Blobs, BlobUnavailable
from app.engine.local.processes import commands, copilot, outcome, provided, storage_failures
from app.engine.local.processes.environment import NAME_SETTING, Environment, EnvironmentBroken, Progress, ensure
from app.engine.local.processes.folders import short_temporary
from app.engine.local.processes.fork_server_client import ForkServers, fresh_command
from app.engine.local.processes.forkserver.stamp import started
from app.engine.local.processes.provided import Provided
from app.engine.local.processes.task_attempt import (
    CannotBuild,
    Failed,
    Outcome,
    Prepared,
    RunningAttempt,
    StartFailed,
    Supervised,
    TaskAttempt,
    bad_task,
)
from app.engine.local.processes.variables import task_variables
from app.services import offloading
from app.settings import Settings

_FLYTEKIT_COMMANDS = ("pyflyte-execute", "pyflyte-map-execute")
_POLL_SECONDS = 0.2
_END_SECONDS_MAX = 15.0


class TaskRunner:
    """Runs attempts on this machine. One for each server; start and wait may be called for many at once."""

    def __init__(self, settings: Settings, blobs: Blobs, *, progress: Progress) -> None:
        self._settings = settings
        self._local = settings.engine.local
        self._blobs = blobs
        self._progress = progress
        self._provided = Provided(settings)
        self._fork_servers = ForkServers(settings.home_path / "forkservers", tasks_max=self._local.warm_tasks_max)
        self._environment: Environment | None = None
        self._making = asyncio.Lock()
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def ready(self) -> bool:
        """Whether the environment of tasks is known already, so that preparing an attempt takes no time."""
        return self._environment is not None

    async def environment(self) -> Environment:
        """The environment of tasks, made when first asked for.

        errors: EnvironmentBroken, again at every call until it is repaired
        """
        async with self._making:
            if self._environment is None or not self._environment.python.exists():
                self._environment = await ensure(self._settings, self._progress)
            return self._environment

    async def _usable_environment(self) -> Environment:
        """The environment, whose absence is a failure of the attempt. errors: CannotBuild"""
        try:
            return await self.environment()
        except EnvironmentBroken as error:
            raise CannotBuild(str(error)) from error

    async def prepare(self, run: TaskAttempt) -> Prepared:
        """Everything about the command that can be decided, and refused, before there is a process.

        errors: CannotBuild: nothing to run, an input without text form, a command or environment that is not there;
                BlobError: inputs that cannot be read
        """
        container = commands.container_of(run.task, run.generated_name)
        if not container.command:
            raise bad_task(f"container [{container.name}] of task [{run.task.id.name}] has neither command nor args")
        inputs = literals_pb2.LiteralMap()
        if commands.uses_inputs(container.command):
            limit = self._settings.storage.limits.max_download_bytes
            inputs.ParseFromString(await self._blobs.read(run.input_uri, bytes_max=limit, setting=DOWNLOAD_LIMIT))
            inputs = await offloading.read_offloaded_map(self._settings, self._blobs, inputs)
        if commands.uses_template(container.command):
            await self._blobs.write(commands.task_template_path(run), run.task.SerializeToString())
        argv = commands.unpacked_here(commands.render(container.command, run, inputs))
        environment = await self._usable_environment()
        variables = task_variables(
            run,
            container,
            programs=environment.programs,
            passed=self._local.passed_variables,
            defaults=self._provided.defaults,
            python_path=self._local.python_path,
        )
        private = await self._provided.private(run, variables)
        variables.update(private.variables)
        if container.data_config is not None:
            argv, variables = copilot.relocate(run.directory, container.data_config, argv, variables)
        _check_words(argv, variables)
        program = shutil.which(argv[0], path=variables["PATH"])
        if program is None:
            raise bad_task(
                f"command [{argv[0]}] is not found or not executable in PATH [{variables['PATH']}]; "
                f"the environment of tasks is chosen by {NAME_SETTING}"
            )
        flytekit = _is_flytekit(program, argv, environment)
        return Prepared(run, program, argv, variables, flytekit, container.image, private.files)

    async def start(self, prepared: Prepared) -> RunningAttempt:
        """Start the process; an attempt that was started before is taken over instead, so none runs twice.

        When this is cancelled, the process may have been started: adopt() tells.
        errors: CannotBuild when the system refuses the command; StartFailed when it refuses a process
        """
        container = commands.container_of(prepared.run.task, prepared.run.generated_name)
        if container.data_config is not None:
            await copilot.download(prepared.run, container.data_config, self._blobs, self._settings)
        try:
            if prepared.files:
                await asyncio.to_thread(provided.write, prepared.files)
        except OSError as error:
            raise StartFailed(f"{error.strerror}: {error.filename}") from error
        starting = asyncio.create_task(self._start(prepared))
        # Its error is looked at here even where a second cancellation leaves nobody to do so.
        starting.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A start that was asked for is carried through, so that adopt() tells for certain whether a process runs.
            await asyncio.wait((starting,))
            raise

    async def _start(self, prepared: Prepared) -> RunningAttempt:
        environment = await self._usable_environment()
        warm = prepared.flytekit and self._local.warm and sys.platform == "linux"
        try:
            fork_server = await self._fork_servers.for_command(environment, prepared.env, warm=warm)
            answer = await fork_server.start(self._request(prepared, environment, warm=fork_server.warm))
        except EnvironmentBroken as error:
            raise CannotBuild(str(error)) from error
        if answer.get("claimed"):
            running = await self.adopt(prepared.run)
            if running is not None:
                return running
        if answer.get("exec"):
            raise bad_task(f"command [{prepared.argv[0]}] cannot be executed: {answer['error']}")
        if "error" in answer:
            raise StartFailed(answer["error"])
        return _running(prepared.run, answer)

    async def adopt(self, run: TaskAttempt) -> RunningAttempt | None:
        """The process that was started for this attempt, running or ended; None when none ever was."""
        record = _load(run.directory / "process.json")
        return None if record is None else _running(run, record)

    async def wait(self, running: RunningAttempt) -> Outcome:
        """How the attempt ended, once it has; waiting costs nothing. May be called again after a restart.

        errors: BlobError when the store cannot be read; the process has ended all the same
        """
        await _ended(running)
        try:
            result = await self._outcome(running)
        except BlobUnavailable as error:
            await asyncio.to_thread(storage_failures.remember, running, error.message)
            raise
        if isinstance(result, Failed):
            result = await asyncio.to_thread(storage_failures.judge, running, result, self._blobs.unavailable)
        await asyncio.to_thread(_tidy, running.run.directory)
        return result

    async def _outcome(self, running: RunningAttempt) -> Outcome:
        ended = _load(running.run.directory / "exit.json") or None
        container = commands.container_of(running.run.task, running.run.generated_name)
        if ended is not None and outcome.exited_well(ended) and container.data_config is not None:
            await copilot.upload(running.run, container.data_config, self._blobs)
        return await outcome.read(
            running.run,
            ended,
            self._blobs,
            bytes_max=self._settings.storage.limits.max_download_bytes,
            requirements=self._local.requirements,
        )

    async def kill(self, running: Supervised, *, grace_seconds: float | None = None) -> None:
        """End the task with all its processes: SIGTERM, then SIGKILL after the grace; returns when it has ended."""
        grace = self._local.grace_seconds if grace_seconds is None else grace_seconds
        if grace > 0 and _signal(running, signal.SIGUSR1):
            try:
                await asyncio.wait_for(_ended(running), grace)
            except TimeoutError:
                pass
            else:
                return
        if _signal(running, signal.SIGUSR2):
            try:
                await asyncio.wait_for(_ended(running), _END_SECONDS_MAX)
            except TimeoutError:
                # The supervisor itself does not come to an end; its task dies with it.
                _signal(running, signal.SIGKILL)

    async def kill_below(self, folder: Path) -> None:
        """End the processes of every attempt whose directory lies in a node's folder, whoever started them."""
        records = await asyncio.to_thread(_records, folder)
        await asyncio.gather(*(self.kill(running) for running in records))

    def when_ended(self, running: Supervised, then: Callable[[], None]) -> None:
        """Call then, once, when the task has ended with all its processes; not any more when this is closed."""

        async def wait() -> None:
            await _ended(running)
            then()

        task = asyncio.create_task(wait())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def remove_leftovers(self) -> None:
        """Remove the folders of fork servers whose server was killed."""
        await asyncio.to_thread(self._fork_servers.remove_leftovers)

    async def close(self) -> None:
        """Stop starting processes; those that run go on and can be adopted."""
        for task in self._waiting:
            task.cancel()
        await self._fork_servers.close()

    def _request(self, prepared: Prepared, environment: Environment, *, warm: bool) -> dict[str, Any]:
        run, local = prepared.run, self._local
        program, argv = prepared.program, list(prepared.argv)
        if prepared.flytekit:
            # A console script sees its own path, as the system passes it on from its first line.
            argv[0] = program
        if prepared.flytekit and not warm:
            program, argv = fresh_command(environment, prepared.image, argv)
        return {
            "directory": str(run.directory),
            "temporary": str(short_temporary(run.directory)),
            "program": program,
            "argv": argv,
            "image": prepared.image,
            "env": dict(prepared.env),
            "warm": warm,
            "grace_seconds": local.grace_seconds,
            "data_paths": [path for path in (run.raw_output_prefix,) if path.startswith("/")],
            "log_bytes_max": local.log_bytes_max,
            "printed_bytes_max": local.printed_bytes_max,
            "free_bytes_min": local.free_bytes_min,
            "processes_max": local.task_processes_max,
        }


def _check_words(argv: tuple[str, ...], variables: dict[str, str]) -> None:
    """A zero byte ends a word for the system, so neither arguments nor variables can hold one."""
    for index, word in enumerate(argv):
        if "\0" in word:
            raise bad_task(f"argument {index} of the command holds a zero byte")
    for name, value in variables.items():
        if "\0" in name + value or "=" in name or not name:
            raise bad_task(f"environment variable [{name}] has a name or value that the system does not allow")


def _is_flytekit(program: str, argv: tuple[str, ...], environment: Environment) -> bool:
    """Whether this is a command that the fork server runs by itself: flytekit's, of the environment of tasks."""
    if Path(program).parent != environment.programs:
        return False
    if os.path.basename(program) != commands.FAST:
        return os.path.basename(program) in _FLYTEKIT_COMMANDS
    try:
        inner = argv[argv.index("--") + 1]
    except (ValueError, IndexError):
        return False
    return inner in _FLYTEKIT_COMMANDS


def _running(run: TaskAttempt, record: dict[str, Any]) -> RunningAttempt:
    return RunningAttempt(
        run=run,
        pid=record.get("pid", 0),
        stamp=record.get("stamp", "lost"),
        task_pid=record.get("task_pid", 0),
        started_at=record.get("started_at", 0.0),
    )


def _load(path: Path) -> dict[str, Any] | None:
    """A record that a supervisor wrote; an empty one where the machine went down before it was on the disk."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        record: dict[str, Any] = json.loads(data)
    except ValueError:
        return {}
    return record


def _records(folder: Path) -> list[Supervised]:
    """What runs below a node's folder: in <attempt>/, and for the indices of a map in <attempt>/<index>/<attempt>/."""
    found = []
    for pattern in ("[0-9]*/process.json", "[0-9]*/[0-9]*/[0-9]*/process.json"):
        for path in folder.glob(pattern):
            # A map leaves thousands of them, nearly all ended.
            record = None if (path.parent / "exit.json").exists() else _load(path)
            if record:
                found.append(Supervised(record["pid"], record["stamp"]))
    return [running for running in found if _alive(running)]


def _alive(running: Supervised) -> bool:
    return started(running.pid) == running.stamp


def _signal(running: Supervised, number: signal.Signals) -> bool:
    """Send a signal to the supervisor, and only to it; False when it has ended."""
    if not _alive(running):
        return False
    try:
        handle = os.pidfd_open(running.pid) if sys.platform == "linux" else -1
    except ProcessLookupError:
        return False
    try:
        # Read again while the handle is held, so that the pid cannot have become another process in between.
        if not _alive(running):
            return False
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(running.pid, number)
    except ProcessLookupError:
        return False
    finally:
        if handle >= 0:
            os.close(handle)
    return True


async def _ended(running: Supervised) -> None:
    """Return when the supervisor has ended; the system tells, where it can, without being asked again and again."""
    if sys.platform != "linux":
        while _alive(running):  # noqa: ASYNC110 - nothing on these systems could set an event.
            await asyncio.sleep(_POLL_SECONDS)
        return
    if not _alive(running):
        return
    try:
        handle = os.pidfd_open(running.pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        if _alive(running):
            loop.add_reader(handle, ended.set)
            await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def _tidy(directory: Path) -> None:
    """Remove what the attempt needs no more; its log and the record of its end stay."""
    for name in ("work", "tmp", provided.FOLDER, copilot.DIRECTORY):
        shutil.rmtree(directory / name, ignore_errors=True)
    short_temporary(directory).unlink(missing_ok=True)

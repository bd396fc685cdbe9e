"""Runs attempts of tasks: builds the process of an attempt, hands it to the process pool, reads its outcome."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from pathlib import Path

import structlog
from flyteidl.core import literals_pb2

from app.auth.task_tokens import TaskTokens
from app.blobs import DOWNLOAD_LIMIT, BlobError, Blobs, BlobUnavailable
from app.engine.local.processes import commands, copilot, local_mode, outcome, storage_failures
from app.engine.local.processes.environment import (
    NAME_SETTING,
    Environment,
    EnvironmentBroken,
    ensure,
    given,
    missing_module,
    missing_module_advice,
)
from app.engine.local.processes.environments.choice import Choice, NoEnvironment
from app.engine.local.processes.environments.images import RUNTIME_PACKAGES, Images
from app.engine.local.processes.environments.installer import Progress
from app.engine.local.processes.environments.maker import EnvironmentMaker
from app.engine.local.processes.environments.store import NotMade
from app.engine.local.processes.environments.wanted import Wanted, with_flytekit
from app.engine.local.processes.forkserver import layout
from app.engine.local.processes.forkserver.preload import COMMANDS, FAST
from app.engine.local.processes.platform_access import PlatformAccess
from app.engine.local.processes.pool.claims import Machine, TooMuch, gpus_of
from app.engine.local.processes.pool.claims_book import SharedBook
from app.engine.local.processes.pool.fork_server_client import ForkServers
from app.engine.local.processes.pool.locked_folder import remove_abandoned
from app.engine.local.processes.pool.module_servers import DISTRIBUTION, MODULE, ModuleServers, word_after
from app.engine.local.processes.pool.process_pool import ProcessPool, RunningProcess, runs_in
from app.engine.local.processes.pool.spec import Limits, NotExecutable, NotStarted, ProcessSpec, temporary_link
from app.engine.local.processes.pool.supervisor_connection import ExitRecord
from app.engine.local.processes.provided_variables import ProvidedVariables
from app.engine.local.processes.stored_logs import StoredLogs
from app.engine.local.processes.task_attempt import (
    CannotBuild,
    Failed,
    Outcome,
    PreparedAttempt,
    RunningAttempt,
    StartFailed,
    TaskAttempt,
    bad_task,
)
from app.engine.local.processes.variables import passed_variables, shared_variables, task_variables
from app.runtime.fair_semaphore import FairSemaphore
from app.services import offloading
from app.settings import Settings
from app.system import system

log = structlog.get_logger(__name__)

# Names of the pool's semaphores.
_PROCESSES, _SENSORS = "processes", "sensors"
# The extra of flytekit that its service needs, and the name of the environment in the list.
_CONNECTOR_PACKAGE, _CONNECTOR_IMAGE = "flytekit[connector]", "(service of connectors)"


class TaskRunner:
    """Runs attempts on this machine. One for each server; its methods may be called for many attempts at once.

    Args:
        settings: The settings of the server.
        blobs: The store with inputs and outputs.
        progress: Receives each line of output while the environment of tasks is installed.
        tokens: Issues the tokens of tasks; None where authentication is off.
    """

    def __init__(
        self, settings: Settings, blobs: Blobs, *, progress: Progress, tokens: TaskTokens | None = None
    ) -> None:
        self._settings = settings
        self._local = settings.engine.local
        self._blobs = blobs
        self._progress = progress
        # Once: a server does not change its own variables.
        self._passed = passed_variables(self._local.passed_variables)
        self._platform = PlatformAccess(tokens)
        self._provided = ProvidedVariables(settings, self._platform)
        workers = settings.server.workers
        processes = self._local.processes_max or os.cpu_count() or 1
        self.processes_max = max(1, processes // workers)
        self._fork_servers_folder = settings.home_path / "forkservers"
        fork_servers = ForkServers(self._fork_servers_folder, tasks_max=self._local.warm_tasks_max)
        self._pool = ProcessPool(
            fork_servers,
            preload=self._local.warm and (self._local.warm_everywhere or not system.is_portable),
            semaphores={
                _PROCESSES: FairSemaphore(self.processes_max),
                _SENSORS: FairSemaphore(max(1, self._local.sensors_max // workers)),
            },
            machine=self._machine(workers),
            module_servers=ModuleServers(
                fork_servers.folder,
                count_max=0 if system.is_portable else self._local.warm_modules_max,
                bytes_max=self._local.warm_modules_bytes_max,
                tasks_max=self._local.warm_tasks_max,
            ),
        )
        self._logs = StoredLogs(blobs, self._local.log_bytes_max)
        self._environment: Environment | None = None
        self._installing = asyncio.Lock()
        self._images = Images(settings, blobs)
        self._maker = EnvironmentMaker(settings)

    async def waits_for(self, attempt: TaskAttempt) -> str:
        """Return what `prepare` has to make first, which may take minutes; "" for nothing.

        Notices about the environment are further lines.

        Raises:
            BlobError: The store cannot be read.
        """
        try:
            container = commands.container_of(attempt.task, attempt.generated_name)
            choice = await self._images.choose(attempt.task, container)
        except (CannotBuild, NoEnvironment):
            # prepare() raises the same error, and reports it.
            return ""
        if choice.wanted is not None:
            key = choice.wanted.key
            if self._maker.is_ready(key):
                return ""
            made = f"environment {key} for image [{container.image}]; `flyteadmin envs` shows its progress"
        elif self._environment is not None or choice.given is not None:
            return ""
        else:
            made = "the default environment"
        return "\n".join((made, *choice.notices))

    async def environment(self) -> Environment:
        """Return the environment of tasks; install it at the first call.

        Raises:
            EnvironmentBroken: The environment cannot be used. The next call tries again.
        """
        async with self._installing:
            if self._environment is None or not self._environment.python.exists():
                self._environment = await ensure(self._settings, self._progress)
            return self._environment

    async def connector_environment(self) -> Environment:
        """Return the environment of flytekit's service of connectors; make it if need be.

        Raises:
            EnvironmentBroken: The environment cannot be used.
        """
        section = self._local.connectors
        if section.service_environment:
            return given(section.service_environment, "engine.local.connectors.serviceEnvironment")
        if not section.service_requirements:
            return await self.environment()
        lines = (*with_flytekit(section.service_requirements, self._local.requirements), _CONNECTOR_PACKAGE)
        wanted = Wanted(requirements=lines)
        try:
            await self._maker.ensure(wanted, _CONNECTOR_IMAGE)
        except NotMade as error:
            raise EnvironmentBroken(f"{error} (engine.local.connectors.serviceRequirements)") from error
        return self._made(wanted)

    async def prepare(self, attempt: TaskAttempt) -> PreparedAttempt:
        """Build the process of an attempt, without starting it.

        Raises:
            CannotBuild: There is no command, an input has no text form, or the program or environment is missing.
            BlobError: The inputs cannot be read.
        """
        task = attempt.task
        container = commands.container_of(task, attempt.generated_name)
        if not container.command:
            raise bad_task(f"container [{container.name}] of task [{task.id.name}] has neither command nor args")
        argv = await self._command(attempt, container.command)
        choice, environment = await self._chosen(attempt, container)
        variables = task_variables(
            attempt,
            container,
            of_image=choice.variables,
            programs=environment.programs,
            passed=self._passed,
            defaults={
                **self._provided.defaults,
                **local_mode.variables_of(task, str(temporary_link(attempt.directory))),
            },
            python_path=self._local.python_path,
        )
        if choice.wanted is not None:
            # The environment was made with these packages already.
            variables.pop(RUNTIME_PACKAGES, None)
        shared = shared_variables(variables, attempt)
        private = await self._provided.private(attempt, variables)
        variables.update(private.variables)
        if container.data_config is not None:
            argv, variables = copilot.relocate(attempt.directory, container.data_config, argv, variables)
        _check_words(argv, variables)
        program = shutil.which(argv[0], path=variables["PATH"])
        if program is None:
            raise bad_task(
                f"command [{argv[0]}] is not found or not executable in PATH [{variables['PATH']}]; "
                f"the environment of tasks is chosen by {NAME_SETTING}"
            )
        notices = (*choice.notices, *local_mode.notices_of(task))
        spec = ProcessSpec(
            folder=attempt.directory,
            program=program,
            argv=argv,
            variables=variables,
            files=private.files,
            log=attempt.log_path,
            data_folders=tuple(path for path in (attempt.raw_output_prefix,) if path.startswith("/")),
            limits=self._limits(attempt, container),
            queue=_queue(attempt),
            key=_key(attempt),
            preload=environment if _is_flytekit(program, argv, environment) else None,
            image=container.image,
            notice="".join(f"flyteadmin: {line}\n" for line in notices),
            held=environment.lock,
            worker=self._worker_of(attempt, container, argv, variables.get("PYTHONPATH", "")),
            shared=shared,
            private=frozenset(private.variables),
        )
        return PreparedAttempt(attempt, spec, container.data_config, choice, notices)

    async def start(self, prepared: PreparedAttempt) -> RunningAttempt:
        """Start the process of an attempt as soon as the limit on processes allows it.

        The process that was started for this attempt before, if there is one, is returned instead of a second one.
        When this call is cancelled the process may have been started; then `adopt` returns it.

        Raises:
            CannotBuild: The system refused the command.
            StartFailed: The system refused a process, or the inputs cannot be laid out as files.
            BlobUnavailable: The store does not answer.
        """
        attempt, spec, data_config = prepared.attempt, prepared.spec, prepared.data_config

        async def with_permit() -> None:
            # The environment may have been removed while the attempt waited.
            if prepared.choice.wanted is not None:
                await self._maker.ensure(prepared.choice.wanted, spec.image, prepared.choice.notices)
            if data_config is not None:
                await copilot.download(attempt, data_config, self._blobs, self._settings)

        try:
            running = await self._pool.start(spec, before=with_permit)
        except (EnvironmentBroken, NotMade, TooMuch) as error:
            raise CannotBuild(str(error)) from error
        except NotExecutable as error:
            raise bad_task(f"command [{spec.argv[0]}] cannot be executed: {error}") from error
        except NotStarted as error:
            raise StartFailed(str(error)) from error
        return _attempt(attempt, running)

    async def adopt(self, attempt: TaskAttempt) -> RunningAttempt | None:
        """Return the process that was started for an attempt, running or ended; None if there never was one."""
        if not self._pool.was_started(attempt.directory):
            return None
        memory, gpus = self._claimed(attempt)
        running = await self._pool.adopt(
            attempt.directory, queue=_queue(attempt), key=_key(attempt), memory=memory, gpus=gpus
        )
        return None if running is None else _attempt(attempt, running)

    async def wait(self, running: RunningAttempt) -> Outcome:
        """Wait until an attempt has ended and return its outcome. It may be called again after a restart.

        Raises:
            BlobError: The store cannot be read. The process has ended all the same.
        """
        attempt = running.attempt
        async with self._platform.renewing(attempt):
            ended = await self._pool.wait(running)
        self._logs.keep(attempt.log_path, element=attempt.array_index is not None)
        try:
            result = await self._outcome(attempt, ended)
        except BlobUnavailable as error:
            await asyncio.to_thread(storage_failures.record, running, error.message)
            raise
        if isinstance(result, Failed):
            result = await asyncio.to_thread(storage_failures.judge, running, result, self._blobs.unavailable)
            result.error.message += await self._module_advice(attempt, missing_module(result.error.message))
        # The supervisor has removed all others, unless it was killed.
        if ended is None or (attempt.directory / layout.COPILOT).exists():
            await asyncio.to_thread(_remove_private_folders, attempt.directory)
        return result

    async def kill(self, running: RunningProcess, *, grace_seconds: float | None = None) -> None:
        """End an attempt with all its processes, and return when they have ended.

        Args:
            running: The attempt.
            grace_seconds: Time between SIGTERM and SIGKILL; None for the one of the settings.
        """
        grace = self._local.grace_seconds if grace_seconds is None else grace_seconds
        await self._pool.kill(running, grace_seconds=grace)

    async def kill_below(self, folder: Path) -> None:
        """End every attempt whose directory lies in the folder of a node, also those of earlier servers."""
        await self._pool.kill_below(folder, grace_seconds=self._local.grace_seconds)

    async def remove_abandoned_folders(self) -> None:
        """Remove what killed servers have left: folders of fork servers, and parts of environments."""
        await asyncio.to_thread(remove_abandoned, self._fork_servers_folder)
        await asyncio.to_thread(self._maker.store.clean)

    async def close(self) -> None:
        """Start no more processes. Running processes continue, and a later server can adopt them."""
        await self._maker.close()
        await self._pool.close()
        await self._logs.close()

    async def _chosen(self, attempt: TaskAttempt, container: commands.Container) -> tuple[Choice, Environment]:
        """Return the environment of an attempt, and how it was chosen; make it if need be.

        Raises:
            CannotBuild: The environment cannot be chosen or made.
            BlobError: The store cannot be read.
        """
        try:
            choice = await self._images.choose(attempt.task, container)
            if choice.wanted is not None:
                try:
                    await self._maker.ensure(choice.wanted, container.image, choice.notices)
                except NotMade as error:
                    if not choice.file:
                        raise
                    raise CannotBuild(f"{error} | the packages are those of {choice.file}") from error
                return choice, self._made(choice.wanted)
            if choice.given is not None:
                found = choice.given
                return choice, Environment(found) if found.is_dir() else Environment(found.parent.parent, found)
            return choice, await self.environment()
        except (EnvironmentBroken, NoEnvironment, NotMade) as error:
            raise CannotBuild(str(error)) from error

    def _made(self, wanted: Wanted) -> Environment:
        store = self._maker.store
        return Environment(store.path(wanted.key), lock=store.lock_path(wanted.key))

    async def _command(self, attempt: TaskAttempt, template: tuple[str, ...]) -> tuple[str, ...]:
        """Replace the variables in a command, after reading or writing the files that they need."""
        inputs = literals_pb2.LiteralMap()
        if commands.uses_inputs(template):
            limit = self._settings.storage.limits.max_download_bytes
            data = await self._blobs.read(attempt.input_uri, bytes_max=limit, setting=DOWNLOAD_LIMIT)
            inputs.ParseFromString(data)
            inputs = await offloading.read_offloaded_map(self._settings, self._blobs, inputs)
        if commands.uses_template(template):
            await self._blobs.write(commands.task_template_path(attempt), attempt.task.SerializeToString())
        return commands.unpacked_here(commands.render(template, attempt, inputs))

    async def _outcome(self, attempt: TaskAttempt, ended: ExitRecord | None) -> Outcome:
        container = commands.container_of(attempt.task, attempt.generated_name)
        if ended is not None and outcome.exited_well(ended) and container.data_config is not None:
            await copilot.upload(attempt, self._blobs)
        return await outcome.read(
            attempt,
            ended,
            self._blobs,
            bytes_max=self._settings.storage.limits.max_download_bytes,
        )

    async def _module_advice(self, attempt: TaskAttempt, module: str) -> str:
        """Return advice on a module that the environment of an attempt does not have; "" where `module` is ""."""
        if not module:
            return ""
        container = commands.container_of(attempt.task, attempt.generated_name)
        try:
            choice = await self._images.choose(attempt.task, container)
        except (BlobError, NoEnvironment, OSError) as error:
            log.info("environment_not_known", attempt=attempt.generated_name, reason=str(error))
            return ""
        return f"\n\n{missing_module_advice(module, choice, container.image, self._local)}"

    def _worker_of(
        self, attempt: TaskAttempt, container: commands.Container, argv: tuple[str, ...], python_path: str
    ) -> str:
        """Return the key of attempts that may follow each other in one process: the same code in one execution."""
        if (
            not self._local.reuse_workers
            or system.is_portable
            or attempt.task.metadata.is_eager
            or not word_after(argv, MODULE)
        ):
            return ""
        code = [word_after(argv, word) for word in (MODULE, DISTRIBUTION)]
        return json.dumps([_key(attempt), argv[0], code, container.image, container.cpus_max, python_path])

    def _limits(self, attempt: TaskAttempt, container: commands.Container) -> Limits:
        local = self._local
        memory, gpus = self._claimed(attempt, container)
        return Limits(
            grace_seconds=local.grace_seconds,
            log_bytes_max=local.log_bytes_max,
            printed_bytes_max=local.printed_bytes_max,
            free_bytes_min=local.free_bytes_min,
            processes_max=local.task_processes_max,
            memory_bytes_max=container.memory_bytes_max if local.resource_limits else 0,
            cpus_max=container.cpus_max if local.resource_limits else 0,
            memory_claimed=memory,
            gpus=gpus,
            worker_tasks_max=local.reused_tasks_max,
            worker_idle_seconds=local.reused_idle_seconds,
        )

    def _machine(self, workers: int) -> Machine:
        """Return memory and graphics cards, which all processes of the server share."""
        budget = self._local.memory_bytes_max or int(system.machine_memory() * self._local.memory_share)
        book = SharedBook(self._settings.home_path / "claims.json", runs_in) if workers > 1 else None
        return Machine(budget, gpus_of(self._local.gpus), book)

    def _claimed(self, attempt: TaskAttempt, container: commands.Container | None = None) -> tuple[int, int]:
        """Return memory and graphics cards that an attempt claims. Tasks that wait for others claim none."""
        if _queue(attempt) != _PROCESSES:
            return 0, 0
        try:
            container = container or commands.container_of(attempt.task, attempt.generated_name)
        except CannotBuild:
            return 0, 0
        return container.memory_requested or self._local.memory_bytes_of_task, container.gpus


def _queue(attempt: TaskAttempt) -> str:
    """Return the semaphore of an attempt.

    An eager task waits for executions that it launches, so it needs no permit. If eager tasks held all permits, the
    tasks of these executions would never start. Sensors wait too, and have a semaphore of their own.
    """
    if attempt.task.metadata.is_eager:
        return ""
    return _SENSORS if attempt.task.type == commands.SENSOR else _PROCESSES


def _key(attempt: TaskAttempt) -> tuple[str, str, str]:
    id = attempt.execution
    return id.project, id.domain, id.name


def _attempt(attempt: TaskAttempt, running: RunningProcess) -> RunningAttempt:
    return RunningAttempt(
        folder=running.folder,
        supervisor=running.supervisor,
        first=running.first,
        started_at=running.started_at,
        end=running.end,
        attempt=attempt,
    )


def _check_words(argv: tuple[str, ...], variables: dict[str, str]) -> None:
    """Refuse zero bytes in arguments and variables: for the operating system they end the text."""
    for index, word in enumerate(argv):
        if "\0" in word:
            raise bad_task(f"argument {index} of the command holds a zero byte")
    for name, value in variables.items():
        if "\0" in name + value or "=" in name or not name:
            raise bad_task(f"environment variable [{name}] has a name or value that the system does not allow")


def _is_flytekit(program: str, argv: tuple[str, ...], environment: Environment) -> bool:
    """Return whether a command is one of flytekit's, from the environment of tasks: the fork server can run it."""
    if Path(program).parent != environment.programs:
        return False
    if os.path.basename(program) != FAST:
        return os.path.basename(program) in COMMANDS
    try:
        inner = argv[argv.index("--") + 1]
    except (ValueError, IndexError):
        return False
    return inner in COMMANDS


def _remove_private_folders(directory: Path) -> None:
    """Remove what nobody reads after the end of an attempt. Its log and the records of its process stay."""
    for name in (layout.WORK, layout.TEMPORARY, layout.SECRETS, layout.COPILOT):
        shutil.rmtree(directory / name, ignore_errors=True)
    temporary_link(directory).unlink(missing_ok=True)

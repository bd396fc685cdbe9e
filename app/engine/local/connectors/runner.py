"""Run attempts of tasks by services: create, poll, delete.

A task is created at least once: a server that is killed after the service has accepted it and before the row is
stored creates it again. After that, a restarted server asks for the stored task.
Deviates: upstream repeats no call, never polls again after six failures, and cannot run maps
(docs/connectors.md has the list).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from app import errors, limited_log
from app.blobs import DOWNLOAD_LIMIT
from app.database.base import Database
from app.engine.local.connectors import replies, requests
from app.engine.local.connectors.connection import CallFailed, Connection
from app.engine.local.connectors.deployments import OWN, routes_of, targets_of
from app.engine.local.connectors.jobs import Job, JobTable
from app.engine.local.connectors.outputs import Outputs
from app.engine.local.connectors.registry import Registry, Route
from app.engine.local.connectors.reports import ConnectorTask, Report, joined
from app.engine.local.connectors.task_log import TaskLog
from app.engine.local.graph.failures import error_of
from app.engine.local.processes.task_attempt import BUILD_FAILURE, CannotBuild, Failed, Outcome
from app.runtime.dispatch import Server

Task = execution_pb2.TaskExecution
SendReport = Callable[[Report], Awaitable[None]]

GET_FAILED = "AutoRefreshCacheFailed"
_CREATE_WORDS, _GET_WORDS = "failed to create task from connector with ", "failed to get task from connector with "
# Types of the engine itself and of processes, which services take by a route of the settings only.
_LOCAL_TYPES = frozenset({"python-task", "raw-container", "container_array", "echo", "sidecar"})
_PAUSE_SECONDS = 1.0
_PAUSE_SECONDS_MAX = 15.0


class NoService(Exception):
    """No service runs the type of a task. `failed` is the outcome of the attempt."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.failed = Failed(error_of(BUILD_FAILURE, message, execution_pb2.ExecutionError.SYSTEM), retryable=False)


class ConnectorRunner:
    """Runs attempts by services. One for each engine.

    Args:
        server: Holds settings, database and store.
    """

    def __init__(self, server: Server) -> None:
        self._settings = server.settings
        self._local = server.settings.engine.local.connectors
        self._blobs = server.blobs
        self._database: Database = server.database
        self._jobs = JobTable(server.database)
        self._outputs = Outputs(server)
        connections = [
            Connection(target, message_bytes_max=self._local.message_bytes_max)
            for target in targets_of(server.settings)
        ]
        self.registry = Registry(connections, routes_of(server.settings))
        self._creating: dict[tuple[str, str, str], set[asyncio.Task[Job]]] = defaultdict(set)
        self._with_jobs: set[tuple[str, str, str]] = set()
        self.open_tasks = 0

    async def start(self) -> None:
        """Begin to ask services for their types, and delete rows that killed servers have left."""
        self.registry.start()
        try:
            await self._jobs.delete_orphans()
        except errors.FlyteError as error:
            limited_log.warning("connector_jobs_not_deleted", reason=error.message)

    async def stop(self) -> None:
        """Wait for calls that create tasks, whose replies must be stored, and close the connections."""
        creating = [task for tasks in self._creating.values() for task in tasks]
        await asyncio.gather(*creating, return_exceptions=True)
        await self.registry.stop()

    def metrics(self) -> Mapping[str, float]:
        """Return the numbers of tasks, calls and failed calls."""
        connections = [one.connection for one in self.registry.services]
        return {
            "connector_tasks": self.open_tasks,
            "connector_calls": sum(one.calls for one in connections),
            "connector_failed_calls": sum(one.failures for one in connections),
            "connector_services_down": sum(bool(one.problem) for one in self.registry.services),
        }

    def may_run(self, task: tasks_pb2.TaskTemplate) -> bool:
        """Return whether a service may run a task, without asking any."""
        if self.registry.explicit(task.type) is not None:
            return True
        return bool(self.registry.services) and task.type not in _LOCAL_TYPES

    async def route(self, task: ConnectorTask) -> Route | None:
        """Return the service that runs a task; None for a task that runs as a process.

        Raises:
            NoService: The settings or the type name a service that does not exist.
        """
        template, registry = task.template, self.registry
        await registry.wait_for_answers()
        fallback = 0 if task.attempt.array_index is not None else None
        route = registry.find(template.type, template.task_type_version, fallback=fallback)
        named = registry.explicit(template.type)
        if route is None and named is not None and named[1] != OWN:
            section = "connectorForTaskTypes" if named[0].startswith("connector") else "agentForTaskTypes"
            raise NoService(
                f"plugins.{named[0]}.{section} sends tasks of type [{template.type}] to [{named[1]}], which has no "
                f"endpoint in plugins.{named[0]}"
            )
        if route is None and template.WhichOneof("target") is None and template.type != "sensor":
            raise NoService(
                f"no service runs tasks of type [{template.type}] version [{template.task_type_version}] of task "
                f"[{template.id.name}], and it has no container that could run on this machine. Asked: "
                f"{registry.asked()}. Set plugins.connector-service.connectors and .connectorForTaskTypes to a "
                "service that runs the type"
            )
        return route

    async def submit(
        self, task: ConnectorTask, route: Route, report: SendReport, *, seconds_max: float | None = None
    ) -> Job | Outcome:
        """Create a task, unless the service has accepted it before; return its job, or an outcome of the attempt.

        While the service cannot be reached, the attempt waits at most engine.local.connectors.waitSecondsMax.

        Args:
            task: The attempt.
            route: The service.
            report: Sends the state of the attempt.
            seconds_max: The timeout of the attempt, which limits the call of a synchronous service; None without one.
        """
        job = await self._jobs.find(task)
        self._with_jobs.add(_key(task.execution))
        if job is not None:
            return job
        try:
            inputs = await self._inputs(task)
            header = requests.header(task, route, inputs)
        except CannotBuild as error:
            return replies.call_failed(_CREATE_WORDS, error.error.message)
        except DecodeError as error:
            return replies.call_failed(_CREATE_WORDS, f"unreadable inputs {task.attempt.input_uri}: {error}")
        began, pause = time.monotonic(), _PAUSE_SECONDS
        while True:
            try:
                if route.sync:
                    return await self._execute(task, route, header, inputs, seconds_max)
                return await self._create(task, route, header, inputs)
            except CallFailed as error:
                left = began + self._local.wait_seconds_max - time.monotonic()
                if not error.not_sent or left <= 0:
                    return replies.call_failed(_CREATE_WORDS, error)
                endpoint = route.connection.target.deployment.endpoint
                message = f"waiting for {route.connection.target.name} at {endpoint}: {error}"
            except replies.Nonsense as error:
                return replies.call_failed("", error)
            self._log(task).write(message)
            await report(Report(Task.WAITING_FOR_RESOURCES, message))
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, _PAUSE_SECONDS_MAX)

    async def _inputs(self, task: ConnectorTask) -> literals_pb2.LiteralMap:
        limits = self._settings.storage.limits
        data = await self._blobs.read(
            task.attempt.input_uri, bytes_max=limits.max_download_bytes, setting=DOWNLOAD_LIMIT
        )
        return literals_pb2.LiteralMap.FromString(data)

    async def _create(
        self, task: ConnectorTask, route: Route, header: agent_pb2.CreateRequestHeader, inputs: literals_pb2.LiteralMap
    ) -> Job:
        """Create a task. When this is cancelled, the call continues, and its reply is stored."""
        key = _key(task.execution)
        calling = asyncio.create_task(self._create_and_store(task, route, requests.create(header, inputs)))
        self._creating[key].add(calling)

        def done(ended: asyncio.Task[Job]) -> None:
            self._creating[key].discard(ended)
            if not self._creating[key]:
                del self._creating[key]
            if not ended.cancelled():
                ended.exception()

        calling.add_done_callback(done)
        return await asyncio.shield(calling)

    async def _create_and_store(self, task: ConnectorTask, route: Route, request: agent_pb2.CreateTaskRequest) -> Job:
        created = await route.connection.create(request)
        return await self._store(task, route, meta=created.resource_meta)

    async def _execute(
        self,
        task: ConnectorTask,
        route: Route,
        header: agent_pb2.CreateRequestHeader,
        inputs: literals_pb2.LiteralMap,
        seconds_max: float | None,
    ) -> Job:
        """Run a task of a synchronous service."""
        answer = await route.connection.execute(header, inputs, seconds_max=seconds_max)
        reply = await self._outputs.stored(task, _sync_resource(answer))
        return await self._store(task, route, reply=reply)

    async def _store(
        self, task: ConnectorTask, route: Route, *, meta: bytes = b"", reply: agent_pb2.Resource | None = None
    ) -> Job:
        attempt, target = task.attempt, route.connection.target
        job = Job(
            execution=task.execution,
            generated_name=attempt.generated_name,
            node_id=attempt.node_unique_id,
            plugin=target.plugin,
            deployment=target.id,
            task_type=route.task_type,
            version=route.version,
            meta=meta,
            reply=reply,
            created_at=time.time(),
        )
        await self._jobs.insert(job)
        return job

    async def follow(self, task: ConnectorTask, job: Job, report: SendReport, shown: Report) -> Outcome:
        """Poll a task until it has ended; return the outcome of the attempt.

        Args:
            task: The attempt.
            job: Its job.
            report: Sends the state of the attempt.
            shown: The state that was sent last.
        """
        self.open_tasks += 1
        try:
            return await _Follower(self, task, job, report, shown).run()
        finally:
            self.open_tasks -= 1

    def connection_of(self, job: Job) -> Connection | None:
        """Return the connection to the service of a job; None where the settings no longer have it."""
        service = self.registry.by_id(job.plugin, job.deployment)
        return None if service is None else service.connection

    async def open_jobs(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, list[Job]]:
        """Return the jobs of an execution that have not ended, by unique node id. Wait for calls that create some."""
        creating = self._creating.get(_key(execution))
        if creating:
            await asyncio.gather(*creating, return_exceptions=True)
        by_node: dict[str, list[Job]] = defaultdict(list)
        for job in await self._jobs.open_jobs(execution):
            by_node[job.node_id].append(job)
        return by_node

    async def delete(self, job: Job) -> str:
        """Delete a task; return "" or why it may still run.

        Errors are repeated for engine.local.connectors.deleteSecondsMax. A task that the service does not know is
        deleted.
        """
        connection = self.connection_of(job)
        if connection is None:
            return f"the settings have no service [{job.deployment}] in plugins.{job.plugin} any more"
        request = agent_pb2.DeleteTaskRequest(
            task_type=job.task_type, task_category=job.category, resource_meta=job.meta
        )
        began, pause = time.monotonic(), _PAUSE_SECONDS
        while True:
            try:
                await connection.delete(request)
            except CallFailed as error:
                if error.code is grpc.StatusCode.NOT_FOUND:
                    break
                left = began + self._local.delete_seconds_max - time.monotonic()
                if left <= 0:
                    return f"{connection.target.name} did not delete the task, which may still run: {error}"
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)
            else:
                break
        await self._jobs.ended(job, agent_pb2.Resource(phase=Task.ABORTED))
        return ""

    async def end_attempt(self, task: ConnectorTask) -> str:
        """Delete the task of an attempt that is too late; return "" or why it may still run."""
        creating = self._creating.get(_key(task.execution))
        if creating:
            await asyncio.gather(*creating, return_exceptions=True)
        job = await self._jobs.find(task)
        return "" if job is None or job.reply is not None else await self.delete(job)

    async def forget(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Delete the rows of an execution that has ended."""
        key = _key(execution)
        if key in self._with_jobs:
            self._with_jobs.discard(key)
            await self._jobs.forget(execution)

    def _log(self, task: ConnectorTask) -> TaskLog:
        return TaskLog(task.attempt.log_path, bytes_max=self._settings.engine.local.log_bytes_max)


class _Follower:
    """Polls one task."""

    def __init__(
        self, runner: ConnectorRunner, task: ConnectorTask, job: Job, report: SendReport, shown: Report
    ) -> None:
        self._runner = runner
        self._task = task
        self._job = job
        self._send = report
        self._shown = shown
        self._log = runner._log(task)
        self._failures = 0
        self._pause = runner._local.first_poll_seconds

    async def run(self) -> Outcome:
        """Poll until the task has ended."""
        if self._job.reply is not None:
            return await self._end(self._job.reply)
        connection = self._runner.connection_of(self._job)
        if connection is None:
            reason = f"the settings have no service [{self._job.deployment}] in plugins.{self._job.plugin} any more"
            return replies.call_failed(_GET_WORDS, reason, code=GET_FAILED, retryable=False)
        target = connection.target
        while True:
            try:
                resource = await self._get(connection)
                phase = replies.phase_of(resource)
            except CallFailed as error:
                failed = await self._poll_failed(connection, error, counts=not error.passing)
            except replies.Nonsense as error:
                failed = await self._poll_failed(connection, error, counts=True)
            else:
                self._failures, failed = 0, None
                if not replies.is_live(phase):
                    return await self._ended(connection, resource)
                await self._show(replies.report_of(resource, phase))
            if failed is not None:
                return failed
            await asyncio.sleep(self._pause * random.uniform(0.9, 1.1))  # nosec B311 # jitter
            self._pause = min(self._pause * 2, max(target.poll_seconds_max, self._runner._local.first_poll_seconds))

    async def _get(self, connection: Connection) -> agent_pb2.Resource:
        job = self._job
        reply = await connection.get(
            agent_pb2.GetTaskRequest(
                task_type=job.task_type,
                task_category=job.category,
                resource_meta=job.meta,
                output_prefix=self._task.attempt.output_prefix,
            )
        )
        return reply.resource

    async def _poll_failed(self, connection: Connection, error: Exception, *, counts: bool) -> Failed | None:
        """Count a failed poll; return the failure of the attempt when there were too many in a row."""
        target = connection.target
        message = f"{target.name} at {target.deployment.endpoint}: {error}"
        self._log.write(message)
        if counts:
            self._failures += 1
            if self._failures > target.failures_max:
                return replies.call_failed(_GET_WORDS, error, code=GET_FAILED, retryable=False)
            return None
        await self._show(replace(self._shown, message=message), from_service=False)
        return None

    async def _show(self, report: Report, *, from_service: bool = True) -> None:
        """Send a state that differs from the last one. No phase follows a later one."""
        shown = self._shown
        if order(report.phase) < order(shown.phase):
            report = replace(report, phase=shown.phase)
        report = replace(
            report,
            log_links=joined(shown.log_links, report.log_links),
            custom_info=report.custom_info or shown.custom_info,
        )
        if report == shown:
            return
        if from_service and report.message != shown.message:
            self._log.write(f"{Task.Phase.Name(report.phase)} {report.message}")
        if report.phase != shown.phase:
            self._pause = self._runner._local.first_poll_seconds
        self._shown = report
        await self._send(report)

    async def _ended(self, connection: Connection, resource: agent_pb2.Resource) -> Outcome:
        """Store the last reply of a task, then return the outcome."""
        await self._log.fetch(connection, self._job)
        stored = await self._runner._outputs.stored(self._task, resource)
        await self._runner._jobs.ended(self._job, stored)
        return await self._end(stored)

    async def _end(self, stored: agent_pb2.Resource) -> Outcome:
        phase = replies.phase_of(stored)
        report = replies.report_of(stored, phase)
        name = Task.Phase.Name(phase) if phase in Task.Phase.values() else f"phase {phase}"
        self._log.write(f"{name} {report.message}".rstrip())
        await self._send(replace(report, log_links=joined(self._shown.log_links, report.log_links)))
        failed = replies.failure_of(stored, phase)
        return failed if failed is not None else await self._runner._outputs.outcome(self._task, stored)


def order(phase: int) -> int:
    """Return the place of a phase in the life of a task."""
    return _ORDER.get(phase, len(_ORDER))


_ORDER = {Task.UNDEFINED: 0, Task.QUEUED: 1, Task.WAITING_FOR_RESOURCES: 2, Task.INITIALIZING: 2, Task.RUNNING: 3}


def _sync_resource(answer: agent_pb2.ExecuteTaskSyncResponse | None) -> agent_pb2.Resource:
    """Return the result of a synchronous agent.

    Raises:
        Nonsense: The first message holds no result, or one that has not ended.
    """
    if answer is None or answer.WhichOneof("res") != "header":
        raise replies.Nonsense("expected header in the response, but got none")
    resource = answer.header.resource
    if replies.is_live(replies.phase_of(resource)):
        name = Task.Phase.Name(replies.phase_of(resource))
        return agent_pb2.Resource(
            phase=Task.FAILED, message=f"sync connector must return a terminal phase, but returned {name}"
        )
    return resource


def _key(id: identifier_pb2.WorkflowExecutionIdentifier) -> tuple[str, str, str]:
    return id.project, id.domain, id.name

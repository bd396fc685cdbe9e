"""Run attempts of tasks by services: create, poll, delete.

A task is created at least once: a server that is killed after the service has accepted it and before the row is
stored creates it again. After that, a restarted server asks for the stored task.
Deviates: upstream repeats no call, never polls again after six failures, and cannot run maps
(docs/connectors.md has the list).
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2, tasks_pb2
from google.protobuf.message import DecodeError

from app import errors, limited_log
from app.blobs import DOWNLOAD_LIMIT
from app.database.base import Database
from app.engine.local.connectors import replies, requests
from app.engine.local.connectors.connection import CallFailed, ConnectorConnection
from app.engine.local.connectors.deployments import OWN, routes_of, targets_of
from app.engine.local.connectors.follower import Follower, Place, SendReport
from app.engine.local.connectors.jobs import Job, JobTable
from app.engine.local.connectors.outputs import Outputs
from app.engine.local.connectors.own_service import MakeEnvironment, OwnServices, ServiceBroken, down
from app.engine.local.connectors.registry import Registry, Route, ServiceState, route_in
from app.engine.local.connectors.reports import ConnectorTask, Report
from app.engine.local.connectors.task_log import TaskLog
from app.engine.local.execution_error import error_of
from app.engine.local.processes.commands import SENSOR
from app.engine.local.processes.task_attempt import BUILD_FAILURE, CannotBuild, Failed, Outcome
from app.runtime.dispatch import Server
from app.settings.connectors import CONNECTOR_SERVICE

Task = execution_pb2.TaskExecution

_CREATE_WORDS = "failed to create task from connector with "
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
        environment: Returns the environment of tasks, in which this server starts flytekit's connectors.
    """

    def __init__(self, server: Server, environment: MakeEnvironment | None = None) -> None:
        self._settings = server.settings
        self._local = server.settings.engine.local.connectors
        self._blobs = server.blobs
        self._database: Database = server.database
        self._jobs = JobTable(server.database)
        self._outputs = Outputs(server)
        self._place = Place(self, self._jobs, self._outputs, self._local.first_poll_seconds)
        connections = [
            ConnectorConnection(target, message_bytes_max=self._local.message_bytes_max)
            for target in targets_of(server.settings)
        ]
        self.own = OwnServices(server.settings, environment)
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
        await self.own.stop()

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
        if task.type in _LOCAL_TYPES:
            return False
        return bool(self.registry.services) or (self.own.enabled and _needs_service(task))

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
        if route is not None:
            return route
        if named is not None and named[1] != OWN:
            section = "connectorForTaskTypes" if named[0].startswith("connector") else "agentForTaskTypes"
            raise NoService(
                f"plugins.{named[0]}.{section} sends tasks of type [{template.type}] to [{named[1]}], which has no "
                f"endpoint in plugins.{named[0]}"
            )
        asked = [registry.asked()] if registry.services else []
        if self.own.enabled and (named is not None or _needs_service(template)):
            try:
                state = await self._own_state(task.distribution)
            except ServiceBroken as error:
                raise NoService(f"tasks of type [{template.type}] cannot run: {error}") from error
            route = route_in(state, template.type, template.task_type_version, fallback, certain=False)
            if route is not None:
                return replace(route, distribution=task.distribution)
            types = sorted({one for one, _ in state.types or ()})
            asked.append(f"{state.connection.target.name}, which runs [{', '.join(types)}]")
        if _needs_service(template):
            raise NoService(
                f"no service runs tasks of type [{template.type}] version [{template.task_type_version}] of task "
                f"[{template.id.name}], and it has no container that could run on this machine. Asked: "
                f"{'; '.join(asked)}. Set plugins.connector-service.connectors and .connectorForTaskTypes to a service "
                "that runs the type, or install the plugin with its connector into the environment of tasks "
                "(engine.local.requirements), or let FlytePropeller run it (engine.kind: kubernetes)"
            )
        return None

    async def _own_state(self, distribution: str) -> ServiceState:
        """Return flytekit's own service, once it runs.

        Raises:
            ServiceBroken: The service cannot be started, or ended again and again for
                engine.local.connectors.waitSecondsMax.
        """
        began = time.monotonic()
        while True:
            try:
                return await self.own.of(distribution).state()
            except CallFailed as error:
                if time.monotonic() - began > self._local.wait_seconds_max:
                    raise ServiceBroken(str(error)) from error
            await asyncio.sleep(_PAUSE_SECONDS)

    async def connection_of(self, deployment: str, plugin: str) -> ConnectorConnection:
        """Return the connection to a service by its id in a row; start flytekit's own service if it does not run.

        Raises:
            CallFailed: The service does not run.
            LookupError: The settings no longer have the service.
        """
        id, _, distribution = deployment.partition(":")
        if id == OWN and plugin == CONNECTOR_SERVICE:
            if not self.own.enabled:
                raise LookupError("engine.local.connectors.service is off")
            try:
                return (await self.own.of(distribution).state()).connection
            except ServiceBroken as error:
                raise down(str(error)) from error
        service = self.registry.by_id(plugin, deployment)
        if service is None:
            raise LookupError(f"the settings have no service [{deployment}] in plugins.{plugin} any more")
        return service.connection

    async def accepted(self, task: ConnectorTask) -> Job | None:
        """Return the job of an attempt that a service has accepted before; None for another attempt."""
        self._with_jobs.add(_key(task.execution))
        return await self._jobs.find(task)

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
        job = await self.accepted(task)
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
                if route.connection.target.id == OWN:
                    with suppress(CallFailed):
                        connection = await self.connection_of(_deployment(route), route.plugin)
                        route = replace(route, connection=connection)
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
            deployment=_deployment(route),
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
            return await Follower(self._place, task, job, self._log(task), report, shown).run()
        finally:
            self.open_tasks -= 1

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
        request = agent_pb2.DeleteTaskRequest(
            task_type=job.task_type, task_category=job.category, resource_meta=job.meta
        )
        began, pause = time.monotonic(), _PAUSE_SECONDS
        while True:
            try:
                connection = await self.connection_of(job.deployment, job.plugin)
                await connection.delete(request)
            except LookupError as error:
                return f"{error}; the task may still run"
            except CallFailed as error:
                if error.code is grpc.StatusCode.NOT_FOUND:
                    break
                left = began + self._local.delete_seconds_max - time.monotonic()
                if left <= 0:
                    return f"the service did not delete the task, which may still run: {error}"
                await asyncio.sleep(min(pause, left))
                pause = min(pause * 2, _PAUSE_SECONDS_MAX)
            else:
                break
        await self._jobs.ended(job, agent_pb2.Resource(phase=Task.ABORTED))
        return ""

    async def end_attempt(self, task: ConnectorTask) -> str:
        """Delete the task of an attempt that has timed out; return "" or why it may still run."""
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


def _needs_service(task: tasks_pb2.TaskTemplate) -> bool:
    """Return whether a task cannot run as a process. A sensor can, with inputs of all types."""
    return task.WhichOneof("target") is None and task.type != SENSOR


def _deployment(route: Route) -> str:
    """Return the id of a service for a row, of flytekit's own one with the archive of its code."""
    id = route.connection.target.id
    return f"{id}:{route.distribution}" if id == OWN else id


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

"""Poll one task of a service until it has ended."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Protocol

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

from app.engine.local.connectors import replies
from app.engine.local.connectors.connection import CallFailed, ConnectorConnection
from app.engine.local.connectors.deployments import OWN
from app.engine.local.connectors.jobs import Job, JobTable
from app.engine.local.connectors.outputs import Outputs
from app.engine.local.connectors.reports import ConnectorTask, Report, joined
from app.engine.local.connectors.task_log import TaskLog
from app.engine.local.processes.task_attempt import Failed, Outcome

Task = execution_pb2.TaskExecution
SendReport = Callable[[Report], Awaitable[None]]

GET_FAILED = "AutoRefreshCacheFailed"
_GET_WORDS = "failed to get task from connector with "
_ORDER = {Task.UNDEFINED: 0, Task.QUEUED: 1, Task.WAITING_FOR_RESOURCES: 2, Task.INITIALIZING: 2, Task.RUNNING: 3}
_NO_MODULE = "ModuleNotFoundError: No module named "


class ConnectorServices(Protocol):
    """Returns connections to services."""

    async def connection_of(self, deployment: str, plugin: str) -> ConnectorConnection:
        """Return the connection to a service. Raises CallFailed and LookupError."""


@dataclass(frozen=True, slots=True)
class Place:
    """The parts of the server that polling needs.

    Attributes:
        services: The services.
        jobs: The rows of tasks.
        outputs: Reads and writes outputs.
        first_poll_seconds: Time before the second poll.
    """

    services: ConnectorServices
    jobs: JobTable
    outputs: Outputs
    first_poll_seconds: float


class Follower:
    """Polls one task.

    Args:
        place: The parts of the server.
        task: The attempt.
        job: Its job.
        log: The log of the attempt.
        report: Sends the state of the attempt.
        shown: The state that was sent last.
    """

    def __init__(
        self, place: Place, task: ConnectorTask, job: Job, log: TaskLog, report: SendReport, shown: Report
    ) -> None:
        self._place = place
        self._task = task
        self._job = job
        self._log = log
        self._send = report
        self._shown = shown
        self._failures = 0
        self._failures_max = 0
        self._poll_seconds_max = place.first_poll_seconds
        self._pause = place.first_poll_seconds

    async def run(self) -> Outcome:
        """Poll until the task has ended, and return the outcome of the attempt."""
        if self._job.reply is not None:
            return await self._end(self._job.reply)
        while True:
            try:
                connection = await self._place.services.connection_of(self._job.deployment, self._job.plugin)
                resource = await self._get(connection)
                phase = replies.phase_of(resource)
            except LookupError as error:
                return replies.call_failed(_GET_WORDS, error, code=GET_FAILED, retryable=False)
            except (CallFailed, replies.Nonsense) as error:
                failed = await self._poll_failed(error)
                if failed is not None:
                    return failed
            else:
                self._failures = 0
                if not replies.is_live(phase):
                    return await self._ended(connection, resource)
                await self._show(replies.report_of(resource, phase))
            await asyncio.sleep(self._pause * random.uniform(0.9, 1.1))  # nosec B311 # jitter
            self._pause = min(self._pause * 2, max(self._poll_seconds_max, self._place.first_poll_seconds))

    async def _get(self, connection: ConnectorConnection) -> agent_pb2.Resource:
        self._failures_max = connection.target.failures_max
        self._poll_seconds_max = connection.target.poll_seconds_max
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

    async def _poll_failed(self, error: CallFailed | replies.Nonsense) -> Failed | None:
        """Count a failed poll; return the failure of the attempt where no further poll may help."""
        self._log.write(str(error))
        if isinstance(error, CallFailed) and error.passing:
            await self._show(replace(self._shown, message=str(error)), from_service=False)
            return None
        self._failures += 1
        lacks_module = self._lacks_module(error)
        if self._failures > self._failures_max or lacks_module:
            return replies.call_failed(_GET_WORDS, f"{error}{lacks_module}", code=GET_FAILED, retryable=False)
        return None

    def _lacks_module(self, error: CallFailed | replies.Nonsense) -> str:
        """Return advice where flytekit's own service cannot import the module of a sensor; "" for other errors."""
        own = self._job.deployment.partition(":")[0] == OWN
        if not own or not isinstance(error, CallFailed) or _NO_MODULE not in error.detail:
            return ""
        if error.code is not grpc.StatusCode.INTERNAL:
            return ""
        if self._task.distribution:
            return f"\n\nThe code of the service was unpacked from {self._task.distribution}."
        return (
            "\n\nNo task of the same version was registered with an archive of code, so the service has only the "
            "packages of the environment and engine.local.pythonPath. Register with --copy all, beside a task of "
            "Python, or set engine.local.pythonPath."
        )

    async def _show(self, report: Report, *, from_service: bool = True) -> None:
        """Send a state that differs from the last one. No phase follows a later one."""
        shown = self._shown
        if _order(report.phase) < _order(shown.phase):
            report = replace(report, phase=shown.phase)
        report = replace(
            report,
            log_links=joined(shown.log_links, report.log_links),
            custom_info=report.custom_info or shown.custom_info,
        )
        if report == shown:
            return
        if from_service and (report.message, report.phase) != (shown.message, shown.phase):
            self._log.write(f"{Task.Phase.Name(report.phase)} {report.message}".rstrip())
        if report.phase != shown.phase:
            self._pause = self._place.first_poll_seconds
        self._shown = report
        await self._send(report)

    async def _ended(self, connection: ConnectorConnection, resource: agent_pb2.Resource) -> Outcome:
        """Store the last reply of a task, then return the outcome."""
        await self._log.fetch(connection, self._job)
        stored = await self._place.outputs.stored(self._task, resource)
        await self._place.jobs.ended(self._job, stored)
        return await self._end(stored)

    async def _end(self, stored: agent_pb2.Resource) -> Outcome:
        phase = replies.phase_of(stored)
        report = replies.report_of(stored, phase)
        name = Task.Phase.Name(phase) if phase in Task.Phase.values() else f"phase {phase}"
        self._log.write(f"{name} {report.message}".rstrip())
        await self._send(replace(report, log_links=joined(self._shown.log_links, report.log_links)))
        failed = replies.failure_of(stored, phase)
        return failed if failed is not None else await self._place.outputs.outcome(self._task, stored)


def _order(phase: int) -> int:
    """Return the place of a phase in the life of a task."""
    return _ORDER.get(phase, len(_ORDER))

"""Run a task until an attempt succeeds or its retry budgets are used up, within its timeouts.

The node's timeout limits each attempt from the start of its process; the time in which the process waits for a permit
does not count. The nodes of a dynamic task are part of the attempt and of its time. A task node has one `TaskRetries`;
an array node has one for each index. graph/retries.py has the loop and the budgets.
Source: flytepropeller pkg/controller/nodes/executor.go (retries), pkg/controller/nodes/task; flyteplugins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Protocol

import structlog
from flyteidl.core import execution_pb2, tasks_pb2, workflow_pb2

from app.engine.local.connectors.jobs import Job
from app.engine.local.connectors.registry import Route
from app.engine.local.connectors.reports import ConnectorTask, Report
from app.engine.local.connectors.runner import NoService
from app.engine.local.execution_error import error_of
from app.engine.local.graph import retries, unique_ids
from app.engine.local.graph.history import AttemptClosure
from app.engine.local.graph.retries import Budget
from app.engine.local.graph.state import ExecutionState, NodeContext
from app.engine.local.nodes.dynamics import INTERRUPTED, RunNodes
from app.engine.local.nodes.task_types import distribution_of, with_command
from app.engine.local.processes import outcome
from app.engine.local.processes.task_attempt import (
    BUILD_FAILURE,
    STORAGE_FAILURE,
    CannotBuild,
    Dynamic,
    Failed,
    Killed,
    Outcome,
    RunningAttempt,
    StartFailed,
    Succeeded,
    TaskAttempt,
)
from app.runtime import debug_log
from app.runtime.cancellation import cancel_and_wait

log = structlog.get_logger(__name__)

Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError


_CHECKPOINTS = "_flytecheckpoints"
_EXITED_WELL = {"reason": "", "code": 0}
# An attempt that ends sooner is reported RUNNING together with its end, which saves a transaction.
_UNREPORTED_SECONDS = 0.1


class AttemptListener(Protocol):
    """Receives the events of attempts, in order. An event may arrive again after a restart of the server."""

    async def waiting(self, attempt: int, waits_for: str) -> None:
        """Record that an attempt waits until its environment is made."""

    async def submitted(self, attempt: int, notices: Sequence[str] = ()) -> None:
        """Record that an attempt is prepared and waits for a permit to start its process.

        Args:
            attempt: The attempt.
            notices: Notices to the user about its environment.
        """

    def started(self, attempt: int, at: float) -> None:
        """Note that an attempt has a process. `running` follows, unless the process ends soon.

        Args:
            attempt: The attempt.
            at: When its process was started, perhaps by an earlier server, in seconds since 1970.
        """

    async def running(self, attempt: int) -> None:
        """Record that an attempt has had a process since `started`."""

    async def reported(self, attempt: int, report: Report) -> None:
        """Record the state of an attempt that a service runs."""

    async def failed(self, attempt: int, failed: Failed) -> None:
        """Record that an attempt has failed and another one follows. `TaskRetries.run` returns the last failure."""


class TaskRetries:
    """The attempts of one task.

    Args:
        execution: The execution.
        node: The node, with retries and timeout.
        task: The task.
        make_attempt: Returns the description of an attempt by its number.
        listener: Receives the events of attempts.
        earlier: Closures of attempts that an earlier run of the execution has reported.
        run_nodes: Runs the nodes that an attempt of a dynamic task returns; None where a task must not return nodes.
        recovered: The nodes of the first attempt, which does not run then, and when it started, in seconds since 1970.
    """

    def __init__(
        self,
        execution: ExecutionState,
        node: workflow_pb2.Node,
        task: tasks_pb2.TaskTemplate,
        *,
        make_attempt: Callable[[int], TaskAttempt],
        listener: AttemptListener,
        earlier: Mapping[int, AttemptClosure],
        run_nodes: RunNodes | None = None,
        recovered: tuple[Dynamic, float] | None = None,
    ) -> None:
        self._execution = execution
        self._node = node
        self._task = task
        self._make_attempt = make_attempt
        self._listener = listener
        self._earlier = earlier
        self._run_nodes = run_nodes
        self._recovered = recovered
        self._timeout = retries.timeout_seconds(node)
        self._started_at = time.time()
        self._after_outage = False
        # The name of upstream's plugin for the service that runs the attempt; "" for a process.
        self.plugin = ""
        self.attempt = 0
        self.budget = Budget(attempts_max=(node.metadata.retries.retries or task.metadata.retries.retries) + 1)

    async def run(self) -> Succeeded | Dynamic | Failed:
        """Run attempts until one succeeds or no retry is left.

        A cancelled run leaves the process of its attempt running.
        """
        ended = await retries.run_attempts(self.budget, self._run_attempt, before_retry=self._before_retry)
        self._log_decision(ended, retry_follows=False)
        return ended

    async def _run_attempt(self, attempt: int) -> Succeeded | Dynamic | Failed:
        """Run one attempt with the nodes that it returns."""
        self.attempt = attempt
        ended = await self._run_task()
        if isinstance(ended, Dynamic) and self._run_nodes is not None:
            ended = await self._expand(ended, self._run_nodes)
        if isinstance(ended, Killed):
            error = error_of("Interrupted", "the attempt was killed", _Kind.SYSTEM)
            ended = Failed(error, retryable=True)
        return ended

    async def _before_retry(self, attempt: int, failed: Failed) -> None:
        """Report a failed attempt that another one follows."""
        self._log_decision(failed, retry_follows=True)
        await self._listener.failed(attempt, failed)
        self._after_outage = failed.of_storage
        if failed.of_storage and attempt + 1 not in self._earlier:
            # The reason may hold output of the task, so it is not logged.
            log.warning("attempt_failed_without_storage", attempt=self._make_attempt(attempt).generated_name)
        self._started_at = time.time()

    def _log_decision(self, ended: Succeeded | Dynamic | Failed, *, retry_follows: bool) -> None:
        if not debug_log.enabled():
            return
        # Of an error the code alone: its message may hold output of the task.
        log.debug(
            "attempt_ended",
            execution=self._execution.id.name,
            node=self._node.id,
            attempt=self.attempt,
            outcome=type(ended).__name__.lower(),
            code=ended.error.code if isinstance(ended, Failed) else "",
            decision=_decision(ended, retry_follows=retry_follows),
        )

    async def _run_task(self) -> Outcome:
        """Run the task once, or resume its attempt where an earlier run of the execution started it."""
        recorded, later = self._earlier.get(self.attempt), self._earlier.get(self.attempt + 1)
        recovered = self._recovered if not self.attempt else None
        if recorded is not None and recorded.HasField("started_at"):
            self._started_at = recorded.started_at.ToNanoseconds() / 1e9
        elif recovered is not None:
            self._started_at = recovered[1]
        if later is not None and (recovered is not None or (recorded is not None and recorded.phase == Task.SUCCEEDED)):
            # The process succeeded and another attempt followed, so the nodes of this attempt had exceeded the timeout.
            return INTERRUPTED
        if recovered is not None:
            return recovered[0]
        run = self._make_attempt(self.attempt)
        running = await self._execution.host.runner.adopt(run)
        if running is not None:
            return await self._watch(running)
        if self._execution.host.connectors.may_run(self._task):
            ended = await self._run_by_service(run, recorded)
            if ended is not None:
                return ended
        past = await self._recorded_outcome(run, recorded) if recorded is not None else None
        return past if past is not None else await self._start(run)

    async def _run_by_service(self, run: TaskAttempt, recorded: AttemptClosure | None) -> Outcome | None:
        """Run one attempt by a service; return None where it runs as a process."""
        connectors, task = self._execution.host.connectors, self._for_service(run)
        try:
            found = await self._service_of(task, recorded)
        except NoService as error:
            return error.failed
        if found is None:
            return None
        self.plugin = found.plugin
        if recorded is not None and recorded.phase in (Task.FAILED, Task.ABORTED):
            return await self._recorded_outcome(run, recorded)
        await self._listener.submitted(self.attempt)

        async def report(state: Report) -> None:
            await self._listener.reported(self.attempt, state)

        job: Job | Outcome = (
            found
            if isinstance(found, Job)
            else await connectors.submit(task, found, report, seconds_max=self._timeout or None)
        )
        if not isinstance(job, Job):
            return job
        self._started_at = job.created_at
        async with retries.time_limit(self._seconds_left()):
            return await connectors.follow(task, job, report, _shown(recorded))
        timed_out = retries.attempt_timed_out(self._node)
        if left := await connectors.end_attempt(task):
            timed_out.error.message += f"; {left}"
        return timed_out

    async def _service_of(self, task: ConnectorTask, recorded: AttemptClosure | None) -> Job | Route | None:
        """Return the route to a service; None for a task that runs as a process.

        After a restart, return the job that a service has accepted before, also while that service cannot be started.

        Raises:
            NoService: No service runs the task.
        """
        connectors = self._execution.host.connectors
        job = await connectors.accepted(task) if recorded is not None else None
        return job if job is not None else await connectors.route(task)

    def _for_service(self, run: TaskAttempt) -> ConnectorTask:
        execution = self._execution
        suffix = "" if run.array_index is None else f"-n{run.array_index}"
        return ConnectorTask(
            attempt=run,
            template=self._task,
            node_id=f"{self._node.id}{suffix}",
            labels=dict(execution.config.labels.values),
            annotations=dict(execution.config.annotations.values),
            security_context=execution.config.security_context,
            interruptible=execution.interruptible(self._node),
            distribution=distribution_of(self._task, execution.closure.tasks),
        )

    async def _recorded_outcome(self, run: TaskAttempt, earlier: AttemptClosure) -> Outcome | None:
        """Return the outcome of a recorded attempt without a process on this machine; None when it was not started."""
        if earlier.phase == Task.FAILED and earlier.HasField("error"):
            error = earlier.error
            of_storage = error.code == STORAGE_FAILURE and error.kind == _Kind.SYSTEM
            return Failed(error, retryable=error.code != BUILD_FAILURE, of_storage=of_storage)
        if earlier.phase == Task.ABORTED:
            return retries.attempt_timed_out(self._node)
        if earlier.phase not in (Task.RUNNING, Task.SUCCEEDED, Task.FAILED):
            return None
        server = self._execution.server
        left_none = earlier.phase == Task.RUNNING
        ended = await outcome.read(
            run,
            None if left_none else _EXITED_WELL,
            server.blobs,
            bytes_max=server.settings.storage.limits.max_download_bytes,
        )
        if earlier.phase == Task.FAILED and not isinstance(ended, Failed):
            error = error_of("Unknown", "the attempt failed; its error was recorded on another machine only")
            return Failed(error, retryable=self.attempt + 1 in self._earlier)
        return ended

    async def _start(self, run: TaskAttempt) -> Outcome:
        runner = self._execution.host.runner
        if self._after_outage:
            # Report the attempt first, so that the reason for waiting can be shown at it. No process starts before
            # the store answers.
            await self._listener.submitted(self.attempt)
            await self._execution.server.blobs.exists(run.input_uri)
        waits_for = await runner.waits_for(run)
        if waits_for:
            await self._listener.waiting(self.attempt, waits_for)
        try:
            prepared = await runner.prepare(run)
        except CannotBuild as error:
            return Failed(error.error, retryable=False)
        await self._listener.submitted(self.attempt, prepared.notices)
        try:
            return await self._watch(await runner.start(prepared))
        except CannotBuild as error:
            return Failed(error.error, retryable=False)
        except StartFailed as error:
            return error.failed

    async def _watch(self, running: RunningAttempt) -> Outcome:
        """Wait until a process has ended; kill it at the timeout of the attempt."""
        self._started_at = running.started_at or time.time()
        self._listener.started(self.attempt, self._started_at)
        result: Outcome = Killed()
        async with retries.time_limit(self._seconds_left()):
            result = await self._outcome_of(running)
        if not isinstance(result, Killed) or not self._timeout:
            return result
        await self._execution.host.runner.kill(running)
        return retries.attempt_timed_out(self._node)

    async def _outcome_of(self, running: RunningAttempt) -> Outcome:
        """Wait until a process has ended; report that it runs, unless it ends soon."""
        waiting = asyncio.ensure_future(self._execution.host.runner.wait(running))
        try:
            await asyncio.wait((waiting,), timeout=_UNREPORTED_SECONDS)
            if not waiting.done():
                await self._listener.running(self.attempt)
            return await waiting
        except BaseException:
            await cancel_and_wait((waiting,))
            raise

    def _seconds_left(self) -> float | None:
        """Return the seconds that are left for the attempt; None without a limit."""
        if not self._timeout:
            return None
        return max(self._started_at + self._timeout - time.time(), retries.ATTEMPT_READ_SECONDS)

    async def _expand(self, dynamic: Dynamic, run_nodes: RunNodes) -> Succeeded | Failed:
        """Run the nodes that a dynamic task returned, in the time that is left of its attempt."""
        ended = await run_nodes(self.attempt, dynamic, self._seconds_left())
        return retries.attempt_timed_out(self._node) if ended is None else ended


def _shown(recorded: AttemptClosure | None) -> Report:
    """Return the state that the events of an attempt have reported."""
    if recorded is None:
        return Report()
    return Report(
        phase=recorded.phase,
        message=recorded.reason,
        log_links=tuple(recorded.logs),
        custom_info=recorded.custom_info if recorded.HasField("custom_info") else None,
    )


def _decision(ended: Succeeded | Dynamic | Failed, *, retry_follows: bool) -> str:
    if retry_follows:
        return "retry"
    if not isinstance(ended, Failed):
        return "end of the node"
    return f"end of the node: {'no retry is left' if ended.retryable else 'the error is not recoverable'}"


def task_attempt(
    context: NodeContext,
    task: tasks_pb2.TaskTemplate,
    unique_id: str,
    attempt: int,
    *,
    directory: Path,
    input_uri: str,
    output_prefix: str,
    given_prefix: str = "",
    array_index: int | None = None,
    checkpoint: str = "",
) -> TaskAttempt:
    """Return the description of an attempt.

    Args:
        context: The node.
        task: The task.
        unique_id: The unique id of the node, or of one index of an array node.
        attempt: The number of the attempt, from 0.
        directory: The folder of the attempt on this machine.
        input_uri: The inputs.
        output_prefix: The folder in the store that the attempt writes to.
        given_prefix: The output prefix in the command, where it differs from `output_prefix`.
        array_index: The index in an array node.
        checkpoint: The checkpoint from which the first attempt resumes; a later one resumes from the one before it.
    """
    execution = context.execution
    name = unique_ids.generated_name(execution.id.name, unique_id, attempt)
    tasks = chain(context.scope.closure.tasks, execution.closure.tasks)
    return TaskAttempt(
        execution=execution.id,
        workflow_name=execution.workflow_id.name,
        task=with_command(task, tasks, execution.server.settings.engine.local),
        node_unique_id=context.unique_id,
        attempt=attempt,
        generated_name=name,
        directory=directory,
        input_uri=input_uri,
        output_prefix=output_prefix,
        given_prefix=given_prefix,
        raw_output_prefix=_raw_prefix(execution, name),
        checkpoint_prefix=checkpoint_of(execution, unique_id, attempt),
        prev_checkpoint=checkpoint_of(execution, unique_id, attempt - 1) if attempt else checkpoint,
        envs=execution.envs,
        array_index=array_index,
        namespace=f"{execution.id.project}-{execution.id.domain}",
        console_url=execution.host.console_url,
        platform=execution.host.platform,
        principal=execution.principal,
        execution_identity=execution.config.security_context.run_as.execution_identity,
    )


def checkpoint_of(execution: ExecutionState, unique_id: str, attempt: int) -> str:
    """Return the address of the checkpoints that an attempt writes and the next one reads."""
    return f"{_raw_prefix(execution, unique_ids.generated_name(execution.id.name, unique_id, attempt))}/{_CHECKPOINTS}"


def _raw_prefix(execution: ExecutionState, generated_name: str) -> str:
    """Return the prefix of the raw data of an attempt."""
    return f"{execution.raw_prefix}/{unique_ids.shard(generated_name)}/{generated_name}"

"""Attempt after attempt of one task: processes, two budgets, timeouts. What is reported of them is their teller's.

The node's timeout limits each attempt, from the start of its process; time in a queue does not count. The nodes that
a dynamic task asks for are part of the attempt, and of its time.

A task node has one of these, the indices of a map have one each.
Source: flytepropeller pkg/controller/nodes/executor.go (retries), pkg/controller/nodes/task; flyteplugins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Protocol

import structlog
from flyteidl.core import execution_pb2, tasks_pb2, workflow_pb2

from app.engine.local.graph import retries, unique_ids
from app.engine.local.graph.failures import error_of
from app.engine.local.graph.history import AttemptClosure
from app.engine.local.graph.retries import Budget
from app.engine.local.graph.state import ExecutionState, NodeContext
from app.engine.local.nodes.dynamics import INTERRUPTED, Expand
from app.engine.local.nodes.task_types import with_command
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

log = structlog.get_logger(__name__)

Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError


_CHECKPOINTS = "_flytecheckpoints"
_EXITED_WELL = {"reason": "", "code": 0}
# What ended while no server watched is looked at before it counts as late.
_LATE_SECONDS = 0.1


class AttemptListener(Protocol):
    """Hears of attempts, each event once at least, in order."""

    async def waiting(self) -> None:
        """The first attempt has to wait until there is an environment for it."""

    async def submitted(self, attempt: int) -> None:
        """The attempt can be run and waits for its turn."""

    async def running(self, attempt: int) -> None:
        """It has a process."""

    async def failed(self, attempt: int, failed: Failed) -> None:
        """It has failed, and another one follows. The last one is told by the outcome of all."""


class RetryLoop:
    """runs: makes each attempt. earlier: closures of attempts that an earlier run of the execution reported.

    expand: what becomes of an attempt that asks for nodes. asked: what the first attempt asks for without being run,
    and since when, in seconds since 1970.
    """

    def __init__(
        self,
        execution: ExecutionState,
        node: workflow_pb2.Node,
        task: tasks_pb2.TaskTemplate,
        *,
        runs: Callable[[int], TaskAttempt],
        listener: AttemptListener,
        earlier: Mapping[int, AttemptClosure],
        expand: Expand | None = None,
        asked: tuple[Dynamic, float] | None = None,
    ) -> None:
        self._execution = execution
        self._node = node
        self._task = task
        self._runs = runs
        self._listener = listener
        self._earlier = earlier
        self._expand = expand
        self._asked = asked
        self._timeout = retries.timeout_seconds(node)
        # When the attempt began.
        self._began = time.time()
        self._after_outage = False
        self.attempt = 0
        self.budget = Budget(attempts_max=(node.metadata.retries.retries or task.metadata.retries.retries) + 1)

    async def run(self) -> Succeeded | Dynamic | Failed:
        """Run until one attempt ends well or none is left. Cancelled, it leaves the process as it is."""
        while True:
            ended = await self._one()
            if isinstance(ended, Dynamic) and self._expand is not None:
                ended = await self._nodes(ended, self._expand)
            if isinstance(ended, Killed):
                error = error_of("Interrupted", "the attempt was killed", _Kind.SYSTEM)
                ended = Failed(error, retryable=True)
            if not isinstance(ended, Failed) or not self.budget.spend(ended):
                return ended
            await self._listener.failed(self.attempt, ended)
            self._after_outage = ended.of_storage
            if ended.of_storage and self.attempt + 1 not in self._earlier:
                # The reason is left to the attempt's error, which holds output of the task too.
                log.warning("attempt_failed_without_storage", attempt=self._runs(self.attempt).generated_name)
            self._began = time.time()
            self.attempt += 1

    async def _one(self) -> Outcome:
        """One attempt: gone on with where an earlier run of the execution began it."""
        told, later = self._earlier.get(self.attempt), self._earlier.get(self.attempt + 1)
        asked = self._asked if not self.attempt else None
        if told is not None and told.HasField("started_at"):
            self._began = told.started_at.ToNanoseconds() / 1e9
        elif asked is not None:
            self._began = asked[1]
        if later is not None and (asked is not None or (told is not None and told.phase == Task.SUCCEEDED)):
            # Its process ended well and yet another attempt followed: its nodes took too long.
            return INTERRUPTED
        if asked is not None:
            return asked[0]
        run = self._runs(self.attempt)
        running = await self._execution.host.runner.adopt(run)
        if running is not None:
            return await self._watch(running)
        past = await self._past(run, told) if told is not None else None
        return past if past is not None else await self._start(run)

    async def _past(self, run: TaskAttempt, earlier: AttemptClosure) -> Outcome | None:
        """How an attempt ended of which this machine has no process; None where it was not started yet."""
        if earlier.phase == Task.FAILED and earlier.HasField("error"):
            error = earlier.error
            of_storage = error.code == STORAGE_FAILURE and error.kind == _Kind.SYSTEM
            return Failed(error, retryable=error.code != BUILD_FAILURE, of_storage=of_storage)
        if earlier.phase == Task.ABORTED:
            return retries.expired(self._node)
        if earlier.phase not in (Task.RUNNING, Task.SUCCEEDED, Task.FAILED):
            return None
        server = self._execution.server
        left_none = earlier.phase == Task.RUNNING
        ended = await outcome.read(
            run,
            None if left_none else _EXITED_WELL,
            server.blobs,
            bytes_max=server.settings.storage.limits.max_download_bytes,
            requirements=server.settings.engine.local.requirements,
        )
        if earlier.phase == Task.FAILED and not isinstance(ended, Failed):
            error = error_of("Unknown", "the attempt failed, and what it said of it is on another machine")
            return Failed(error, retryable=self.attempt + 1 in self._earlier)
        return ended

    async def _start(self, run: TaskAttempt) -> Outcome:
        runner = self._execution.host.runner
        if self._after_outage:
            # The attempt is reported first, so that it shows why the execution waits. No process starts before the
            # store answers.
            await self._listener.submitted(self.attempt)
            await self._execution.server.blobs.exists(run.input_uri)
        if not runner.ready:
            # Making the environment takes a while, and the node is to be seen meanwhile.
            await self._listener.waiting()
        try:
            prepared = await runner.prepare(run)
        except CannotBuild as error:
            return Failed(error.error, retryable=False)
        await self._listener.submitted(self.attempt)
        try:
            return await self._watch(await runner.start(prepared))
        except CannotBuild as error:
            return Failed(error.error, retryable=False)
        except StartFailed as error:
            return error.failed

    async def _watch(self, running: RunningAttempt) -> Outcome:
        """Wait for a process, at most until the attempt's timeout."""
        await self._listener.running(self.attempt)
        self._began = running.started_at or time.time()
        result: Outcome = Killed()
        try:
            async with asyncio.timeout(self._seconds_left()) as clock:
                result = await self._execution.host.runner.wait(running)
        except TimeoutError:
            if not clock.expired():
                raise
        if not isinstance(result, Killed) or not self._timeout:
            return result
        await self._execution.host.runner.kill(running)
        return retries.expired(self._node)

    def _seconds_left(self) -> float | None:
        """For the attempt; None without a limit."""
        if not self._timeout:
            return None
        return max(self._began + self._timeout - time.time(), _LATE_SECONDS)

    async def _nodes(self, dynamic: Dynamic, expand: Expand) -> Succeeded | Failed:
        """The nodes that the task asks for, in the time that is left of its attempt."""
        ended = await expand(self.attempt, dynamic, self._seconds_left())
        return retries.expired(self._node) if ended is None else ended


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
    """An attempt of a task. unique_id: of what is tried again, the node or one index of it.

    checkpoint: what the first attempt goes on from; a later one goes on from the one before it
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
    )


def checkpoint_of(execution: ExecutionState, unique_id: str, attempt: int) -> str:
    """Where an attempt leaves what the next one can go on from."""
    return f"{_raw_prefix(execution, unique_ids.generated_name(execution.id.name, unique_id, attempt))}/{_CHECKPOINTS}"


def _raw_prefix(execution: ExecutionState, generated_name: str) -> str:
    """Where an attempt puts its raw data."""
    return f"{execution.raw_prefix}/{unique_ids.shard(generated_name)}/{generated_name}"

"""A task node: attempts as processes, retries from two budgets, timeouts.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

import asyncio
import time

from flyteidl.admin import task_execution_pb2
from flyteidl.core import compiler_pb2, execution_pb2, literals_pb2
from flyteidl.event import event_pb2

from app.engine.local import names, outcome, recovery, retries
from app.engine.local.attempts import (
    BUILD_FAILURE,
    CannotBuild,
    Dynamic,
    Failed,
    Killed,
    Outcome,
    RunningTask,
    StartFailed,
    Succeeded,
    TaskRun,
)
from app.engine.local.failures import NodeFailed, error_of, timed_out
from app.engine.local.folders import attempt_folder
from app.engine.local.nodes import fail
from app.engine.local.retries import Budget
from app.engine.local.run import Site
from app.engine.local.slots import Place

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError

_CHECKPOINTS = "_flytecheckpoints"
_PLUGIN = "container"
_EXITED_WELL = {"reason": "", "code": 0}


class TaskNode:
    """One task node while it runs. ended: its last task event, which is sent together with the node's own."""

    def __init__(self, site: Site, task: compiler_pb2.CompiledTask) -> None:
        self._site = site
        self._run = site.run
        self._task = task.template
        self._attempt = 0
        self._spent_seconds = 0.0
        self._timeout = retries.timeout_seconds(site.node)
        own = site.node.metadata.retries.retries
        self._budget = Budget(attempts_max=(own or self._task.metadata.retries.retries) + 1)
        self.ended: event_pb2.TaskExecutionEvent | None = None

    async def run(self) -> Succeeded | Dynamic:
        """Attempt after attempt until one ends well; its outcome. Cancelled, it leaves the process as it is.

        errors: NodeFailed, when the node's events are sent
        """
        while True:
            ended = await self._one()
            if isinstance(ended, (Succeeded, Dynamic)):
                return ended
            if isinstance(ended, Killed):
                ended = Failed(error_of("Interrupted", "the attempt was killed", _Kind.SYSTEM), retryable=True)
                self.ended = self._event(Task.FAILED, error=ended.error, logs=True)
            if not self._budget.spend(ended):
                raise await self._fail(ended)
            if self.ended is not None:
                await self._run.report.task(self.ended)
                self.ended = None
            self._attempt += 1

    async def _one(self) -> Outcome:
        """One attempt: gone on with where an earlier run of the execution began it."""
        run = self._task_run()
        earlier = self._run.attempts.get(self._site.unique_id, {}).get(self._attempt)
        if earlier is not None:
            running = await self._run.engine.runner.adopt(run)
            if running is not None:
                return await self._watch(run, running, earlier)
            past = await self._past(run, earlier)
            if past is not None:
                return past
        return await self._start(run)

    async def _past(self, run: TaskRun, earlier: task_execution_pb2.TaskExecutionClosure) -> Outcome | None:
        """How an attempt ended of which this machine has no process; None where it was not started yet."""
        if earlier.phase == Task.FAILED:
            return Failed(earlier.error, retryable=earlier.error.code != BUILD_FAILURE)
        if earlier.phase == Task.ABORTED:
            return retries.expired(self._site.node)
        if earlier.phase not in (Task.RUNNING, Task.SUCCEEDED):
            return None
        server = self._run.server
        ended = _EXITED_WELL if earlier.phase == Task.SUCCEEDED else None
        limit = server.settings.storage.limits.max_download_bytes
        return self._told(await outcome.read(run, ended, server.blobs, bytes_max=limit))

    async def _start(self, run: TaskRun) -> Outcome:
        site, runner, report = self._site, self._run.engine.runner, self._run.report
        queued = site.event(Node.QUEUED, input_uri=site.input_uri)
        if not runner.ready:
            # Making the environment takes a while, and the node is to be seen meanwhile.
            await report.node(queued)
        try:
            prepared = await runner.prepare(run)
        except CannotBuild as error:
            await report.node(queued)
            return self._told(Failed(error.error, retryable=False))
        submitted = self._event(Task.QUEUED, reason="task submitted")
        await report.several(queued, submitted, self._node_event(Node.RUNNING))
        id = self._run.id
        place = Place(
            None if self._task.metadata.is_eager else self._run.engine.processes, key=(id.project, id.domain, id.name)
        )
        await place.take()
        try:
            running = await runner.start(prepared)
            return await self._watch(run, running, None)
        except CannotBuild as error:
            return self._told(Failed(error.error, retryable=False))
        except StartFailed as error:
            return self._told(error.failed)
        finally:
            place.give()

    async def _watch(
        self, run: TaskRun, running: RunningTask, earlier: task_execution_pb2.TaskExecutionClosure | None
    ) -> Outcome:
        """Wait for a process, at most as long as the node's timeout allows."""
        await self._run.report.several(self._event(Task.RUNNING, logs=True), self._node_event(Node.RUNNING))
        began = running.started_at or time.time()
        left = None
        if self._timeout:
            left = retries.seconds_left(self._timeout, attempt=time.time() - began, earlier=self._spent_seconds)
            # What ended while no server watched is looked at before it counts as late.
            left = max(left, 0.1)
        result: Outcome = Killed()
        try:
            async with asyncio.timeout(left) as clock:
                result = await self._run.engine.runner.wait(running)
        except TimeoutError:
            if not clock.expired():
                raise
        if earlier is not None and earlier.HasField("duration"):
            self._spent_seconds += earlier.duration.ToNanoseconds() / 1e9
        else:
            self._spent_seconds += time.time() - began
        if isinstance(result, Killed) and self._timeout:
            return await self._cut_off(running)
        return self._told(result)

    async def _cut_off(self, running: RunningTask) -> Failed:
        """An attempt that took too long is ended.

        errors: NodeFailed, when all attempts together took too long
        """
        await self._run.engine.runner.kill(running)
        aborted = self._event(Task.ABORTED, logs=True)
        if retries.all_spent(self._timeout, self._spent_seconds):
            event = self._site.event(Node.TIMED_OUT, input_uri=self._site.input_uri)
            await self._run.report.several(event, aborted)
            raise timed_out(self._site.node.id)
        self.ended = aborted
        return retries.expired(self._site.node)

    def _told(self, result: Outcome) -> Outcome:
        """Keep the event that tells how the attempt ended, until it is known what follows for the node."""
        if isinstance(result, (Succeeded, Dynamic)):
            self.ended = self._event(Task.SUCCEEDED, output_uri=self._site.output_uri(self._attempt), logs=True)
        elif isinstance(result, Failed):
            self.ended = self._event(Task.FAILED, error=result.error, logs=True)
        return result

    async def _fail(self, failed: Failed) -> NodeFailed:
        deck_uri = failed.deck_uri if self._task.metadata.generates_deck.value else ""
        events = [self.ended] if self.ended is not None else []
        error = self._budget.exhausted(failed)
        return await fail(self._site, error, *events, task_node_metadata=self.metadata(), deck_uri=deck_uri)

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._site.event(phase, input_uri=self._site.input_uri)
        if phase == Node.RUNNING and self._task.metadata.generates_deck.value:
            event.deck_uri = f"{self._site.output_dir(self._attempt)}/deck.html"
        return event

    def deck_uri(self, ended: Succeeded | Dynamic) -> str:
        """The deck that the node's SUCCEEDED event names: one that is there, unless the task says it makes none."""
        metadata = self._task.metadata
        unwanted = metadata.HasField("generates_deck") and not metadata.generates_deck.value
        return "" if unwanted else ended.deck_uri

    def metadata(self) -> event_pb2.TaskNodeMetadata:
        """What the node's last event says of the task."""
        return event_pb2.TaskNodeMetadata(checkpoint_uri=f"{self._raw(self._attempt)}/{_CHECKPOINTS}")

    def _raw(self, attempt: int) -> str:
        """The raw output prefix of an attempt."""
        name = names.generated_name(self._run.id.name, self._site.unique_id, attempt)
        return f"{self._run.raw_prefix}/{names.shard(name)}/{name}"

    def _task_run(self) -> TaskRun:
        attempt, run, site = self._attempt, self._run, self._site
        earlier = f"{self._raw(attempt - 1)}/{_CHECKPOINTS}" if attempt else recovery.checkpoint(site)
        return TaskRun(
            execution=run.id,
            workflow_name=run.workflow_id.name,
            task=self._task,
            node_unique_id=site.unique_id,
            attempt=attempt,
            generated_name=names.generated_name(run.id.name, site.unique_id, attempt),
            directory=attempt_folder(run.folder(site.unique_id), attempt),
            input_uri=site.input_uri,
            output_prefix=site.output_dir(attempt),
            raw_output_prefix=self._raw(attempt),
            checkpoint_prefix=f"{self._raw(attempt)}/{_CHECKPOINTS}",
            prev_checkpoint=earlier,
            envs=run.envs,
            namespace=f"{run.id.project}-{run.id.domain}",
            platform=run.engine.platform,
        )

    def _event(
        self,
        phase: int,
        *,
        reason: str = "",
        output_uri: str = "",
        error: execution_pb2.ExecutionError | None = None,
        logs: bool = False,
    ) -> event_pb2.TaskExecutionEvent:
        run, site = self._run, self._site
        event = event_pb2.TaskExecutionEvent(
            task_id=self._task.id,
            retry_attempt=self._attempt,
            phase=phase,
            task_type=self._task.type,
            input_uri=site.input_uri,
            reason=reason,
            output_uri=output_uri,
        )
        event.parent_node_execution_id.execution_id.CopyFrom(run.id)
        event.parent_node_execution_id.node_id = site.unique_id
        event.metadata.generated_name = names.generated_name(run.id.name, site.unique_id, self._attempt)
        event.metadata.plugin_identifier = _PLUGIN
        if run.interruptible(site.node) and self._budget.system_failures < retries.SYSTEM_FAILURES_MAX:
            event.metadata.instance_class = event_pb2.TaskExecutionMetadata.INTERRUPTIBLE
        if error is not None:
            event.error.CopyFrom(error)
        if logs:
            event.logs.add(name="Task log", uri=run.engine.log_url(run.id, site.unique_id, self._attempt))
        return event


async def run_task(site: Site, inputs: literals_pb2.LiteralMap, place: Place) -> literals_pb2.LiteralMap:
    """A task node, from QUEUED to its last event."""
    reference = site.node.task_node.reference_id
    task = site.frame.task(reference)
    if task is None:
        raise await fail(site, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    node = TaskNode(site, task)
    ended = await node.run()
    assert node.ended is not None
    if isinstance(ended, Dynamic):
        await site.run.report.task(node.ended)
        raise await fail(site, error_of("DynamicWorkflowBuildFailed", "dynamic tasks are not run by this engine"))
    event = site.event(
        Node.SUCCEEDED,
        input_uri=site.input_uri,
        output_uri=ended.output_uri,
        deck_uri=node.deck_uri(ended),
        task_node_metadata=node.metadata(),
    )
    await site.run.report.several(node.ended, event)
    return ended.outputs

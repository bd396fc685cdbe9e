"""A task node: attempts as processes, retries from two budgets, timeouts.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from flyteidl.core import compiler_pb2, execution_pb2, literals_pb2
from flyteidl.event import event_pb2

from app.engine.local import names
from app.engine.local.attempts import (
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
from app.engine.local.failures import NodeFailed, error_of
from app.engine.local.nodes import fail
from app.engine.local.run import Site
from app.engine.local.slots import Place

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError

SYSTEM_FAILURES_MAX = 3
_CHECKPOINTS = "_flytecheckpoints"
_PLUGIN = "container"


@dataclass(slots=True)
class Budget:
    """What has failed so far, and whether another attempt is due (upstream's retry rules)."""

    attempts_max: int
    failures: int = 0
    system_failures: int = 0

    def spend(self, failed: Failed) -> bool:
        """Count a failure; whether the node tries again."""
        self.failures += 1
        if failed.system:
            self.system_failures += 1
        if not failed.retryable:
            return False
        if failed.system:
            return self.system_failures <= SYSTEM_FAILURES_MAX
        return self.failures - self.system_failures < self.attempts_max

    def exhausted(self, failed: Failed) -> execution_pb2.ExecutionError:
        """What the node reports when no attempt is left."""
        if not failed.retryable:
            return failed.error
        if failed.system:
            done, most, kind = SYSTEM_FAILURES_MAX, SYSTEM_FAILURES_MAX, "SYSTEM"
        else:
            done, most, kind = self.failures - self.system_failures, self.attempts_max, "USER"
        message = f"[{done}/{most}] currentAttempt done. Last Error: {kind}::{failed.error.message}"
        # Parity: exhausted retries are the user's failure, whatever caused them.
        return error_of(f"RetriesExhausted|{failed.error.code}", message)


class TaskNode:
    """One task node while it runs."""

    def __init__(self, site: Site, task: compiler_pb2.CompiledTask, place: Place) -> None:
        self._site = site
        self._run = site.run
        self._task = task.template
        self._place = place
        self._running: RunningTask | None = None
        self._attempt = 0
        retries = site.node.metadata.retries if site.node.metadata.HasField("retries") else self._task.metadata.retries
        self._budget = Budget(attempts_max=retries.retries + 1)

    async def run(self) -> Succeeded | Dynamic:
        """Attempt after attempt until one ends well; its outcome.

        errors: NodeFailed, when the node's events are sent
        """
        await self._run.report.node(self._site.event(Node.QUEUED, input_uri=self._site.input_uri))
        while True:
            try:
                outcome = await self._one()
            except asyncio.CancelledError:
                await self._on_cancel()
                raise
            if isinstance(outcome, (Succeeded, Dynamic)):
                return outcome
            if isinstance(outcome, Killed):
                outcome = Failed(error_of("Interrupted", "the attempt was killed", _Kind.SYSTEM), retryable=True)
            if not self._budget.spend(outcome):
                raise await self._fail(outcome)
            self._attempt += 1

    async def _one(self) -> Outcome:
        """One attempt with its events."""
        run = self._task_run()
        earlier = self._run.attempts.get(self._site.unique_id, {}).get(self._attempt)
        runner = self._run.engine.runner
        self._running = await runner.adopt(run) if earlier is not None else None
        if self._running is not None:
            return await self._watch(run, self._running)
        try:
            prepared = await runner.prepare(run)
        except CannotBuild as error:
            await self._report(run, Task.FAILED, error=error.error)
            return Failed(error.error, retryable=False)
        await self._report(run, Task.QUEUED, reason="task submitted")
        await self._run.report.node(self._node_event(Node.RUNNING))
        slots = Place(None if self._task.metadata.is_eager else self._run.engine.processes, self._run.id.name)
        await slots.take()
        try:
            self._running = await runner.start(prepared)
            return await self._watch(run, self._running)
        except CannotBuild as error:
            await self._report(run, Task.FAILED, error=error.error)
            return Failed(error.error, retryable=False)
        except StartFailed as error:
            await self._report(run, Task.FAILED, error=error.failed.error)
            return error.failed
        finally:
            slots.give()

    async def _watch(self, run: TaskRun, running: RunningTask) -> Outcome:
        """Wait for a process and report how it ended."""
        await self._report(run, Task.RUNNING, logs=True)
        await self._run.report.node(self._node_event(Node.RUNNING))
        outcome = await self._run.engine.runner.wait(running)
        self._running = None
        if isinstance(outcome, (Succeeded, Dynamic)):
            await self._report(run, Task.SUCCEEDED, output_uri=self._site.output_uri(self._attempt), logs=True)
        elif isinstance(outcome, Failed):
            await self._report(run, Task.FAILED, error=outcome.error, logs=True)
        return outcome

    async def _on_cancel(self) -> None:
        """End the process of an aborted node; a server that merely stops leaves it running, to be adopted."""
        if not self._site.frame.abort_reason:
            return
        # A start that was cancelled halfway may have left a process that nobody has been told of.
        running = self._running or await self._run.engine.runner.adopt(self._task_run())
        if running is not None:
            await self._run.engine.runner.kill(running)
        await self._report(self._task_run(), Task.ABORTED)

    async def _fail(self, failed: Failed) -> NodeFailed:
        error = self._budget.exhausted(failed)
        return await fail(self._site, error, task_node_metadata=self._checkpoint(), deck_uri=failed.deck_uri)

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._site.event(phase, input_uri=self._site.input_uri)
        if phase == Node.RUNNING and self._task.metadata.generates_deck.value:
            event.deck_uri = f"{self._site.output_dir(self._attempt)}/deck.html"
        return event

    def _checkpoint(self) -> event_pb2.TaskNodeMetadata:
        return event_pb2.TaskNodeMetadata(checkpoint_uri=f"{self._raw(self._attempt)}/{_CHECKPOINTS}")

    def succeeded(self) -> event_pb2.TaskNodeMetadata:
        """What the node's SUCCEEDED event says of the task."""
        return self._checkpoint()

    def _raw(self, attempt: int) -> str:
        """The raw output prefix of an attempt."""
        name = names.generated_name(self._run.id.name, self._site.unique_id, attempt)
        return f"{self._run.raw_prefix}/{names.shard(name)}/{name}"

    def _task_run(self) -> TaskRun:
        attempt, run, site = self._attempt, self._run, self._site
        name = names.generated_name(run.id.name, site.unique_id, attempt)
        return TaskRun(
            execution=run.id,
            workflow_name=run.workflow_id.name,
            task=self._task,
            node_unique_id=site.unique_id,
            attempt=attempt,
            generated_name=name,
            directory=run.home / site.unique_id / str(attempt),
            input_uri=site.input_uri,
            output_prefix=site.output_dir(attempt),
            raw_output_prefix=self._raw(attempt),
            checkpoint_prefix=f"{self._raw(attempt)}/{_CHECKPOINTS}",
            prev_checkpoint=f"{self._raw(attempt - 1)}/{_CHECKPOINTS}" if attempt else "",
            envs=run.envs,
            namespace=f"{run.id.project}-{run.id.domain}",
            platform=run.engine.platform,
        )

    async def _report(
        self,
        run: TaskRun,
        phase: int,
        *,
        reason: str = "",
        output_uri: str = "",
        error: execution_pb2.ExecutionError | None = None,
        logs: bool = False,
    ) -> None:
        event = event_pb2.TaskExecutionEvent(
            task_id=self._task.id,
            retry_attempt=self._attempt,
            phase=phase,
            task_type=self._task.type,
            input_uri=self._site.input_uri,
        )
        event.parent_node_execution_id.execution_id.CopyFrom(self._run.id)
        event.parent_node_execution_id.node_id = self._site.unique_id
        event.metadata.generated_name = run.generated_name
        event.metadata.plugin_identifier = _PLUGIN
        if reason:
            event.reason = reason
        if output_uri:
            event.output_uri = output_uri
        if error is not None:
            event.error.CopyFrom(error)
        if logs:
            event.logs.add(
                name="Task log", uri=self._run.engine.log_url(self._run.id, self._site.unique_id, self._attempt)
            )
        await self._run.report.task(event)


async def run_task(site: Site, inputs: literals_pb2.LiteralMap, place: Place) -> literals_pb2.LiteralMap:
    """A task node, from QUEUED to its last event."""
    reference = site.node.task_node.reference_id
    task = site.frame.task(reference)
    if task is None:
        raise await fail(site, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    node = TaskNode(site, task, place)
    outcome = await node.run()
    if isinstance(outcome, Dynamic):
        raise await fail(site, error_of("DynamicWorkflowBuildFailed", "dynamic tasks are not run by this engine"))
    event = site.event(
        Node.SUCCEEDED,
        input_uri=site.input_uri,
        output_uri=outcome.output_uri,
        deck_uri=outcome.deck_uri,
        task_node_metadata=node.succeeded(),
    )
    await site.run.report.node(event)
    return outcome.outputs

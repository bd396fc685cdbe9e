"""Task nodes: report the attempts of the task and the node itself.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl.event import event_pb2

from app.engine.local.connectors.replies import is_live
from app.engine.local.connectors.reports import Report
from app.engine.local.execution_error import error_of
from app.engine.local.graph import recovery, retries
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.events import Event
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes import dynamics
from app.engine.local.nodes.deck_watch import DeckWatch
from app.engine.local.nodes.output_cache import OutputCache
from app.engine.local.nodes.task_events import attempt_event
from app.engine.local.nodes.task_retries import TaskRetries, checkpoint_of, task_attempt
from app.engine.local.processes import decks
from app.engine.local.processes.folders import attempt_folder
from app.engine.local.processes.task_attempt import Dynamic, Failed, Succeeded, TaskAttempt
from app.runtime.fair_semaphore import Permit

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution


class TaskNode:
    """A task node while it runs. Implements `AttemptListener`.

    Args:
        context: The node.
        task: The task.
        permit: The permit of the node among those that run at a time.
        reservation: Added to the RUNNING event when the node holds a reservation of the cache.
        recovered: The nodes of a dynamic task that was recovered and does not run, and when it started.
    """

    def __init__(
        self,
        context: NodeContext,
        task: tasks_pb2.TaskTemplate,
        permit: Permit,
        *,
        reservation: event_pb2.TaskNodeMetadata | None = None,
        recovered: tuple[Dynamic, float] | None = None,
    ) -> None:
        self._context = context
        self._permit = permit
        self._is_recovered = recovered is not None
        self.is_dynamic = False
        self._reservation = reservation
        self._report: Report | None = None
        # The events that report the attempt RUNNING, until they are sent.
        self._unreported: list[Event] = []
        self._execution = context.execution
        self._task = task
        self._deck = DeckWatch(context.execution.server.settings, context.execution.server.blobs)
        self._retries = TaskRetries(
            context.execution,
            context.node,
            task,
            make_attempt=self._task_attempt,
            listener=self,
            earlier=context.recorded_attempts,
            run_nodes=self._run_nodes,
            recovered=recovered,
        )

    def _task_attempt(self, attempt: int) -> TaskAttempt:
        context = self._context
        return task_attempt(
            context,
            self._task,
            context.unique_id,
            attempt,
            directory=attempt_folder(self._execution.folder(context.unique_id), attempt),
            input_uri=context.input_uri,
            output_prefix=context.output_dir(attempt),
            checkpoint=recovery.checkpoint(context),
        )

    async def run(self) -> Succeeded:
        """Run the task until an attempt succeeds. The caller sends the SUCCEEDED events.

        Raises:
            NodeFailed: When the node's events are sent.
        """
        try:
            ended = await self._retries.run()
        finally:
            await self._deck.stop()
        if isinstance(ended, Failed):
            raise await self._report_failure(ended)
        assert isinstance(ended, Succeeded)
        return ended

    async def _run_nodes(self, attempt: int, dynamic: Dynamic, seconds_max: float | None) -> Succeeded | Failed | None:
        """Run the nodes that an attempt of a dynamic task returned, and return the outcome of the attempt."""
        context, events = self._context, self._execution.events
        self.is_dynamic = True
        await self._deck.stop()
        before = [self._node_event(Node.QUEUED), *self.succeeded(), self._node_event(Node.RUNNING)]
        before += self._shown(dynamic.deck_uri)
        try:
            scope = await dynamics.graph_of(context, self._task, dynamic, attempt)
        except dynamics.NotBuilt as error:
            await events.send(*before)
            return dynamics.not_built(error)
        await events.send(*before, dynamics.running(context, scope, dynamic))
        # The nodes inside need permits of their own, and there may be only one.
        self._permit.release()
        return await dynamics.run(context, scope, dynamic, seconds_max)

    async def waiting(self, attempt: int, waits_for: str) -> None:
        """Report the attempt INITIALIZING, with what it waits for."""
        await self.submitted(attempt)
        await self._execution.events.send(self._event(Task.INITIALIZING, reason=f"waits for {waits_for}"))

    async def submitted(self, attempt: int, notices: Sequence[str] = ()) -> None:
        """Report the attempt QUEUED and the node RUNNING."""
        submitted = self._event(Task.QUEUED, reason="\n".join(("task submitted", *notices)))
        await self._execution.events.send(self._node_event(Node.QUEUED), submitted, self._node_event(Node.RUNNING))

    def started(self, attempt: int, at: float) -> None:
        """Keep the events that report the attempt RUNNING, with the time of its start."""
        self._unreported = [self._event(Task.RUNNING, has_log=True)]
        if not self._execution.events.is_running(self._context.unique_id):
            self._unreported.append(self._node_event(Node.RUNNING))
        for event in self._unreported:
            event.occurred_at.FromMicroseconds(int(at * 1e6))

    def _take_unreported(self) -> list[Event]:
        taken, self._unreported = self._unreported, []
        return taken

    async def running(self, attempt: int) -> None:
        """Report the attempt RUNNING, and watch for its deck."""
        events, uri = self._execution.events, decks.uri_of(self._context.output_dir(attempt))
        await events.send(*self._take_unreported())
        if self._generates_deck and events.deck(self._context.unique_id) != uri:
            self._deck.start(uri, lambda: events.send(*self._shown(uri)))

    async def reported(self, attempt: int, report: Report) -> None:
        """Report the state of an attempt that a service runs. The end is reported by another event."""
        self._report = report
        if is_live(report.phase):
            event = self._event(report.phase, has_log=True)
            event.phase_version = self._execution.events.next_version(event)
            await self._execution.events.send(event, self._node_event(Node.RUNNING))

    async def failed(self, attempt: int, failed: Failed) -> None:
        """Report the attempt FAILED, unless an earlier run of the execution has."""
        await self._deck.stop()
        # A recorded later attempt implies that the failure of this one is recorded.
        if attempt + 1 not in self._context.recorded_attempts:
            await self._execution.events.send(*self._failure(failed), *self._shown(await self._deck_of(failed)))
        self.is_dynamic = self._is_recovered = False
        self._report = None
        self._unreported = []
        await self._permit.acquire()

    def _failure(self, failed: Failed) -> list[Event]:
        if self.is_dynamic:
            return []
        if failed.timed_out:
            return [*self._take_unreported(), self._event(Task.ABORTED, has_log=True)]
        return [*self._take_unreported(), self._event(Task.FAILED, error=failed.error, has_log=True)]

    def succeeded(self) -> list[Event]:
        """Return the SUCCEEDED event of the last attempt, to be sent with that of the node; none without a process."""
        if self._is_recovered:
            return []
        ended = self._event(Task.SUCCEEDED, output_uri=self._context.output_uri(self._retries.attempt), has_log=True)
        return [*self._take_unreported(), ended]

    async def _report_failure(self, failed: Failed) -> NodeFailed:
        # The node keeps showing the deck of an earlier attempt when the last one wrote none.
        shown = self._execution.events.deck(self._context.unique_id)
        deck_uri = await self._deck_of(failed) or await decks.first_of(self._execution.server.blobs, shown)
        error = self._retries.budget.exhausted(failed)
        before = (self._node_event(Node.QUEUED), *self._failure(failed))
        return await fail(self._context, error, *before, deck_uri=deck_uri, **self.described())

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._context.event(phase)
        if phase == Node.RUNNING and self._reservation is not None:
            event.task_node_metadata.CopyFrom(self._reservation)
        return event

    @property
    def _generates_deck(self) -> bool:
        return bool(self._task.metadata.generates_deck.value)

    async def _deck_of(self, failed: Failed) -> str:
        """Return the deck of a failed attempt, "" without one. A killed attempt may have published its deck before."""
        if not self._generates_deck:
            return ""
        uri = decks.uri_of(self._context.output_dir(self._retries.attempt))
        return failed.deck_uri or await decks.first_of(self._execution.server.blobs, uri)

    def _shown(self, deck_uri: str) -> list[event_pb2.NodeExecutionEvent]:
        """Return the event that adds a deck to the running node, if there is a deck.

        Deviates: upstream's RUNNING event names the deck that the task is to write, before it lies in the storage.
        """
        if not deck_uri or not self._generates_deck:
            return []
        phase = self._execution.events.running_phase(self._context.unique_id)
        return [self._context.event(phase, deck_uri=deck_uri)]

    def deck_uri(self, ended: Succeeded) -> str:
        """Return the deck for the SUCCEEDED event, or "" when the task has `generates_deck: false` or wrote none."""
        metadata = self._task.metadata
        unwanted = metadata.HasField("generates_deck") and not metadata.generates_deck.value
        return "" if unwanted else ended.deck_uri

    @property
    def attempt(self) -> int:
        """Return the number of the attempt that runs or ended last."""
        return self._retries.attempt

    def described(self, marks: event_pb2.TaskNodeMetadata | None = None) -> dict[str, Any]:
        """Return the fields of the node's last event that describe the task.

        Parity: the event of a dynamic node has no checkpoint.

        Args:
            marks: The fields that describe the cache.
        """
        metadata = event_pb2.TaskNodeMetadata()
        if marks is not None:
            metadata.CopyFrom(marks)
        if not self.is_dynamic:
            metadata.checkpoint_uri = checkpoint_of(self._execution, self._context.unique_id, self._retries.attempt)
        described = {"task_node_metadata": metadata} if metadata.ByteSize() else {}
        return {**described, "is_dynamic": self.is_dynamic}

    def _event(self, phase: int, **fields: Any) -> event_pb2.TaskExecutionEvent:
        context, budget = self._context, self._retries.budget
        # Parity: the last attempt of the system budget is not interruptible.
        interruptible = budget.system_failures < retries.SYSTEM_FAILURES_MAX
        return attempt_event(
            context,
            self._task,
            self._retries.attempt,
            phase,
            interruptible=interruptible and self._execution.interruptible(context.node),
            plugin=self._retries.plugin,
            report=self._report,
            **fields,
        )


async def run_task(context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """Run a task node."""
    reference = context.node.task_node.reference_id
    task = context.scope.task(reference)
    if task is None:
        raise await fail(context, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    handler = context.execution.handlers.tasks.get(task.template.type)
    if handler is not None:
        return await handler(context, task.template, inputs)
    cache = OutputCache(context, task.template, inputs)
    recovered = await dynamics.recover(context, inputs)
    if not context.recorded_attempts and recovered is None:
        hit = await cache.begin(permit)
        if hit is not None:
            return await succeed(context, hit.outputs, task_node_metadata=hit.marks)
    try:
        node = TaskNode(context, task.template, permit, reservation=cache.reservation, recovered=recovered)
        return await _compute(context, node, cache)
    except NodeFailed:
        await cache.release()
        raise


async def _compute(context: NodeContext, node: TaskNode, cache: OutputCache) -> literals_pb2.LiteralMap:
    """Run the task and cache its outputs."""
    ended = await node.run()
    marks = await cache.put(ended.output_uri, ended.outputs, attempt=node.attempt)
    event = context.event(
        Node.SUCCEEDED,
        output_uri=ended.output_uri,
        deck_uri=node.deck_uri(ended),
        **node.described(marks),
    )
    await context.execution.events.send(*node.succeeded(), event)
    return ended.outputs

"""A task node: what is reported of its attempts, and what follows for the node.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

from typing import Any

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl.event import event_pb2

from app.engine.local.graph import recovery, retries
from app.engine.local.graph.failures import NodeFailed, error_of
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes import dynamics
from app.engine.local.nodes.cache import NodeCache
from app.engine.local.nodes.deck_watch import DeckWatch
from app.engine.local.nodes.lifecycle import fail, succeed
from app.engine.local.nodes.retry_loop import RetryLoop, checkpoint_of, task_attempt
from app.engine.local.nodes.task_events import attempt_event
from app.engine.local.processes import decks
from app.engine.local.processes.fair_semaphore import Permit
from app.engine.local.processes.folders import attempt_folder
from app.engine.local.processes.task_attempt import Dynamic, Failed, Succeeded, TaskAttempt

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution


class TaskNode:
    """One task node while it runs: reports its attempts. reserving: what its RUNNING event says of its cache.

    place: among the nodes that run side by side. asked: what it asks for without being run.
    """

    def __init__(
        self,
        context: NodeContext,
        task: tasks_pb2.TaskTemplate,
        permit: Permit,
        *,
        reserving: event_pb2.TaskNodeMetadata | None = None,
        asked: tuple[Dynamic, float] | None = None,
    ) -> None:
        self._context = context
        self._permit = permit
        self._asked = asked is not None
        self.is_dynamic = False
        self._reserving = reserving
        self._execution = context.execution
        self._task = task
        self._deck = DeckWatch(context.execution.server.settings, context.execution.server.blobs)
        self._loop = RetryLoop(
            context.execution,
            context.node,
            task,
            runs=self._task_attempt,
            listener=self,
            earlier=context.recorded_attempts,
            expand=self._expand,
            asked=asked,
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
        """Attempt after attempt until one ends well; its outcome, whose events are still to be sent.

        errors: NodeFailed, when the node's events are sent
        """
        try:
            ended = await self._loop.run()
        finally:
            await self._deck.stop()
        if isinstance(ended, Failed):
            raise await self._fail(ended)
        assert isinstance(ended, Succeeded)
        return ended

    async def _expand(self, attempt: int, dynamic: Dynamic, seconds_max: float | None) -> Succeeded | Failed | None:
        """Run the nodes that an attempt asks for; its process, if there was one, has ended well."""
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
        # Its nodes take places of their own, of which there may be only one.
        self._permit.release()
        return await dynamics.run(context, scope, dynamic, seconds_max)

    async def waiting(self) -> None:
        await self._execution.events.send(self._node_event(Node.QUEUED))

    async def submitted(self, attempt: int) -> None:
        submitted = self._event(Task.QUEUED, reason="task submitted")
        await self._execution.events.send(self._node_event(Node.QUEUED), submitted, self._node_event(Node.RUNNING))

    async def running(self, attempt: int) -> None:
        events, uri = self._execution.events, decks.uri_of(self._context.output_dir(attempt))
        await events.send(self._event(Task.RUNNING, has_log=True), self._node_event(Node.RUNNING))
        if self._generates_deck and events.deck(self._context.unique_id) != uri:
            self._deck.start(uri, lambda: events.send(*self._shown(uri)))

    async def failed(self, attempt: int, failed: Failed) -> None:
        await self._deck.stop()
        # One that a later attempt was told of is told itself.
        if attempt + 1 not in self._context.recorded_attempts:
            await self._execution.events.send(*self._failure(failed), *self._shown(await self._deck_of(failed)))
        self.is_dynamic = self._asked = False
        await self._permit.acquire()

    def _failure(self, failed: Failed) -> list[event_pb2.TaskExecutionEvent]:
        if self.is_dynamic:
            return []
        if failed.late:
            return [self._event(Task.ABORTED, has_log=True)]
        return [self._event(Task.FAILED, error=failed.error, has_log=True)]

    def succeeded(self) -> list[event_pb2.TaskExecutionEvent]:
        """The event of the last attempt's process where it ended well, to be sent together with the node's."""
        if self._asked:
            return []
        return [self._event(Task.SUCCEEDED, output_uri=self._context.output_uri(self._loop.attempt), has_log=True)]

    async def _fail(self, failed: Failed) -> NodeFailed:
        # A last attempt that wrote none leaves the deck of the one before it shown.
        shown = self._execution.events.deck(self._context.unique_id)
        deck_uri = await self._deck_of(failed) or await decks.first_of(self._execution.server.blobs, shown)
        error = self._loop.budget.exhausted(failed)
        before = (self._node_event(Node.QUEUED), *self._failure(failed))
        return await fail(self._context, error, *before, deck_uri=deck_uri, **self.described())

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._context.event(phase)
        if phase == Node.RUNNING and self._reserving is not None:
            event.task_node_metadata.CopyFrom(self._reserving)
        return event

    @property
    def _generates_deck(self) -> bool:
        return bool(self._task.metadata.generates_deck.value)

    async def _deck_of(self, failed: Failed) -> str:
        """Return the deck of the attempt, which may have been cut off after it published one; "" for none."""
        if not self._generates_deck:
            return ""
        uri = decks.uri_of(self._context.output_dir(self._loop.attempt))
        return failed.deck_uri or await decks.first_of(self._execution.server.blobs, uri)

    def _shown(self, deck_uri: str) -> list[event_pb2.NodeExecutionEvent]:
        """Return the event that adds a deck to the running node, if there is a deck.

        Deviates: upstream's RUNNING event names the deck that the task is to write, before it lies in the storage.
        """
        if not deck_uri or not self._generates_deck:
            return []
        phase = self._execution.events.running_phase(self._context.unique_id)
        return [self._context.event(phase, input_uri=self._context.input_uri, deck_uri=deck_uri)]

    def deck_uri(self, ended: Succeeded) -> str:
        """The deck that the node's SUCCEEDED event names: one that is there, unless the task says it makes none."""
        metadata = self._task.metadata
        unwanted = metadata.HasField("generates_deck") and not metadata.generates_deck.value
        return "" if unwanted else ended.deck_uri

    @property
    def attempt(self) -> int:
        """The attempt that runs, or that ended last."""
        return self._loop.attempt

    def described(self, marks: event_pb2.TaskNodeMetadata | None = None) -> dict[str, Any]:
        """What the node's last event says of the task; marks: of its cache.

        # Parity: a dynamic node tells of its cache alone.
        """
        metadata = event_pb2.TaskNodeMetadata()
        if marks is not None:
            metadata.CopyFrom(marks)
        if not self.is_dynamic:
            metadata.checkpoint_uri = checkpoint_of(self._execution, self._context.unique_id, self._loop.attempt)
        told = {"task_node_metadata": metadata} if metadata.ByteSize() else {}
        return {**told, "is_dynamic": self.is_dynamic}

    def _event(self, phase: int, **fields: Any) -> event_pb2.TaskExecutionEvent:
        context, budget = self._context, self._loop.budget
        # Parity: the last attempt of the system's budget does not run where it can be interrupted.
        interruptible = budget.system_failures < retries.SYSTEM_FAILURES_MAX
        return attempt_event(
            context,
            self._task,
            self._loop.attempt,
            phase,
            interruptible=interruptible and self._execution.interruptible(context.node),
            **fields,
        )


async def run_task(context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """A task node, from QUEUED to its last event."""
    reference = context.node.task_node.reference_id
    task = context.scope.task(reference)
    if task is None:
        raise await fail(context, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    handler = context.execution.handlers.tasks.get(task.template.type)
    if handler is not None:
        return await handler(context, task.template, inputs)
    caching = NodeCache(context, task.template, inputs)
    asked = await dynamics.recover(context, inputs)
    if not context.recorded_attempts and asked is None:
        hit = await caching.begin(permit)
        if hit is not None:
            return await succeed(context, hit.outputs, task_node_metadata=hit.marks)
    try:
        node = TaskNode(context, task.template, permit, reserving=caching.reserving, asked=asked)
        return await _compute(context, node, caching)
    except NodeFailed:
        await caching.give_up()
        raise


async def _compute(context: NodeContext, node: TaskNode, caching: NodeCache) -> literals_pb2.LiteralMap:
    """Run the task, as nothing could be taken over, and cache what it puts out."""
    ended = await node.run()
    marks = await caching.put(ended.output_uri, ended.outputs, attempt=node.attempt)
    event = context.event(
        Node.SUCCEEDED,
        output_uri=ended.output_uri,
        deck_uri=node.deck_uri(ended),
        **node.described(marks),
    )
    await context.execution.events.send(*node.succeeded(), event)
    return ended.outputs

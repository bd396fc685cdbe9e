"""A task node: what is reported of its attempts, and what follows for the node.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

from typing import Any

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl.event import event_pb2

from app.engine.local.graph import names, recovery, retries
from app.engine.local.graph.failures import NodeFailed, error_of
from app.engine.local.graph.run import Site
from app.engine.local.nodes import decks, dynamics
from app.engine.local.nodes.arrays.node import run_container_array
from app.engine.local.nodes.arrays.panel import CONTAINER_ARRAY
from app.engine.local.nodes.cache import Caching
from app.engine.local.nodes.nodes import fail, succeed
from app.engine.local.nodes.tries import Tries, checkpoint_of, task_attempt
from app.engine.local.processes import commands
from app.engine.local.processes.fair_semaphore import Permit
from app.engine.local.processes.folders import attempt_folder
from app.engine.local.processes.task_attempt import CannotBuild, Dynamic, Failed, Succeeded, TaskAttempt

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

_PLUGIN = "container"


class TaskNode:
    """One task node while it runs: reports its attempts. reserving: what its RUNNING event says of its cache.

    place: among the nodes that run side by side. asked: what it asks for without being run.
    """

    def __init__(
        self,
        site: Site,
        task: tasks_pb2.TaskTemplate,
        permit: Permit,
        *,
        reserving: event_pb2.TaskNodeMetadata | None = None,
        asked: tuple[Dynamic, float] | None = None,
    ) -> None:
        self._site = site
        self._permit = permit
        self._asked = asked is not None
        self.is_dynamic = False
        self._reserving = reserving
        self._run = site.run
        self._task = task
        self._deck = decks.Watch(site.run.server.settings, site.run.server.blobs)
        self._tries = Tries(
            site.run,
            site.node,
            task,
            runs=self._task_attempt,
            teller=self,
            earlier=site.run.attempts.get(site.unique_id, {}),
            expand=self._expand,
            asked=asked,
        )

    def _task_attempt(self, attempt: int) -> TaskAttempt:
        site = self._site
        return task_attempt(
            site,
            self._task,
            site.unique_id,
            attempt,
            directory=attempt_folder(self._run.folder(site.unique_id), attempt),
            input_uri=site.input_uri,
            output_prefix=site.output_dir(attempt),
            checkpoint=recovery.checkpoint(site),
        )

    async def run(self) -> Succeeded:
        """Attempt after attempt until one ends well; its outcome, whose events are still to be sent.

        errors: NodeFailed, when the node's events are sent
        """
        try:
            ended = await self._tries.run()
        finally:
            await self._deck.stop()
        if isinstance(ended, Failed):
            raise await self._fail(ended)
        assert isinstance(ended, Succeeded)
        return ended

    async def _expand(self, attempt: int, dynamic: Dynamic, seconds_max: float | None) -> Succeeded | Failed | None:
        """Run the nodes that an attempt asks for; its process, if there was one, has ended well."""
        site, report = self._site, self._run.report
        self.is_dynamic = True
        await self._deck.stop()
        before = [self._node_event(Node.QUEUED), *self.succeeded(), self._node_event(Node.RUNNING)]
        before += self._shown(dynamic.deck_uri)
        try:
            frame = await dynamics.graph_of(site, self._task, dynamic, attempt)
        except dynamics.NotBuilt as error:
            await report.several(*before)
            return dynamics.not_built(error)
        await report.several(*before, dynamics.running(site, frame, dynamic))
        # Its nodes take places of their own, of which there may be only one.
        self._permit.release()
        return await dynamics.run(site, frame, dynamic, seconds_max)

    async def echo(self, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """A task of type `echo` has no process: what it is given is what it puts out. errors: NodeFailed"""
        site, report = self._site, self._run.report
        await report.node(self._node_event(Node.QUEUED))
        try:
            outputs = commands.echo(self._task, inputs)
        except CannotBuild as error:
            raise await fail(site, error.error, self._event(Task.FAILED, error=error.error)) from error
        uri = site.output_uri()
        await self._run.write(uri, outputs)
        done = site.event(Node.SUCCEEDED, input_uri=site.input_uri, output_uri=uri)
        await report.several(self._event(Task.SUCCEEDED, output_uri=uri), done)
        return outputs

    async def waiting(self) -> None:
        await self._run.report.node(self._node_event(Node.QUEUED))

    async def submitted(self, attempt: int) -> None:
        submitted = self._event(Task.QUEUED, reason="task submitted")
        await self._run.report.several(self._node_event(Node.QUEUED), submitted, self._node_event(Node.RUNNING))

    async def running(self, attempt: int) -> None:
        report, uri = self._run.report, decks.uri_of(self._site.output_dir(attempt))
        await report.several(self._event(Task.RUNNING, logs=True), self._node_event(Node.RUNNING))
        if self._generates_deck and report.deck(self._site.unique_id) != uri:
            self._deck.start(uri, lambda: report.several(*self._shown(uri)))

    async def failed(self, attempt: int, failed: Failed) -> None:
        await self._deck.stop()
        # One that a later attempt was told of is told itself.
        if attempt + 1 not in self._run.attempts.get(self._site.unique_id, ()):
            await self._run.report.several(*self._failure(failed), *self._shown(await self._deck_of(failed)))
        self.is_dynamic = self._asked = False
        await self._permit.acquire()

    def _failure(self, failed: Failed) -> list[event_pb2.TaskExecutionEvent]:
        if self.is_dynamic:
            return []
        if failed.late:
            return [self._event(Task.ABORTED, logs=True)]
        return [self._event(Task.FAILED, error=failed.error, logs=True)]

    def succeeded(self) -> list[event_pb2.TaskExecutionEvent]:
        """The event of the last attempt's process where it ended well, to be sent together with the node's."""
        if self._asked:
            return []
        return [self._event(Task.SUCCEEDED, output_uri=self._site.output_uri(self._tries.attempt), logs=True)]

    async def _fail(self, failed: Failed) -> NodeFailed:
        # A last attempt that wrote none leaves the deck of the one before it shown.
        shown = self._run.report.deck(self._site.unique_id)
        deck_uri = await self._deck_of(failed) or await decks.first_of(self._run.server.blobs, shown)
        error = self._tries.budget.exhausted(failed)
        before = (self._node_event(Node.QUEUED), *self._failure(failed))
        return await fail(self._site, error, *before, deck_uri=deck_uri, **self.described())

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._site.event(phase, input_uri=self._site.input_uri)
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
        uri = decks.uri_of(self._site.output_dir(self._tries.attempt))
        return failed.deck_uri or await decks.first_of(self._run.server.blobs, uri)

    def _shown(self, deck_uri: str) -> list[event_pb2.NodeExecutionEvent]:
        """Return the event that adds a deck to the running node, if there is a deck.

        Deviates: upstream's RUNNING event names the deck that the task is to write, before it lies in the storage.
        """
        if not deck_uri or not self._generates_deck:
            return []
        phase = self._run.report.running_phase(self._site.unique_id)
        return [self._site.event(phase, input_uri=self._site.input_uri, deck_uri=deck_uri)]

    def deck_uri(self, ended: Succeeded) -> str:
        """The deck that the node's SUCCEEDED event names: one that is there, unless the task says it makes none."""
        metadata = self._task.metadata
        unwanted = metadata.HasField("generates_deck") and not metadata.generates_deck.value
        return "" if unwanted else ended.deck_uri

    @property
    def attempt(self) -> int:
        """The attempt that runs, or that ended last."""
        return self._tries.attempt

    def described(self, marks: event_pb2.TaskNodeMetadata | None = None) -> dict[str, Any]:
        """What the node's last event says of the task; marks: of its cache.

        # Parity: a dynamic node tells of its cache alone.
        """
        metadata = event_pb2.TaskNodeMetadata()
        if marks is not None:
            metadata.CopyFrom(marks)
        if not self.is_dynamic:
            metadata.checkpoint_uri = checkpoint_of(self._run, self._site.unique_id, self._tries.attempt)
        told = {"task_node_metadata": metadata} if metadata.ByteSize() else {}
        return {**told, "is_dynamic": self.is_dynamic}

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
            retry_attempt=self._tries.attempt,
            phase=phase,
            task_type=self._task.type,
            input_uri=site.input_uri,
            reason=reason,
            output_uri=output_uri,
        )
        event.parent_node_execution_id.execution_id.CopyFrom(run.id)
        event.parent_node_execution_id.node_id = site.unique_id
        event.metadata.generated_name = names.generated_name(run.id.name, site.unique_id, self._tries.attempt)
        event.metadata.plugin_identifier = _PLUGIN
        if run.interruptible(site.node) and self._tries.budget.system_failures < retries.SYSTEM_FAILURES_MAX:
            event.metadata.instance_class = event_pb2.TaskExecutionMetadata.INTERRUPTIBLE
        if error is not None:
            event.error.CopyFrom(error)
        if logs:
            event.logs.add(name="Task log", uri=run.engine.log_url(run.id, site.unique_id, self._tries.attempt))
        return event


async def run_task(site: Site, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """A task node, from QUEUED to its last event."""
    reference = site.node.task_node.reference_id
    task = site.frame.task(reference)
    if task is None:
        raise await fail(site, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    if task.template.type == CONTAINER_ARRAY:
        return await run_container_array(site, inputs, task.template)
    if task.template.type == commands.ECHO:
        return await TaskNode(site, task.template, permit).echo(inputs)
    caching = Caching(site, task.template, inputs)
    asked = await dynamics.recover(site, inputs)
    if site.unique_id not in site.run.attempts and asked is None:
        hit = await caching.begin(permit)
        if hit is not None:
            return await succeed(site, hit.outputs, task_node_metadata=hit.marks)
    try:
        node = TaskNode(site, task.template, permit, reserving=caching.reserving, asked=asked)
        return await _compute(site, node, caching)
    except NodeFailed:
        await caching.give_up()
        raise


async def _compute(site: Site, node: TaskNode, caching: Caching) -> literals_pb2.LiteralMap:
    """Run the task, as nothing could be taken over, and cache what it puts out."""
    ended = await node.run()
    marks = await caching.put(ended.output_uri, ended.outputs, attempt=node.attempt)
    event = site.event(
        Node.SUCCEEDED,
        input_uri=site.input_uri,
        output_uri=ended.output_uri,
        deck_uri=node.deck_uri(ended),
        **node.described(marks),
    )
    await site.run.report.several(*node.succeeded(), event)
    return ended.outputs

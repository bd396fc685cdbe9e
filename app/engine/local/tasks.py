"""A task node: what is reported of its attempts, and what follows for the node.

Source: flytepropeller pkg/controller/nodes/task, nodes/executor.go (retries), flyteplugins (phases and errors).
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2
from flyteidl.event import event_pb2

from app.engine.local import names, retries
from app.engine.local.attempts import Dynamic, Failed, Succeeded
from app.engine.local.cache import Caching
from app.engine.local.failures import NodeFailed, error_of, timed_out
from app.engine.local.nodes import fail, succeed
from app.engine.local.run import Site
from app.engine.local.slots import Place
from app.engine.local.tries import CHECKPOINTS, TimedOut, Tries, raw_prefix, task_run

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

_PLUGIN = "container"


class TaskNode:
    """One task node while it runs: reports its attempts. reserving: what its RUNNING event says of its cache."""

    def __init__(
        self, site: Site, task: tasks_pb2.TaskTemplate, *, reserving: event_pb2.TaskNodeMetadata | None = None
    ) -> None:
        self._site = site
        self._reserving = reserving
        self._run = site.run
        self._task = task
        self._tries = Tries(
            site.run,
            site.node,
            task,
            runs=lambda attempt: task_run(site, task, attempt),
            teller=self,
            earlier=site.run.attempts.get(site.unique_id, {}),
        )

    async def run(self) -> Succeeded | Dynamic:
        """Attempt after attempt until one ends well; its outcome, whose events are still to be sent.

        errors: NodeFailed, when the node's events are sent
        """
        ended = await self._tries.run()
        if isinstance(ended, Failed):
            raise await self._fail(ended)
        if isinstance(ended, TimedOut):
            event = self._site.event(Node.TIMED_OUT, input_uri=self._site.input_uri)
            await self._run.report.several(event, self._event(Task.ABORTED, logs=True))
            raise timed_out(self._site.node.id)
        return ended

    async def waiting(self) -> None:
        await self._run.report.node(self._node_event(Node.QUEUED))

    async def submitted(self, attempt: int) -> None:
        submitted = self._event(Task.QUEUED, reason="task submitted")
        await self._run.report.several(self._node_event(Node.QUEUED), submitted, self._node_event(Node.RUNNING))

    async def running(self, attempt: int) -> None:
        await self._run.report.several(self._event(Task.RUNNING, logs=True), self._node_event(Node.RUNNING))

    async def failed(self, attempt: int, failed: Failed) -> None:
        await self._run.report.task(self._failure(failed))

    def _failure(self, failed: Failed) -> event_pb2.TaskExecutionEvent:
        if failed.late:
            return self._event(Task.ABORTED, logs=True)
        return self._event(Task.FAILED, error=failed.error, logs=True)

    def succeeded(self) -> event_pb2.TaskExecutionEvent:
        """The last attempt's event where it ended well, to be sent together with the node's."""
        return self._event(Task.SUCCEEDED, output_uri=self._site.output_uri(self._tries.attempt), logs=True)

    async def _fail(self, failed: Failed) -> NodeFailed:
        deck_uri = failed.deck_uri if self._task.metadata.generates_deck.value else ""
        error = self._tries.budget.exhausted(failed)
        before = (self._node_event(Node.QUEUED), self._failure(failed))
        return await fail(self._site, error, *before, task_node_metadata=self.metadata(), deck_uri=deck_uri)

    def _node_event(self, phase: int) -> event_pb2.NodeExecutionEvent:
        event = self._site.event(phase, input_uri=self._site.input_uri)
        if phase == Node.RUNNING and self._task.metadata.generates_deck.value:
            event.deck_uri = f"{self._site.output_dir(self._tries.attempt)}/deck.html"
        if phase == Node.RUNNING and self._reserving is not None:
            event.task_node_metadata.CopyFrom(self._reserving)
        return event

    def deck_uri(self, ended: Succeeded | Dynamic) -> str:
        """The deck that the node's SUCCEEDED event names: one that is there, unless the task says it makes none."""
        metadata = self._task.metadata
        unwanted = metadata.HasField("generates_deck") and not metadata.generates_deck.value
        return "" if unwanted else ended.deck_uri

    @property
    def attempt(self) -> int:
        """The attempt that runs, or that ended last."""
        return self._tries.attempt

    def metadata(self) -> event_pb2.TaskNodeMetadata:
        """What the node's last event says of the task."""
        raw = raw_prefix(self._run, self._name)
        return event_pb2.TaskNodeMetadata(checkpoint_uri=f"{raw}/{CHECKPOINTS}")

    @property
    def _name(self) -> str:
        """The generated name of the current attempt."""
        return names.generated_name(self._run.id.name, self._site.unique_id, self._tries.attempt)

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
        event.metadata.generated_name = self._name
        event.metadata.plugin_identifier = _PLUGIN
        if run.interruptible(site.node) and self._tries.budget.system_failures < retries.SYSTEM_FAILURES_MAX:
            event.metadata.instance_class = event_pb2.TaskExecutionMetadata.INTERRUPTIBLE
        if error is not None:
            event.error.CopyFrom(error)
        if logs:
            event.logs.add(name="Task log", uri=run.engine.log_url(run.id, site.unique_id, self._tries.attempt))
        return event


async def run_task(site: Site, inputs: literals_pb2.LiteralMap, place: Place) -> literals_pb2.LiteralMap:
    """A task node, from QUEUED to its last event."""
    reference = site.node.task_node.reference_id
    task = site.frame.task(reference)
    if task is None:
        raise await fail(site, error_of("BadSpecificationError", f"task [{reference.name}] is not in the closure"))
    caching = Caching(site, task.template, inputs)
    if site.unique_id not in site.run.attempts:
        hit = await caching.begin(place)
        if hit is not None:
            return await succeed(site, hit.outputs, task_node_metadata=hit.marks)
    try:
        return await _compute(site, task.template, caching)
    except NodeFailed:
        await caching.give_up()
        raise


async def _compute(site: Site, task: tasks_pb2.TaskTemplate, caching: Caching) -> literals_pb2.LiteralMap:
    """Run the task, as nothing could be taken over, and cache what it puts out."""
    node = TaskNode(site, task, reserving=caching.reserving)
    ended = await node.run()
    if isinstance(ended, Dynamic):
        await site.run.report.task(node.succeeded())
        raise await fail(site, error_of("DynamicWorkflowBuildFailed", "dynamic tasks are not run by this engine"))
    metadata = node.metadata()
    metadata.MergeFrom(await caching.put(ended.output_uri, ended.outputs, attempt=node.attempt))
    event = site.event(
        Node.SUCCEEDED,
        input_uri=site.input_uri,
        output_uri=ended.output_uri,
        deck_uri=node.deck_uri(ended),
        task_node_metadata=metadata,
    )
    await site.run.report.several(node.succeeded(), event)
    return ended.outputs

"""One element of an array node: a task with its own attempts, or a child execution.

Source: flytepropeller pkg/controller/nodes/array (handler.go, node_execution_context.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from flyteidl.admin import launch_plan_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2, tasks_pb2
from flyteidl.event import event_pb2
from google.protobuf.message import DecodeError

from app.blobs import BlobMissing
from app.database import schema
from app.engine.local.connectors.replies import is_live
from app.engine.local.connectors.reports import Report
from app.engine.local.graph import unique_ids
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.arrays.progress import ArrayProgress
from app.engine.local.nodes.arrays.rules import ArrayShape, element_inputs
from app.engine.local.nodes.child_executions import Child, ChildFailed, child_id, child_metadata, launch, outputs_of
from app.engine.local.nodes.output_cache import OutputCache, policy_of
from app.engine.local.nodes.task_retries import TaskRetries, task_attempt
from app.engine.local.processes.folders import attempt_folder
from app.engine.local.processes.task_attempt import Failed, Succeeded, TaskAttempt
from app.runtime.fair_semaphore import Permit
from app.services import offloading

Task = execution_pb2.TaskExecution


class IndexFailed(Exception):
    """An element has failed. The message becomes part of the node's error."""


class Elements(Protocol):
    """The elements of an array node.

    Attributes:
        id: The task or launch plan of the elements, whose name the task execution of the array has.
        at_once_max: The number of elements that are worth running at a time.
    """

    id: identifier_pb2.Identifier
    at_once_max: int

    async def variables(self) -> set[str]:
        """Return the names of the outputs of each element."""

    async def run(self, index: int, progress: ArrayProgress) -> literals_pb2.LiteralMap:
        """Run one element and return its outputs.

        Raises:
            IndexFailed: The element failed.
        """

    def describe(self, resource: event_pb2.ExternalResourceInfo, changed: bool) -> None:
        """Add links or ids to the report of an element.

        Args:
            resource: The report, with index, retry and phase.
            changed: Whether the report has not been sent before.
        """


class TaskElements:
    """Each element is a task with its own attempts. It picks its values from the inputs of the node."""

    def __init__(
        self,
        context: NodeContext,
        attempt: int,
        shape: ArrayShape,
        inputs: literals_pb2.LiteralMap,
        task: tasks_pb2.TaskTemplate,
    ) -> None:
        self.id = task.id
        # For each running process another element waits with its command prepared.
        self.at_once_max = 2 * context.execution.host.runner.processes_max
        if context.execution.host.connectors.may_run(task):
            self.at_once_max = context.execution.server.settings.engine.local.connectors.array_tasks_max
        self._reports: dict[tuple[int, int], Report] = {}
        self._context = context
        self._attempt = attempt
        self._shape = shape
        self._inputs = inputs
        self._task = task
        self._cached = policy_of(shape.element.metadata, task) is not None

    async def variables(self) -> set[str]:
        """Return the names of the task's outputs."""
        return set(self._task.interface.outputs.variables)

    async def run(self, index: int, progress: ArrayProgress) -> literals_pb2.LiteralMap:
        """Run the attempts of an element, or take its outputs from the cache."""
        if progress.phase(index) == Task.SUCCEEDED:
            return await self._outputs(index, progress.retry(index))
        if self._shape.single_inputs:
            uri, inputs = self._input_uri(index), element_inputs(self._shape, self._inputs, index)
            await self._context.execution.literals.write_composed(uri, uri.removesuffix("/inputs.pb"), inputs)
        if not self._cached:
            return (await self._compute(index, progress)).outputs
        inputs = element_inputs(self._shape, self._inputs, index)
        cache = OutputCache(self._context, self._task, inputs, metadata=self._shape.element.metadata, index=index)
        hit = await cache.begin(Permit(None)) if progress.phase(index) == Task.UNDEFINED else None
        if hit is not None:
            await self._context.execution.literals.write(self._output_uri(index, 0), hit.outputs)
            progress.change(index, Task.SUCCEEDED, 0, hit.marks.cache_status)
            return hit.outputs
        try:
            ended = await self._compute(index, progress)
        except IndexFailed:
            await cache.release()
            raise
        retry = progress.retry(index)
        marks = await cache.put(ended.output_uri, ended.outputs, attempt=retry)
        progress.change(index, Task.SUCCEEDED, retry, marks.cache_status)
        return ended.outputs

    async def _compute(self, index: int, progress: ArrayProgress) -> Succeeded:
        retries = TaskRetries(
            self._context.execution,
            self._shape.element,
            self._task,
            make_attempt=lambda retry: self._task_attempt(index, retry),
            listener=_Index(index, progress, self._reports),
            earlier=progress.earlier(index),
        )
        ended = await retries.run()
        if isinstance(ended, Succeeded):
            # The success of a cached task is reported together with its cache status.
            if not self._cached:
                progress.change(index, Task.SUCCEEDED, retries.attempt)
            return ended
        if isinstance(ended, Failed):
            error, message = ended.error.message, retries.budget.exhausted(ended).message
        else:
            message = f"task [{self._task.id.name}] asks for more nodes, which an index of an array cannot have"
            error = message
        progress.change(index, Task.FAILED, retries.attempt, error=error)
        raise IndexFailed(message)

    def describe(self, resource: event_pb2.ExternalResourceInfo, changed: bool) -> None:
        """Add the link to the log of an attempt, once: the control plane keeps links."""
        if changed and resource.phase not in (Task.QUEUED, Task.UNDEFINED):
            url = self._context.execution.host.log_url(
                self._context.execution.id, self._context.unique_id, self._attempt
            )
            log = f"{url}?index={resource.index}&retry={resource.retry_attempt}"
            resource.logs.add(name=f"Task log-{resource.index}", uri=log)
        report = self._reports.get((resource.index, resource.retry_attempt))
        if changed and report is not None:
            resource.logs.extend(report.log_links)
            if report.custom_info is not None:
                resource.custom_info.MergeFrom(report.custom_info)

    async def _outputs(self, index: int, retry: int) -> literals_pb2.LiteralMap:
        """Return the outputs of an element that succeeded before the server was restarted."""
        try:
            return await self._context.execution.literals.read(self._output_uri(index, retry))
        except (BlobMissing, DecodeError):
            # Parity: outputs that cannot be read become None in the collections of the node.
            return literals_pb2.LiteralMap()

    def _output_uri(self, index: int, retry: int) -> str:
        return f"{self._prefixes(index, retry)[1]}/outputs.pb"

    def _input_uri(self, index: int) -> str:
        return f"{self._context.output_dir(self._attempt)}/{index}/inputs.pb"

    def _prefixes(self, index: int, retry: int) -> tuple[str, str]:
        """Return the output prefix in the command, "" for the one that it writes to; and the one that it writes to.

        Each attempt has its own folder, so that it does not find the error file of the attempt before it.
        """
        folder = self._context.output_dir(self._attempt)
        if self._shape.appends_index:
            return f"{folder}/{retry}", f"{folder}/{retry}/{index}"
        return "", f"{folder}/{index}/{retry}"

    def _task_attempt(self, index: int, retry: int) -> TaskAttempt:
        context = self._context
        given_prefix, output_prefix = self._prefixes(index, retry)
        return task_attempt(
            context,
            self._task,
            unique_ids.node_unique_id(context.unique_id, self._attempt, f"n{index}"),
            retry,
            directory=attempt_folder(
                context.execution.folder(context.unique_id), self._attempt, index=index, retry=retry
            ),
            input_uri=self._input_uri(index) if self._shape.single_inputs else context.input_uri,
            output_prefix=output_prefix,
            given_prefix=given_prefix,
            array_index=index,
        )


class _Index:
    """Reports the attempts of one element to the progress of the array."""

    def __init__(self, index: int, progress: ArrayProgress, reports: dict[tuple[int, int], Report]) -> None:
        self._index = index
        self._progress = progress
        self._reports = reports

    async def waiting(self, attempt: int, waits_for: str) -> None:
        return None

    async def submitted(self, attempt: int, notices: Sequence[str] = ()) -> None:
        self._progress.change(self._index, Task.QUEUED, attempt)

    def started(self, attempt: int, at: float) -> None:
        self._progress.change(self._index, Task.RUNNING, attempt)

    async def running(self, attempt: int) -> None:
        return None

    async def reported(self, attempt: int, report: Report) -> None:
        self._reports[self._index, attempt] = report
        if is_live(report.phase):
            self._progress.show(self._index, report.phase, attempt)

    async def failed(self, attempt: int, failed: Failed) -> None:
        self._progress.change(self._index, Task.FAILED, attempt, error=failed.error.message)


class ChildElements:
    """Each element is an execution of a launch plan, with the array node as its parent.

    Deviates: upstream's default configuration fails such nodes, because it names parents that do not exist.
    """

    def __init__(self, context: NodeContext, attempt: int, shape: ArrayShape, inputs: literals_pb2.LiteralMap) -> None:
        self.id = shape.element.workflow_node.launchplan_ref
        # Each child execution takes memory of this process.
        self.at_once_max = context.execution.server.settings.engine.local.array_children_max
        self._context = context
        self._attempt = attempt
        self._shape = shape
        self._inputs = inputs

    async def variables(self) -> set[str]:
        """Return the names of the launch plan's outputs."""
        id = self.id
        key = {"project": id.project, "domain": id.domain, "name": id.name, "version": id.version}
        async with self._context.execution.server.database.unit_of_work() as db:
            row = await db.find(schema.LaunchPlan, columns=("closure",), **key)
        closure = launch_plan_pb2.LaunchPlanClosure.FromString(row.closure if row is not None else b"")
        return set(closure.expected_outputs.variables)

    async def run(self, index: int, progress: ArrayProgress) -> literals_pb2.LiteralMap:
        """Launch the child execution of an element, unless it was launched before, and wait for its end."""
        child = Child(self._context, self.id, self._child_id(index), f"n{index}")
        try:
            if progress.phase(index) in (Task.UNDEFINED, Task.QUEUED):
                progress.change(index, Task.QUEUED, 0)
                server, folder = self._context.execution.server, f"{self._context.output_dir(self._attempt)}/{index}"
                inputs = element_inputs(self._shape, self._inputs, index)
                await launch(child, await offloading.offload(server.settings, server.blobs, folder, inputs))
                progress.change(index, Task.RUNNING, 0)
            outputs = await outputs_of(child)
        except ChildFailed as failed:
            progress.change(index, Task.FAILED, 0, error=failed.error.message)
            raise IndexFailed(failed.error.message) from failed
        progress.change(index, Task.SUCCEEDED, 0)
        return outputs

    def describe(self, resource: event_pb2.ExternalResourceInfo, changed: bool) -> None:
        """Add the name of the child execution."""
        child = self._child_id(resource.index)
        resource.external_id = child.name
        resource.workflow_node_metadata.CopyFrom(child_metadata(child))

    def _child_id(self, index: int) -> identifier_pb2.WorkflowExecutionIdentifier:
        element = unique_ids.node_unique_id(self._context.unique_id, self._attempt, f"n{index}")
        return child_id(self._context.execution, element, 0)

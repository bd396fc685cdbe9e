"""Runs an array node: its elements in order, a limited number at a time, until all ended or too many failed.

After a restart of the server, no element runs twice: the task execution and the files of the attempts show which
elements have ended.
Source: flytepropeller pkg/controller/nodes/array/handler.go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts, retries
from app.engine.local.graph.ends import fail
from app.engine.local.graph.failures import BindingFailed, NodeFailed
from app.engine.local.graph.state import NodeContext
from app.engine.local.nodes.arrays.elements import ChildElements, Elements, IndexFailed, TaskElements
from app.engine.local.nodes.arrays.progress import ArrayProgress
from app.engine.local.nodes.arrays.rules import (
    ArrayShape,
    BadArray,
    collected,
    failure,
    shape_of,
    shape_of_job,
    size_of,
)
from app.runtime.cancellation import cancel_and_wait
from app.runtime.fair_semaphore import Permit

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

_FAILING = "ArrayNodeFailing"


async def run_array(context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """Run an array node and return its outputs."""
    return await _run(context, shape_of(context.node.array_node), inputs)


async def run_container_array(
    context: NodeContext, task: tasks_pb2.TaskTemplate, inputs: literals_pb2.LiteralMap
) -> literals_pb2.LiteralMap:
    """Run a task node with a task of type `container_array`, the map of versions of flytekit without array nodes."""
    try:
        shape = shape_of_job(context.node, task)
    except BadArray as bad:
        raise await fail(context, bad.error, context.event(Node.QUEUED)) from bad
    return await _run(context, shape, inputs)


async def _run(context: NodeContext, shape: ArrayShape, given: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    queued = context.event(Node.QUEUED)
    try:
        inputs = await context.execution.literals.with_contents(given)
    except BindingFailed as error:
        raise await fail(context, error.error, queued) from error
    try:
        size = size_of(shape, inputs, context.execution.server.settings.engine.local.array_size_max)
    except BadArray as bad:
        raise await fail(context, bad.error, queued) from bad

    async def run_attempt(attempt: int) -> literals_pb2.LiteralMap:
        elements = _elements(context, attempt, shape, inputs)
        if elements is None:
            message = f"the array node [{context.node.id}] is over neither a task of the closure nor a launch plan"
            raise await fail(context, error_of("BadSpecificationError", message), queued)
        return await _Array(context, attempt, shape, size, elements).run()

    async def started_at(attempt: int) -> float:
        known = context.recorded_attempts.get(attempt)
        return known.created_at.ToNanoseconds() / 1e9 if known is not None else 0.0

    async def clean_up(attempt: int) -> None:
        await aborts.end_attempts(context.execution, context.unique_id, aborts.TIMED_OUT, report=True)

    return await retries.run_within_timeout(context, run_attempt, started_at=started_at, clean_up=clean_up)


def _elements(
    context: NodeContext, attempt: int, shape: ArrayShape, inputs: literals_pb2.LiteralMap
) -> Elements | None:
    kind = shape.element.WhichOneof("target")
    if kind == "workflow_node" and shape.element.workflow_node.HasField("launchplan_ref"):
        return ChildElements(context, attempt, shape, inputs)
    task = context.scope.task(shape.element.task_node.reference_id) if kind == "task_node" else None
    return None if task is None else TaskElements(context, attempt, shape, inputs, task.template)


class _Array:
    """One attempt of an array node."""

    def __init__(self, context: NodeContext, attempt: int, shape: ArrayShape, size: int, elements: Elements) -> None:
        self._context = context
        self._attempt = attempt
        self._size = size
        self._needed = shape.needed(size)
        self._elements = elements
        self._width = min(shape.parallelism or size, size, elements.at_once_max)
        self._progress = ArrayProgress(context, attempt, elements.id, size, elements.describe)
        self._outputs: list[literals_pb2.LiteralMap | None] = [None] * size
        self._messages: dict[str, list[int]] = defaultdict(list)
        self._failed = 0

    @property
    def _hopeless(self) -> bool:
        return self._size - self._failed < self._needed

    async def run(self) -> literals_pb2.LiteralMap:
        """Run the elements, send the events of the node, and return its outputs.

        Raises:
            NodeFailed: The node failed. Its events are sent.
        """
        context, events = self._context, self._context.execution.events
        queued = context.event(Node.QUEUED)
        running = context.event(Node.RUNNING)
        await events.send(queued, *([self._progress.submitted()] if self._size else []), running)
        await self._run_elements()
        if self._hopeless:
            raise await self._fail()
        outputs = collected(self._outputs, await self._elements.variables())
        uri = context.output_uri(self._attempt)
        outputs = await context.execution.literals.write_composed(uri, context.output_dir(self._attempt), outputs)
        ended = self._progress.ended(Task.SUCCEEDED, output_uri=uri)
        await events.send(*ended, context.event(Node.SUCCEEDED, output_uri=uri))
        return outputs

    async def _run_elements(self) -> None:
        """Run elements and report their phases until all have ended or too many have failed."""
        # Elements that failed before a restart come first: if they decide the node, no other element is started.
        order = sorted(range(self._size), key=lambda index: self._progress.phase(index) != Task.FAILED)
        waiting = iter(order)
        sending: asyncio.Task[None] = asyncio.ensure_future(self._progress.keep_sending())
        running: dict[asyncio.Task[literals_pb2.LiteralMap], int] = {}
        try:
            while not self._hopeless:
                while len(running) < self._width and (index := next(waiting, None)) is not None:
                    running[asyncio.ensure_future(self._elements.run(index, self._progress))] = index
                if not running:
                    return
                ended, _ = await asyncio.wait({*running, sending}, return_when=asyncio.FIRST_COMPLETED)
                if sending in ended:
                    sending.result()
                for task in running.keys() & ended:
                    self._settle(running.pop(task), task)
        finally:
            await cancel_and_wait([*running, sending])

    def _settle(self, index: int, task: asyncio.Task[literals_pb2.LiteralMap]) -> None:
        try:
            self._outputs[index] = task.result()
        except IndexFailed as failed:
            self._failed += 1
            self._messages[str(failed)].append(index)

    async def _fail(self) -> NodeFailed:
        """End the running elements, report all elements, and return the failure of the node."""
        context = self._context
        # If the server is killed after this, the next server finds the failures that decided the node.
        await self._progress.send_changes()
        await aborts.end_attempts(context.execution, context.unique_id, _FAILING, report=False)
        error = failure(self._messages)
        return await fail(context, error, *self._progress.ended(Task.FAILED, error=error))

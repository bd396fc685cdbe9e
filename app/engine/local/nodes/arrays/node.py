"""An array node from QUEUED to its last event: its indices in order, so many at a time, until it is known how it ends.

Which indices have ended is read from the task execution and from the files of their attempts, so a run that begins
again after the server died runs none of them twice.
Source: flytepropeller pkg/controller/nodes/array/handler.go.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2

from app.engine.local.graph import aborts, retries
from app.engine.local.graph.coroutines import let_go
from app.engine.local.graph.failures import BindingFailed, NodeFailed, error_of
from app.engine.local.graph.run import Site
from app.engine.local.nodes.arrays.elements import ChildElements, Elements, IndexFailed, TaskElements
from app.engine.local.nodes.arrays.panel import Panel
from app.engine.local.nodes.arrays.rules import BadArray, Shape, collected, failure, shape_of, shape_of_job, size_of
from app.engine.local.nodes.nodes import fail
from app.engine.local.processes.fair_semaphore import Permit

Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

_FAILING = "ArrayNodeFailing"


async def run_array(site: Site, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """An array node, from QUEUED to its last event."""
    return await _run(site, shape_of(site.node.array_node), inputs)


async def run_container_array(
    site: Site, inputs: literals_pb2.LiteralMap, task: tasks_pb2.TaskTemplate
) -> literals_pb2.LiteralMap:
    """A task node whose task is a map by itself, as flytekit made them before there were array nodes."""
    try:
        shape = shape_of_job(site.node, task)
    except BadArray as bad:
        raise await fail(site, bad.error, site.event(Node.QUEUED, input_uri=site.input_uri)) from bad
    return await _run(site, shape, inputs)


async def _run(site: Site, shape: Shape, given: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    queued = site.event(Node.QUEUED, input_uri=site.input_uri)
    try:
        inputs = await site.run.with_contents(given)
    except BindingFailed as error:
        raise await fail(site, error.error, queued) from error
    try:
        size = size_of(shape, inputs, site.run.server.settings.engine.local.array_size_max)
    except BadArray as bad:
        raise await fail(site, bad.error, queued) from bad

    async def once(attempt: int) -> literals_pb2.LiteralMap:
        elements = _elements(site, attempt, shape, inputs)
        if elements is None:
            message = f"the array node [{site.node.id}] is over neither a task of the closure nor a launch plan"
            raise await fail(site, error_of("BadSpecificationError", message), queued)
        return await _Array(site, attempt, shape, size, elements).run()

    async def begun(attempt: int) -> float:
        known = site.run.attempts.get(site.unique_id, {}).get(attempt)
        return known.created_at.ToNanoseconds() / 1e9 if known is not None else 0.0

    async def ended(attempt: int) -> None:
        await aborts.end_inside(site.run, site.unique_id, aborts.TIMED_OUT, told=True)

    return await retries.attempts(site, once, begun=begun, ended=ended, fail=fail)


def _elements(site: Site, attempt: int, shape: Shape, inputs: literals_pb2.LiteralMap) -> Elements | None:
    kind = shape.element.WhichOneof("target")
    if kind == "workflow_node" and shape.element.workflow_node.HasField("launchplan_ref"):
        return ChildElements(site, attempt, shape, inputs)
    task = site.frame.task(shape.element.task_node.reference_id) if kind == "task_node" else None
    return None if task is None else TaskElements(site, attempt, shape, inputs, task.template)


class _Array:
    """One attempt of an array node while it runs."""

    def __init__(self, site: Site, attempt: int, shape: Shape, size: int, elements: Elements) -> None:
        self._site = site
        self._attempt = attempt
        self._size = size
        self._needed = shape.needed(size)
        self._elements = elements
        self._width = min(shape.parallelism or size, size, elements.at_once_max)
        self._panel = Panel(site, attempt, elements.id, size, elements.describe)
        self._outputs: list[literals_pb2.LiteralMap | None] = [None] * size
        self._messages: dict[str, list[int]] = defaultdict(list)
        self._failed = 0

    @property
    def _hopeless(self) -> bool:
        return self._size - self._failed < self._needed

    async def run(self) -> literals_pb2.LiteralMap:
        """All indices; the outputs of the node, whose events are sent.

        errors: NodeFailed, when the node's events are sent
        """
        site, report = self._site, self._site.run.report
        queued = site.event(Node.QUEUED, input_uri=site.input_uri)
        running = site.event(Node.RUNNING, input_uri=site.input_uri)
        await report.several(queued, *([self._panel.submitted()] if self._size else []), running)
        await self._drive()
        if self._hopeless:
            raise await self._fail()
        outputs = collected(self._outputs, await self._elements.variables())
        uri = site.output_uri(self._attempt)
        outputs = await site.run.compose(uri, site.output_dir(self._attempt), outputs)
        events = self._panel.ended(Task.SUCCEEDED, output_uri=uri)
        await report.several(*events, site.event(Node.SUCCEEDED, input_uri=site.input_uri, output_uri=uri))
        return outputs

    async def _drive(self) -> None:
        """Run the indices until all have ended or too many have failed, and tell of them meanwhile."""
        # What has failed before comes first, so that nothing is begun where it decides.
        order = sorted(range(self._size), key=lambda index: self._panel.phase(index) != Task.FAILED)
        waiting = iter(order)
        telling: asyncio.Task[None] = asyncio.ensure_future(self._panel.keep_telling())
        running: dict[asyncio.Task[literals_pb2.LiteralMap], int] = {}
        try:
            while not self._hopeless:
                while len(running) < self._width and (index := next(waiting, None)) is not None:
                    running[asyncio.ensure_future(self._elements.run(index, self._panel))] = index
                if not running:
                    return
                ended, _ = await asyncio.wait({*running, telling}, return_when=asyncio.FIRST_COMPLETED)
                if telling in ended:
                    telling.result()
                for task in running.keys() & ended:
                    self._settle(running.pop(task), task)
        finally:
            await let_go([*running, telling])

    def _settle(self, index: int, task: asyncio.Task[literals_pb2.LiteralMap]) -> None:
        try:
            self._outputs[index] = task.result()
        except IndexFailed as failed:
            self._failed += 1
            self._messages[str(failed)].append(index)

    async def _fail(self) -> NodeFailed:
        """End what still runs, report all."""
        site = self._site
        # If the server ends right here, the next one knows from this what decided.
        await self._panel.tell()
        await aborts.end_inside(site.run, site.unique_id, _FAILING, told=False)
        error = failure(self._messages)
        return await fail(site, error, *self._panel.ended(Task.FAILED, error=error))

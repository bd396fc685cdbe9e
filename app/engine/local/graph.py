"""A graph of nodes: each runs as soon as what it waits for has ended.

Source: flytepropeller pkg/controller/executors (dag_structure), pkg/controller/workflow, nodes/executor.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local import data
from app.engine.local.failures import BindingFailed, NodeFailed, error_of
from app.engine.local.run import Frame, Site

Node = execution_pb2.NodeExecution
Execute = Callable[[Site], Awaitable[literals_pb2.LiteralMap]]
Failing = Callable[[execution_pb2.ExecutionError], Awaitable[None]]

START, END = "start-node", "end-node"
AUTO_ABORT = "Some node execution failed, auto-abort."
SUBWORKFLOW_FAILED = "subworkflow failed"


class Graph:
    """Runs the nodes of a frame. execute runs one node; failing hears the first error before the others are aborted."""

    def __init__(self, frame: Frame, execute: Execute, *, failing: Failing | None = None) -> None:
        self._frame = frame
        self._execute = execute
        self._failing = failing
        self._nodes = {node.id: node for node in frame.workflow.template.nodes if node.id not in (START, END)}
        upstream = frame.workflow.connections.upstream
        self._waits = {id: set(upstream[id].ids) - {START} if id in upstream else set() for id in self._nodes}
        self._dependants: dict[str, list[str]] = {}
        for id, upstream_ids in self._waits.items():
            for one in upstream_ids:
                self._dependants.setdefault(one, []).append(id)
        self._open = {id: len(upstream_ids) for id, upstream_ids in self._waits.items()}
        self._ready = [id for id, count in self._open.items() if count == 0]
        self._running: dict[asyncio.Task[literals_pb2.LiteralMap], str] = {}
        self._lost: set[str] = set()
        self._failure: NodeFailed | None = None

    async def run(self, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
        """Run every node; what the end node puts out.

        errors: NodeFailed, when every event that belongs to the failure is sent
        """
        await self._start(inputs)
        self._frame.finished.update({id: asyncio.Event() for id in self._nodes})
        try:
            while self._ready or self._running:
                while self._ready:
                    await self._begin(self._ready.pop())
                if self._running:
                    ended, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        await self._end_of(self._running.pop(task), task)
        except BaseException:
            await self._abort(self._frame.reason)
            raise
        if self._failure is not None:
            if not self._frame.run.fails_immediately:
                await self._skip(END)
            raise self._failure
        return await self._finish()

    def _settle(self, id: str) -> None:
        """A node has ended, one way or another: the nodes that waited only for it are ready."""
        self._frame.finished[id].set()
        for dependant in self._dependants.get(id, ()):
            self._open[dependant] -= 1
            if self._open[dependant] == 0:
                self._ready.append(dependant)

    async def _begin(self, id: str) -> None:
        """Start a node, or skip it because one that it waits for failed or was skipped."""
        if self._waits[id] & self._lost:
            self._lost.add(id)
            await self._skip(id)
            self._settle(id)
            return
        site = self._frame.site(self._nodes[id])
        self._running[asyncio.ensure_future(self._execute(site))] = id

    async def _end_of(self, id: str, task: asyncio.Task[literals_pb2.LiteralMap]) -> None:
        try:
            self._frame.outputs[id] = task.result()
        except NodeFailed as failure:
            self._lost.add(id)
            failure.node_id = failure.node_id or id
            if self._failure is None or not self._frame.run.fails_immediately:
                self._failure = failure
            if self._frame.run.fails_immediately:
                if self._failing is not None:
                    await self._failing(failure.error)
                await self._abort(SUBWORKFLOW_FAILED if self._frame.parent is not None else AUTO_ABORT)
                raise failure from None
        self._settle(id)

    async def _abort(self, reason: str) -> None:
        """End the running nodes; with a reason each reports ABORTED, without one the server merely stops."""
        self._frame.reason = reason
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()

    async def _skip(self, id: str) -> None:
        nodes = self._frame.workflow.template.nodes
        node = next(node for node in nodes if node.id == id)
        site = self._frame.site(node)
        # Parity: a skipped node names inputs that nobody wrote.
        await self._frame.run.report.node(site.event(Node.SKIPPED, input_uri=site.input_uri))

    async def _start(self, inputs: literals_pb2.LiteralMap) -> None:
        """The start node puts out the inputs of the graph."""
        self._frame.outputs[START] = inputs
        site = self._frame.site(next(node for node in self._frame.workflow.template.nodes if node.id == START))
        if site.known is None:
            await self._frame.run.write(site.output_uri(), inputs)
            await self._frame.run.report.node(site.event(Node.SUCCEEDED, output_uri=site.output_uri()))

    async def _finish(self) -> literals_pb2.LiteralMap:
        """The end node takes the outputs of the graph as its inputs and puts them out."""
        node = next(node for node in self._frame.workflow.template.nodes if node.id == END)
        site, run = self._frame.site(node), self._frame.run
        try:
            outputs = data.resolve(node.inputs, self._frame.outputs_of)
        except BindingFailed as error:
            failure = error_of("BindingResolutionFailure", str(error), execution_pb2.ExecutionError.SYSTEM)
            await run.report.node(site.event(Node.FAILED, error=failure))
            raise NodeFailed(failure, END) from error
        if site.known is None or site.known.phase != "SUCCEEDED":
            await run.write(site.input_uri, outputs)
            await run.report.node(site.event(Node.QUEUED, input_uri=site.input_uri))
            await run.write(site.output_uri(), outputs)
            await run.report.node(site.event(Node.SUCCEEDED, input_uri=site.input_uri))
        return outputs

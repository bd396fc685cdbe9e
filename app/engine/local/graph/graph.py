"""A graph of nodes: each runs as soon as what it waits for has ended.

Source: flytepropeller pkg/controller/executors (dag_structure), pkg/controller/workflow, nodes/executor.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2
from flyteidl.event import event_pb2

from app.engine.local.graph import aborts
from app.engine.local.graph.coroutines import let_go
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, TooLarge, error_of, timed_out
from app.engine.local.graph.recovery import recover
from app.engine.local.graph.run import Frame, Site

Node = execution_pb2.NodeExecution
Execute = Callable[[Site], Awaitable[literals_pb2.LiteralMap]]
Failing = Callable[[execution_pb2.ExecutionError], Awaitable[None]]

START, END = "start-node", "end-node"


class Graph:
    """Runs the nodes of a frame. execute runs one node; failing hears the first error before the others are aborted."""

    def __init__(self, frame: Frame, execute: Execute, *, failing: Failing | None = None) -> None:
        self._frame = frame
        self._execute = execute
        self._failing = failing
        self._nodes = {node.id: node for node in frame.workflow.template.nodes}
        inner = [id for id in self._nodes if id not in (START, END)]
        upstream = frame.workflow.connections.upstream
        self._waits = {id: set(upstream[id].ids) - {START} if id in upstream else set() for id in inner}
        self._dependants: dict[str, list[str]] = {}
        for id, upstream_ids in self._waits.items():
            for one in upstream_ids:
                self._dependants.setdefault(one, []).append(id)
        self._open = {id: len(upstream_ids) for id, upstream_ids in self._waits.items()}
        self._ready = [id for id in reversed(inner) if not self._waits[id]]
        self._running: dict[asyncio.Task[literals_pb2.LiteralMap], str] = {}
        self._lost: set[str] = set()
        self._failure: NodeFailed | None = None

    @property
    def end(self) -> workflow_pb2.Node:
        """The node whose outputs are those of the graph."""
        return self._nodes[END]

    async def run(
        self, inputs: literals_pb2.LiteralMap, *with_start: event_pb2.WorkflowExecutionEvent
    ) -> literals_pb2.LiteralMap:
        """Run every node; what the end node puts out. with_start: events that are sent together with the start node's.

        A cancelled run leaves everything as it is: to be aborted by aborts.py, or to be gone on with.
        errors: NodeFailed, when every event that belongs to the failure is sent
        """
        self._frame.finished.update({id: asyncio.Event() for id in self._waits})
        await self._start(inputs, with_start)
        try:
            self._look_back()
            while (self._ready or self._running) and not self._is_over():
                while self._ready:
                    await self._begin(self._ready.pop())
                if self._running:
                    ended, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                    for task in ended:
                        self._end_of(self._running.pop(task), task)
        finally:
            # What one of them raised in the same moment is found again from its row.
            await let_go(self._running)
            self._running.clear()
        if self._failure is None:
            return await self._finish()
        raise await self._fail(self._failure)

    def _is_over(self) -> bool:
        return self._failure is not None and self._frame.run.fails_immediately

    def _look_back(self) -> None:
        """Find the failure that an earlier run of the execution did not come to deal with."""
        run = self._frame.run
        if not run.nodes or not run.fails_immediately:
            return
        for id, node in self._nodes.items():
            known = self._frame.site(node).known
            if known is not None and known.phase == "FAILED":
                self._failure = NodeFailed(known.closure.error, id)
            elif known is not None and known.phase == "TIMED_OUT":
                self._failure = timed_out(id)

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

    def _end_of(self, id: str, task: asyncio.Task[literals_pb2.LiteralMap]) -> None:
        try:
            self._frame.outputs[id] = _with_aliases(self._nodes[id], task.result())
        except NodeFailed as failure:
            self._lost.add(id)
            if self._failure is None or not self._frame.run.fails_immediately:
                self._failure = failure
        except NodeSkipped:
            self._lost.add(id)
        self._settle(id)

    async def _skip(self, id: str) -> None:
        site = self._frame.site(self._nodes[id])
        # Parity: a skipped node names inputs that nobody wrote.
        await self._frame.run.report.node(site.event(Node.SKIPPED, input_uri=site.input_uri))

    async def _start(
        self, inputs: literals_pb2.LiteralMap, with_start: tuple[event_pb2.WorkflowExecutionEvent, ...]
    ) -> None:
        """The start node puts out the inputs of the graph."""
        self._frame.outputs[START] = inputs
        site = self._frame.site(self._nodes[START])
        if site.known is None:
            await self._frame.run.write(site.output_uri(), inputs)
        event = site.event(Node.SUCCEEDED, output_uri=site.output_uri())
        await self._frame.run.report.several(*with_start, event)

    async def _finish(self) -> literals_pb2.LiteralMap:
        """The end node takes the outputs of the graph as its inputs and puts them out."""
        site, run = self._frame.site(self._nodes[END]), self._frame.run
        known = site.known
        if known is not None and known.phase in ("SUCCEEDED", "RECOVERED"):
            return await run.read(site.output_uri())
        recovered = await recover(site)
        if recovered is not None:
            return recovered
        try:
            outputs = await run.resolve(site.node.inputs, self._frame.outputs_of)
            outputs = await run.compose(site.output_uri(), site.directory, outputs)
        except (BindingFailed, TooLarge) as error:
            raise await self._fail_end(site, error.error) from error
        await run.write(site.input_uri, outputs)
        await run.report.several(
            site.event(Node.QUEUED, input_uri=site.input_uri), site.event(Node.SUCCEEDED, input_uri=site.input_uri)
        )
        return outputs

    async def _fail_end(self, site: Site, error: execution_pb2.ExecutionError) -> NodeFailed:
        """Report that the end node failed; the failure that counts."""
        await site.run.report.node(site.event(Node.FAILED, input_uri=site.input_uri, error=error))
        return await self._fail(NodeFailed(error, END))

    async def _fail(self, failure: NodeFailed) -> NodeFailed:
        """Say so, end what runs, run the failure node; the failure that counts."""
        run, template = self._frame.run, self._frame.workflow.template
        if not run.fails_immediately and failure.node_id != END:
            await self._skip(END)
        if self._failing is not None:
            await self._failing(failure.error)
        if run.fails_immediately:
            nested = self._frame.parent is not None
            reason = aborts.SUBWORKFLOW_FAILED if nested else aborts.AUTO_ABORT
            await aborts.end(run, reason, within=self._frame)
        if not template.HasField("failure_node"):
            return failure
        site = replace(self._frame.site(template.failure_node), error=failure.error, failed_node=failure.node_id)
        try:
            await self._execute(site)
        except NodeFailed as its:
            # Parity: an error of the failure node hides the one that it was run for (HandleFailureNodeOfSubWorkflow).
            return NodeFailed(error_of("TimedOut", "FailureNode Timed-out"), site.node.id) if its.timed_out else its
        return failure


def _with_aliases(node: workflow_pb2.Node, outputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """The outputs of a node under their own names and under those that the node gives them."""
    known = [alias for alias in node.output_aliases if alias.var in outputs.literals]
    if not known:
        return outputs
    named = literals_pb2.LiteralMap(literals=outputs.literals)
    for alias in known:
        named.literals[alias.alias].CopyFrom(outputs.literals[alias.var])
    return named

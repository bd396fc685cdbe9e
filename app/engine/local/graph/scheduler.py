"""Run the nodes of a graph: each as soon as all nodes that it depends on have ended.

Source: flytepropeller pkg/controller/executors (dag_structure), pkg/controller/workflow, nodes/executor.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import replace

import structlog
from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2
from flyteidl.event import event_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts
from app.engine.local.graph.ends import fail
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, TooLarge, node_timed_out
from app.engine.local.graph.recovery import recover
from app.engine.local.graph.state import GraphScope, NodeContext
from app.runtime import debug_log
from app.runtime.cancellation import cancel_and_wait

Node = execution_pb2.NodeExecution
RunNode = Callable[[NodeContext], Awaitable[literals_pb2.LiteralMap]]
ReportFailing = Callable[[execution_pb2.ExecutionError], Awaitable[None]]

START, END = "start-node", "end-node"

log = structlog.get_logger(__name__)


class GraphScheduler:
    """Runs the nodes of a graph in the order of their dependencies.

    Args:
        scope: The graph.
        run_node: Runs one node to its last event.
        report_failing: Called with the first error, before the other nodes are aborted.
    """

    def __init__(self, scope: GraphScope, run_node: RunNode, *, report_failing: ReportFailing | None = None) -> None:
        self._scope = scope
        self._run_node = run_node
        self._report_failing = report_failing
        self._nodes = {node.id: node for node in scope.workflow.template.nodes}
        inner = [id for id in self._nodes if id not in (START, END)]
        upstream = scope.workflow.connections.upstream
        self._waits = {id: set(upstream[id].ids) - {START} if id in upstream else set() for id in inner}
        self._dependants: dict[str, list[str]] = {}
        for id, upstream_ids in self._waits.items():
            for one in upstream_ids:
                self._dependants.setdefault(one, []).append(id)
        self._open = {id: len(upstream_ids) for id, upstream_ids in self._waits.items()}
        self._ready = [id for id in reversed(inner) if not self._waits[id]]
        self._running: dict[asyncio.Task[literals_pb2.LiteralMap], str] = {}
        # Each node adds itself. asyncio.wait looks at all running nodes again whenever one of them ends.
        self._ended: asyncio.Queue[asyncio.Task[literals_pb2.LiteralMap]] = asyncio.Queue()
        self._without_outputs: set[str] = set()
        self._failure: NodeFailed | None = None

    @property
    def end(self) -> workflow_pb2.Node:
        """Return the node whose outputs are those of the graph."""
        return self._nodes[END]

    async def run(
        self, inputs: literals_pb2.LiteralMap, *with_start: event_pb2.WorkflowExecutionEvent
    ) -> literals_pb2.LiteralMap:
        """Run every node and return the outputs of the end node.

        A cancelled run leaves nodes and processes as they are, to be ended by aborts.py or resumed by another run.

        Args:
            inputs: The outputs of the start node.
            *with_start: Events that are sent together with that of the start node.

        Raises:
            NodeFailed: When all events that belong to the failure are sent.
        """
        self._scope.finished.update({id: asyncio.Event() for id in self._waits})
        await self._report_start(inputs, with_start)
        try:
            self._load_failure()
            while (self._ready or self._running) and not self._is_over():
                while self._ready:
                    await self._start_node(self._ready.pop())
                if self._running:
                    ended = [await self._ended.get()]
                    while not self._ended.empty():
                        ended.append(self._ended.get_nowait())
                    for task in ended:
                        self._node_ended(self._running.pop(task), task)
        finally:
            # An exception that a node raises now is dropped: its row holds the failure for the next run.
            await cancel_and_wait(self._running)
            self._running.clear()
        if self._failure is None:
            return await self._finish()
        raise await self._fail(self._failure)

    def _is_over(self) -> bool:
        return self._failure is not None and self._scope.execution.fails_immediately

    def _load_failure(self) -> None:
        """Take over a failure that an earlier run of the execution recorded but did not handle."""
        execution = self._scope.execution
        if not execution.recorded_nodes or not execution.fails_immediately:
            return
        for id, node in self._nodes.items():
            recorded = self._scope.context(node).recorded
            if recorded is not None and recorded.phase == "FAILED":
                self._failure = NodeFailed(recorded.closure.error, id)
            elif recorded is not None and recorded.phase == "TIMED_OUT":
                self._failure = node_timed_out(id)

    def _mark_ended(self, id: str) -> None:
        """Mark a node as ended in whatever phase, and its dependants as ready when it was the last that they need."""
        self._scope.finished[id].set()
        for dependant in self._dependants.get(id, ()):
            self._open[dependant] -= 1
            if self._open[dependant] == 0:
                self._ready.append(dependant)

    async def _start_node(self, id: str) -> None:
        """Start a node, or skip it when a node that it depends on failed or was skipped."""
        if failed := self._waits[id] & self._without_outputs:
            self._log("node_skipped", id, failed)
            self._without_outputs.add(id)
            await self._skip(id)
            self._mark_ended(id)
            return
        context = self._scope.context(self._nodes[id])
        self._log("node_started", id, self._waits[id])
        task = asyncio.ensure_future(self._run_node(context))
        self._running[task] = id
        task.add_done_callback(self._ended.put_nowait)

    def _node_ended(self, id: str, task: asyncio.Task[literals_pb2.LiteralMap]) -> None:
        try:
            self._scope.outputs[id] = _with_aliases(self._nodes[id], task.result())
        except NodeFailed as failure:
            self._without_outputs.add(id)
            # Parity: with FAIL_AFTER_EXECUTABLE_NODES_COMPLETE the last failure is the error of the execution.
            if self._failure is None or not self._scope.execution.fails_immediately:
                self._failure = failure
        except NodeSkipped:
            self._without_outputs.add(id)
        self._log("node_ended_without_outputs" if id in self._without_outputs else "node_succeeded", id)
        self._mark_ended(id)

    def _log(self, event: str, id: str, because_of: Collection[str] | None = None) -> None:
        """Write a debug line about a node, with the nodes that are the reason, if the event has a reason."""
        if debug_log.enabled():
            reason = {} if because_of is None else {"because_of": sorted(because_of)}
            log.debug(event, execution=self._scope.execution.id.name, node=id, **reason)

    async def _skip(self, id: str) -> None:
        context = self._scope.context(self._nodes[id])
        # Parity: the event names inputs that do not exist.
        await self._scope.execution.events.send(context.event(Node.SKIPPED))

    async def _report_start(
        self, inputs: literals_pb2.LiteralMap, with_start: tuple[event_pb2.WorkflowExecutionEvent, ...]
    ) -> None:
        """Report the start node, whose outputs are the inputs of the graph."""
        self._scope.outputs[START] = inputs
        context = self._scope.context(self._nodes[START])
        if context.recorded is None:
            await self._scope.execution.literals.write(context.output_uri(), inputs)
        event = context.event(Node.SUCCEEDED, output_uri=context.output_uri())
        await self._scope.execution.events.send(*with_start, event)

    async def _finish(self) -> literals_pb2.LiteralMap:
        """Report the end node, whose inputs and outputs are the outputs of the graph."""
        context, execution = self._scope.context(self._nodes[END]), self._scope.execution
        recorded = context.recorded
        if recorded is not None and recorded.phase in ("SUCCEEDED", "RECOVERED"):
            return await execution.literals.read(context.output_uri())
        recovered = await recover(context)
        if recovered is not None:
            return recovered
        try:
            outputs = await execution.literals.resolve(context.node.inputs, self._scope.outputs.get)
            outputs = await execution.literals.write_composed(context.output_uri(), context.directory, outputs)
        except (BindingFailed, TooLarge) as error:
            raise await self._fail(await fail(context, error.error)) from error
        await execution.literals.write(context.input_uri, outputs)
        await execution.events.send(context.event(Node.QUEUED), context.event(Node.SUCCEEDED))
        return outputs

    async def _fail(self, failure: NodeFailed) -> NodeFailed:
        """Report the failure, abort the running nodes, run the failure node.

        Returns:
            The exception to raise: the failure itself, or that of the failure node.
        """
        execution, template = self._scope.execution, self._scope.workflow.template
        if not execution.fails_immediately and failure.node_id != END:
            await self._skip(END)
        if self._report_failing is not None:
            await self._report_failing(failure.error)
        if execution.fails_immediately:
            nested = self._scope.parent is not None
            reason = aborts.SUBWORKFLOW_FAILED if nested else aborts.AUTO_ABORT
            await aborts.end(execution, reason, within=self._scope)
        if not template.HasField("failure_node"):
            return failure
        context = replace(self._scope.context(template.failure_node), error=failure.error, failed_node=failure.node_id)
        try:
            await self._run_node(context)
        except NodeFailed as second:
            # Parity: an error of the failure node replaces the first one (HandleFailureNodeOfSubWorkflow).
            if second.timed_out:
                return NodeFailed(error_of("TimedOut", "FailureNode Timed-out"), context.node.id)
            return second
        return failure


def _with_aliases(node: workflow_pb2.Node, outputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """Return the outputs of a node under their own names and under the node's aliases."""
    aliases = [alias for alias in node.output_aliases if alias.var in outputs.literals]
    if not aliases:
        return outputs
    named = literals_pb2.LiteralMap(literals=outputs.literals)
    for alias in aliases:
        named.literals[alias.alias].CopyFrom(outputs.literals[alias.var])
    return named

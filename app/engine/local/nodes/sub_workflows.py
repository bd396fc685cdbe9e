"""Sub-workflow nodes: run the graph of another workflow of the same closure inside the node.

Source: flytepropeller pkg/controller/nodes/subworkflow.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2, workflow_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts, retries
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.scheduler import START, GraphScheduler
from app.engine.local.graph.state import GraphScope, NodeContext
from app.engine.local.nodes.node_run import run_node
from app.runtime.fair_semaphore import Permit

Node = execution_pb2.NodeExecution


async def run_sub_workflow(
    context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit
) -> literals_pb2.LiteralMap:
    """Run a sub-workflow node."""
    events = context.execution.events
    await events.send(context.event(Node.QUEUED, is_parent=True))
    reference = context.node.workflow_node.sub_workflow_ref
    workflow = context.scope.sub_workflow(reference)
    if workflow is None:
        message = f"sub-workflow [{reference.name}] is not in the closure"
        raise await fail(context, error_of("BadSpecificationError", message), is_parent=True)

    def scope(attempt: int) -> GraphScope:
        return GraphScope(
            execution=context.execution,
            closure=context.scope.closure,
            workflow=workflow,
            directory=context.output_dir(attempt),
            parent=context,
            attempt=attempt,
            dynamic_depth=context.scope.dynamic_depth,
        )

    async def run_attempt(attempt: int) -> literals_pb2.LiteralMap:
        await events.send(context.event(Node.RUNNING, is_parent=True))
        try:
            return await GraphScheduler(scope(attempt), run_node).run(inputs)
        except NodeFailed as failure:
            raise await fail(context, failure.error, is_parent=True) from failure

    async def started_at(attempt: int) -> float:
        start = scope(attempt).context(workflow_pb2.Node(id=START)).recorded
        return start.created_at if start is not None else 0.0

    async def clean_up(attempt: int) -> None:
        await aborts.end(context.execution, aborts.TIMED_OUT, below=context)

    outputs = await retries.run_within_timeout(
        context, run_attempt, started_at=started_at, clean_up=clean_up, is_parent=True
    )
    return await succeed(context, outputs, is_parent=True)

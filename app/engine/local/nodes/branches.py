"""Branch nodes: run the one node inside whose condition holds. The other nodes are not reported.

Source: flytepropeller pkg/controller/nodes/branch/handler.go.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local.execution_error import error_of
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped
from app.engine.local.graph.state import GraphScope, NodeContext
from app.engine.local.nodes.conditions import BranchError, choose
from app.engine.local.nodes.node_run import run_node
from app.runtime.fair_semaphore import Permit

Node = execution_pb2.NodeExecution


async def run_branch(context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """Run a branch node. Its outputs are those of the chosen node."""
    events, outer = context.execution.events, context.scope
    queued = context.event(Node.QUEUED)
    try:
        chosen = choose(context.node.branch_node.if_else, await context.execution.literals.with_contents(inputs))
    except BranchError as error:
        await events.send(queued)
        raise await fail(context, error_of(error.code, error.message)) from error
    except BindingFailed as error:
        await events.send(queued)
        raise await fail(context, error.error) from error
    await events.send(queued, context.event(Node.RUNNING))
    inner = GraphScope(
        execution=context.execution,
        closure=outer.closure,
        workflow=outer.workflow,
        directory=context.output_dir(),
        parent=context,
        dynamic_depth=outer.dynamic_depth,
        outputs=outer.outputs,
        finished=outer.finished,
    )
    child = inner.context(chosen)
    try:
        if not await _upstream_succeeded(child):
            await events.send(child.event(Node.SKIPPED))
            raise NodeSkipped
        outputs = await run_node(child)
    except NodeSkipped:
        await events.send(context.event(Node.SKIPPED))
        raise
    except NodeFailed as failure:
        raise await fail(context, failure.error) from failure
    return await succeed(context, outputs)


async def _upstream_succeeded(child: NodeContext) -> bool:
    """Wait for the nodes outside the branch that the chosen node depends on; return whether all have succeeded.

    The branch itself and branches around it are upstream nodes too, but they end after the chosen node.
    """
    scope = child.scope
    upstream = scope.workflow.connections.upstream
    for id in upstream[child.node.id].ids if child.node.id in upstream else ():
        if id in scope.finished and id not in _parents(scope):
            await scope.finished[id].wait()
            if id not in scope.outputs:
                return False
    return True


def _parents(scope: GraphScope) -> set[str]:
    ids, context = set(), scope.parent
    while context is not None:
        ids.add(context.node.id)
        context = context.scope.parent
    return ids

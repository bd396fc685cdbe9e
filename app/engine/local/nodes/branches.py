"""A branch node: the one node inside it whose condition holds; the others leave no trace.

Source: flytepropeller pkg/controller/nodes/branch/handler.go.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local.graph.conditions import BranchError, choose
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, error_of
from app.engine.local.graph.run import Frame, Site
from app.engine.local.nodes.nodes import execute, fail, succeed
from app.engine.local.processes.fair_semaphore import Permit

Node = execution_pb2.NodeExecution


async def run_branch(site: Site, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """A branch node; its outputs are those of the node that it chose."""
    report, outer = site.run.report, site.frame
    queued = site.event(Node.QUEUED, input_uri=site.input_uri)
    try:
        chosen = choose(site.node.branch_node.if_else, await site.run.with_contents(inputs))
    except BranchError as error:
        await report.node(queued)
        raise await fail(site, error_of(error.code, error.message)) from error
    except BindingFailed as error:
        await report.node(queued)
        raise await fail(site, error.error) from error
    await report.several(queued, site.event(Node.RUNNING, input_uri=site.input_uri))
    inner = Frame(
        run=site.run,
        closure=outer.closure,
        workflow=outer.workflow,
        directory=site.output_dir(),
        parent=site,
        dynamic_depth=outer.dynamic_depth,
        outputs=outer.outputs,
        finished=outer.finished,
    )
    child = inner.site(chosen)
    try:
        if not await _upstream_done(child):
            await report.node(child.event(Node.SKIPPED, input_uri=child.input_uri))
            raise NodeSkipped
        outputs = await execute(child)
    except NodeSkipped:
        await report.node(site.event(Node.SKIPPED, input_uri=site.input_uri))
        raise
    except NodeFailed as failure:
        raise await fail(site, failure.error) from failure
    return await succeed(site, outputs)


async def _upstream_done(child: Site) -> bool:
    """Wait for the nodes around the branch that the chosen one reads; whether all of them ended well.

    They are nodes of the graph around, so only those are waited for: neither the branch itself nor one around it.
    """
    frame = child.frame
    upstream = frame.workflow.connections.upstream
    for id in upstream[child.node.id].ids if child.node.id in upstream else ():
        if id in frame.finished and id not in _parents(frame):
            await frame.finished[id].wait()
            if id not in frame.outputs:
                return False
    return True


def _parents(frame: Frame) -> set[str]:
    ids, site = set(), frame.parent
    while site is not None:
        ids.add(site.node.id)
        site = site.frame.parent
    return ids

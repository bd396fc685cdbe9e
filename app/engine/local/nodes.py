"""One node: from the moment it is ready to its last event, whatever its kind.

Source: flytepropeller pkg/controller/nodes/executor.go; each kind's handler stands in a module of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local import data
from app.engine.local.failures import BindingFailed, NodeFailed, error_of
from app.engine.local.graph import Graph
from app.engine.local.run import Frame, Site
from app.engine.local.slots import Place

Node = execution_pb2.NodeExecution
Handler = Callable[[Site, literals_pb2.LiteralMap, Place], Awaitable[literals_pb2.LiteralMap]]

_DONE_WELL = ("SUCCEEDED", "RECOVERED")
# Kinds that count against the execution's max parallelism.
_COUNTED = ("task_node", "array_node", "launch_plan")


def kind_of(site: Site) -> str:
    """The kind of a node: the member of its oneof, with launch plan nodes apart from sub-workflows."""
    kind = site.node.WhichOneof("target") or ""
    if kind == "workflow_node":
        return "launch_plan" if site.node.workflow_node.HasField("launchplan_ref") else "sub_workflow"
    return kind


async def execute(site: Site) -> literals_pb2.LiteralMap:
    """Run a node; its outputs. What an earlier run of the execution finished is not done again.

    errors: NodeFailed, when its events are sent
    """
    from app.engine.local.kinds import HANDLERS

    known = site.known
    if known is not None and known.phase in _DONE_WELL:
        uri = known.closure.output_uri or ""
        return await site.run.read(uri) if uri else literals_pb2.LiteralMap()
    if known is not None and known.phase in ("FAILED", "TIMED_OUT"):
        raise NodeFailed(known.closure.error)
    kind = kind_of(site)
    place = Place(site.run.parallelism if kind in _COUNTED else None)
    await place.take()
    try:
        inputs = await _inputs(site)
        handler: Handler | None = HANDLERS.get(kind)
        if handler is None:
            raise await fail(site, error_of("BadSpecificationError", f"node [{site.node.id}] is of no known kind"))
        return await handler(site, inputs, place)
    except asyncio.CancelledError:
        if site.frame.abort_reason:
            await _report_aborted(site)
        raise
    finally:
        place.give()


async def _inputs(site: Site) -> literals_pb2.LiteralMap:
    """Resolve and write the inputs of a node that is ready."""
    try:
        inputs = data.resolve(site.node.inputs, site.frame.outputs_of)
    except BindingFailed as error:
        raise await fail(
            site, error_of("BindingResolutionFailure", str(error), execution_pb2.ExecutionError.SYSTEM)
        ) from error
    await site.run.write(site.input_uri, inputs)
    return inputs


async def fail(site: Site, error: execution_pb2.ExecutionError, **fields: object) -> NodeFailed:
    """Report FAILED; the exception to raise."""
    await site.run.report.node(site.event(Node.FAILED, input_uri=site.input_uri, error=error, **fields))
    return NodeFailed(error, site.node.id)


async def _report_aborted(site: Site) -> None:
    error = error_of("NodeAborted", site.frame.abort_reason, execution_pb2.ExecutionError.UNKNOWN)
    event = site.event(Node.ABORTED, error=error)
    for name in ("spec_node_id", "node_name", "retry_group", "parent_node_metadata", "event_version"):
        # Parity: the event of an abort is bare; what earlier events said stays.
        event.ClearField(name)
    await site.run.report.node(event)


async def run_sub_workflow(site: Site, inputs: literals_pb2.LiteralMap, place: Place) -> literals_pb2.LiteralMap:
    """A sub-workflow node: the graph of the workflow it names, inside this node."""
    report = site.run.report
    await report.node(site.event(Node.QUEUED, input_uri=site.input_uri, is_parent=True))
    reference = site.node.workflow_node.sub_workflow_ref
    workflow = site.frame.sub_workflow(reference)
    if workflow is None:
        raise await fail(
            site, error_of("BadSpecificationError", f"sub-workflow [{reference.name}] is not in the closure")
        )
    frame = Frame(
        run=site.run,
        closure=site.frame.closure,
        workflow=workflow,
        directory=site.output_dir(),
        parent=site,
        in_dynamic=site.frame.in_dynamic,
        outer=site.frame,
    )
    await report.node(site.event(Node.RUNNING, input_uri=site.input_uri, is_parent=True))
    try:
        outputs = await Graph(frame, execute).run(inputs)
    except NodeFailed as failure:
        raise await fail(site, failure.error, is_parent=True) from failure
    return await succeed(site, outputs, is_parent=True)


async def succeed(site: Site, outputs: literals_pb2.LiteralMap, **fields: object) -> literals_pb2.LiteralMap:
    """Write the outputs of a node as its own and report SUCCEEDED."""
    await site.run.write(site.output_uri(), outputs)
    event = site.event(Node.SUCCEEDED, input_uri=site.input_uri, output_uri=site.output_uri(), **fields)
    await site.run.report.node(event)
    return outputs

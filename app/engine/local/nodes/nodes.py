"""One node: from the moment it is ready to its last event, whatever its kind.

Source: flytepropeller pkg/controller/nodes/executor.go; each kind's handler stands in a module of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from flyteidl.core import execution_pb2, literals_pb2, types_pb2, workflow_pb2

from app.blobs import BlobMissing
from app.engine.local.graph import aborts, retries
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, TooLarge, error_of, timed_out
from app.engine.local.graph.graph import START, Graph
from app.engine.local.graph.recovery import recover
from app.engine.local.graph.reports import Event
from app.engine.local.graph.run import Frame, Site
from app.engine.local.processes.fair_semaphore import Permit

Node = execution_pb2.NodeExecution
Handler = Callable[[Site, literals_pb2.LiteralMap, Permit], Awaitable[literals_pb2.LiteralMap]]

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

    errors: NodeFailed, NodeSkipped, when its events are sent
    """
    from app.engine.local.nodes.kinds import HANDLERS

    known = site.known
    if known is not None:
        if known.phase in _DONE_WELL:
            return await _outputs_of_known(site)
        if known.phase == "FAILED":
            raise NodeFailed(known.closure.error, site.node.id)
        if known.phase == "TIMED_OUT":
            raise timed_out(site.node.id)
        if known.phase == "SKIPPED":
            raise NodeSkipped
    kind = kind_of(site)
    permit = Permit(site.run.parallelism if kind in _COUNTED else None)
    await permit.acquire()
    try:
        if known is None:
            recovered = await recover(site)
            if recovered is not None:
                return recovered
        inputs = await _inputs(site)
        handler: Handler | None = HANDLERS.get(kind)
        if handler is None:
            raise await fail(
                site,
                error_of(
                    "BadSpecificationError",
                    f"node [{site.node.id}] is of kind [{kind}], which this engine does not run",
                ),
            )
        return await handler(site, inputs, permit)
    except TooLarge as too_large:
        raise await fail(site, too_large.error) from too_large
    finally:
        permit.release()


async def _outputs_of_known(site: Site) -> literals_pb2.LiteralMap:
    assert site.known is not None
    closure = site.known.closure
    if closure.HasField("output_data"):
        return closure.output_data
    try:
        return await site.run.read(closure.output_uri) if closure.output_uri else literals_pb2.LiteralMap()
    except BlobMissing:
        # A task that declares no outputs names a file all the same; who needs one that is lost fails to bind it.
        return literals_pb2.LiteralMap()


async def _inputs(site: Site) -> literals_pb2.LiteralMap:
    """Resolve and write the inputs of a node that is ready."""
    try:
        inputs = await site.run.resolve(site.node.inputs, site.frame.outputs_of)
    except BindingFailed as error:
        raise await fail(site, error.error) from error
    if site.error is not None and "err" in inputs.literals:
        inputs.literals["err"].CopyFrom(_told(site, site.error))
    return await site.run.compose(site.input_uri, site.directory, inputs)


def _told(site: Site, error: execution_pb2.ExecutionError) -> literals_pb2.Literal:
    """What a failure node is told of the failure, as flytekit's FlyteError.

    Deviates: upstream names the failure node itself as the one that failed (ResolveErrorInputLiteralData).
    """
    literal = literals_pb2.Literal()
    union = literal.scalar.union
    union.value.scalar.error.message = error.message
    union.value.scalar.error.failed_node_id = site.failed_node
    union.type.simple = types_pb2.ERROR
    union.type.structure.tag = "FlyteError"
    return literal


async def fail(site: Site, error: execution_pb2.ExecutionError, *before: Event, **fields: object) -> NodeFailed:
    """Report FAILED, together with the events before it; the exception to raise."""
    event = site.event(Node.FAILED, input_uri=site.input_uri, error=error, **fields)
    await site.run.report.several(*before, event)
    return NodeFailed(error, site.node.id)


async def succeed(site: Site, outputs: literals_pb2.LiteralMap, **fields: object) -> literals_pb2.LiteralMap:
    """Write the outputs of a node as its own and report SUCCEEDED."""
    await site.run.write(site.output_uri(), outputs)
    event = site.event(Node.SUCCEEDED, input_uri=site.input_uri, output_uri=site.output_uri(), **fields)
    await site.run.report.node(event)
    return outputs


async def run_sub_workflow(site: Site, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """A sub-workflow node: the graph of the workflow it names, inside this node."""
    report = site.run.report
    await report.node(site.event(Node.QUEUED, input_uri=site.input_uri, is_parent=True))
    reference = site.node.workflow_node.sub_workflow_ref
    workflow = site.frame.sub_workflow(reference)
    if workflow is None:
        raise await _fail_parent(
            site, error_of("BadSpecificationError", f"sub-workflow [{reference.name}] is not in the closure")
        )

    def frame(attempt: int) -> Frame:
        return Frame(
            run=site.run,
            closure=site.frame.closure,
            workflow=workflow,
            directory=site.output_dir(attempt),
            parent=site,
            attempt=attempt,
            dynamic_depth=site.frame.dynamic_depth,
        )

    async def once(attempt: int) -> literals_pb2.LiteralMap:
        await report.node(site.event(Node.RUNNING, input_uri=site.input_uri, is_parent=True))
        try:
            return await Graph(frame(attempt), execute).run(inputs)
        except NodeFailed as failure:
            raise await _fail_parent(site, failure.error) from failure

    async def begun(attempt: int) -> float:
        start = frame(attempt).site(workflow_pb2.Node(id=START)).known
        return start.created_at if start is not None else 0.0

    async def ended(attempt: int) -> None:
        await aborts.end(site.run, aborts.TIMED_OUT, below=site)

    outputs = await retries.attempts(site, once, begun=begun, ended=ended, fail=_fail_parent)
    return await succeed(site, outputs, is_parent=True)


async def _fail_parent(site: Site, error: execution_pb2.ExecutionError) -> NodeFailed:
    return await fail(site, error, is_parent=True)

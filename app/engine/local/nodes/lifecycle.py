"""One node: from the moment it is ready to its last event, whatever its kind.

Source: flytepropeller pkg/controller/nodes/executor.go; each kind's handler stands in a module of its own.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2, types_pb2

from app.blobs import BlobMissing
from app.engine.local.graph.events import Event
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, TooLarge, error_of, timed_out
from app.engine.local.graph.recovery import recover
from app.engine.local.graph.state import NodeContext
from app.engine.local.processes.fair_semaphore import Permit

Node = execution_pb2.NodeExecution

_DONE_WELL = ("SUCCEEDED", "RECOVERED")
# Kinds that count against the execution's max parallelism.
_COUNTED = ("task_node", "array_node", "launch_plan")


async def run_node(context: NodeContext) -> literals_pb2.LiteralMap:
    """Run a node; its outputs. What an earlier run of the execution finished is not done again.

    errors: NodeFailed, NodeSkipped, when its events are sent
    """
    known = context.recorded
    if known is not None:
        if known.phase in _DONE_WELL:
            return await _recorded_outputs(context)
        if known.phase == "FAILED":
            raise NodeFailed(known.closure.error, context.node.id)
        if known.phase == "TIMED_OUT":
            raise timed_out(context.node.id)
        if known.phase == "SKIPPED":
            raise NodeSkipped
    kind = context.kind
    permit = Permit(context.execution.parallelism if kind in _COUNTED else None)
    await permit.acquire()
    try:
        if known is None:
            recovered = await recover(context)
            if recovered is not None:
                return recovered
        inputs = await _inputs(context)
        handler = context.execution.handlers.nodes.get(kind)
        if handler is None:
            raise await fail(
                context,
                error_of(
                    "BadSpecificationError",
                    f"node [{context.node.id}] is of kind [{kind}], which this engine does not run",
                ),
            )
        return await handler(context, inputs, permit)
    except TooLarge as too_large:
        raise await fail(context, too_large.error) from too_large
    finally:
        permit.release()


async def _recorded_outputs(context: NodeContext) -> literals_pb2.LiteralMap:
    assert context.recorded is not None
    closure = context.recorded.closure
    if closure.HasField("output_data"):
        return closure.output_data
    try:
        return (
            await context.execution.literals.read(closure.output_uri)
            if closure.output_uri
            else literals_pb2.LiteralMap()
        )
    except BlobMissing:
        # A task that declares no outputs names a file all the same; who needs one that is lost fails to bind it.
        return literals_pb2.LiteralMap()


async def _inputs(context: NodeContext) -> literals_pb2.LiteralMap:
    """Resolve and write the inputs of a node that is ready."""
    try:
        inputs = await context.execution.literals.resolve(context.node.inputs, context.scope.outputs.get)
    except BindingFailed as error:
        raise await fail(context, error.error) from error
    if context.error is not None and "err" in inputs.literals:
        inputs.literals["err"].CopyFrom(_told(context, context.error))
    return await context.execution.literals.write_composed(context.input_uri, context.directory, inputs)


def _told(context: NodeContext, error: execution_pb2.ExecutionError) -> literals_pb2.Literal:
    """What a failure node is told of the failure, as flytekit's FlyteError.

    Deviates: upstream names the failure node itself as the one that failed (ResolveErrorInputLiteralData).
    """
    literal = literals_pb2.Literal()
    union = literal.scalar.union
    union.value.scalar.error.message = error.message
    union.value.scalar.error.failed_node_id = context.failed_node
    union.type.simple = types_pb2.ERROR
    union.type.structure.tag = "FlyteError"
    return literal


async def fail(
    context: NodeContext, error: execution_pb2.ExecutionError, *before: Event, **fields: object
) -> NodeFailed:
    """Report FAILED, together with the events before it; the exception to raise."""
    event = context.event(Node.FAILED, error=error, **fields)
    await context.execution.events.send(*before, event)
    return NodeFailed(error, context.node.id)


async def succeed(context: NodeContext, outputs: literals_pb2.LiteralMap, **fields: object) -> literals_pb2.LiteralMap:
    """Write the outputs of a node as its own and report SUCCEEDED."""
    await context.execution.literals.write(context.output_uri(), outputs)
    event = context.event(Node.SUCCEEDED, output_uri=context.output_uri(), **fields)
    await context.execution.events.send(event)
    return outputs

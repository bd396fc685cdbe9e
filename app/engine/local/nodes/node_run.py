"""Run one node from its inputs to its last event. The steps here are the same for every kind of node.

Source: flytepropeller pkg/controller/nodes/executor.go.
"""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2, types_pb2

from app.blobs import BlobMissing
from app.engine.local.execution_error import error_of
from app.engine.local.graph.ends import fail
from app.engine.local.graph.failures import BindingFailed, NodeFailed, NodeSkipped, TooLarge, node_timed_out
from app.engine.local.graph.recovery import recover
from app.engine.local.graph.state import NodeContext
from app.runtime.fair_semaphore import Permit

Node = execution_pb2.NodeExecution

_SUCCESSES = ("SUCCEEDED", "RECOVERED")
# Kinds that the max parallelism of the execution limits.
_LIMITED = ("task_node", "array_node", "launch_plan")


async def run_node(context: NodeContext) -> literals_pb2.LiteralMap:
    """Run a node by the handler of its kind and return its outputs.

    A node that an earlier run of the execution has finished does not run again.

    Raises:
        NodeFailed: The node failed, and its events are sent.
        NodeSkipped: The node was skipped, and its events are sent.
    """
    recorded = context.recorded
    if recorded is not None:
        if recorded.phase in _SUCCESSES:
            return await _recorded_outputs(context)
        if recorded.phase == "FAILED":
            raise NodeFailed(recorded.closure.error, context.node.id)
        if recorded.phase == "TIMED_OUT":
            raise node_timed_out(context.node.id)
        if recorded.phase == "SKIPPED":
            raise NodeSkipped
    kind = context.kind
    permit = Permit(context.execution.parallelism if kind in _LIMITED else None)
    await permit.acquire()
    try:
        if recorded is None:
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
    if not closure.output_uri:
        return literals_pb2.LiteralMap()
    try:
        return await context.execution.literals.read(closure.output_uri)
    except BlobMissing:
        # A task without outputs writes no file, although its event names one. If a file with outputs was lost, the
        # nodes that need these outputs fail to bind them.
        return literals_pb2.LiteralMap()


async def _inputs(context: NodeContext) -> literals_pb2.LiteralMap:
    """Resolve and write the inputs of a node."""
    try:
        inputs = await context.execution.literals.resolve(context.node.inputs, context.scope.outputs.get)
    except BindingFailed as error:
        raise await fail(context, error.error) from error
    if context.error is not None and "err" in inputs.literals:
        inputs.literals["err"].CopyFrom(_error_input(context, context.error))
    # A server that resumes an unfinished node writes its inputs again. The outputs of processes are not flushed either.
    return await context.execution.literals.write_composed(context.input_uri, context.directory, inputs, durable=False)


def _error_input(context: NodeContext, error: execution_pb2.ExecutionError) -> literals_pb2.Literal:
    """Return the error that a failure node receives, as flytekit's FlyteError.

    Deviates: upstream names the failure node itself as the one that failed (ResolveErrorInputLiteralData).
    """
    literal = literals_pb2.Literal()
    union = literal.scalar.union
    union.value.scalar.error.message = error.message
    union.value.scalar.error.failed_node_id = context.failed_node
    union.type.simple = types_pb2.ERROR
    union.type.structure.tag = "FlyteError"
    return literal

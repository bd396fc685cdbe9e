"""Report the end of a node, whatever its kind."""

from __future__ import annotations

from flyteidl.core import execution_pb2, literals_pb2

from app.engine.local.graph.events import Event
from app.engine.local.graph.failures import NodeFailed
from app.engine.local.graph.state import NodeContext

Node = execution_pb2.NodeExecution


async def fail(
    context: NodeContext, error: execution_pb2.ExecutionError, *before: Event, **fields: object
) -> NodeFailed:
    """Report a node FAILED; return the exception to raise.

    Args:
        context: The node.
        error: The error of the node.
        *before: Events that are sent before, in the same transaction.
        **fields: Further fields of the FAILED event.
    """
    event = context.event(Node.FAILED, error=error, **fields)
    await context.execution.events.send(*before, event)
    return NodeFailed(error, context.node.id)


async def succeed(context: NodeContext, outputs: literals_pb2.LiteralMap, **fields: object) -> literals_pb2.LiteralMap:
    """Write the outputs of a node, report it SUCCEEDED, and return the outputs.

    Args:
        context: The node.
        outputs: The outputs.
        **fields: Further fields of the SUCCEEDED event.
    """
    await context.execution.literals.write(context.output_uri(), outputs)
    event = context.event(Node.SUCCEEDED, output_uri=context.output_uri(), **fields)
    await context.execution.events.send(event)
    return outputs

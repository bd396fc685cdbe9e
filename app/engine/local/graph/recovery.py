"""Recover nodes: take over the outputs of nodes that succeeded in another execution instead of running them again.

Old and new nodes have equal unique node ids at every level. Inside a sub-workflow that had failed, each node is
recovered by itself.
Source: flytepropeller pkg/controller/nodes/executor.go (attemptRecovery).
"""

from __future__ import annotations

import structlog
from flyteidl.core import execution_pb2, literals_pb2
from flyteidl.event import event_pb2

from app.blobs import BlobMissing, BlobTooLarge
from app.engine.local.graph.history import RecordedNode
from app.engine.local.graph.state import ExecutionState, NodeContext
from app.engine.local.processes import decks

log = structlog.get_logger(__name__)

Node = execution_pb2.NodeExecution


async def recover(context: NodeContext) -> literals_pb2.LiteralMap | None:
    """Report a node RECOVERED and return its outputs, or None when the node has to run.

    A node whose old inputs or outputs are missing in the store has to run.
    """
    execution = context.execution
    old = context.recovered
    if old is None or old.phase not in ("SUCCEEDED", "RECOVERED"):
        return None
    try:
        inputs = await execution.literals.read(old.input_uri) if old.input_uri else literals_pb2.LiteralMap()
        outputs = await _outputs(context, old, inputs)
        deck = await decks.first_of(execution.server.blobs, old.closure.deck_uri)
        event = context.event(Node.RECOVERED, output_uri=context.output_uri(), deck_uri=deck)
        await _describe(execution, old, event)
    except (BlobMissing, BlobTooLarge) as error:
        log.warning("node_not_recovered", execution=execution.id.name, node=context.unique_id, reason=error.message)
        return None
    await execution.literals.write(context.input_uri, inputs)
    await execution.literals.write(context.output_uri(), outputs)
    await execution.events.send(event)
    return outputs


def checkpoint(context: NodeContext) -> str:
    """Return the checkpoint of the old node, from which the first attempt of a task may resume; "" without one."""
    old = context.recovered
    return str(old.closure.task_node_metadata.checkpoint_uri) if old is not None else ""


async def _outputs(context: NodeContext, old: RecordedNode, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    outcome = old.closure.WhichOneof("output_result")
    if outcome == "output_data":
        return old.closure.output_data
    if outcome == "output_uri":
        return (
            literals_pb2.LiteralMap()
            if _declares_none(context)
            else await context.execution.literals.read(old.closure.output_uri)
        )
    # Deviates: upstream recovers no outputs of an end node, whose events name none; they equal its inputs.
    return inputs


def _declares_none(context: NodeContext) -> bool:
    """Return whether a node is a task without outputs, whose output file need not exist."""
    task = context.scope.task(context.node.task_node.reference_id) if context.node.HasField("task_node") else None
    return task is not None and not task.template.interface.outputs.variables


async def _describe(execution: ExecutionState, old: RecordedNode, event: event_pb2.NodeExecutionEvent) -> None:
    """Copy the cache entry, the dynamic workflow or the child execution of the old node to an event."""
    kind = old.closure.WhichOneof("target_metadata")
    if kind == "workflow_node_metadata":
        event.workflow_node_metadata.execution_id.CopyFrom(old.closure.workflow_node_metadata.executionId)
    elif kind == "task_node_metadata":
        seen = old.closure.task_node_metadata
        event.task_node_metadata.cache_status = seen.cache_status
        if seen.HasField("catalog_key"):
            event.task_node_metadata.catalog_key.CopyFrom(seen.catalog_key)
        if old.dynamic_uri:
            workflow = event.task_node_metadata.dynamic_workflow
            workflow.compiled_workflow.ParseFromString(await execution.literals.read_closure_bytes(old.dynamic_uri))
            workflow.id.CopyFrom(workflow.compiled_workflow.primary.template.id)

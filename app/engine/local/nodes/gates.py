"""Gate nodes: wait for an approval, for a value, or for some time.

Proto: core.GateNode. Source: flytepropeller pkg/controller/nodes/gate/handler.go.
"""

from __future__ import annotations

import asyncio
import time

from flyteidl.admin import signal_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2, types_pb2

from app import errors
from app.database import schema
from app.engine.local.execution_error import error_of
from app.engine.local.graph import retries
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.service_calls import with_retries
from app.engine.local.graph.state import NodeContext
from app.runtime.fair_semaphore import Permit
from app.services import signals
from app.services.execution_ids import execution_key
from app.wire.text import text

Node = execution_pb2.NodeExecution
_Kind = execution_pb2.ExecutionError


async def run_gate(context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """Run a gate node."""
    gate = context.node.gate_node
    kind = gate.WhichOneof("condition")
    events = context.execution.events
    await events.send(context.event(Node.QUEUED))
    if kind is None:
        message = "gateNode does not have a supported condition reference"
        raise await fail(context, error_of("BadSpecificationError", message, _Kind.SYSTEM))
    if kind == "approve":
        await _create_signal(context, gate.approve.signal_id, types_pb2.LiteralType(simple=types_pb2.BOOLEAN))
    elif kind == "signal":
        await _create_signal(context, gate.signal.signal_id, gate.signal.type)
    await events.send(context.event(Node.RUNNING))
    recorded = context.recorded
    started = recorded.started_at if recorded is not None and recorded.started_at else time.time()
    timeout = retries.timeout_seconds(context.node)
    attempts_max = context.node.metadata.retries.retries + 1

    async def started_at(attempt: int) -> float:
        # Attempts of a gate have no rows: compute from the clock which of them earlier runs have started.
        at = started + attempt * timeout
        return at if recorded is not None and attempt < attempts_max and at <= time.time() else 0.0

    async def run_attempt(attempt: int) -> literals_pb2.LiteralMap:
        if kind == "approve":
            return await _approved(context, inputs)
        if kind == "signal":
            value = await _value(context, gate.signal.signal_id)
            return literals_pb2.LiteralMap(literals={gate.signal.output_variable_name: value})
        until = started + attempt * timeout + gate.sleep.duration.ToNanoseconds() / 1e9
        await asyncio.sleep(max(0.0, until - time.time()))
        return literals_pb2.LiteralMap()

    async def clean_up(attempt: int) -> None:
        return None

    outputs = await retries.run_within_timeout(context, run_attempt, started_at=started_at, clean_up=clean_up)
    if kind != "sleep":
        return await succeed(context, outputs)
    # Parity: a sleep names no outputs.
    await events.send(context.event(Node.SUCCEEDED))
    return outputs


async def _create_signal(context: NodeContext, signal_id: str, type: types_pb2.LiteralType) -> None:
    """Create the signal, so that clients can list and set it while the gate waits."""
    id = identifier_pb2.SignalIdentifier(signal_id=signal_id, execution_id=context.execution.id)
    request = signal_pb2.SignalGetOrCreateRequest(id=id, type=type)
    try:
        await with_retries(context.execution.server, signals.get_or_create_signal, request)
    except (errors.InvalidArgument, errors.AlreadyExists) as error:
        # Deviates: upstream retries a signal that exists with another type until it gives up the execution.
        raise await fail(context, error_of("RuntimeExecutionError", error.message, _Kind.SYSTEM)) from error


async def _approved(context: NodeContext, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """Wait for the decision; return the inputs when it is an approval."""
    value = await _value(context, context.node.gate_node.approve.signal_id)
    if value.scalar.primitive.WhichOneof("value") != "boolean":
        message = f"received a non-boolean approve signal value [{text(value)}]"
        raise await fail(context, error_of("RuntimeExecutionError", message, _Kind.UNKNOWN))
    if not value.scalar.primitive.boolean:
        message = "received a reject signal to disapprove the node input values"
        raise await fail(context, error_of("ReceivedRejectSignal", message))
    return inputs


async def _value(context: NodeContext, signal_id: str) -> literals_pb2.Literal:
    """Wait until a signal has a value, and return it."""
    execution = context.execution
    key = execution_key(execution.id)
    with execution.host.watch.signal(
        (execution.id.project, execution.id.domain, execution.id.name), signal_id
    ) as changed:
        while True:
            async with execution.server.database.unit_of_work() as db:
                row = await db.find(schema.Signal, columns=("value",), **key, signal_id=signal_id)
            if row is not None and row.value:
                return literals_pb2.Literal.FromString(row.value)
            await changed.wait()
            changed.clear()

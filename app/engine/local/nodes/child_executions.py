"""Launch plan nodes: launch another execution, the child, and wait for its end.

The name of a child is computed from execution, node and attempt, so that a launch that is repeated after a crash finds
the first child.
Source: flytepropeller pkg/controller/nodes/subworkflow (launchplan.go, launchplan/admin.go).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flyteidl.admin import execution_pb2 as admin_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2
from flyteidl.event import event_pb2

from app import errors
from app.blobs import BlobMissing, BlobTooLarge
from app.database import schema
from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts, retries, unique_ids
from app.engine.local.graph.ends import fail, succeed
from app.engine.local.graph.history import RecordedNode
from app.engine.local.graph.service_calls import with_retries
from app.engine.local.graph.state import ExecutionState, NodeContext
from app.runtime.context import Context
from app.runtime.fair_semaphore import Permit
from app.services import executions, offloading, phases
from app.services.execution_ids import execution_key
from app.services.executions.launch import launch as launch_execution

Node = execution_pb2.NodeExecution
Workflow = execution_pb2.WorkflowExecution
_Kind = execution_pb2.ExecutionError

# A later launch may succeed after these errors. All others are failures of the user.
_TRANSIENT = (errors.Aborted, errors.DeadlineExceeded, errors.Internal, errors.Unknown, errors.Unavailable)


class ChildFailed(Exception):
    """The child was refused or did not succeed. `error` is the error that its node reports."""

    def __init__(self, error: execution_pb2.ExecutionError) -> None:
        self.error = error
        super().__init__(error.message)


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node launches.

    Attributes:
        context: The node.
        plan: The launch plan.
        id: The execution.
        node_id: The node in messages.
        recovered: The same node of the execution that is recovered.
    """

    context: NodeContext
    plan: identifier_pb2.Identifier
    id: identifier_pb2.WorkflowExecutionIdentifier
    node_id: str
    recovered: RecordedNode | None = None


async def run_launch_plan(
    context: NodeContext, inputs: literals_pb2.LiteralMap, permit: Permit
) -> literals_pb2.LiteralMap:
    """Run a launch plan node."""
    await context.execution.events.send(context.event(Node.QUEUED))

    async def run_attempt(attempt: int) -> literals_pb2.LiteralMap:
        child = _child(context, attempt)
        try:
            await launch(child, inputs)
        except ChildFailed as refused:
            raise await fail(context, refused.error) from refused
        running = context.event(Node.RUNNING, workflow_node_metadata=child_metadata(child.id))
        await context.execution.events.send(running)
        try:
            outputs = await outputs_of(child)
        except ChildFailed as failed:
            raise await fail(context, failed.error, workflow_node_metadata=child_metadata(child.id)) from failed
        return await succeed(context, outputs, workflow_node_metadata=child_metadata(child.id))

    async def started_at(attempt: int) -> float:
        return (
            await _created_at(context.execution, _child(context, attempt).id) if context.recorded is not None else 0.0
        )

    async def clean_up(attempt: int) -> None:
        await aborts.terminate(context.execution, _child(context, attempt).id, aborts.TIMED_OUT)

    return await retries.run_within_timeout(context, run_attempt, started_at=started_at, clean_up=clean_up)


async def _created_at(execution: ExecutionState, child: identifier_pb2.WorkflowExecutionIdentifier) -> float:
    """Return when an execution was created, in seconds since 1970; 0 when it does not exist."""
    async with execution.server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, columns=("closure",), **execution_key(child))
    if row is None:
        return 0.0
    closure = admin_execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    return float(closure.created_at.ToNanoseconds() / 1e9)


def _child(context: NodeContext, attempt: int) -> Child:
    """Return the execution that an attempt of a launch plan node launches."""
    plan, recovered = context.node.workflow_node.launchplan_ref, context.recovered
    return Child(context, plan, child_id(context.execution, context.unique_id, attempt), context.node.id, recovered)


def child_id(execution: ExecutionState, unique_id: str, attempt: int) -> identifier_pb2.WorkflowExecutionIdentifier:
    """Return the id of the execution that an attempt of a node launches."""
    return identifier_pb2.WorkflowExecutionIdentifier(
        project=execution.id.project,
        domain=execution.id.domain,
        name=unique_ids.child_execution(execution.id.name, unique_id, attempt),
    )


async def launch(child: Child, inputs: literals_pb2.LiteralMap) -> None:
    """Launch the child execution, unless an earlier run of this execution did.

    Raises:
        ChildFailed: The launch was refused.
        FlyteError: A later launch may succeed.
        LeaseLost: Another server runs the parent, which may have ended.
    """
    server = child.context.execution.server
    try:
        old = await _to_recover(child, inputs)
        if old is not None:
            await with_retries(server, _with_lease(child, executions.recover_execution), _recovery(child, old))
        else:
            start = partial(launch_execution, parent_config=child.context.execution.config)
            await with_retries(server, _with_lease(child, start), _request(child, inputs))
    except errors.AlreadyExists as error:
        async with server.database.unit_of_work() as db:
            taken = await db.find(schema.Execution, columns=("id",), **execution_key(child.id))
        if taken is None:
            # The name is free, so the error means that the launch plan's concurrency limit is reached.
            raise ChildFailed(_refusal(error)) from error
    except _TRANSIENT:
        raise
    except errors.FlyteError as error:
        raise ChildFailed(_refusal(error)) from error


def _with_lease(child: Child, function: Callable[[Context, Any], Awaitable[Any]]) -> Callable[..., Awaitable[None]]:
    """Return a service function that has no effect where another server runs the parent."""

    async def kept(ctx: Context, request: Any) -> None:
        await function(ctx, request)
        await child.context.execution.host.hold(ctx.db, child.context.execution.id)

    return kept


def _refusal(error: errors.FlyteError) -> execution_pb2.ExecutionError:
    kind = next(one.__name__ for one in type(error).__mro__ if errors.FlyteError in one.__bases__)
    cause = f"rpc error: code = {kind} desc = {error.message}"
    return error_of("RuntimeExecutionError", f"[UserError] failed to launch workflow, caused by: {cause}")


def _request(child: Child, inputs: literals_pb2.LiteralMap) -> admin_execution_pb2.ExecutionCreateRequest:
    id = child.id
    request = admin_execution_pb2.ExecutionCreateRequest(
        project=id.project, domain=id.domain, name=id.name, inputs=inputs
    )
    spec = request.spec
    spec.launch_plan.CopyFrom(child.plan)
    spec.metadata.mode = admin_execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
    _set_parent(child.context, spec.metadata)
    return request


def _recovery(
    child: Child, old: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionRecoverRequest:
    request = admin_execution_pb2.ExecutionRecoverRequest(id=old, name=child.id.name)
    _set_parent(child.context, request.metadata)
    return request


def _set_parent(context: NodeContext, metadata: admin_execution_pb2.ExecutionMetadata) -> None:
    metadata.parent_node_execution.execution_id.CopyFrom(context.execution.id)
    metadata.parent_node_execution.node_id = context.unique_id


async def _to_recover(
    child: Child, inputs: literals_pb2.LiteralMap
) -> identifier_pb2.WorkflowExecutionIdentifier | None:
    """Return the child of the same node in the recovered execution, if it had the same inputs; else None.

    Deviates: upstream launches a failed child anew; here the child is recovered too.
    """
    old, execution = child.recovered, child.context.execution
    if old is None or not old.closure.HasField("workflow_node_metadata"):
        return None
    id: identifier_pb2.WorkflowExecutionIdentifier = old.closure.workflow_node_metadata.executionId
    async with execution.server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, columns=("phase", "user_inputs_uri"), **execution_key(id))
    if row is None or phases.phase_number(Workflow.Phase, row.phase) not in phases.WORKFLOW_TERMINAL:
        return None
    if not row.user_inputs_uri:
        return None
    try:
        return id if offloading.equal_values(await execution.literals.read(row.user_inputs_uri), inputs) else None
    except (BlobMissing, BlobTooLarge):
        return None


async def outputs_of(child: Child) -> literals_pb2.LiteralMap:
    """Wait until the child has ended, and return its outputs.

    Raises:
        ChildFailed: The child did not succeed.
    """
    execution, name = child.context.execution, child.id.name
    closure = await _end_of(execution, child.id)
    if closure is None:
        missing = f"launch-plan not found, caused by: [NotFound] execID [{name}] not found on remote"
        raise ChildFailed(_node_error(child, "NotFound", missing, _Kind.SYSTEM))
    if closure.phase == Workflow.SUCCEEDED:
        if closure.outputs.HasField("values"):
            return closure.outputs.values
        if closure.WhichOneof("output_result") == "output_data":
            return closure.output_data
        return await execution.literals.read(closure.outputs.uri) if closure.outputs.uri else literals_pb2.LiteralMap()
    if closure.phase == Workflow.ABORTED:
        aborted = f"launchplan [{name}] aborted, caused by: launchplan execution aborted"
        raise ChildFailed(_node_error(child, "RemoteChildWorkflowExecutionFailed", aborted, _Kind.USER))
    if closure.HasField("error"):
        raise ChildFailed(closure.error)
    raise ChildFailed(error_of("LaunchPlanExecutionFailed", "Unknown Error", _Kind.UNKNOWN))


def _node_error(child: Child, code: str, message: str, kind: int) -> execution_pb2.ExecutionError:
    return error_of(code, f"failed at Node[{child.node_id}]. {code}: {message}", kind)


def child_metadata(child: identifier_pb2.WorkflowExecutionIdentifier) -> event_pb2.WorkflowNodeMetadata:
    """Return the field of a node's events that names its child."""
    return event_pb2.WorkflowNodeMetadata(execution_id=child)


async def _end_of(
    execution: ExecutionState, child: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionClosure | None:
    """Wait until the child has ended, and return its closure; None when it does not exist."""
    with execution.host.watch.end((child.project, child.domain, child.name)) as changed:
        while True:
            async with execution.server.database.unit_of_work() as db:
                row = await db.find(schema.Execution, columns=("phase", "closure"), **execution_key(child))
            if row is None:
                return None
            if phases.phase_number(Workflow.Phase, row.phase) in phases.WORKFLOW_TERMINAL:
                return admin_execution_pb2.ExecutionClosure.FromString(row.closure or b"")
            await changed.wait()
            changed.clear()

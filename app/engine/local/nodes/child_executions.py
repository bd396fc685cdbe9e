"""A launch plan node: an execution of its own, started by the node and waited for.

Its name follows from execution, node and attempt, so a launch that is repeated after a crash finds it.
Source: flytepropeller pkg/controller/nodes/subworkflow (launchplan.go, launchplan/admin.go).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from flyteidl.admin import execution_pb2 as admin_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2
from flyteidl.event import event_pb2

from app import errors
from app.blobs import BlobMissing, BlobTooLarge
from app.database import schema
from app.engine.local.graph import aborts, names, retries
from app.engine.local.graph.failures import error_of
from app.engine.local.graph.reports import patiently
from app.engine.local.graph.run import Known, Run, Site
from app.engine.local.nodes.nodes import fail, succeed
from app.engine.local.processes.fair_semaphore import Permit
from app.services import executions, offloading, phases
from app.services.executions.launch import launch as launch_execution
from app.services.ids import execution_key

Node = execution_pb2.NodeExecution
Workflow = execution_pb2.WorkflowExecution
_Kind = execution_pb2.ExecutionError

# What may pass; every other refusal is the user's.
_PASSING = (errors.Aborted, errors.DeadlineExceeded, errors.Internal, errors.Unknown, errors.Unavailable)


class ChildFailed(Exception):
    """The child was refused or ended badly; error is what its node reports."""

    def __init__(self, error: execution_pb2.ExecutionError) -> None:
        self.error = error
        super().__init__(error.message)


@dataclass(frozen=True, slots=True)
class Child:
    """An execution that a node starts. node_id: in messages. recovered: what a node of the recovered execution was."""

    site: Site
    plan: identifier_pb2.Identifier
    id: identifier_pb2.WorkflowExecutionIdentifier
    node_id: str
    recovered: Known | None = None


async def run_launch_plan(site: Site, inputs: literals_pb2.LiteralMap, permit: Permit) -> literals_pb2.LiteralMap:
    """A launch plan node, from QUEUED to its last event."""
    await site.run.report.node(site.event(Node.QUEUED, input_uri=site.input_uri))

    async def once(attempt: int) -> literals_pb2.LiteralMap:
        child = _child(site, attempt)
        try:
            await launch(child, inputs)
        except ChildFailed as refused:
            raise await fail(site, refused.error) from refused
        running = site.event(Node.RUNNING, input_uri=site.input_uri, workflow_node_metadata=named(child.id))
        await site.run.report.node(running)
        try:
            outputs = await outputs_of(child)
        except ChildFailed as failed:
            raise await fail(site, failed.error, workflow_node_metadata=named(child.id)) from failed
        return await succeed(site, outputs, workflow_node_metadata=named(child.id))

    async def begun(attempt: int) -> float:
        return await _created_at(site.run, _child(site, attempt).id) if site.known is not None else 0.0

    async def ended(attempt: int) -> None:
        await aborts.terminate(site.run, _child(site, attempt).id, aborts.TIMED_OUT)

    return await retries.attempts(site, once, begun=begun, ended=ended, fail=fail)


async def _created_at(run: Run, child: identifier_pb2.WorkflowExecutionIdentifier) -> float:
    """When an execution was created, in seconds since 1970; 0 when there is none of that name."""
    async with run.server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, columns=("closure",), **execution_key(child))
    if row is None:
        return 0.0
    closure = admin_execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    return float(closure.created_at.ToNanoseconds() / 1e9)


def _child(site: Site, attempt: int) -> Child:
    """The execution that an attempt of a launch plan node starts."""
    plan, recovered = site.node.workflow_node.launchplan_ref, site.run.recovered.get(site.unique_id)
    return Child(site, plan, child_id(site.run, site.unique_id, attempt), site.node.id, recovered)


def child_id(run: Run, unique_id: str, attempt: int) -> identifier_pb2.WorkflowExecutionIdentifier:
    """How an execution is called that an attempt of a node starts."""
    return identifier_pb2.WorkflowExecutionIdentifier(
        project=run.id.project, domain=run.id.domain, name=names.child_execution(run.id.name, unique_id, attempt)
    )


async def launch(child: Child, inputs: literals_pb2.LiteralMap) -> None:
    """Start the child execution, unless an earlier run of this one did.

    errors: ChildFailed where it is refused; FlyteError where that may pass
    """
    server = child.site.run.server
    try:
        old = await _to_recover(child, inputs)
        if old is not None:
            await patiently(server, executions.recover_execution, _recovery(child, old))
        else:
            start = partial(launch_execution, above=child.site.run.config)
            await patiently(server, start, _request(child, inputs))
    except errors.AlreadyExists as error:
        async with server.database.unit_of_work() as db:
            taken = await db.find(schema.Execution, columns=("id",), **execution_key(child.id))
        if taken is None:
            # Not the name is taken: the launch plan's concurrency limit is reached.
            raise ChildFailed(_refusal(error)) from error
    except _PASSING:
        raise
    except errors.FlyteError as error:
        raise ChildFailed(_refusal(error)) from error


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
    _set_parent(child.site, spec.metadata)
    return request


def _recovery(
    child: Child, old: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionRecoverRequest:
    request = admin_execution_pb2.ExecutionRecoverRequest(id=old, name=child.id.name)
    _set_parent(child.site, request.metadata)
    return request


def _set_parent(site: Site, metadata: admin_execution_pb2.ExecutionMetadata) -> None:
    metadata.parent_node_execution.execution_id.CopyFrom(site.run.id)
    metadata.parent_node_execution.node_id = site.unique_id


async def _to_recover(
    child: Child, inputs: literals_pb2.LiteralMap
) -> identifier_pb2.WorkflowExecutionIdentifier | None:
    """The child that this node had in the execution that is recovered, if it had the same inputs.

    Deviates: upstream starts a failed child from its beginning; here what had succeeded inside is not run again.
    """
    old, run = child.recovered, child.site.run
    if old is None or not old.closure.HasField("workflow_node_metadata"):
        return None
    id: identifier_pb2.WorkflowExecutionIdentifier = old.closure.workflow_node_metadata.executionId
    async with run.server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, columns=("phase", "user_inputs_uri"), **execution_key(id))
    if row is None or phases.number(Workflow.Phase, row.phase) not in phases.WORKFLOW_TERMINAL:
        return None
    if not row.user_inputs_uri:
        return None
    try:
        return id if offloading.same(await run.read(row.user_inputs_uri), inputs) else None
    except (BlobMissing, BlobTooLarge):
        return None


async def outputs_of(child: Child) -> literals_pb2.LiteralMap:
    """Wait for the child's end; its outputs.

    errors: ChildFailed where it does not end well
    """
    run, name = child.site.run, child.id.name
    closure = await _end_of(run, child.id)
    if closure is None:
        missing = f"launch-plan not found, caused by: [NotFound] execID [{name}] not found on remote"
        raise ChildFailed(_node_error(child, "NotFound", missing, _Kind.SYSTEM))
    if closure.phase == Workflow.SUCCEEDED:
        if closure.outputs.HasField("values"):
            return closure.outputs.values
        if closure.WhichOneof("output_result") == "output_data":
            return closure.output_data
        return await run.read(closure.outputs.uri) if closure.outputs.uri else literals_pb2.LiteralMap()
    if closure.phase == Workflow.ABORTED:
        aborted = f"launchplan [{name}] aborted, caused by: launchplan execution aborted"
        raise ChildFailed(_node_error(child, "RemoteChildWorkflowExecutionFailed", aborted, _Kind.USER))
    if closure.HasField("error"):
        raise ChildFailed(closure.error)
    raise ChildFailed(error_of("LaunchPlanExecutionFailed", "Unknown Error", _Kind.UNKNOWN))


def _node_error(child: Child, code: str, message: str, kind: int) -> execution_pb2.ExecutionError:
    return error_of(code, f"failed at Node[{child.node_id}]. {code}: {message}", kind)


def named(child: identifier_pb2.WorkflowExecutionIdentifier) -> event_pb2.WorkflowNodeMetadata:
    """How a node's events name its child."""
    return event_pb2.WorkflowNodeMetadata(execution_id=child)


async def _end_of(
    run: Run, child: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionClosure | None:
    """The closure of the child once it has ended; None when there is no such execution."""
    with run.engine.watch.end((child.project, child.domain, child.name)) as told:
        while True:
            async with run.server.database.unit_of_work() as db:
                row = await db.find(schema.Execution, columns=("phase", "closure"), **execution_key(child))
            if row is None:
                return None
            if phases.number(Workflow.Phase, row.phase) in phases.WORKFLOW_TERMINAL:
                return admin_execution_pb2.ExecutionClosure.FromString(row.closure or b"")
            await told.wait()
            told.clear()

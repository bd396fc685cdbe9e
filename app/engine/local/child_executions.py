"""A launch plan node: an execution of its own, started by the node and waited for.

Its name follows from execution, node and attempt, so a launch that is repeated after a crash finds it.
Source: flytepropeller pkg/controller/nodes/subworkflow (launchplan.go, launchplan/admin.go).
"""

from __future__ import annotations

from flyteidl.admin import execution_pb2 as admin_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2
from flyteidl.event import event_pb2

from app import errors, schema
from app.blobs import BlobMissing
from app.engine.local import aborts, names, retries
from app.engine.local.failures import NodeFailed, error_of
from app.engine.local.nodes import fail, succeed
from app.engine.local.reports import patiently
from app.engine.local.run import Site
from app.engine.local.slots import Place
from app.services import executions, phases
from app.services.ids import execution_key

Node = execution_pb2.NodeExecution
Workflow = execution_pb2.WorkflowExecution
_Kind = execution_pb2.ExecutionError

# What may pass; every other refusal is the user's.
_PASSING = (errors.Aborted, errors.DeadlineExceeded, errors.Internal, errors.Unknown, errors.Unavailable)


async def run_launch_plan(site: Site, inputs: literals_pb2.LiteralMap, place: Place) -> literals_pb2.LiteralMap:
    """A launch plan node, from QUEUED to its last event."""
    await site.run.report.node(site.event(Node.QUEUED, input_uri=site.input_uri))

    async def once(attempt: int) -> literals_pb2.LiteralMap:
        child = child_id(site, attempt)
        await launch(site, inputs, child)
        running = site.event(Node.RUNNING, input_uri=site.input_uri, workflow_node_metadata=_names(child))
        await site.run.report.node(running)
        return await succeed(site, await outputs_of(site, child), workflow_node_metadata=_names(child))

    async def ended(attempt: int) -> None:
        await aborts.terminate(site.run, child_id(site, attempt), aborts.TIMED_OUT)

    return await retries.attempts(site, once, ended=ended, fail=fail)


def child_id(site: Site, attempt: int) -> identifier_pb2.WorkflowExecutionIdentifier:
    """The execution that an attempt of a launch plan node starts."""
    id = site.run.id
    return identifier_pb2.WorkflowExecutionIdentifier(
        project=id.project, domain=id.domain, name=names.child_execution(id.name, site.unique_id, attempt)
    )


async def launch(
    site: Site, inputs: literals_pb2.LiteralMap, child: identifier_pb2.WorkflowExecutionIdentifier
) -> None:
    """Start the child execution, unless an earlier run of this one did.

    errors: NodeFailed where it is refused; FlyteError where that may pass
    """
    server = site.run.server
    try:
        old = await _to_recover(site, inputs)
        if old is not None:
            await patiently(server, executions.recover_execution, _recovery(site, old, child))
        else:
            await patiently(server, executions.create_execution, _request(site, inputs, child))
    except errors.AlreadyExists as error:
        async with server.database.unit_of_work() as db:
            taken = await db.find(schema.Execution, columns=("id",), **execution_key(child))
        if taken is None:
            # Not the name is taken: the launch plan's concurrency limit is reached.
            raise await fail(site, _refusal(error)) from error
    except _PASSING:
        raise
    except errors.FlyteError as error:
        raise await fail(site, _refusal(error)) from error


def _refusal(error: errors.FlyteError) -> execution_pb2.ExecutionError:
    kind = next(one.__name__ for one in type(error).__mro__ if errors.FlyteError in one.__bases__)
    cause = f"rpc error: code = {kind} desc = {error.message}"
    return error_of("RuntimeExecutionError", f"[UserError] failed to launch workflow, caused by: {cause}")


def _request(
    site: Site, inputs: literals_pb2.LiteralMap, child: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionCreateRequest:
    above = site.run.spec
    request = admin_execution_pb2.ExecutionCreateRequest(
        project=child.project, domain=child.domain, name=child.name, inputs=inputs
    )
    spec = request.spec
    spec.launch_plan.CopyFrom(site.node.workflow_node.launchplan_ref)
    spec.metadata.mode = admin_execution_pb2.ExecutionMetadata.CHILD_WORKFLOW
    _set_parent(site, spec.metadata)
    for name in ("labels", "annotations", "security_context", "raw_output_data_config", "interruptible", "envs"):
        if above.HasField(name):
            getattr(spec, name).CopyFrom(getattr(above, name))
    spec.max_parallelism = above.max_parallelism
    spec.overwrite_cache = above.overwrite_cache
    return request


def _recovery(
    site: Site, old: identifier_pb2.WorkflowExecutionIdentifier, child: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionRecoverRequest:
    request = admin_execution_pb2.ExecutionRecoverRequest(id=old, name=child.name)
    _set_parent(site, request.metadata)
    return request


def _set_parent(site: Site, metadata: admin_execution_pb2.ExecutionMetadata) -> None:
    metadata.parent_node_execution.execution_id.CopyFrom(site.run.id)
    metadata.parent_node_execution.node_id = site.unique_id


async def _to_recover(site: Site, inputs: literals_pb2.LiteralMap) -> identifier_pb2.WorkflowExecutionIdentifier | None:
    """The child that this node had in the execution that is recovered, if it had the same inputs.

    Deviates: upstream starts a failed child from its beginning; here what had succeeded inside is not run again.
    """
    old = site.run.recovered.get(site.unique_id)
    if old is None or not old.closure.HasField("workflow_node_metadata"):
        return None
    id: identifier_pb2.WorkflowExecutionIdentifier = old.closure.workflow_node_metadata.executionId
    async with site.run.server.database.unit_of_work() as db:
        row = await db.find(schema.Execution, columns=("phase", "user_inputs_uri"), **execution_key(id))
    if row is None or phases.number(Workflow.Phase, row.phase) not in phases.WORKFLOW_TERMINAL:
        return None
    if not row.user_inputs_uri:
        return None
    try:
        return id if await site.run.read(row.user_inputs_uri) == inputs else None
    except BlobMissing:
        return None


async def outputs_of(site: Site, child: identifier_pb2.WorkflowExecutionIdentifier) -> literals_pb2.LiteralMap:
    """Wait for the child's end; its outputs.

    errors: NodeFailed, when the node's events are sent
    """
    closure = await _end_of(site, child)
    if closure is None:
        missing = f"launch-plan not found, caused by: [NotFound] execID [{child.name}] not found on remote"
        raise await _failed(site, child, _node_error(site, "NotFound", missing, _Kind.SYSTEM))
    if closure.phase == Workflow.SUCCEEDED:
        if closure.outputs.HasField("values"):
            return closure.outputs.values
        if closure.WhichOneof("output_result") == "output_data":
            return closure.output_data
        return await site.run.read(closure.outputs.uri) if closure.outputs.uri else literals_pb2.LiteralMap()
    if closure.phase == Workflow.ABORTED:
        aborted = f"launchplan [{child.name}] aborted, caused by: launchplan execution aborted"
        raise await _failed(site, child, _node_error(site, "RemoteChildWorkflowExecutionFailed", aborted, _Kind.USER))
    if closure.HasField("error"):
        raise await _failed(site, child, closure.error)
    raise await _failed(site, child, error_of("LaunchPlanExecutionFailed", "Unknown Error", _Kind.UNKNOWN))


def _node_error(site: Site, code: str, message: str, kind: int) -> execution_pb2.ExecutionError:
    return error_of(code, f"failed at Node[{site.node.id}]. {code}: {message}", kind)


async def _failed(
    site: Site, child: identifier_pb2.WorkflowExecutionIdentifier, error: execution_pb2.ExecutionError
) -> NodeFailed:
    return await fail(site, error, workflow_node_metadata=_names(child))


def _names(child: identifier_pb2.WorkflowExecutionIdentifier) -> event_pb2.WorkflowNodeMetadata:
    return event_pb2.WorkflowNodeMetadata(execution_id=child)


async def _end_of(
    site: Site, child: identifier_pb2.WorkflowExecutionIdentifier
) -> admin_execution_pb2.ExecutionClosure | None:
    """The closure of the child once it has ended; None when there is no such execution."""
    run = site.run
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

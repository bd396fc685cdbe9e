"""Dynamic nodes: compile, report and run the nodes that a task returns instead of outputs.

The compiled workflow is reported and stored with the node; clients display the nodes inside by it. A server that
resumes the execution reads it back, so that the task does not run again.
Proto: core.DynamicJobSpec. Source: flytepropeller pkg/controller/nodes/dynamic (handler.go, dynamic_workflow.go).
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import structlog
from flyteidl.core import (
    compiler_pb2,
    dynamic_job_pb2,
    execution_pb2,
    identifier_pb2,
    literals_pb2,
    tasks_pb2,
    workflow_pb2,
)
from flyteidl.event import event_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.blobs import BlobMissing
from app.compiler import CompileErrors, LaunchPlanInterface, compile_task, compile_workflow, requirements
from app.engine.local.execution_error import error_of
from app.engine.local.graph import aborts, retries, unique_ids
from app.engine.local.graph.failures import NodeFailed, TooLarge
from app.engine.local.graph.scheduler import GraphScheduler
from app.engine.local.graph.service_calls import with_retries
from app.engine.local.graph.state import GraphScope, NodeContext
from app.engine.local.nodes.node_run import run_node
from app.engine.local.processes.task_attempt import Dynamic, Failed, Succeeded
from app.runtime.threads import in_thread_if_large
from app.services import offloading, workflows
from app.services.checks import check_identifier
from app.services.literal_limits import SETTING

log = structlog.get_logger(__name__)

Node = execution_pb2.NodeExecution
# Runs the nodes of an attempt within a number of seconds; returns None when they exceed it.
RunNodes: TypeAlias = Callable[[int, Dynamic, float | None], Awaitable[Succeeded | Failed | None]]
_Kind = execution_pb2.ExecutionError


class NotBuilt(Exception):
    """The nodes do not compile. The message is shown to the author of the task."""


# Parity: the dynamic node is retried when a node inside has timed out, and reports no error of that node.
INTERRUPTED = Failed(error_of("DynamicNodeFailing", "Dynamic workflow failed", _Kind.UNKNOWN), retryable=True)


def not_built(error: NotBuilt) -> Failed:
    """Return the outcome of an attempt whose nodes do not compile."""
    return Failed(error_of("DynamicWorkflowBuildFailed", str(error)), retryable=False)


async def graph_of(context: NodeContext, task: tasks_pb2.TaskTemplate, dynamic: Dynamic, attempt: int) -> GraphScope:
    """Return the graph of the nodes that an attempt returned.

    Compile the graph, or read it where an earlier run of the execution has reported it.

    Raises:
        NotBuilt: The nodes do not compile.
        FlyteError: The database or the store does not answer.
    """
    depth = context.scope.dynamic_depth + 1
    id = _workflow_id(context, attempt)
    closure = await _reported(context, id)
    if closure is None:
        # A reported graph was within the limit when it was compiled; a lower limit must not end its nodes.
        _check_depth(context, depth)
        closure = await _compiled(context, _template(task, dynamic.spec, id), _tasks(task, dynamic.spec), dynamic)
    return GraphScope(
        execution=context.execution,
        closure=closure,
        workflow=closure.primary,
        directory=context.output_dir(attempt),
        parent=context,
        attempt=attempt,
        dynamic_depth=depth,
    )


def _check_depth(context: NodeContext, depth: int) -> None:
    """Raise NotBuilt when dynamic nodes lie too deep in each other. Deviates: upstream does not limit their depth."""
    depth_max = context.execution.server.settings.engine.local.dynamic_depth_max
    if depth > depth_max:
        limit = f"engine.local.dynamicDepthMax is {depth_max}"
        raise NotBuilt(f"[User] dynamic tasks ask for dynamic tasks more than {depth_max} deep; {limit}")


def running(context: NodeContext, scope: GraphScope, dynamic: Dynamic) -> event_pb2.NodeExecutionEvent:
    """Return the DYNAMIC_RUNNING event, which holds the compiled workflow."""
    event = context.event(Node.DYNAMIC_RUNNING, is_parent=True, is_dynamic=True)
    dynamic_workflow = event.task_node_metadata.dynamic_workflow
    dynamic_workflow.id.CopyFrom(scope.workflow.template.id)
    dynamic_workflow.compiled_workflow.CopyFrom(scope.closure)
    dynamic_workflow.dynamic_job_spec_uri = dynamic.futures_uri
    return event


async def run(
    context: NodeContext, scope: GraphScope, dynamic: Dynamic, seconds_max: float | None
) -> Succeeded | Failed | None:
    """Run the graph and return the outcome of the attempt; None when the nodes were aborted at the timeout.

    A cancelled run leaves nodes and processes as they are.
    """
    outputs: literals_pb2.LiteralMap | None = None
    try:
        async with retries.time_limit(0.0 if _had_timed_out(scope) else seconds_max):
            outputs = await GraphScheduler(scope, run_node).run(literals_pb2.LiteralMap())
    except NodeFailed as failure:
        return INTERRUPTED if failure.timed_out else Failed(failure.error, retryable=False)
    if outputs is None:
        await aborts.end(context.execution, aborts.TIMED_OUT, below=context)
        return None
    output_uri = ""
    if scope.workflow.template.interface.outputs.variables:
        output_uri = context.output_uri(scope.attempt)
        try:
            await context.execution.literals.write(output_uri, outputs)
        except TooLarge as error:
            return Failed(error.error, retryable=False)
    return Succeeded(output_uri, outputs, dynamic.deck_uri)


def _had_timed_out(scope: GraphScope) -> bool:
    """Return whether an earlier run of the execution was aborting the nodes at the timeout.

    Nodes are aborted at the timeout or after the failure of another node.
    """
    recorded = [scope.context(node).recorded for node in scope.workflow.template.nodes]
    phases = {one.phase for one in recorded if one is not None}
    return "ABORTED" in phases and not phases & {"FAILED", "TIMED_OUT"}


async def recover(context: NodeContext, inputs: literals_pb2.LiteralMap) -> tuple[Dynamic, float] | None:
    """Copy the nodes that the same node of the recovered execution had returned to this node.

    Deviates: upstream recovers the nodes even when the inputs have changed.

    Returns:
        The nodes and when this node started, in seconds since 1970; None when the task has to run.
    """
    execution, old = context.execution, context.recovered
    if old is None or not old.closure.dynamic_job_spec_uri or 0 in context.recorded_attempts:
        return None
    try:
        if not offloading.equal_values(await execution.literals.read(old.input_uri), inputs):
            return None
        raw = await execution.literals.read_bytes(old.closure.dynamic_job_spec_uri)
    except BlobMissing as error:
        log.warning("dynamic_not_recovered", execution=execution.id.name, node=context.unique_id, reason=error.message)
        return None
    uri = f"{context.output_dir()}/futures.pb"
    await execution.server.blobs.write(uri, raw)
    began = context.recorded.started_at if context.recorded is not None else 0.0
    return Dynamic(uri, dynamic_job_pb2.DynamicJobSpec.FromString(raw)), began or time.time()


def _workflow_id(context: NodeContext, attempt: int) -> identifier_pb2.Identifier:
    """Return the id of the compiled workflow. Deviates: upstream's version is random; here it names the attempt."""
    execution = context.execution.id
    return identifier_pb2.Identifier(
        resource_type=identifier_pb2.WORKFLOW,
        project=execution.project,
        domain=execution.domain,
        name=f"dynamic_{context.node.id}",
        version=unique_ids.generated_name(execution.name, context.unique_id, attempt),
    )


async def _reported(context: NodeContext, id: identifier_pb2.Identifier) -> compiler_pb2.CompiledWorkflowClosure | None:
    """Return the workflow that was reported for this attempt; None without one."""
    recorded = context.recorded
    if recorded is None or not recorded.dynamic_uri:
        return None
    try:
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(
            await context.execution.literals.read_closure_bytes(recorded.dynamic_uri)
        )
    except (BlobMissing, DecodeError) as error:
        log.warning(
            "dynamic_compiled_again", execution=context.execution.id.name, node=context.unique_id, reason=str(error)
        )
        return None
    return closure if closure.primary.template.id == id else None


def _template(
    task: tasks_pb2.TaskTemplate, spec: dynamic_job_pb2.DynamicJobSpec, id: identifier_pb2.Identifier
) -> workflow_pb2.WorkflowTemplate:
    """Return a workflow without inputs, with the nodes and outputs that the task returned."""
    template = workflow_pb2.WorkflowTemplate(id=id, nodes=spec.nodes, outputs=spec.outputs)
    template.interface.outputs.CopyFrom(task.interface.outputs)
    return template


def _tasks(parent: tasks_pb2.TaskTemplate, spec: dynamic_job_pb2.DynamicJobSpec) -> list[tasks_pb2.TaskTemplate]:
    """Return the tasks of the nodes, each once. Their containers inherit the configuration of the parent's."""
    found: dict[bytes, tasks_pb2.TaskTemplate] = {}
    for task in spec.tasks:
        key = task.id.SerializeToString(deterministic=True)
        if key not in found:
            found[key] = tasks_pb2.TaskTemplate()
            found[key].CopyFrom(task)
            if task.HasField("container") and parent.HasField("container"):
                found[key].container.config.extend(parent.container.config)
    return list(found.values())


async def _compiled(
    context: NodeContext, template: workflow_pb2.WorkflowTemplate, tasks: list[tasks_pb2.TaskTemplate], dynamic: Dynamic
) -> compiler_pb2.CompiledWorkflowClosure:
    """Compile the workflow as at its registration.

    Raises:
        NotBuilt: The workflow does not compile, or is too large.

    Source: buildDynamicWorkflow.
    """
    spec, size = dynamic.spec, dynamic.spec.ByteSize()
    try:
        step = "failed to compile dynamic tasks"
        for task in tasks:
            # The attempts of these tasks are recorded and looked up under these ids.
            check_identifier(task.id, identifier_pb2.TASK)
        compiled = await in_thread_if_large(size, lambda: [compile_task(task) for task in tasks])
        step = "failed to Get requirements for subworkflows"
        needed = await in_thread_if_large(size, requirements, template, spec.subworkflows)
        launch_plans = [await _launch_plan(context, id) for id in needed.launch_plan_ids]
        step = "malformed dynamic workflow"
        closure = await in_thread_if_large(size, compile_workflow, template, spec.subworkflows, compiled, launch_plans)
    except (CompileErrors, errors.InvalidArgument) as error:
        raise NotBuilt(f"[User] {step}, caused by: {error}") from error
    limit, size = context.execution.server.settings.storage.limits.closure_bytes_max, closure.ByteSize()
    if limit and size > limit:
        # A larger workflow could be reported and not read back.
        excess = f"the compiled workflow has {size} bytes, the limit of {SETTING} and at least 64 MiB is {limit}"
        raise NotBuilt(f"[User] {step}, caused by: {excess}")
    return closure


async def _launch_plan(context: NodeContext, id: identifier_pb2.Identifier) -> LaunchPlanInterface:
    try:
        return await with_retries(context.execution.server, workflows.launch_plan_interface, id)
    except errors.NotFound as error:
        named = ":".join((id.project, id.domain, id.name, id.version))
        raise NotBuilt(f"[User] incorrectly specified launchplan {named}, caused by: {error.message}") from error

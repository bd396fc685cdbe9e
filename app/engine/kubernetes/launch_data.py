"""Read the rows and attributes of a launched execution from which its FlyteWorkflow object is made."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from flyteidl.admin import execution_pb2, matchable_resource_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2

from app import errors
from app.database import schema
from app.engine.closures import ClosureCache
from app.engine.kubernetes.flyte_workflow import LaunchData
from app.runtime.context import Context
from app.services import checks, matchable_attributes, task_resources

# The columns of an execution and of its launch record that are needed.
EXECUTION_COLUMNS = ("workflow_id", "spec", "inputs_uri", "created_at", "execution_created_at")
LAUNCH_COLUMNS = ("config",)
_WORKFLOW = ("project", "domain", "name", "remote_closure_identifier", "digest")


async def launch_data(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    *,
    row: Any,
    launch: Any,
    closures: ClosureCache,
    offload: bool,
) -> LaunchData:
    """Return what the object of an execution is made of.

    Args:
        ctx: The unit of work.
        id: The execution.
        row: Its row, with EXECUTION_COLUMNS.
        launch: Its launch record, with LAUNCH_COLUMNS.
        closures: Compiled workflows that were read before.
        offload: Send addresses of the closure and the inputs in any case, because the object is too large.

    Raises:
        errors.NotFound: The workflow is not registered.
        BlobError: Closure or inputs cannot be read.
    """
    workflow = await ctx.db.find(schema.Workflow, columns=_WORKFLOW, id=row.workflow_id)
    if workflow is None:
        raise errors.NotFound("the workflow of the execution is not registered")
    section = ctx.settings.flyteadmin
    spec = execution_pb2.ExecutionSpec.FromString(row.spec or b"")
    single_task = spec.launch_plan.resource_type == identifier_pb2.TASK
    plan = "" if single_task else spec.launch_plan.name
    inputs = None
    if not (offload or section.use_offloaded_inputs):
        bytes_max = ctx.settings.storage.limits.max_download_bytes
        inputs = literals_pb2.LiteralMap.FromString(await ctx.blobs.read(row.inputs_uri, bytes_max=bytes_max))
    closure = None
    if not (offload or section.use_offloaded_workflow_closure):
        closure = await closures.get(workflow)
        if single_task:
            closure = _without_deadlines(closure)
    recovered = spec.metadata.mode == execution_pb2.ExecutionMetadata.RECOVERED
    return LaunchData(
        id=id,
        workflow_name=workflow.name,
        workflow_key=(workflow.remote_closure_identifier, workflow.digest or b"", single_task),
        closure=closure,
        closure_uri=workflow.remote_closure_identifier,
        inputs=inputs,
        inputs_uri=row.inputs_uri,
        config=matchable_resource_pb2.WorkflowExecutionConfig.FromString(launch.config or b""),
        platform=await task_resources.platform(ctx, id.project, id.domain, workflow.name),
        project_labels=await _project_labels(ctx, id.project),
        child_queue=await _child_queue(ctx, workflow),
        plugin_overrides=await _plugin_overrides(ctx, id, "" if single_task else workflow.name, plan),
        recovered=spec.metadata.reference_execution if recovered else None,
        namespace=ctx.settings.namespace_mapping.of(id.project, id.domain),
        accepted_at=row.execution_created_at or row.created_at,
    )


def _without_deadlines(closure: compiler_pb2.CompiledWorkflowClosure) -> compiler_pb2.CompiledWorkflowClosure:
    """Return the generated workflow of a single task without the timeout of its node.

    Parity: upstream gives the node of a single task no timeout, so FlytePropeller ignores that of the task.
    """
    changed = compiler_pb2.CompiledWorkflowClosure()
    changed.CopyFrom(closure)
    for node in changed.primary.template.nodes:
        node.metadata.ClearField("timeout")
    return changed


async def _project_labels(ctx: Context, project: str) -> dict[str, str]:
    row = await ctx.db.find(schema.Project, columns=("labels",), identifier=project)
    return dict(checks.project_labels(row.labels)) if row is not None and row.labels else {}


async def _child_queue(ctx: Context, workflow: Any) -> str:
    """Return the queue of the first tag that has one, "" for none (upstream pkg/executions/queues.go)."""
    section = ctx.settings.queues
    if not section.execution_queues:
        return ""
    kind = matchable_resource_pb2.EXECUTION_QUEUE
    found = await matchable_attributes.resolve(ctx, kind, workflow.project, workflow.domain, workflow.name)
    tags: Sequence[str] = tuple(found.execution_queue_attributes.tags) if found is not None else ()
    if not tags:
        by_domain = {config.domain: config.tags for config in section.workflow_configs}
        tags = by_domain.get(workflow.domain, by_domain.get("", ()))
    for tag in tags:
        queues = [queue.dynamic for queue in section.execution_queues if tag in queue.attributes]
        if queues:
            return secrets.choice(queues)
    return ""


async def _plugin_overrides(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, workflow: str, plan: str
) -> Sequence[matchable_resource_pb2.PluginOverride]:
    kind = matchable_resource_pb2.PLUGIN_OVERRIDE
    found = await matchable_attributes.resolve(ctx, kind, id.project, id.domain, workflow, plan)
    return tuple(found.plugin_overrides.overrides) if found is not None else ()

"""Read the rows and attributes of a launched execution from which its FlyteWorkflow object is made."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from flyteidl.admin import execution_pb2, matchable_resource_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2

from app import errors
from app.engine.closures import ClosureCache
from app.engine.kubernetes.flyte_workflow import LaunchData
from app.runtime.context import Context
from app.services import checks, matchable_attributes, task_resources


async def launch_data(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    *,
    row: Any,
    namespace: str,
    closures: ClosureCache,
    offload: bool,
) -> LaunchData:
    """Return what the object of an execution is made of.

    Args:
        ctx: The unit of work.
        id: The execution.
        row: Its row with those of its launch record, workflow and project, as placing.py reads them.
        namespace: The namespace that the execution has recorded.
        closures: Compiled workflows that were read before.
        offload: Send addresses of the closure and the inputs in any case, because the object is too large.

    Raises:
        errors.NotFound: The workflow is not registered.
        BlobError: Closure or inputs cannot be read.
    """
    if row.workflow_id is None:
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
        closure = await closures.get(row)
        if single_task:
            closure = _without_deadlines(closure)
    attributes = await _attributes(ctx, id, row, plan, single_task=single_task)
    overrides = attributes.get(matchable_resource_pb2.PLUGIN_OVERRIDE)
    recovered = spec.metadata.mode == execution_pb2.ExecutionMetadata.RECOVERED
    return LaunchData(
        id=id,
        workflow_name=row.workflow_name,
        workflow_key=(row.remote_closure_identifier, row.digest or b"", single_task),
        closure=closure,
        closure_uri=row.remote_closure_identifier,
        inputs=inputs,
        inputs_uri=row.inputs_uri,
        config=matchable_resource_pb2.WorkflowExecutionConfig.FromString(row.config or b""),
        platform=task_resources.platform_of(ctx.settings, attributes.get(matchable_resource_pb2.TASK_RESOURCE)),
        project_labels=dict(checks.project_labels(row.project_labels)),
        child_queue=await _child_queue(ctx, row),
        plugin_overrides=tuple(overrides.plugin_overrides.overrides) if overrides is not None else (),
        recovered=spec.metadata.reference_execution if recovered else None,
        namespace=namespace,
        accepted_at=row.accepted_at,
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


async def _attributes(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, row: Any, plan: str, *, single_task: bool
) -> dict[int, matchable_resource_pb2.MatchingAttributes]:
    """Return the attributes TASK_RESOURCE and PLUGIN_OVERRIDE, by one statement where one place has both.

    Parity: task resources are those of the workflow's project and domain, plugins those of the execution's. A single
    task has the name of the execution in place of the workflow's for its plugins.
    """
    task_resource = {matchable_resource_pb2.TASK_RESOURCE: (row.workflow_name, "")}
    plugins = {matchable_resource_pb2.PLUGIN_OVERRIDE: (id.name, "") if single_task else (row.workflow_name, plan)}
    one_place = (id.project, id.domain) == (row.workflow_project, row.workflow_domain)
    if one_place and not single_task:
        return await matchable_attributes.resolve_kinds(ctx, {**task_resource, **plugins}, id.project, id.domain)
    found = await matchable_attributes.resolve_kinds(ctx, task_resource, row.workflow_project, row.workflow_domain)
    return {**found, **await matchable_attributes.resolve_kinds(ctx, plugins, id.project, id.domain)}


async def _child_queue(ctx: Context, row: Any) -> str:
    """Return the queue of the first tag that has one, "" for none (upstream pkg/executions/queues.go)."""
    section = ctx.settings.queues
    if not section.execution_queues:
        return ""
    kind = matchable_resource_pb2.EXECUTION_QUEUE
    found = await matchable_attributes.resolve(ctx, kind, row.workflow_project, row.workflow_domain, row.workflow_name)
    tags: Sequence[str] = tuple(found.execution_queue_attributes.tags) if found is not None else ()
    by_domain = {config.domain: config.tags for config in section.workflow_configs}
    # Parity: where no tag of the attribute has a queue, those of the domain count.
    for tag in (*tags, *(by_domain.get(row.workflow_domain) or by_domain.get("", ()))):
        queues = [queue.dynamic for queue in section.execution_queues if tag in queue.attributes]
        if queues:
            return secrets.choice(queues)
    return ""

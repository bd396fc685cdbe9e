"""Launch an execution: check, resolve the launched entity, merge the configuration, store inputs and rows.

A launch plan and a single task differ only in how they are resolved. The engine is notified after the commit. If the
process ends before that, the engine that starts next finds the launch record.
The checks are in launch_checks.py.
Proto: admin.ExecutionCreateRequest. Source: ExecutionManager (launchExecution, launchSingleTaskExecution).
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any

from flyteidl.admin import execution_pb2, launch_plan_pb2, matchable_resource_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2

from app import errors
from app.auth.roles import Need, Role
from app.compiler import literals
from app.database import schema
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import checks, literal_limits, matchable_attributes
from app.services import execution_config as configuration
from app.services.execution_ids import check_execution_id, execution_key, random_name
from app.services.executions import clusters, launch_checks, launcher_identity, single_task

_CONFIG = matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG
# The columns of a launch plan that a launch reads.
PLAN_COLUMNS = ("id", "spec", "closure", "workflow_id")


@dataclass(frozen=True, slots=True)
class LaunchTarget:
    """The workflow that an execution runs, and the launch plan or task that was launched.

    Attributes:
        launch_plan: None for a single task, whose generated launch plan is no source of configuration.
        launch_plan_row: The id of the launch plan's row.
        expected_inputs: The inputs that the launch plan expects, with defaults.
        fixed_inputs: The inputs that the launch plan fixes.
        workflow_id: The workflow.
        workflow_row: The id of the workflow's row.
        task_row: The id of the row of a single task, 0 for a launch plan.
    """

    launch_plan: launch_plan_pb2.LaunchPlanSpec | None
    launch_plan_row: int
    expected_inputs: interface_pb2.ParameterMap
    fixed_inputs: literals_pb2.LiteralMap
    workflow_id: identifier_pb2.Identifier
    workflow_row: int
    task_row: int = 0


async def create_execution(
    ctx: Context, request: execution_pb2.ExecutionCreateRequest
) -> execution_pb2.ExecutionCreateResponse:
    """Launch a launch plan or a single task. Without a name in the request, one is generated.

    Raises:
        errors.InvalidArgument: A field is missing or wrong; the message names it.
        errors.NotFound: The launch plan, task, workflow or parent node does not exist.
        errors.AlreadyExists: The name is taken, or the concurrency limit of the launch plan is reached.

    Source: upstream ExecutionManager.CreateExecution.
    """
    return await launch(ctx, request)


async def launch(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    *,
    source_execution: int = 0,
    parent_config: configuration.Config | None = None,
) -> execution_pb2.ExecutionCreateResponse:
    """Launch an execution, for create_execution, relaunch, recover and the engine.

    Args:
        ctx: The call.
        request: Names the launch plan or task and its inputs.
        source_execution: The id of the row that is relaunched or recovered, 0 for none.
        parent_config: The configuration of the parent execution, for a child execution that the engine starts.
    """
    spec = execution_pb2.ExecutionSpec()
    spec.CopyFrom(request.spec)
    # Before flyteidl 0.15 the spec had the inputs. flyteconsole still sends inputs there.
    inputs = request.inputs if request.inputs.literals else spec.inputs
    await launch_checks.check_request(ctx, request, spec, inputs)
    target = await _resolve(ctx, spec)
    size_bytes = inputs.ByteSize() + target.expected_inputs.ByteSize()
    all_inputs = await in_thread_if_large(size_bytes, _with_defaults, inputs, target)
    literal_limits.check(ctx.settings, "inputs", all_inputs)
    literal_limits.check(ctx.settings, "inputs", inputs)
    name = request.name or "a" + random_name(19)
    id = identifier_pb2.WorkflowExecutionIdentifier(project=request.project, domain=request.domain, name=name)
    await launch_checks.check_name_is_free(ctx, id)
    parent_node, parent_execution = await _inherit(ctx, spec)
    config = await _merge_config(ctx, request, spec, target, parent_config)
    await launch_checks.check_cluster_pool(ctx, request, spec)
    inputs_uri, user_inputs_uri = await _write_inputs(ctx, id, all_inputs, inputs)
    await ctx.db.begin()
    await launch_checks.check_concurrency(ctx, spec.launch_plan, target.launch_plan)
    closure = _closure(ctx, spec, target)
    refusal, cluster = await _choose_cluster(ctx, id, spec, target)
    if refusal is not None:
        _fail(closure, refusal)
    await ctx.db.insert(
        schema.Execution,
        **execution_key(id),
        launch_plan_id=0 if target.task_row else target.launch_plan_row,
        workflow_id=target.workflow_row,
        task_id=target.task_row,
        phase="UNDEFINED" if refusal is None else "FAILED",
        closure=closure.SerializeToString(),
        error_kind=None if refusal is None else "SYSTEM",
        error_code=None if refusal is None else closure.error.code,
        # Parity: upstream writes 0 and "" for absent values, which sorts and filters of lists see.
        duration=0,
        abort_cause="",
        spec=_stored_spec(ctx, id, spec, config, cluster).SerializeToString(),
        execution_created_at=ctx.now,
        execution_updated_at=ctx.now,
        mode=spec.metadata.mode,
        source_execution_id=source_execution or parent_execution,
        parent_node_execution_id=parent_node,
        cluster=cluster,
        inputs_uri=inputs_uri,
        user_inputs_uri=user_inputs_uri,
        user=spec.metadata.principal,
        state=execution_pb2.EXECUTION_ACTIVE,
        launch_entity=identifier_pb2.ResourceType.Name(spec.launch_plan.resource_type).lower(),
    )
    await _insert_tags(ctx, id, spec)
    if ctx.settings.engine.kind != "none" and refusal is None:
        await _record_launch(ctx, id, config, wait=target.task_row != 0)
    return execution_pb2.ExecutionCreateResponse(id=id)


async def _record_launch(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, config: configuration.Config, *, wait: bool
) -> None:
    """Insert the launch record, and notify the engine after the commit.

    wait: whether to wait for the engine's first refusal.
    """
    next_try_at = ctx.now if ctx.settings.engine.kind == "kubernetes" else None
    await ctx.db.insert(schema.Launch, **execution_key(id), config=config.SerializeToString(), next_try_at=next_try_at)
    ctx.after_commit(lambda: ctx.engine.launched(id, wait=wait))


async def _resolve(ctx: Context, spec: execution_pb2.ExecutionSpec) -> LaunchTarget:
    """Read the launch plan or task that a request launches.

    Raises:
        errors.NotFound: The launch plan or task is not registered.
        errors.PermissionDenied: The caller may not see its project and domain, which a relaunch reads from the row.
    """
    reference = spec.launch_plan
    if ctx.access is not None:
        ctx.access.require_entity(reference.project, reference.domain)
    if reference.resource_type == identifier_pb2.TASK:
        generated = await single_task.generated_workflow(ctx, reference, spec)
        return LaunchTarget(
            launch_plan=None,
            launch_plan_row=generated.launch_plan_row,
            expected_inputs=generated.expected_inputs,
            fixed_inputs=literals_pb2.LiteralMap(),
            workflow_id=generated.workflow_id,
            workflow_row=generated.workflow_row,
            task_row=generated.task_row,
        )
    row = await ctx.db.find(schema.LaunchPlan, columns=PLAN_COLUMNS, **checks.version_key(reference))
    if row is None:
        raise checks.not_registered("LAUNCH_PLAN", reference)
    plan = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec)
    closure = launch_plan_pb2.LaunchPlanClosure.FromString(row.closure)
    return LaunchTarget(
        launch_plan=plan,
        launch_plan_row=row.id,
        expected_inputs=closure.expected_inputs,
        fixed_inputs=plan.fixed_inputs,
        workflow_id=plan.workflow_id,
        workflow_row=row.workflow_id,
    )


def _with_defaults(inputs: literals_pb2.LiteralMap, target: LaunchTarget) -> literals_pb2.LiteralMap:
    """Return the given inputs with the fixed inputs and defaults of the launch plan."""
    merged = literals.merge_inputs(inputs.literals, target.fixed_inputs.literals, target.expected_inputs)
    return literals_pb2.LiteralMap(literals=merged)


async def _inherit(ctx: Context, spec: execution_pb2.ExecutionSpec) -> tuple[int, int]:
    """Copy principal, nesting and cluster label of a parent execution into the spec of its child execution.

    Returns:
        The row ids of the parent node and the parent execution, 0 without a parent.
    """
    metadata = spec.metadata
    metadata.principal = ctx.principal
    metadata.ClearField("artifact_ids")
    if not metadata.HasField("parent_node_execution"):
        return 0, 0
    node = metadata.parent_node_execution
    check_execution_id(node.execution_id)
    if not node.node_id:
        raise errors.missing("node_id")
    if ctx.access is not None:
        ctx.access.require(Need(Role.RUN, node.execution_id.project, node.execution_id.domain))
    parent = await ctx.db.find(
        schema.NodeExecution, columns=("id",), **execution_key(node.execution_id), node_id=node.node_id
    )
    if parent is None:
        raise checks.missing_entity("node execution", node)
    execution = await ctx.db.find(schema.Execution, columns=("id", "spec", "user"), **execution_key(node.execution_id))
    if execution is None:
        raise checks.missing_entity("execution", node.execution_id)
    parent_spec = execution_pb2.ExecutionSpec.FromString(execution.spec)
    owner = execution.user or ""
    metadata.principal = launcher_identity.principal_of_child(ctx, node.execution_id, owner)
    if ctx.auth is not None and ctx.identity.method == "internal":
        # A child that the engine recovers has the spec of another execution.
        run_as = parent_spec.security_context.run_as
        spec.security_context.run_as.execution_identity = run_as.execution_identity
    metadata.nesting = parent_spec.metadata.nesting + 1
    if parent_spec.HasField("execution_cluster_label"):
        spec.execution_cluster_label.CopyFrom(parent_spec.execution_cluster_label)
    return parent.id, execution.id


async def _merge_config(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    spec: execution_pb2.ExecutionSpec,
    target: LaunchTarget,
    parent_config: configuration.Config | None,
) -> configuration.Config:
    """Return the merged configuration; add the labels of the project to the labels of the spec if it has any."""
    project, domain = request.project, request.domain
    workflow = target.workflow_id.name if target.launch_plan is not None else ""
    rows = [
        await matchable_attributes.find_row(ctx, _CONFIG, project, domain, workflow),
        await matchable_attributes.find_row(ctx, _CONFIG, project, "", ""),
    ]
    attributes = [_config_of(row) for row in rows if row is not None]
    if parent_config is not None and target.launch_plan is not None:
        of_workflow = [_config_of(row) for row in rows if row is not None and row.workflow]
        configuration.inherit(spec, parent_config, (target.launch_plan, *of_workflow))
    resolve = partial(configuration.resolve, principal=ctx.principal)
    config = await in_thread_if_large(spec.ByteSize(), resolve, spec, target.launch_plan, attributes, ctx.settings)
    launcher_identity.set_execution_identity(ctx, spec, config)
    launcher_identity.annotate(ctx, spec, config)
    if target.launch_plan is not None:
        launch_checks.check_config(ctx, config, target.launch_plan)
    row = await ctx.db.find(schema.Project, columns=("labels",), identifier=project)
    if row is None:
        raise errors.NotFound(f"project [{project}] not found")
    if spec.labels.values and row.labels:
        for key, value in checks.project_labels(row.labels).items():
            if key not in spec.labels.values:
                spec.labels.values[key] = value
    # Deviates: upstream stores the max_parallelism of a single task's request unchanged.
    spec.max_parallelism = config.max_parallelism
    return config


def _config_of(row: Any) -> configuration.Config:
    return matchable_resource_pb2.MatchingAttributes.FromString(row.attributes or b"").workflow_execution_config


async def _choose_cluster(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    spec: execution_pb2.ExecutionSpec,
    target: LaunchTarget,
) -> tuple[str | None, str]:
    """Return why no cluster takes the execution, None if one does, and the name of the cluster, "" for the only one."""
    section = ctx.settings.clusters
    if ctx.settings.engine.kind != "kubernetes" or not section.cluster_configs:
        return launch_checks.refuse_cluster_label(spec, target.launch_plan), ""
    if not any(cluster.enabled for cluster in section.cluster_configs):
        return "failed to create workflow in propeller no cluster of clusters.clusterConfigs is enabled", ""
    label = await clusters.label_of(ctx, id, spec, target.workflow_id.name)
    return None, clusters.choose(section, label, id.name)


def _closure(ctx: Context, spec: execution_pb2.ExecutionSpec, target: LaunchTarget) -> execution_pb2.ExecutionClosure:
    closure = execution_pb2.ExecutionClosure(workflow_id=target.workflow_id)
    closure.created_at.FromDatetime(ctx.now)
    closure.updated_at.CopyFrom(closure.created_at)
    if spec.notifications.notifications:
        closure.notifications.extend(spec.notifications.notifications)
    elif not spec.disable_all and target.launch_plan is not None:
        closure.notifications.extend(target.launch_plan.entity_metadata.notifications)
    details = closure.state_change_details
    details.state = execution_pb2.EXECUTION_ACTIVE
    details.principal = spec.metadata.principal
    details.occurred_at.CopyFrom(closure.created_at)
    return closure


def _fail(closure: execution_pb2.ExecutionClosure, reason: str) -> None:
    closure.phase = core_execution_pb2.WorkflowExecution.FAILED
    closure.error.code = "Internal"
    closure.error.message = reason
    closure.error.kind = core_execution_pb2.ExecutionError.SYSTEM


def _stored_spec(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    spec: execution_pb2.ExecutionSpec,
    config: configuration.Config,
    cluster: str,
) -> execution_pb2.ExecutionSpec:
    """Complete the spec for its row.

    Parity: of the merged configuration, the spec has only security context and parallelism.
    """
    spec.security_context.CopyFrom(config.security_context)
    spec.metadata.system_metadata.Clear()
    spec.metadata.system_metadata.namespace = ctx.settings.namespace_mapping.of(id.project, id.domain)
    spec.metadata.system_metadata.execution_cluster = cluster
    return spec


async def _write_inputs(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    all_inputs: literals_pb2.LiteralMap,
    user_inputs: literals_pb2.LiteralMap,
) -> tuple[str, str]:
    """Store the inputs with defaults and the inputs of the request; return both URIs."""
    # Each launch writes to a new folder: a launch that loses the race for a name must not overwrite other inputs.
    folder = ctx.blobs.uri("metadata", id.project, id.domain, id.name, secrets.token_hex(4))
    uris = f"{folder}/inputs", f"{folder}/user_inputs"
    values = (each.SerializeToString(deterministic=True) for each in (all_inputs, user_inputs))
    await ctx.blobs.write_all(dict(zip(uris, values, strict=True)))
    return uris


async def _insert_tags(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, spec: execution_pb2.ExecutionSpec
) -> None:
    """Insert the labels and tags of an execution, which filters of lists use.

    Deviates: a tag that a request has twice is one row. Upstream fails.
    """
    for key, value in sorted({*spec.labels.values.items(), *((tag, "") for tag in spec.tags)}):
        await ctx.db.insert_if_absent(schema.ExecutionTag, **execution_key(id), key=key, value=value)

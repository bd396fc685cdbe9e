"""Launch an execution: check, resolve what is launched, merge the configuration, write inputs, then the rows.

A launch plan and a single task part only where they are resolved; from there on there is one path. The engine is told
after the commit; should the process die in between, the launch record is found by the engine that starts next.
Proto: admin.ExecutionCreateRequest. Source: ExecutionManager (launchExecution, launchSingleTaskExecution).
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from functools import partial
from typing import Any

from flyteidl.admin import execution_pb2, launch_plan_pb2, matchable_resource_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2
from sqlalchemy import bindparam, func, literal, select

from app import errors
from app.compiler import literals
from app.database import base as db
from app.database import schema
from app.database.statements import Statement
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import checks, launch_plans, literal_limits, matchable_attributes
from app.services import execution_config as configuration
from app.services.execution_ids import check_execution_id, execution_key, random_name
from app.services.executions import single_task
from app.services.executions.reads import namespace
from app.wire.text import text

NAME_BYTES_MAX = 63
_NAME = re.compile(r"^[a-z][a-z\-0-9]*$")
_LAUNCHABLE = (identifier_pb2.TASK, identifier_pb2.LAUNCH_PLAN)
_TAG_BYTES_MAX = 255
_CONFIG = matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG

_executions, _launch_plans = schema.table(schema.Execution), schema.table(schema.LaunchPlan)
_ACTIVE_OF_LAUNCH_PLAN = Statement(
    select(func.count().label("rows"))
    .select_from(_executions.join(_launch_plans, _executions.c.launch_plan_id == _launch_plans.c.id))
    .where(
        _executions.c.execution_project == bindparam("project"),
        _executions.c.execution_domain == bindparam("domain"),
        _launch_plans.c.project == bindparam("project"),
        _launch_plans.c.domain == bindparam("domain"),
        _launch_plans.c.name == bindparam("name"),
        # Deviates: executions that wait for their first event count too, so that a burst cannot pass.
        _executions.c.phase.in_([literal(phase) for phase in ("UNDEFINED", "QUEUED", "RUNNING")]),
    )
)


@dataclass(frozen=True, slots=True)
class Target:
    """What an execution runs. launch_plan is None for a single task, whose plan is no source of configuration."""

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
    """Launch a launch plan or a single task.

    shape:  request{project, domain, name or "" for a generated one, spec.launch_plan, inputs} → id
    errors: INVALID_ARGUMENT names the field; NOT_FOUND launch plan, task, workflow, parent node;
            ALREADY_EXISTS the name is taken or the launch plan's concurrency limit is reached
    source: upstream ExecutionManager.CreateExecution
    """
    return await launch(ctx, request)


async def launch(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    *,
    source_execution: int = 0,
    above: configuration.Config | None = None,
) -> execution_pb2.ExecutionCreateResponse:
    """Launch an execution for any caller, as create_execution does.

    Args:
        ctx: The unit of work.
        request: Names the launch plan or task and its inputs.
        source_execution: The row that is relaunched or recovered, 0 for none.
        above: What the parent execution runs with, for a child that its engine starts.
    """
    spec = execution_pb2.ExecutionSpec()
    spec.CopyFrom(request.spec)
    # Before flyteidl 0.15 inputs travelled in the spec; flyteconsole still sends them so.
    inputs = request.inputs if request.inputs.literals else spec.inputs
    await _check(ctx, request, spec, inputs)
    target = await _resolve(ctx, spec)
    computed = await in_thread_if_large(inputs.ByteSize() + target.expected_inputs.ByteSize(), _merged, inputs, target)
    literal_limits.check(ctx.settings, "inputs", computed)
    literal_limits.check(ctx.settings, "inputs", inputs)
    name = request.name or "a" + random_name(19)
    id = identifier_pb2.WorkflowExecutionIdentifier(project=request.project, domain=request.domain, name=name)
    await _check_free(ctx, id)
    parent_node, parent_execution = await _inherit(ctx, spec)
    merged = await _configure(ctx, request, spec, target, above)
    await _check_cluster_pool(ctx, request, spec)
    inputs_uri, user_inputs_uri = await _write_inputs(ctx, id, computed, inputs)
    await ctx.db.begin()
    await _check_concurrency(ctx, spec.launch_plan, target.launch_plan)
    closure = _closure(ctx, spec, target)
    refused = _place(spec, target, closure)
    await ctx.db.insert(
        schema.Execution,
        **execution_key(id),
        launch_plan_id=0 if target.task_row else target.launch_plan_row,
        workflow_id=target.workflow_row,
        task_id=target.task_row,
        phase="FAILED" if refused else "UNDEFINED",
        closure=closure.SerializeToString(),
        error_kind="SYSTEM" if refused else None,
        error_code=closure.error.code if refused else None,
        # Parity: what is not there is 0 or "", as upstream writes it; sorts and filters see it.
        duration=0,
        abort_cause="",
        spec=_stored_spec(ctx, id, spec, merged).SerializeToString(),
        execution_created_at=ctx.now,
        execution_updated_at=ctx.now,
        mode=spec.metadata.mode,
        source_execution_id=source_execution or parent_execution,
        parent_node_execution_id=parent_node,
        cluster="",
        inputs_uri=inputs_uri,
        user_inputs_uri=user_inputs_uri,
        user=spec.metadata.principal,
        state=execution_pb2.EXECUTION_ACTIVE,
        launch_entity=identifier_pb2.ResourceType.Name(spec.launch_plan.resource_type).lower(),
    )
    await _insert_tags(ctx, id, spec)
    if ctx.settings.engine.kind != "none" and not refused:
        await ctx.db.insert(schema.Launch, **execution_key(id), config=merged.SerializeToString())
        ctx.after_commit(lambda: ctx.engine.launched(id))
    return execution_pb2.ExecutionCreateResponse(id=id)


async def _check(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    spec: execution_pb2.ExecutionSpec,
    inputs: literals_pb2.LiteralMap,
) -> None:
    """Everything that can be said without the launched entity, in upstream's order (ValidateExecutionRequest)."""
    if not request.project:
        raise errors.missing("project")
    if not request.domain:
        raise errors.missing("domain")
    if request.name:
        # Parity: the name is checked in lower case and stored as it is given.
        lowered = request.name.lower()
        if len(lowered.encode()) > NAME_BYTES_MAX:
            raise errors.InvalidArgument(f"size of name exceeded length {NAME_BYTES_MAX} : {lowered}")
        if not _NAME.fullmatch(lowered):
            raise errors.InvalidArgument(f"invalid name format: {lowered}, does not match regex '{_NAME.pattern}'")
    await checks.check_project_and_domain(ctx, request.project, request.domain)
    if not request.HasField("spec"):
        raise errors.missing("spec")
    if not spec.HasField("launch_plan"):
        raise errors.missing("id")
    checks.check_parts(spec.launch_plan, "project", "domain", "name", "version")
    if spec.launch_plan.resource_type == identifier_pb2.UNSPECIFIED:
        # Deviates: upstream refuses a reference without a type (docs/decisions/0014).
        spec.launch_plan.resource_type = identifier_pb2.LAUNCH_PLAN
    if spec.launch_plan.resource_type not in _LAUNCHABLE:
        kind = checks.resource_name(spec.launch_plan.resource_type)
        raise errors.InvalidArgument(
            f"Invalid reference entity resource type [{kind}], only [map[TASK:<nil> LAUNCH_PLAN:<nil>]] allowed"
        )
    await in_thread_if_large(inputs.ByteSize(), literals.check_literals, inputs.literals, "inputs")
    checks.check_notifications(spec.notifications.notifications)
    checks.check_labels(spec.labels.values)
    for tag in spec.tags:
        # The column holds 255 characters; upstream answers 500 with the database's text.
        if len(tag) > _TAG_BYTES_MAX:
            raise errors.InvalidArgument(f"tags cannot exceed {_TAG_BYTES_MAX} characters")


async def _resolve(ctx: Context, spec: execution_pb2.ExecutionSpec) -> Target:
    reference = spec.launch_plan
    if reference.resource_type == identifier_pb2.TASK:
        skeleton = await single_task.skeleton(ctx, reference, spec)
        return Target(
            launch_plan=None,
            launch_plan_row=skeleton.launch_plan_row,
            expected_inputs=skeleton.expected_inputs,
            fixed_inputs=literals_pb2.LiteralMap(),
            workflow_id=skeleton.workflow_id,
            workflow_row=skeleton.workflow_row,
            task_row=skeleton.task_row,
        )
    columns = ("id", "spec", "closure", "workflow_id")
    row = await ctx.db.find(schema.LaunchPlan, columns=columns, **checks.version_key(reference))
    if row is None:
        raise checks.not_registered("LAUNCH_PLAN", reference)
    plan = launch_plan_pb2.LaunchPlanSpec.FromString(row.spec)
    closure = launch_plan_pb2.LaunchPlanClosure.FromString(row.closure)
    return Target(
        launch_plan=plan,
        launch_plan_row=row.id,
        expected_inputs=closure.expected_inputs,
        fixed_inputs=plan.fixed_inputs,
        workflow_id=plan.workflow_id,
        workflow_row=row.workflow_id,
    )


def _merged(inputs: literals_pb2.LiteralMap, target: Target) -> literals_pb2.LiteralMap:
    merged = literals.merge_inputs(inputs.literals, target.fixed_inputs.literals, target.expected_inputs)
    return literals_pb2.LiteralMap(literals=merged)


async def _check_free(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Deviates: upstream finds a taken name after it has overwritten the other's inputs."""
    if await ctx.db.find(schema.Execution, columns=("id",), **execution_key(id)) is not None:
        raise db.already_exists("executions_pkey")


async def _inherit(ctx: Context, spec: execution_pb2.ExecutionSpec) -> tuple[int, int]:
    """Take over what a parent node's execution hands down; the rows of that node and execution, 0 for none."""
    metadata = spec.metadata
    metadata.principal = ctx.principal
    metadata.ClearField("artifact_ids")
    if not metadata.HasField("parent_node_execution"):
        return 0, 0
    node = metadata.parent_node_execution
    check_execution_id(node.execution_id)
    if not node.node_id:
        raise errors.missing("node_id")
    parent = await ctx.db.find(
        schema.NodeExecution, columns=("id",), **execution_key(node.execution_id), node_id=node.node_id
    )
    if parent is None:
        raise errors.NotFound(f"missing entity of type node execution with identifier {text(node)}")
    execution = await ctx.db.find(schema.Execution, columns=("id", "spec", "user"), **execution_key(node.execution_id))
    if execution is None:
        raise errors.NotFound(f"missing entity of type execution with identifier {text(node.execution_id)}")
    above = execution_pb2.ExecutionSpec.FromString(execution.spec)
    metadata.principal = execution.user or ""
    metadata.nesting = above.metadata.nesting + 1
    if above.HasField("execution_cluster_label"):
        spec.execution_cluster_label.CopyFrom(above.execution_cluster_label)
    return parent.id, execution.id


async def _configure(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    spec: execution_pb2.ExecutionSpec,
    target: Target,
    above: configuration.Config | None,
) -> configuration.Config:
    """Merge the configuration, and project labels into labels that the request gave."""
    project, domain = request.project, request.domain
    workflow = target.workflow_id.name if target.launch_plan is not None else ""
    rows = [
        await matchable_attributes.find_row(ctx, _CONFIG, project, domain, workflow),
        await matchable_attributes.find_row(ctx, _CONFIG, project, "", ""),
    ]
    attributes = [_config_of(row) for row in rows if row is not None]
    if above is not None and target.launch_plan is not None:
        of_workflow = [_config_of(row) for row in rows if row is not None and row.workflow]
        configuration.inherit(spec, above, (target.launch_plan, *of_workflow))
    resolve = partial(configuration.resolve, principal=ctx.principal)
    merged = await in_thread_if_large(spec.ByteSize(), resolve, spec, target.launch_plan, attributes, ctx.settings)
    if target.launch_plan is not None:
        limits = ctx.settings.registration
        labels = merged.labels if merged.HasField("labels") else target.launch_plan.labels
        annotations = merged.annotations if merged.HasField("annotations") else target.launch_plan.annotations
        _check_entries("labels", len(labels.values), limits.max_label_entries)
        _check_entries("annotations", len(annotations.values), limits.max_annotation_entries)
    row = await ctx.db.find(schema.Project, columns=("labels",), identifier=project)
    if row is None:
        raise errors.NotFound(f"project [{project}] not found")
    if spec.labels.values and row.labels:
        for key, value in checks.project_labels(row.labels).items():
            if key not in spec.labels.values:
                spec.labels.values[key] = value
    # Deviates: upstream leaves a single task's as it was sent.
    spec.max_parallelism = merged.max_parallelism
    return merged


def _config_of(row: Any) -> configuration.Config:
    return matchable_resource_pb2.MatchingAttributes.FromString(row.attributes or b"").workflow_execution_config


def _check_entries(field: str, count: int, count_max: int) -> None:
    if count_max and count > count_max:
        raise errors.InvalidArgument(f"{field} has too many entries [{count} > {count_max}]")


async def _check_cluster_pool(
    ctx: Context, request: execution_pb2.ExecutionCreateRequest, spec: execution_pb2.ExecutionSpec
) -> None:
    """errors: INVALID_ARGUMENT when the request asks for another pool than the project-domain is assigned to"""
    asked = spec.cluster_assignment.cluster_pool_name
    if not asked:
        return
    kind = matchable_resource_pb2.CLUSTER_ASSIGNMENT
    found = await matchable_attributes.resolve(ctx, kind, request.project, request.domain, "")
    stored = found.cluster_assignment.cluster_pool_name if found is not None else ""
    if not stored and request.domain in ctx.settings.cluster_pools.cluster_pool_assignments:
        stored = ctx.settings.cluster_pools.cluster_pool_assignments[request.domain].pool
    if stored and asked != stored:
        raise errors.InvalidArgument(
            f'execution with project "{request.project}" and domain "{request.domain}" cannot run on cluster pool '
            f'"{asked}", because its configured to run on pool "{stored}"'
        )


async def _check_concurrency(
    ctx: Context, id: identifier_pb2.Identifier, plan: launch_plan_pb2.LaunchPlanSpec | None
) -> None:
    """Inside the write transaction, with the name held, so that two launches of any versions cannot both pass."""
    if plan is None or not plan.HasField("concurrency_policy"):
        return
    policy = plan.concurrency_policy
    await launch_plans.hold_name(ctx, id.project, id.domain, id.name)
    active = await ctx.db.one(_ACTIVE_OF_LAUNCH_PLAN, project=id.project, domain=id.domain, name=id.name)
    if active is None or active.rows < policy.max:
        return
    if policy.behavior == launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP:
        raise errors.AlreadyExists(
            f"concurrency limit ({policy.max}) reached for launch plan {id.name}; skipping execution"
        )
    if policy.behavior != launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_UNSPECIFIED:
        raise errors.InvalidArgument(f"unsupported concurrency-limit behavior: {policy.behavior}")


def _place(spec: execution_pb2.ExecutionSpec, target: Target, closure: execution_pb2.ExecutionClosure) -> bool:
    """Whether no cluster can take the execution: there is one, without a label.

    Parity: a launch plan's execution is stored FAILED then, a task's is refused.
    source: upstream executioncluster/impl/in_cluster.go
    """
    label = spec.execution_cluster_label.value
    if not label:
        return False
    message = f"failed to create workflow in propeller execution cluster label {label} is not supported"
    if target.launch_plan is None:
        raise errors.InvalidArgument(message)
    closure.phase = core_execution_pb2.WorkflowExecution.FAILED
    closure.error.code = "Internal"
    closure.error.message = message
    closure.error.kind = core_execution_pb2.ExecutionError.SYSTEM
    return True


def _closure(ctx: Context, spec: execution_pb2.ExecutionSpec, target: Target) -> execution_pb2.ExecutionClosure:
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


def _stored_spec(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    spec: execution_pb2.ExecutionSpec,
    merged: configuration.Config,
) -> execution_pb2.ExecutionSpec:
    """Parity: of the merged configuration only security context and parallelism are kept in the spec."""
    spec.security_context.CopyFrom(merged.security_context)
    spec.metadata.system_metadata.Clear()
    spec.metadata.system_metadata.namespace = namespace(ctx, id.project, id.domain)
    return spec


async def _write_inputs(
    ctx: Context,
    id: identifier_pb2.WorkflowExecutionIdentifier,
    computed: literals_pb2.LiteralMap,
    given: literals_pb2.LiteralMap,
) -> tuple[str, str]:
    """Store the inputs that an execution runs with and those that were given; return both locations."""
    # A name of its own for every attempt: a launch that loses the race for a name overwrites nobody's inputs.
    where = ctx.blobs.uri("metadata", id.project, id.domain, id.name, secrets.token_hex(4))
    locations = f"{where}/inputs", f"{where}/user_inputs"
    for uri, values in zip(locations, (computed, given), strict=True):
        await ctx.blobs.write(uri, values.SerializeToString(deterministic=True))
    return locations


async def _insert_tags(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, spec: execution_pb2.ExecutionSpec
) -> None:
    """Insert the labels and tags of an execution, by which lists are filtered.

    Deviates: a tag that a request names twice is one row; upstream fails on it.
    """
    for key, value in sorted({*spec.labels.values.items(), *((tag, "") for tag in spec.tags)}):
        await ctx.db.insert_if_absent(schema.ExecutionTag, **execution_key(id), key=key, value=value)

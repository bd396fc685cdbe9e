"""The checks of a launch: what makes CreateExecution, relaunch and recover refuse a request, configuration or limit.

launch.py calls these functions in the order in which they stand here, which is upstream's.
Source: flyteadmin/pkg/manager/impl/validation (ValidateExecutionRequest), ExecutionManager.launchExecution.
"""

from __future__ import annotations

import re

from flyteidl.admin import execution_pb2, launch_plan_pb2, matchable_resource_pb2
from flyteidl.core import identifier_pb2, literals_pb2
from sqlalchemy import bindparam, func, literal, select

from app import errors
from app.compiler import literals
from app.database import base as db
from app.database import schema
from app.database.statements import Statement
from app.runtime.context import Context
from app.runtime.threads import in_thread_if_large
from app.services import checks, launch_plans, matchable_attributes
from app.services.execution_config import Config
from app.services.execution_ids import execution_key

NAME_BYTES_MAX = 63
_NAME = re.compile(r"^[a-z][a-z\-0-9]*$")
_LAUNCHABLE = (identifier_pb2.TASK, identifier_pb2.LAUNCH_PLAN)
_TAG_BYTES_MAX = 255

_executions, _launch_plans = schema.table(schema.Execution), schema.table(schema.LaunchPlan)
ACTIVE_PHASES = [literal(phase) for phase in ("UNDEFINED", "QUEUED", "RUNNING")]
_ACTIVE_OF_LAUNCH_PLAN = Statement(
    select(func.count().label("rows"))
    .select_from(_executions.join(_launch_plans, _executions.c.launch_plan_id == _launch_plans.c.id))
    .where(
        _executions.c.execution_project == bindparam("project"),
        _executions.c.execution_domain == bindparam("domain"),
        _launch_plans.c.project == bindparam("project"),
        _launch_plans.c.domain == bindparam("domain"),
        _launch_plans.c.name == bindparam("name"),
        # Deviates: executions that have no event yet count too, so that a burst of launches cannot exceed the limit.
        _executions.c.phase.in_(ACTIVE_PHASES),
    )
)


async def check_request(
    ctx: Context,
    request: execution_pb2.ExecutionCreateRequest,
    spec: execution_pb2.ExecutionSpec,
    inputs: literals_pb2.LiteralMap,
) -> None:
    """Check everything that does not need the launch plan or task, in upstream's order.

    A missing resource type of the launched entity is set to LAUNCH_PLAN.

    Raises:
        errors.InvalidArgument: A field is missing or wrong; the message names it.

    Source: upstream ValidateExecutionRequest.
    """
    if not request.project:
        raise errors.missing("project")
    if not request.domain:
        raise errors.missing("domain")
    if request.name:
        # Parity: the name is checked in lower case and stored unchanged.
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
        # The column has 255 characters. Upstream answers 500 with the database's error for a longer tag.
        if len(tag) > _TAG_BYTES_MAX:
            raise errors.InvalidArgument(f"tags cannot exceed {_TAG_BYTES_MAX} characters")


async def check_name_is_free(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Raise ALREADY_EXISTS if an execution has this name.

    Deviates: upstream overwrites the inputs of the existing execution before it refuses the launch.
    """
    if await ctx.db.find(schema.Execution, columns=("id",), **execution_key(id)) is not None:
        raise db.already_exists("executions_pkey")


def check_config(ctx: Context, config: Config, launch_plan: launch_plan_pb2.LaunchPlanSpec) -> None:
    """Raise INVALID_ARGUMENT if there are more labels or annotations than section `registration` allows."""
    limits = ctx.settings.registration
    labels = config.labels if config.HasField("labels") else launch_plan.labels
    annotations = config.annotations if config.HasField("annotations") else launch_plan.annotations
    _check_entries("labels", len(labels.values), limits.max_label_entries)
    _check_entries("annotations", len(annotations.values), limits.max_annotation_entries)


def _check_entries(field: str, count: int, count_max: int) -> None:
    if count_max and count > count_max:
        raise errors.InvalidArgument(f"{field} has too many entries [{count} > {count_max}]")


async def check_cluster_pool(
    ctx: Context, request: execution_pb2.ExecutionCreateRequest, spec: execution_pb2.ExecutionSpec
) -> None:
    """Raise INVALID_ARGUMENT if the request names another cluster pool than the one its project-domain is assigned."""
    requested = spec.cluster_assignment.cluster_pool_name
    if not requested:
        return
    kind = matchable_resource_pb2.CLUSTER_ASSIGNMENT
    found = await matchable_attributes.resolve(ctx, kind, request.project, request.domain, "")
    assigned = found.cluster_assignment.cluster_pool_name if found is not None else ""
    if not assigned and request.domain in ctx.settings.cluster_pools.cluster_pool_assignments:
        assigned = ctx.settings.cluster_pools.cluster_pool_assignments[request.domain].pool
    if assigned and requested != assigned:
        raise errors.InvalidArgument(
            f'execution with project "{request.project}" and domain "{request.domain}" cannot run on cluster pool '
            f'"{requested}", because its configured to run on pool "{assigned}"'
        )


async def check_concurrency(
    ctx: Context, id: identifier_pb2.Identifier, launch_plan: launch_plan_pb2.LaunchPlanSpec | None
) -> None:
    """Check the concurrency limit of a launch plan, under the lock on its name.

    The lock is held until the transaction ends, so that two concurrent launches of any versions cannot both pass.

    Raises:
        errors.AlreadyExists: The limit is reached.
        errors.InvalidArgument: The limit is reached and its behavior is not supported.
    """
    if launch_plan is None or not launch_plan.HasField("concurrency_policy"):
        return
    policy = launch_plan.concurrency_policy
    await launch_plans.lock_name(ctx, id.project, id.domain, id.name)
    active = await ctx.db.one(_ACTIVE_OF_LAUNCH_PLAN, project=id.project, domain=id.domain, name=id.name)
    if active is None or active.rows < policy.max:
        return
    if policy.behavior == launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP:
        raise errors.AlreadyExists(
            f"concurrency limit ({policy.max}) reached for launch plan {id.name}; skipping execution"
        )
    if policy.behavior != launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_UNSPECIFIED:
        raise errors.InvalidArgument(f"unsupported concurrency-limit behavior: {policy.behavior}")


def refuse_cluster_label(
    spec: execution_pb2.ExecutionSpec, launch_plan: launch_plan_pb2.LaunchPlanSpec | None
) -> str | None:
    """Return why no cluster accepts an execution with a cluster label, None if the execution has no label.

    This server has one cluster, which has no label.
    Parity: the execution of a launch plan is then stored as FAILED, that of a single task is refused.

    Raises:
        errors.InvalidArgument: A single task has a label.

    Source: upstream executioncluster/impl/in_cluster.go.
    """
    label = spec.execution_cluster_label.value
    if not label:
        return None
    reason = f"failed to create workflow in propeller execution cluster label {label} is not supported"
    if launch_plan is None:
        raise errors.InvalidArgument(reason)
    return reason

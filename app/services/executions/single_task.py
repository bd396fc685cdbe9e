"""The workflow and launch plan that are generated for a single task, once for each version of the task.

Proto: core.WorkflowTemplate, admin.LaunchPlanSpec. Source: pkg/manager/impl/util/single_task_execution.go.
"""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, tasks_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import checks, launch_plans, named_entities, workflows

PREFIX = ".flytegen."
_NODE_ID_BYTES_MAX = 63
_RETRIES_DEFAULT = 3


@dataclass(frozen=True, slots=True)
class GeneratedWorkflow:
    """The row ids of a single task and of its generated workflow and launch plan, and the task's inputs."""

    task_row: int
    workflow_id: identifier_pb2.Identifier
    workflow_row: int
    launch_plan_row: int
    expected_inputs: interface_pb2.ParameterMap


async def generated_workflow(
    ctx: Context, reference: identifier_pb2.Identifier, spec: execution_pb2.ExecutionSpec
) -> GeneratedWorkflow:
    """Return the workflow and launch plan of a task; generate them at the first launch of this version.

    Args:
        ctx: The call.
        reference: The task.
        spec: The spec of the launch. Its roles are stored in a generated launch plan.

    Raises:
        errors.NotFound: The task is not registered.
    """
    key = checks.version_key(reference)
    task = await ctx.db.find(schema.Task, columns=("id", "closure"), **key)
    if task is None:
        raise checks.not_registered("TASK", reference)
    generated = {**key, "name": PREFIX + reference.name}
    workflow_id = identifier_pb2.Identifier(resource_type=identifier_pb2.WORKFLOW, **generated)
    row = await ctx.db.find(schema.Workflow, columns=("id",), **generated)
    if row is None:
        template = task_pb2.TaskClosure.FromString(task.closure).compiled_task.template
        storing = _create_workflow(ctx, workflow_id, reference, template)
        row = await _store_or_find(ctx, storing, schema.Workflow, ("id",), generated)
    plan = await ctx.db.find(schema.LaunchPlan, columns=("id", "closure"), **generated)
    if plan is None:
        template = task_pb2.TaskClosure.FromString(task.closure).compiled_task.template
        storing = _create_launch_plan(ctx, generated, reference, spec, row.id, template)
        plan = await _store_or_find(ctx, storing, schema.LaunchPlan, ("id", "closure"), generated)
    closure = launch_plan_pb2.LaunchPlanClosure.FromString(plan.closure)
    return GeneratedWorkflow(task.id, workflow_id, row.id, plan.id, closure.expected_inputs)


async def _store_or_find(
    ctx: Context, storing: Awaitable[None], model: type[schema.Base], columns: tuple[str, ...], key: dict[str, Any]
) -> Any:
    """Await `storing`, then return the row; a row that a concurrent launch of the same task stored is used too."""
    refusal: errors.FlyteError | None = None
    try:
        await storing
    except (errors.AlreadyExists, errors.InvalidArgument) as error:
        refusal = error
    row = await ctx.db.find(model, columns=columns, **key)
    if row is None:
        raise refusal or errors.Internal(f"the {model.__name__} {key['name']} of a single task was not stored")
    return row


def node_id(task_name: str) -> str:
    """Return the id of the only node: letters, digits and dashes of the last 63 bytes of the task's name."""
    tail = task_name.encode()[-_NODE_ID_BYTES_MAX:].decode("utf-8", "ignore")
    return "".join(c for c in tail if c == "-" or c.isalpha() or c.isnumeric())


def template_of(
    workflow_id: identifier_pb2.Identifier, reference: identifier_pb2.Identifier, task: tasks_pb2.TaskTemplate
) -> core_workflow_pb2.WorkflowTemplate:
    """Return a workflow that has the interface of the task and one node, which runs the task."""
    name = node_id(reference.name)
    template = core_workflow_pb2.WorkflowTemplate(id=workflow_id, interface=task.interface)
    node = template.nodes.add(id=name)
    node.metadata.name = name
    node.metadata.retries.retries = _RETRIES_DEFAULT
    if task.metadata.HasField("retries"):
        node.metadata.retries.CopyFrom(task.metadata.retries)
    if task.metadata.HasField("timeout"):
        # Deviates: upstream ignores the timeout of a single task.
        node.metadata.timeout.CopyFrom(task.metadata.timeout)
    node.task_node.reference_id.CopyFrom(reference)
    node.inputs.extend(_bindings(task.interface.inputs, ""))
    template.outputs.extend(_bindings(task.interface.outputs, name))
    return template


def _bindings(variables: interface_pb2.VariableMap, source: str) -> list[literals_pb2.Binding]:
    found = []
    for var in sorted(variables.variables):
        binding = literals_pb2.Binding(var=var)
        binding.binding.promise.node_id = source
        binding.binding.promise.var = var
        found.append(binding)
    return found


async def _create_workflow(
    ctx: Context,
    workflow_id: identifier_pb2.Identifier,
    reference: identifier_pb2.Identifier,
    task: tasks_pb2.TaskTemplate,
) -> None:
    create = workflow_pb2.WorkflowCreateRequest(id=workflow_id)
    create.spec.template.CopyFrom(template_of(workflow_id, reference, task))
    await workflows.store(ctx, create)
    await _mark_generated(ctx, workflow_id)


async def _create_launch_plan(
    ctx: Context,
    key: dict[str, str],
    reference: identifier_pb2.Identifier,
    spec: execution_pb2.ExecutionSpec,
    workflow_row: int,
    task: tasks_pb2.TaskTemplate,
) -> None:
    create = launch_plan_pb2.LaunchPlanCreateRequest()
    create.id.CopyFrom(identifier_pb2.Identifier(resource_type=identifier_pb2.LAUNCH_PLAN, **key))
    plan = create.spec
    # Parity: the plan names the task, not the generated workflow.
    plan.workflow_id.CopyFrom(reference)
    plan.workflow_id.resource_type = identifier_pb2.WORKFLOW
    for part in ("entity_metadata", "default_inputs", "fixed_inputs", "labels", "annotations"):
        getattr(plan, part).SetInParent()
    for part in ("auth_role", "security_context"):
        if spec.HasField(part):
            getattr(plan, part).CopyFrom(getattr(spec, part))
    await launch_plans.store(ctx, create, interface=task.interface, workflow_row=workflow_row)
    await _mark_generated(ctx, create.id)


async def _mark_generated(ctx: Context, id: identifier_pb2.Identifier) -> None:
    """Hide a generated name in lists of names."""
    update = common_pb2.NamedEntityUpdateRequest(resource_type=id.resource_type)
    update.id.project, update.id.domain, update.id.name = id.project, id.domain, id.name
    update.metadata.state = common_pb2.SYSTEM_GENERATED
    await named_entities.update_named_entity(ctx, update)

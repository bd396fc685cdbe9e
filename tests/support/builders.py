"""The smallest messages that can be registered, and what tests of the registry do with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flyteidl.admin import common_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, interface_pb2, types_pb2

from app import errors
from app.services import projects, tasks, workflows

INTEGER, STRING, DATETIME = types_pb2.INTEGER, types_pb2.STRING, types_pb2.DATETIME


def an_id(resource_type: int, name: str, version: str = "v1", **parts: str) -> identifier_pb2.Identifier:
    """An identifier in project p, domain development."""
    where = {"project": "p", "domain": "development", **parts}
    return identifier_pb2.Identifier(resource_type=resource_type, name=name, version=version, **where)


def variables(**types: int) -> interface_pb2.VariableMap:
    """Variables of simple types."""
    made = interface_pb2.VariableMap()
    for name, simple in types.items():
        made.variables[name].type.simple = simple
    return made


def a_project(id: str = "p", **fields: Any) -> project_pb2.ProjectRegisterRequest:
    return project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id=id, name=id, **fields))


def a_task(
    name: str = "inc", version: str = "v1", *, args: tuple[str, ...] = ("run",), **parts: str
) -> task_pb2.TaskCreateRequest:
    """A container task x: int → o: int."""
    request = task_pb2.TaskCreateRequest(id=an_id(identifier_pb2.TASK, name, version, **parts))
    template = request.spec.template
    template.type = "python-task"
    template.metadata.SetInParent()
    template.interface.inputs.CopyFrom(variables(x=INTEGER))
    template.interface.outputs.CopyFrom(variables(o=INTEGER))
    template.container.image = "registry.example/app:1"
    template.container.args.extend(args)
    return request


def a_workflow(
    name: str = "wf", version: str = "v1", *, task: str = "inc", nodes: int = 1, **parts: str
) -> workflow_pb2.WorkflowCreateRequest:
    """A workflow a: int → r: int whose nodes pass a number through the task one after the other."""
    request = workflow_pb2.WorkflowCreateRequest(id=an_id(identifier_pb2.WORKFLOW, name, version, **parts))
    template = request.spec.template
    template.interface.inputs.CopyFrom(variables(a=INTEGER))
    template.interface.outputs.CopyFrom(variables(r=INTEGER))
    source, variable = "start-node", "a"
    for number in range(nodes):
        node = template.nodes.add(id=f"n{number}")
        node.task_node.reference_id.CopyFrom(an_id(identifier_pb2.TASK, task, **parts))
        binding = node.inputs.add(var="x")
        binding.binding.promise.node_id, binding.binding.promise.var = source, variable
        source, variable = node.id, "o"
    output = template.outputs.add(var="r")
    output.binding.promise.node_id, output.binding.promise.var = source, variable
    return request


def a_launch_plan(
    name: str = "lp", version: str = "v1", *, workflow: str = "wf", cron: str = "", minutes: int = 0, **parts: str
) -> launch_plan_pb2.LaunchPlanCreateRequest:
    """A launch plan of a workflow with input a, which a schedule binds to 1."""
    request = launch_plan_pb2.LaunchPlanCreateRequest(id=an_id(identifier_pb2.LAUNCH_PLAN, name, version, **parts))
    spec = request.spec
    spec.workflow_id.CopyFrom(an_id(identifier_pb2.WORKFLOW, workflow, **parts))
    if cron:
        spec.entity_metadata.schedule.cron_schedule.schedule = cron
    if minutes:
        spec.entity_metadata.schedule.rate.value = minutes
    if cron or minutes:
        spec.fixed_inputs.literals["a"].scalar.primitive.integer = 1
    return request


def a_name(name: str, **parts: str) -> common_pb2.NamedEntityIdentifier:
    """A name in project p, domain development."""
    where = {"project": "p", "domain": "development", **parts}
    return common_pb2.NamedEntityIdentifier(name=name, **where)


async def register(b: Any, *, workflow: bool = False) -> None:
    """Register project p and the task inc, and the workflow wf if it is wanted."""
    await b.call(projects.register_project, a_project())
    await b.call(tasks.create_task, a_task())
    if workflow:
        await b.call(workflows.create_workflow, a_workflow())


async def refusal(
    b: Any, function: Any, request: Any, kind: type[errors.FlyteError] = errors.InvalidArgument
) -> errors.FlyteError:
    """The error of this kind that a call must end with."""
    try:
        await b.call(function, request)
    except kind as error:
        return error
    raise AssertionError(f"{function.__name__} accepts {request}")


async def pages(b: Any, function: Any, request: Any, field: str) -> list[list[Any]]:
    """Every page of a list, following the tokens of the server."""
    found = []
    while True:
        answer = await b.call(function, request)
        found.append(list(getattr(answer, field)))
        if not answer.token:
            return found
        assert answer.token != request.token, "a token must lead on"
        request.token = answer.token


def accepted(check: Callable[..., object], *arguments: Any) -> bool:
    """Return whether a check raises no FlyteError."""
    try:
        check(*arguments)
    except errors.FlyteError:
        return False
    return True

"""The first rows of a loaded database, written by the service functions: one of everything, and its events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flyteidl.admin import event_pb2, execution_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2, types_pb2

from app.blobs import Blobs
from app.database import schema
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime.dispatch import Server, perform
from app.services import events, executions, launch_plans, projects, tasks, workflows
from app.settings import Settings

DOMAIN = "production"
BUSY = "busy"
QUIET = tuple(f"quiet{number}" for number in range(9))
START = datetime(2024, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Templates:
    """The rows that the server wrote for one execution and what it needed, by table and, for nodes, by node id."""

    rows: dict[str, Any]
    nodes: dict[str, Any]


def _identifier(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=kind, project=BUSY, domain=DOMAIN, name=name, version="seed")


def a_task() -> task_pb2.TaskCreateRequest:
    request = task_pb2.TaskCreateRequest(id=_identifier(identifier_pb2.TASK, "seed.task"))
    template = request.spec.template
    template.type = "python-task"
    template.metadata.runtime.version = "1.16.8"
    template.interface.inputs.variables["x"].type.simple = types_pb2.INTEGER
    template.interface.outputs.variables["o0"].type.simple = types_pb2.INTEGER
    template.container.image = "registry.example.org/flows:1.2.3"
    arguments = "pyflyte-execute --inputs {{.input}} --output-prefix {{.outputPrefix}} --resolver"
    resolver = "flytekit.core.python_auto_container.default_task_resolver -- task-module flows task-name t"
    template.container.args.extend(f"{arguments} {resolver}".split())
    return request


def chain(nodes: int, name: str, *, task: str = "seed.task") -> workflow_pb2.WorkflowCreateRequest:
    """A workflow whose nodes pass a number through the task, one after the other."""
    request = workflow_pb2.WorkflowCreateRequest(id=_identifier(identifier_pb2.WORKFLOW, name))
    template = request.spec.template
    template.interface.inputs.variables["x"].type.simple = types_pb2.INTEGER
    template.interface.outputs.variables["o0"].type.simple = types_pb2.INTEGER
    source, variable = "start-node", "x"
    for number in range(nodes):
        node = template.nodes.add(id=f"n{number}")
        node.metadata.name = f"t{number}"
        node.task_node.reference_id.CopyFrom(_identifier(identifier_pb2.TASK, task))
        binding = node.inputs.add(var="x")
        binding.binding.promise.node_id, binding.binding.promise.var = source, variable
        source, variable = node.id, "o0"
    output = template.outputs.add(var="o0")
    output.binding.promise.node_id, output.binding.promise.var = source, variable
    return request


def _launch_plan(workflow: str) -> launch_plan_pb2.LaunchPlanCreateRequest:
    request = launch_plan_pb2.LaunchPlanCreateRequest(id=_identifier(identifier_pb2.LAUNCH_PLAN, workflow))
    request.spec.workflow_id.CopyFrom(_identifier(identifier_pb2.WORKFLOW, workflow))
    request.spec.default_inputs.parameters["x"].default.scalar.primitive.integer = 3
    request.spec.default_inputs.parameters["x"].var.type.simple = types_pb2.INTEGER
    return request


def _execution(workflow: str, name: str) -> execution_pb2.ExecutionCreateRequest:
    request = execution_pb2.ExecutionCreateRequest(project=BUSY, domain=DOMAIN, name=name)
    request.spec.launch_plan.CopyFrom(_identifier(identifier_pb2.LAUNCH_PLAN, workflow))
    request.spec.labels.values["team"] = "forecasts"
    request.spec.envs.values.add(key="LOG_LEVEL", value="info")
    request.inputs.literals["x"].scalar.primitive.integer = 3
    return request


SEED = "seed"
_ID = identifier_pb2.WorkflowExecutionIdentifier(project=BUSY, domain=DOMAIN, name=SEED)
# Node → (its parent, whether it runs a task); the nodes of one execution, in order.
NODES: dict[str, tuple[str, bool]] = {
    "start-node": ("", False),
    "n0": ("", True),
    "n1": ("", False),
    "n1-0-n0": ("n1", True),
    "end-node": ("", False),
}


def _events() -> Iterator[tuple[Any, Any]]:
    """What an engine reports of the seed: each call with its request."""
    node, task = phases.NodeExecution, phases.TaskExecution
    for name, (parent, runs_task) in NODES.items():
        for phase in (node.QUEUED, node.RUNNING):
            yield events.create_node_event, _node_event(name, parent, phase)
        for task_phase in (task.QUEUED, task.RUNNING, task.SUCCEEDED) if runs_task else ():
            request = event_pb2.TaskExecutionEventRequest()
            given = request.event
            given.task_id.CopyFrom(_identifier(identifier_pb2.TASK, "seed.task"))
            given.parent_node_execution_id.execution_id.CopyFrom(_ID)
            given.parent_node_execution_id.node_id = name
            given.phase, given.producer_id, given.task_type = task_phase, "propeller", "python-task"
            given.occurred_at.FromDatetime(START)
            given.input_uri = f"s3://bucket/metadata/{BUSY}/{name}/inputs.pb"
            given.logs.add(uri=f"https://logs.example.org/{name}", name="Kubernetes Logs")
            given.metadata.generated_name = f"seed-{name}-0"
            if task_phase == task.SUCCEEDED:
                given.output_uri = f"s3://bucket/metadata/{BUSY}/{name}/outputs.pb"
            yield events.create_task_event, request
        yield events.create_node_event, _node_event(name, parent, node.SUCCEEDED)


def _node_event(name: str, parent: str, phase: int) -> event_pb2.NodeExecutionEventRequest:
    request = event_pb2.NodeExecutionEventRequest()
    given = request.event
    given.id.execution_id.CopyFrom(_ID)
    given.id.node_id, given.spec_node_id, given.phase = name, name.rpartition("-0-")[2], phase
    given.node_name, given.event_version, given.producer_id = name, 3, "propeller"
    given.occurred_at.FromDatetime(START)
    given.input_uri = f"s3://bucket/metadata/{BUSY}/{name}/inputs.pb"
    given.is_parent = name == "n1"
    if parent:
        given.parent_node_metadata.node_id = parent
    if phase == phases.NodeExecution.SUCCEEDED:
        given.output_uri = f"s3://bucket/metadata/{BUSY}/{name}/outputs.pb"
    return request


def _workflow_event(execution: str, phase: int) -> event_pb2.WorkflowExecutionEventRequest:
    request = event_pb2.WorkflowExecutionEventRequest()
    request.event.execution_id.CopyFrom(_ID)
    request.event.execution_id.name = execution
    request.event.phase, request.event.producer_id = phase, "propeller"
    request.event.occurred_at.FromDatetime(START)
    if phase == phases.WorkflowExecution.SUCCEEDED:
        request.event.output_uri = f"s3://bucket/metadata/{BUSY}/outputs.pb"
    return request


@asynccontextmanager
async def _server(url: str, storage: Path) -> AsyncIterator[Server]:
    """The service functions on a database, for workflows of any number of nodes."""
    settings = Settings.model_validate(
        {
            "home": storage,
            "engine": {"kind": "none"},
            "storage": {"url": str(storage / "objects")},
            "registration": {"max_workflow_nodes": 0},
        }
    )
    database = database_at(url, connections_max=2, busy_timeout_seconds=10, statement_timeout_seconds=600)
    await database.open()
    try:
        yield Server(settings, database, Blobs(settings), NoEngine())
    finally:
        await database.close()


async def _run(server: Server, nodes: int, workflow: str, execution: str) -> None:
    """Make a workflow that passes a number through so many nodes, its launch plan, and an execution that runs."""
    await perform(server, workflows.create_workflow, chain(nodes, workflow))
    await perform(server, launch_plans.create_launch_plan, _launch_plan(workflow))
    await perform(server, executions.create_execution, _execution(workflow, execution))
    for phase in (phases.WorkflowExecution.QUEUED, phases.WorkflowExecution.RUNNING):
        await perform(server, events.create_workflow_event, _workflow_event(execution, phase))


async def seed(url: str, storage: Path) -> Templates:
    """Make the projects and one of everything with the service functions; the rows that came of it."""
    async with _server(url, storage) as server:
        for project in (BUSY, *QUIET):
            request = project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id=project, name=project))
            await perform(server, projects.register_project, request)
        await perform(server, tasks.create_task, a_task())
        await _run(server, 6, "seed.workflow", SEED)
        for function, made in _events():
            await perform(server, function, made)
        await perform(server, events.create_workflow_event, _workflow_event(SEED, phases.WorkflowExecution.SUCCEEDED))
        async with server.database.unit_of_work() as unit:
            models = (schema.Task, schema.Workflow, schema.LaunchPlan, schema.Execution)
            rows = {schema.table(m).name: (await unit.find_all(m))[0] for m in models}
            nodes = {row.node_id: row for row in await unit.find_all(schema.NodeExecution)}
            attempts = {f"{row.node_id}/task": row for row in await unit.find_all(schema.TaskExecution)}
    return Templates(rows, nodes | attempts)


async def seed_wide(url: str, storage: Path, nodes: int, execution: str) -> None:
    """Make an execution of a workflow of so many nodes, in a database that has a seed."""
    async with _server(url, storage) as server:
        await _run(server, nodes, "seed.wide", execution)

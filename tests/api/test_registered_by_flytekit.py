"""Workflows of every node kind, as flytekit makes them: registered over gRPC, read back equal over REST.

Read back in all three encodings. The messages are those of tests/compiler/data, which data/flows.py made.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from flyteidl.admin import common_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2
from flyteidl.service import admin_pb2_grpc
from google.protobuf import json_format
from google.protobuf.message import Message

from tests.conftest import DATABASES, Postgres
from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

DATA = Path(__file__).parents[1] / "compiler" / "data"
WORKFLOWS = sorted(path.stem for path in DATA.glob("*.pb") if path.stem not in ("tasks", "launch_plans"))
ENCODINGS = {"snake_case": "application/json", "camelCase": "*/*", "binary": "application/octet-stream"}


def spec_of(name: str) -> workflow_pb2.WorkflowSpec:
    return workflow_pb2.WorkflowSpec.FromString((DATA / f"{name}.pb").read_bytes())


def register(admin: Any) -> None:
    """Register in the order that flytekit would: tasks, what launch plans name, launch plans, the rest."""
    tasks = task_pb2.TaskList.FromString((DATA / "tasks.pb").read_bytes()).tasks
    plans = launch_plan_pb2.LaunchPlanList.FromString((DATA / "launch_plans.pb").read_bytes()).launch_plans
    projects = {task.closure.compiled_task.template.id.project for task in tasks}
    for project in projects - {"flytesnacks"}:
        admin.RegisterProject(project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id=project, name=project)))
    for task in tasks:
        template = task.closure.compiled_task.template
        admin.CreateTask(task_pb2.TaskCreateRequest(id=template.id, spec=task_pb2.TaskSpec(template=template)))
    inner = spec_of("sub_workflows").sub_workflows[0]
    admin.CreateWorkflow(
        workflow_pb2.WorkflowCreateRequest(id=inner.id, spec=workflow_pb2.WorkflowSpec(template=inner))
    )
    for plan in plans:
        admin.CreateLaunchPlan(launch_plan_pb2.LaunchPlanCreateRequest(id=plan.id, spec=plan.spec))
    for name in WORKFLOWS:
        spec = spec_of(name)
        admin.CreateWorkflow(workflow_pb2.WorkflowCreateRequest(id=spec.template.id, spec=spec))


@pytest.fixture(scope="module", params=DATABASES)
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Any]]:
    """A server that holds all of them, and a gRPC stub of it."""
    variables = {}
    if request.param == "postgresql":
        cluster: Postgres = request.getfixturevalue("postgres")
        variables["FLYTEADMIN_DATABASE_URL"] = cluster.create()
    with (
        serving(tmp_path_factory.mktemp("flytekit") / "home", variables=variables) as server,
        grpc.insecure_channel(server.address("REST and gRPC")) as channel,
    ):
        admin = admin_pb2_grpc.AdminServiceStub(channel)
        register(admin)
        yield server, admin


def over_rest(server: Running, path: str, accept: str, message: type[Message]) -> Message:
    answer = httpx.get(server.web + path, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    if accept == ENCODINGS["binary"]:
        return message.FromString(answer.content)
    parsed: Message = json_format.Parse(answer.text, message())
    return parsed


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_reads_back_equal(served: tuple[Running, Any], name: str, encoding: str) -> None:
    server, admin = served
    id = spec_of(name).template.id
    expected = admin.GetWorkflow(common_pb2.ObjectGetRequest(id=id))
    assert expected.closure.compiled_workflow.primary.template.id == id
    path = f"/api/v1/workflows/{id.project}/{id.domain}/{id.name}/{id.version}"
    assert over_rest(server, path, ENCODINGS[encoding], workflow_pb2.Workflow) == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_tasks_read_back_equal(served: tuple[Running, Any], encoding: str) -> None:
    server, admin = served
    for task in task_pb2.TaskList.FromString((DATA / "tasks.pb").read_bytes()).tasks:
        template = task.closure.compiled_task.template
        expected = admin.GetTask(common_pb2.ObjectGetRequest(id=template.id))

        assert expected.closure.compiled_task.template == template
        id = template.id
        path = f"/api/v1/tasks/{id.project}/{id.domain}/{id.name}/{id.version}"
        assert over_rest(server, path, ENCODINGS[encoding], task_pb2.Task) == expected


def test_every_node_kind_is_among_them() -> None:
    kinds = {node.WhichOneof("target") for name in WORKFLOWS for node in spec_of(name).template.nodes}
    assert kinds == {"task_node", "workflow_node", "branch_node", "gate_node", "array_node"}
    assert any(spec_of(name).template.HasField("failure_node") for name in WORKFLOWS)
    assert identifier_pb2.LAUNCH_PLAN in {
        node.workflow_node.launchplan_ref.resource_type for name in WORKFLOWS for node in spec_of(name).template.nodes
    }

"""Upstream's offsets as page tokens of every list (switching.upstreamPageTokens), on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import (
    common_pb2,
    description_entity_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    signal_pb2,
    task_execution_pb2,
)
from flyteidl.core import identifier_pb2

from app.api import routers
from app.database import schema
from app.services import events, executions, launch_plans, projects, signals, tasks, workflows
from app.services.phases import Node, Task
from tests.services.test_events import TASK, launch, node_event, run_id, task_event
from tests.support.builders import a_launch_plan, a_name, a_project, a_task, a_workflow

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
COUNT = 5
SWITCHING = {"upstream_page_tokens": True}


async def fill(b: Any) -> None:
    """At least five of everything that can be listed."""
    await launch(b)
    for number in range(2, COUNT + 2):
        name = f"x{number}"
        await b.call(projects.register_project, a_project(name))
        await b.call(tasks.create_task, a_task(name))
        await b.call(tasks.create_task, a_task("inc", f"v{number}"))
        await b.call(workflows.create_workflow, a_workflow(name))
        await b.call(workflows.create_workflow, a_workflow("wf", f"v{number}"))
        await b.call(launch_plans.create_launch_plan, a_launch_plan("lp", f"v{number}"))
        await b.call(launch_plans.create_launch_plan, a_launch_plan(name))
        active = launch_plan_pb2.LaunchPlanUpdateRequest(state=launch_plan_pb2.ACTIVE)
        active.id.CopyFrom(a_launch_plan(name).id)
        await b.call(launch_plans.update_launch_plan, active)
        await b.call(executions.create_execution, _launch(name))
        for node in (name, f"child{number}"):
            await b.call(events.create_node_event, node_event(node, Node.RUNNING, number))
        await b.call(events.create_task_event, task_event("x2", Task.RUNNING, number, attempt=number))
        signal = signal_pb2.SignalGetOrCreateRequest()
        signal.id.execution_id.CopyFrom(run_id())
        signal.id.signal_id, signal.type.simple = name, 1
        await b.call(signals.get_or_create_signal, signal)
    async with b.database.unit_of_work() as db:
        for number in range(COUNT):
            key = {"project": "p", "domain": "development", "name": "inc", "version": f"d{number}"}
            await db.insert(schema.DescriptionEntity, resource_type=identifier_pb2.TASK, **key)
        parent = (await db.find(schema.TaskExecution, retry_attempt=2)).id
        for number in range(2, COUNT + 2):
            key = {"execution_name": "e1", "node_id": f"child{number}"}
            await db.update(schema.NodeExecution, key, parent_task_execution_id=parent)


def _launch(name: str) -> execution_pb2.ExecutionCreateRequest:
    request = execution_pb2.ExecutionCreateRequest(project="p", domain="development", name=name)
    request.spec.launch_plan.CopyFrom(a_launch_plan().id)
    request.inputs.literals["a"].scalar.primitive.integer = 1
    return request


def _of_task(request: Any) -> Any:
    request.task_execution_id.task_id.CopyFrom(TASK)
    request.task_execution_id.node_execution_id.execution_id.CopyFrom(run_id())
    request.task_execution_id.node_execution_id.node_id = "x2"
    request.task_execution_id.retry_attempt = 2
    return request


def requests() -> dict[str, Any]:
    """A request of every RPC that answers in pages, and a few with filters or a sort."""
    scope = {"project": "p", "domain": "development"}
    versions = common_pb2.ResourceListRequest(id=a_name("inc"))
    plans = common_pb2.ResourceListRequest(id=a_name("lp"), filters="value_in(state,0;1)")
    plans.sort_by.key, plans.sort_by.direction = "version", common_pb2.Sort.ASCENDING
    of_node = task_execution_pb2.TaskExecutionListRequest()
    of_node.node_execution_id.execution_id.CopyFrom(run_id())
    of_node.node_execution_id.node_id = "x2"
    described = description_entity_pb2.DescriptionEntityListRequest(
        resource_type=identifier_pb2.TASK, id=a_name("inc"), filters="ne(version,none)"
    )
    running = node_execution_pb2.NodeExecutionListRequest(
        workflow_execution_id=run_id(), filters="value_in(phase,RUNNING;FAILED)"
    )
    return {
        "ListProjects": project_pb2.ProjectListRequest(),
        "ListTasks": versions,
        "ListTaskIds": common_pb2.NamedEntityIdentifierListRequest(**scope),
        "ListWorkflows": common_pb2.ResourceListRequest(id=a_name("wf")),
        "ListWorkflowIds": common_pb2.NamedEntityIdentifierListRequest(**scope),
        "ListLaunchPlans": plans,
        "ListLaunchPlanIds": common_pb2.NamedEntityIdentifierListRequest(domain="development"),
        "ListActiveLaunchPlans": launch_plan_pb2.ActiveLaunchPlanListRequest(**scope),
        "ListNamedEntities": common_pb2.NamedEntityListRequest(resource_type=identifier_pb2.TASK, **scope),
        "ListDescriptionEntities": described,
        "ListExecutions": common_pb2.ResourceListRequest(id=a_name(""), filters="eq(launch_plan.name,lp)"),
        "ListNodeExecutions": running,
        "ListNodeExecutionsForTask": _of_task(node_execution_pb2.NodeExecutionForTaskListRequest()),
        "ListTaskExecutions": of_node,
        "ListSignals": signal_pb2.SignalListRequest(workflow_execution_id=run_id()),
    }


def _items(page: Any) -> list[Any]:
    (field,) = (field.name for field in page.DESCRIPTOR.fields if field.name != "token")
    return list(getattr(page, field))


def test_every_list_returns_and_reads_offsets(bench: Scenario) -> None:
    paged = {rpc.name: rpc for rpc in routers.ALL if "token" in rpc.response.DESCRIPTOR.fields_by_name}
    assert set(requests()) == {name for name in paged if name.startswith("List")}

    async def scenario(b: Any) -> None:
        await fill(b)
        for name, request in requests().items():
            function = paged[name].function
            request.limit = 100
            whole = _items(await b.call(function, request))
            assert len(whole) >= COUNT - 1, name
            request.limit = 2
            found, tokens = [], []
            while True:
                page = await b.call(function, request)
                found += _items(page)
                if not page.token:
                    break
                tokens.append(page.token)
                request.token = page.token
            assert found == whole, name
            assert tokens == [str(offset) for offset in range(2, len(whole) + 1, 2)], name

    bench(scenario, switching=SWITCHING)


def test_a_key_token_is_followed_by_key_tokens(bench: Scenario) -> None:
    """A client that is in the middle of a list when the setting is switched on finishes it."""

    async def scenario(b: Any) -> None:
        await fill(b)
        for name in ("ListTasks", "ListTaskIds", "ListLaunchPlanIds"):
            (rpc,) = (rpc for rpc in routers.ALL if rpc.name == name)
            request = requests()[name]
            request.limit = 2
            tokens = []
            for switched in (False, True, False, True):
                b.settings = b.settings.model_copy(
                    update={"switching": b.settings.switching.model_copy(update={"upstream_page_tokens": switched})}
                )
                page = await b.call(rpc.function, request)
                request.token = page.token
                tokens.append(page.token[:2])
                if not page.token:
                    break
            assert tokens[:2] == ["k.", "k."], name

    bench(scenario)

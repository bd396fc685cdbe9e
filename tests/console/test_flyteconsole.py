"""Every call of upstream's console, as it sends them: protobuf over REST, enums as numbers, empty filters and tokens.

Each answer must parse as its message, hold what the console reads, and say the same as the JSON of the same call.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from flyteidl.admin import (
    common_pb2,
    description_entity_pb2,
    execution_pb2,
    launch_plan_pb2,
    matchable_resource_pb2,
    node_execution_pb2,
    project_attributes_pb2,
    project_domain_attributes_pb2,
    project_pb2,
    signal_pb2,
    task_execution_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2
from flyteidl.service import dataproxy_pb2
from google.protobuf import json_format

from tests.console.world import DOMAIN, PROJECT, World

pytestmark = pytest.mark.campaign

PROTOBUF = "application/octet-stream"
PLACE = f"{PROJECT}/{DOMAIN}"
BY_NAME = "sort_by.key=name&sort_by.direction=ASCENDING&token="
NEWEST = "sort_by.key=created_at&sort_by.direction=DESCENDING&token="
OF_WORKFLOW = "eq(workflow.name,graphs.nested)%2Beq(workflow.project,flytesnacks)%2Beq(workflow.domain,development)"
OF_TASK = "eq(task.name,graphs.double)%2Beq(task.project,flytesnacks)%2Beq(task.domain,development)"
OF_PLAN = (
    "eq(launch_plan.name,shown.nightly)%2Beq(launch_plan.project,flytesnacks)%2Beq(launch_plan.domain,development)"
)
SINCE = "gte(created_at,2020-01-01T00:00:00.000Z)"
# Path, message of the answer, field that must not be empty ("" where nothing has to be there).
READS: list[tuple[str, type, str]] = [
    ("/projects", project_pb2.Projects, "projects"),
    *(
        (
            f"/named_entities/{kind}/{PLACE}?limit={limit}&filters={filters}&{BY_NAME}",
            common_pb2.NamedEntityList,
            "entities",
        )
        for kind in (1, 2, 3)
        for limit in (25, 10000)
        for filters in (("", "eq(state,0)") if kind != 3 else ("",))
    ),
    *(
        (
            f"/workflows/{PLACE}/graphs.nested?limit={limit}&filters={filters}&{NEWEST}",
            workflow_pb2.WorkflowList,
            "workflows",
        )
        for limit in (1, 5, 10, 25, 100)
        for filters in ("", OF_WORKFLOW, "eq(version,v1)", "contains(version,v)")
    ),
    (f"/workflows/{PLACE}?limit=10&filters={OF_WORKFLOW}&{NEWEST}", workflow_pb2.WorkflowList, "workflows"),
    (f"/workflows/{PLACE}/graphs.nested/v1", workflow_pb2.Workflow, "closure"),
    (f"/tasks/{PLACE}/graphs.double?limit=10&filters={OF_TASK}&{NEWEST}", task_pb2.TaskList, "tasks"),
    (f"/tasks/{PLACE}/graphs.double/v1", task_pb2.Task, "closure"),
    (f"/launch_plans/{PLACE}?limit=5&filters=eq(state,1)%2B{OF_WORKFLOW}", launch_plan_pb2.LaunchPlanList, ""),
    (
        f"/launch_plans/{PLACE}?limit=50&filters={OF_WORKFLOW}%2Beq(workflow.version,v1)",
        launch_plan_pb2.LaunchPlanList,
        "launch_plans",
    ),
    *(
        (
            f"/launch_plans/{PLACE}/shown.nightly?limit={limit}&filters={filters}&{NEWEST}",
            launch_plan_pb2.LaunchPlanList,
            "launch_plans",
        )
        for limit in (1, 10)
        for filters in ("", "eq(state,1)", "ne(schedule_type,NONE)", "eq(version,v1)", "contains(version,v)", OF_PLAN)
    ),
    (f"/launch_plans/{PLACE}/shown.nightly/v1", launch_plan_pb2.LaunchPlan, "closure"),
    *(
        (
            f"/description_entities/{kind}/{PLACE}/{name}?limit=1&filters=&{NEWEST}",
            description_entity_pb2.DescriptionEntityList,
            "",
        )
        for kind, name in ((1, "shown.make"), (2, "shown.every_type"))
    ),
    *(
        (f"/executions/{PLACE}?limit={limit}&filters={filters}&{NEWEST}", execution_pb2.ExecutionList, "executions")
        for limit in (1, 10, 100)
        for filters in (
            "",
            OF_WORKFLOW,
            OF_TASK,
            f"{OF_WORKFLOW}%2Beq(workflow.version,v1)",
            "value_in(phase,RUNNING%3BFAILED)",
            "lt(duration,3600)",
            f"eq(state,0)%2B{SINCE}",
            "lte(created_at,2099-01-01T00:00:00.000Z)",
        )
    ),
    *(
        (f"/executions/{PLACE}?limit=10&filters={filters}&{NEWEST}", execution_pb2.ExecutionList, "")
        for filters in (OF_PLAN, "gte(duration,14400)", "eq(user,nobody)", "eq(state,1)", "eq(mode,1)")
    ),
]
RUN_READS: list[tuple[str, type, str]] = [
    ("/executions/{run}", execution_pb2.Execution, "closure"),
    ("/data/executions/{run}", execution_pb2.WorkflowExecutionGetDataResponse, "full_inputs"),
    (
        "/node_executions/{run}?limit=10000&filters=&sort_by.key=created_at&sort_by.direction=ASCENDING&token=",
        node_execution_pb2.NodeExecutionList,
        "node_executions",
    ),
    (
        "/node_executions/{run}?uniqueParentId={node}&limit=10000&token=",
        node_execution_pb2.NodeExecutionList,
        "node_executions",
    ),
    ("/node_executions/{run}/{node}", node_execution_pb2.NodeExecution, "closure"),
    ("/data/node_executions/{run}/{node}", node_execution_pb2.NodeExecutionGetDataResponse, ""),
    ("/task_executions/{run}/{node}?limit=10000&token=", task_execution_pb2.TaskExecutionList, ""),
    ("/metrics/executions/{run}?depth=10", execution_pb2.WorkflowExecutionGetMetricsResponse, "span"),
]


class Console:
    """Requests as flyteconsole sends them."""

    def __init__(self, web: str) -> None:
        self._http = httpx.Client(base_url=f"{web}/api/v1", headers={"accept": PROTOBUF}, timeout=60)

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, body: Any = None) -> httpx.Response:
        """Send a call with a message as body."""
        if body is None:
            return self._http.request(method, path)
        headers = {"content-type": PROTOBUF}
        return self._http.request(method, path, content=body.SerializeToString(), headers=headers)

    def ask(self, kind: type, method: str, path: str, body: Any = None) -> Any:
        answer = self.send(method, path, body)
        assert answer.status_code == 200, (method, path, answer.content)
        assert answer.headers["content-type"] == PROTOBUF
        return kind.FromString(answer.content)  # type: ignore[attr-defined]


@pytest.fixture
def console(world: World):  # type: ignore[no-untyped-def]
    made = Console(world.web)
    yield made
    made.close()


def check_read(console: Console, world: World, path: str, kind: type, field: str) -> None:
    found = console.ask(kind, "GET", path)
    if field:
        value = getattr(found, field)
        assert len(value) if hasattr(value, "__len__") else found.HasField(field), (path, field)
    read = world.remote.text(f"/api/v1{path}")
    assert read.status_code == 200, path
    assert json_format.ParseDict(read.json(), kind(), ignore_unknown_fields=True) == found, path


def test_lists_and_entities(console: Console, world: World) -> None:
    for path, kind, field in READS:
        check_read(console, world, path, kind, field)


@pytest.mark.parametrize("scenario", ["nested", "dynamic", "failing", "map", "gated", "eager", "decks"])
def test_an_execution(console: Console, world: World, scenario: str) -> None:
    run = f"{PLACE}/{world.names[scenario]}"
    nodes = console.ask(node_execution_pb2.NodeExecutionList, "GET", f"/node_executions/{run}?limit=10000")
    times = [one.closure.created_at.ToNanoseconds() for one in nodes.node_executions]
    assert times == sorted(times), "nodes come in the order of their creation"
    assert all(one.metadata.spec_node_id for one in nodes.node_executions)
    names = [one.id.node_id for one in nodes.node_executions if one.id.node_id not in ("start-node", "end-node")]
    parents = [one.id.node_id for one in nodes.node_executions if one.metadata.is_parent_node]
    for path, kind, field in RUN_READS:
        for node in parents if "uniqueParentId" in path else names:
            check_read(console, world, path.format(run=run, node=node), kind, field)
    attempts = [
        console.ask(task_execution_pb2.TaskExecutionList, "GET", f"/task_executions/{run}/{one}?limit=10000")
        for one in names
    ]
    assert scenario == "nested" or any(one.task_executions for one in attempts)


def test_an_archived_project_setting_and_what_is_absent(console: Console) -> None:
    for path in (f"/project_attributes/{PROJECT}", f"/project_domain_attributes/{PROJECT}/staging"):
        answer = console.send("GET", f"{path}?resource_type={matchable_resource_pb2.WORKFLOW_EXECUTION_CONFIG}")
        assert answer.status_code in (200, 404)
        kind = (
            project_domain_attributes_pb2.ProjectDomainAttributesGetResponse
            if "domain" in path
            else project_attributes_pb2.ProjectAttributesGetResponse
        )
        if answer.status_code == 200:
            assert kind.FromString(answer.content).attributes.project == PROJECT
    for path in (f"/executions/{PLACE}/missing", f"/workflows/{PLACE}/missing/v1", f"/launch_plans/{PLACE}/missing/v1"):
        assert console.send("GET", path).status_code == 404


def test_the_session(console: Console, world: World) -> None:
    for path in ("/me", "/me"):
        answer = world.remote.text(path, accept="application/json, text/plain, */*")
        assert answer.status_code in (200, 501)


def _execution(name: str) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=name)


def test_launch_terminate_recover_and_archive(console: Console, world: World) -> None:
    """Inputs come in the specification, and there is no name; a task is launched as a launch plan."""
    for kind, name in ((identifier_pb2.LAUNCH_PLAN, "graphs.nested"), (identifier_pb2.TASK, "graphs.double")):
        request = execution_pb2.ExecutionCreateRequest(project=PROJECT, domain=DOMAIN)
        request.spec.launch_plan.CopyFrom(
            identifier_pb2.Identifier(resource_type=kind, project=PROJECT, domain=DOMAIN, name=name, version="v1")
        )
        request.spec.metadata.principal = "flyteconsole"
        request.spec.inputs.literals["x"].scalar.primitive.integer = 4
        made = console.ask(execution_pb2.ExecutionCreateResponse, "POST", "/executions", request).id.name
        assert world.remote.wait(made)["phase"] == "SUCCEEDED"
        data = console.ask(execution_pb2.WorkflowExecutionGetDataResponse, "GET", f"/data/executions/{PLACE}/{made}")
        assert data.full_inputs.literals["x"].scalar.primitive.integer == 4
    archive = execution_pb2.ExecutionUpdateRequest(id=_execution(made), state=execution_pb2.EXECUTION_ARCHIVED)
    console.ask(execution_pb2.ExecutionUpdateResponse, "PUT", f"/executions/{PLACE}/{made}", archive)
    assert world.remote.execution(made)["closure"]["state_change_details"]["state"] == "EXECUTION_ARCHIVED"
    recover = execution_pb2.ExecutionRecoverRequest(id=_execution(world.names["failing"]))
    again = console.ask(execution_pb2.ExecutionCreateResponse, "POST", "/executions/recover", recover).id.name
    assert world.remote.execution(again)["spec"]["metadata"]["mode"] == "RECOVERED"
    running = world.remote.launch("shown.long_nap")
    terminate = execution_pb2.ExecutionTerminateRequest(cause="from upstream's console")
    console.ask(execution_pb2.ExecutionTerminateResponse, "DELETE", f"/executions/{PLACE}/{running}", terminate)
    assert world.remote.execution(running)["closure"]["abort_metadata"]["cause"] == "from upstream's console"


def test_names_launch_plans_and_gates_are_changed(console: Console, world: World) -> None:
    for state in (common_pb2.NAMED_ENTITY_ARCHIVED, common_pb2.NAMED_ENTITY_ACTIVE):
        named = common_pb2.NamedEntityUpdateRequest(
            resource_type=identifier_pb2.WORKFLOW,
            id=common_pb2.NamedEntityIdentifier(project=PROJECT, domain=DOMAIN, name="graphs.late"),
            metadata=common_pb2.NamedEntityMetadata(state=state),
        )
        console.ask(common_pb2.NamedEntityUpdateResponse, "PUT", f"/named_entities/2/{PLACE}/graphs.late", named)
        found = world.remote.call("GET", f"/named_entities/WORKFLOW/{PLACE}/graphs.late")
        assert found["metadata"]["state"] == common_pb2.NamedEntityState.Name(state)
    plan = identifier_pb2.Identifier(
        resource_type=identifier_pb2.LAUNCH_PLAN, project=PROJECT, domain=DOMAIN, name="shown.often", version="v1"
    )
    for active in (launch_plan_pb2.INACTIVE, launch_plan_pb2.ACTIVE):
        update = launch_plan_pb2.LaunchPlanUpdateRequest(id=plan, state=active)
        console.ask(launch_plan_pb2.LaunchPlanUpdateResponse, "PUT", f"/launch_plans/{PLACE}/shown.often/v1", update)
        found = world.remote.call("GET", f"/launch_plans/{PLACE}/shown.often/v1")
        assert found["closure"]["state"] == launch_plan_pb2.LaunchPlanState.Name(active)
    name = world.remote.launch("gated", {"x": 1})
    world.remote.signals(name, 2)
    for signal, field, value in (("fine", "boolean", True), ("number", "integer", 5)):
        request = signal_pb2.SignalSetRequest()
        request.id.signal_id = signal
        request.id.execution_id.CopyFrom(_execution(name))
        setattr(request.value.scalar.primitive, field, value)
        console.ask(signal_pb2.SignalSetResponse, "POST", "/signals", request)
    closure = console.ask(execution_pb2.Execution, "GET", f"/executions/{PLACE}/{name}").closure
    assert closure.phase in (phases.WorkflowExecution.RUNNING, phases.WorkflowExecution.SUCCEEDED)
    assert world.remote.wait(name)["phase"] == "SUCCEEDED"


def test_a_deck_has_an_address(console: Console, world: World) -> None:
    request = dataproxy_pb2.CreateDownloadLinkRequest(artifact_type=dataproxy_pb2.ARTIFACT_TYPE_DECK)
    request.node_execution_id.node_id = "n0"
    request.node_execution_id.execution_id.CopyFrom(_execution(world.names["decks"]))
    reply = console.ask(dataproxy_pb2.CreateDownloadLinkResponse, "POST", "/dataproxy/artifact_link", request)
    address = reply.signed_url[0] if reply.signed_url else reply.pre_signed_urls.signed_url[0]
    assert "html" in httpx.get(address).headers["content-type"]

"""Tasks that a scripted service runs: requests, phases, outputs, failures, retries, timeouts, aborts."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.admin import task_execution_pb2 as admin_task_execution_pb2
from flyteidl.core import execution_pb2

from app.database import schema
from app.database.connector_tables import ConnectorJob
from app.services.execution_ids import execution_key
from tests.engine.local.connectors.conftest import RunConnected
from tests.engine.local.connectors.scripted import SUCCEEDED, Phase, Scripted, resource
from tests.engine.plane import Plane
from tests.engine.workflows import launch_plan, task, task_node, template, with_metadata, workflow

pytestmark = pytest.mark.heavy

TYPE = "remote"
RUNNING = resource(Phase.RUNNING)


def service(*gets: Any) -> Scripted:
    made = Scripted((TYPE, 0, False))
    made.gets = list(gets) or made.gets
    return made


async def register(plane: Plane, *, outputs: bool = False, retries: int = 0, **metadata: Any) -> None:
    job = task("job", {"x": "int"}, {"o": "int"} if outputs else {}, type=TYPE, retries=retries)
    node = with_metadata(task_node("n0", "job", x=7), retries=retries, **metadata)
    wf = template("wf", node, outputs={"r": ("int", "n0.o")} if outputs else {})
    await plane.register(job, workflow(wf), launch_plan("wf"))


async def closure(plane: Plane, id: Any, attempt: int = 0) -> admin_task_execution_pb2.TaskExecutionClosure:
    async with plane.server.database.unit_of_work() as db:
        row = await db.find(schema.TaskExecution, **execution_key(id), node_id="n0", retry_attempt=attempt)
    assert row is not None
    return admin_task_execution_pb2.TaskExecutionClosure.FromString(row.closure)


async def jobs(plane: Plane) -> int:
    async with plane.server.database.unit_of_work() as db:
        return await db.count(ConnectorJob)


def test_a_task_runs_to_its_outputs_with_the_requests_of_upstream(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane, outputs=True)
        id = await plane.launch("wf")
        assert await plane.outputs(id) == {"r": 42}
        (create,) = service.requests["create"]
        assert create.inputs.literals["x"].scalar.primitive.integer == 7
        assert create.template.type == TYPE
        assert create.output_prefix.endswith("/n0/data/0")
        metadata = create.task_execution_metadata
        assert metadata.task_execution_id.node_execution_id.node_id == "n0"
        assert metadata.task_execution_id.node_execution_id.execution_id == id
        assert metadata.namespace == "p-development"
        assert metadata.k8s_service_account == "default"
        assert metadata.labels["execution-id"] == id.name
        get = service.requests["get"][-1]
        assert (get.task_type, get.task_category.name, get.resource_meta) == (TYPE, TYPE, b"meta")
        assert get.output_prefix == create.output_prefix
        assert not service.requests["delete"]
        assert not await jobs(plane)
        # A service without logs has not failed.
        assert service.requests["logs"]
        assert plane.connectors.registry.services[0].connection.failures == 0

    run_connected(scenario, service(RUNNING, resource(Phase.SUCCEEDED, outputs={"o": 42})))


def test_messages_links_and_information_are_shown_while_a_task_runs(run_connected: RunConnected) -> None:
    link = execution_pb2.TaskLog(name="job", uri="https://example.com/1")
    running = resource(Phase.RUNNING, "step 1", log_links=[link])
    running.custom_info["rows"] = 3
    hold = asyncio.Event()

    async def held(_: Any) -> Any:
        await hold.wait()
        return SUCCEEDED

    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        id = await plane.launch("wf")

        async def shows_step_2() -> bool:
            if not len(service.requests["get"]) > 2:
                return False
            return bool((await closure(plane, id)).reason == "step 2")

        await plane.until(shows_step_2)
        shown = await closure(plane, id)
        assert shown.phase == Phase.RUNNING
        assert [one.uri for one in shown.logs if one.name == "job"] == [link.uri]
        assert shown.custom_info["rows"] == 3
        assert [one.message for one in shown.reasons][-2:] == ["step 1", "step 2"]
        assert shown.metadata.plugin_identifier == "connector-service"
        hold.set()
        assert await plane.phase(id) == "SUCCEEDED"
        log = plane.settings.home_path / "attempts/p/development/e1/n0/0/log"
        assert "RUNNING step 2" in log.read_text()

    run_connected(scenario, service(running, resource(Phase.RUNNING, "step 2"), held))


@pytest.mark.parametrize(
    ("reply", "code", "message"),
    [
        (resource(Phase.FAILED, "boom"), "TaskFailedWithError", "failed to run the job: boom"),
        (
            resource(Phase.FAILED, "boom", agent_error=agent_pb2.AgentError(code="E7")),
            "E7",
            "failed to run the job: boom",
        ),
        (resource(Phase.ABORTED, "gone"), "TaskFailedWithError", "aborted by the connector: gone"),
        (resource(state=agent_pb2.PERMANENT_FAILURE, message="old"), "TaskFailedWithError", "old"),
        (resource(99), "UnknownPhase", "unknown phase [99]"),
    ],
)
def test_a_permanent_failure_costs_no_retry(
    run_connected: RunConnected, reply: agent_pb2.Resource, code: str, message: str
) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane, retries=2)
        id = await plane.launch("wf")
        found = await plane.error(id)
        assert found[0] == code
        assert message in found[1]
        assert len(service.requests["create"]) == 1
        assert not service.requests["delete"]

    run_connected(scenario, service(reply))


@pytest.mark.parametrize(
    "reply",
    [
        resource(Phase.RETRYABLE_FAILED, "again"),
        resource(Phase.FAILED, "again", agent_error=agent_pb2.AgentError(kind=agent_pb2.AgentError.RECOVERABLE)),
        resource(state=agent_pb2.RETRYABLE_FAILURE, message="again"),
        resource(Phase.SUCCEEDED, outputs={"other": 1}),
    ],
)
def test_a_retryable_failure_is_a_new_task(run_connected: RunConnected, reply: agent_pb2.Resource) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane, outputs=True, retries=2)
        id = await plane.launch("wf")
        assert await plane.outputs(id) == {"r": 1}
        first, second = service.requests["create"]
        assert second.task_execution_metadata.task_execution_id.retry_attempt == 1
        assert first.output_prefix != second.output_prefix

    run_connected(scenario, service(reply, resource(Phase.SUCCEEDED, outputs={"o": 1})))


def test_a_refused_create_consumes_retries(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.creates = [(grpc.StatusCode.INVALID_ARGUMENT, "no such region")]
        await register(plane, retries=1)
        code, message = await plane.error(await plane.launch("wf"))
        assert code == "RetriesExhausted|TaskFailedWithError"
        expected = "failed to create task from connector with rpc error: code = InvalidArgument desc = no such region"
        assert expected in message
        assert len(service.requests["create"]) == 2

    run_connected(scenario, service())


def test_six_refused_polls_in_a_row_end_the_task(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        code, message = await plane.error(await plane.launch("wf"))
        assert code == "AutoRefreshCacheFailed"
        assert "failed to get task from connector with rpc error: code = NotFound desc = what job" in message
        assert len(service.requests["get"]) == 12

    refused = (grpc.StatusCode.NOT_FOUND, "what job")
    run_connected(
        scenario, service(*[refused] * 5, RUNNING, refused), web_api={"caching": {"resync_interval_seconds": 0.01}}
    )


def test_polls_that_may_succeed_later_are_repeated(run_connected: RunConnected) -> None:
    codes = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED")
    steps = [(grpc.StatusCode[code], "later") for code in codes] * 3

    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        assert await plane.phase(await plane.launch("wf")) == "SUCCEEDED"
        assert len(service.requests["get"]) == 13

    run_connected(scenario, service(*steps, SUCCEEDED), web_api={"caching": {"resync_interval_seconds": 0.01}})


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (agent_pb2.GetTaskResponse(), "empty reply"),
        (resource(Phase.RUNNING, "x" * 200_000), "Received message larger than max (200010 vs. 65536)"),
    ],
)
def test_replies_without_use_count_as_refused_polls(run_connected: RunConnected, reply: Any, words: str) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        assert words in (await plane.error(await plane.launch("wf")))[1]
        assert len(service.requests["get"]) == 6

    run_connected(
        scenario,
        service(reply),
        web_api={"caching": {"resync_interval_seconds": 0.01}},
        local={"message_bytes_max": 65536},
    )


def test_terminate_deletes_the_task_once(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await plane.terminate(id)
        assert await plane.phase(id) == "ABORTED"
        (delete,) = service.requests["delete"]
        assert (delete.task_type, delete.resource_meta) == (TYPE, b"meta")
        polls = len(service.requests["get"])
        await asyncio.sleep(0.05)
        assert len(service.requests["get"]) == polls
        assert (await plane.attempts(id, "n0"))[0][0] == "ABORTED"

    run_connected(scenario, service(RUNNING))


def test_a_task_that_the_service_does_not_know_is_deleted(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.deletes = [(grpc.StatusCode.NOT_FOUND, "gone")]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await plane.terminate(id)
        assert await plane.phase(id) == "ABORTED"
        assert len(service.requests["delete"]) == 1

    run_connected(scenario, service(RUNNING))


def test_an_abort_ends_although_the_service_does_not_delete(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.deletes = [(grpc.StatusCode.UNAVAILABLE, "busy")]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await plane.terminate(id)
        assert await plane.phase(id) == "ABORTED"
        assert "may still run: rpc error: code = Unavailable desc = busy" in (await closure(plane, id)).reason

    run_connected(scenario, service(RUNNING), local={"delete_seconds_max": 0.05})


def test_an_abort_deletes_the_task_of_a_late_create(run_connected: RunConnected) -> None:
    created = asyncio.Event()

    async def late(_: Any) -> Any:
        await created.wait()
        return agent_pb2.CreateTaskResponse(resource_meta=b"late")

    async def scenario(plane: Plane, service: Scripted) -> None:
        service.creates = [late]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["create"])
        await plane.terminate(id)
        await asyncio.sleep(0.05)
        created.set()
        assert await plane.phase(id) == "ABORTED"
        assert [one.resource_meta for one in service.requests["delete"]] == [b"late"]

    run_connected(scenario, service(RUNNING))


def test_a_timeout_deletes_the_task_of_each_attempt(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane, retries=1, timeout_seconds=0.3)
        code, message = await plane.error(await plane.launch("wf"))
        assert code == "RetriesExhausted|TimeoutExpired"
        assert "task execution timeout [300ms] expired" in message
        assert len(service.requests["create"]) == len(service.requests["delete"]) == 2

    run_connected(scenario, service(RUNNING))

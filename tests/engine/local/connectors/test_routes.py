"""Which service runs a task: announced types, routes of the settings, several services, services that are away."""

from __future__ import annotations

import socket
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from app.settings import BadSetting, Settings, load
from tests.engine.local.connectors.conftest import RunConnected
from tests.engine.local.connectors.scripted import Phase, Scripted, resource
from tests.engine.local.connectors.test_tasks import TYPE, register
from tests.engine.plane import Plane
from tests.engine.workflows import launch_plan, task, task_node, template, workflow

pytestmark = pytest.mark.heavy


async def error_of_type(plane: Plane, type: str) -> tuple[str, str]:
    await plane.register(task("t", type=type), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
    return await plane.error(await plane.launch("wf"))


def test_an_unknown_type_fails_at_once_and_names_services_and_settings(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        code, message = await error_of_type(plane, "unheard")
        assert code == "FailedToBuildResource"
        assert "no service runs tasks of type [unheard] version [0]" in message
        assert service.endpoint in message
        assert "plugins.connector-service.connectors" in message

    run_connected(scenario, Scripted((TYPE, 0, False)))


def test_an_old_service_that_announces_nothing_runs_the_types_of_the_settings(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.agents = (grpc.StatusCode.UNIMPLEMENTED, "no such method")
        await register(plane)
        assert await plane.phase(await plane.launch("wf")) == "SUCCEEDED"

    run_connected(scenario, Scripted(), supported_task_types=(TYPE,))


def test_another_version_of_an_announced_type_goes_to_the_default_service(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        assert await plane.phase(await plane.launch("wf")) == "SUCCEEDED"
        assert service.requests["get"][0].task_category.version == 0

    run_connected(scenario, Scripted((TYPE, 3, False)))


@pytest.mark.parametrize("capitals", [False, True])
def test_a_route_of_the_settings_precedes_what_services_announce(run_connected: RunConnected, capitals: bool) -> None:
    other = Scripted((TYPE, 0, True))
    # The settings need the port before the service starts.
    other.port = _free_port()
    name, wanted = ("Other", "oTHER") if capitals else ("other", "other")

    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        assert await plane.phase(await plane.launch("wf")) == "SUCCEEDED"
        assert not service.requests["create"]
        # The type is announced there as synchronous, which the route keeps.
        assert len(other.requests["sync"]) == 1

    async def with_other(plane: Plane, service: Scripted) -> None:
        async with other.running():
            found = plane.connectors.registry.by_id("connector-service", "other")
            assert found is not None
            await found.ask()
            await scenario(plane, service)

    run_connected(
        with_other,
        Scripted((TYPE, 0, False)),
        connectors={name: {"endpoint": f"127.0.0.1:{other.port}"}},
        connector_for_task_types=[{TYPE.upper(): wanted}],
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_task_waits_for_a_service_that_is_away_and_then_fails(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        await plane.until(lambda: service.requests["list"])
        await service.stop()
        code, message = await plane.error(await plane.launch("wf"))
        assert code == "RetriesExhausted|TaskFailedWithError"
        assert "code = Unavailable" in message
        await service.start()

    run_connected(scenario, Scripted((TYPE, 0, False)), local={"wait_seconds_max": 0.3})


@pytest.mark.slow
def test_a_task_that_waited_for_its_service_spends_no_retry(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await register(plane)
        await plane.until(lambda: service.requests["list"])
        await service.stop()
        id = await plane.launch("wf")

        async def waits() -> bool:
            found = await plane.nodes(id)
            return bool(found) and (await plane.attempts(id, "n0")) == [("WAITING_FOR_RESOURCES", "")]

        await plane.until(waits)
        await service.start()
        assert await plane.phase(id) == "SUCCEEDED"
        assert len(service.requests["create"]) == 1

    run_connected(scenario, Scripted((TYPE, 0, False)))


def test_a_service_that_goes_away_while_its_task_runs_is_asked_again_when_it_is_back(
    run_connected: RunConnected,
) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.gets = [resource(Phase.RUNNING, "busy")]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await service.stop()

        async def shows_why() -> bool:
            (closure,) = await plane.attempt_closures(id, "n0")
            return "code = Unavailable" in closure.reason

        await plane.until(shows_why)
        assert (await plane.attempts(id, "n0")) == [("RUNNING", "")]
        service.gets = [resource(Phase.SUCCEEDED)]
        await service.start()
        assert await plane.phase(id) == "SUCCEEDED"
        assert len(service.requests["create"]) == 1
        log = plane.settings.home_path / "attempts/p/development/e1/n0/0/log"
        assert "code = Unavailable" in log.read_text()

    run_connected(scenario, Scripted((TYPE, 0, False)))


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (None, "expected header in the response, but got none"),
        (agent_pb2.ExecuteTaskSyncResponse(), "expected header in the response, but got none"),
        ((grpc.StatusCode.INTERNAL, "trace"), "rpc error: code = Internal desc = trace"),
        (resource(Phase.RUNNING), "sync connector must return a terminal phase, but returned RUNNING"),
        (resource(Phase.FAILED, "boom"), "failed to run the job: boom"),
        (resource(), "empty reply"),
    ],
)
def test_a_synchronous_task_fails_with_the_reason(run_connected: RunConnected, reply: Any, words: str) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.syncs = [reply]
        await register(plane)
        assert words in (await plane.error(await plane.launch("wf")))[1]

    run_connected(scenario, Scripted((TYPE, 0, True)))


def test_a_synchronous_task_returns_outputs_within_one_call(run_connected: RunConnected) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.syncs = [resource(Phase.SUCCEEDED, outputs={"o": 5})]
        await register(plane, outputs=True)
        assert await plane.outputs(await plane.launch("wf")) == {"r": 5}
        ((header, inputs),) = service.requests["sync"]
        assert header.header.template.type == TYPE
        assert inputs.inputs.literals["x"].scalar.primitive.integer == 7
        assert not service.requests["create"]
        assert not service.requests["get"]

    run_connected(scenario, Scripted((TYPE, 0, True)))


def test_settings_take_upstreams_spellings_and_refuse_what_cannot_work(tmp_path: Any) -> None:
    file = tmp_path / "flyte.yaml"
    file.write_text(
        """
plugins:
  agent-service:
    defaultAgent: {endpoint: "dns:///a:8000", insecure: true, defaultTimeout: 5s, timeouts: {GetTask: 6s}}
    agentForTaskTypes: [{x: Other}]
  connector-service:
    connectors: {Other: {endpoint: "b:80", defaultServiceConfig: '{"a": 1}'}}
    pollInterval: 20s
    webApi: {caching: {resyncInterval: 7s}, readRateLimiter: {qps: 5}}
"""
    )
    loaded = load([file], environ={})
    assert not loaded.warnings
    agents, connectors = loaded.settings.plugins.agent_service, loaded.settings.plugins.connector_service
    assert agents.default_agent.timeout_seconds("GetTask") == 6
    assert agents.default_agent.timeout_seconds("CreateTask") == 5
    assert agents.routes == {"x": "Other"}
    assert connectors.connectors["Other"].timeout_seconds("CreateTask") == 10
    assert connectors.web_api.caching.resync_interval_seconds == 7
    file.write_text("plugins: {connector-service: {defaultConnector: {endpoint: 'k8s:///a.b:80'}}}")
    with pytest.raises(BadSetting, match="k8s:// names need FlytePropeller"):
        load([file], environ={})
    assert Settings().plugins.connector_service.default_connector.insecure

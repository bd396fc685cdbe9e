"""Restarts of the engine while a service runs tasks, and maps, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import agent_pb2

from tests.conftest import DATABASES
from tests.engine.local.connectors.scripted import Phase, Scripted, resource
from tests.engine.local.connectors.test_tasks import TYPE, jobs, register
from tests.engine.plane import Plane
from tests.engine.workflows import array_node, launch_plan, task, task_node, template, workflow

RUNNING = resource(Phase.RUNNING, "busy")


@pytest.fixture(params=DATABASES)
def run_connected(request: pytest.FixtureRequest, emptied_database: Callable[[str], str], tmp_path: Path) -> Any:
    def run(scenario: Callable[[Plane, Scripted], Any], service: Scripted) -> None:
        async def main() -> None:
            async with (
                service.running(),
                Plane(emptied_database(request.param), tmp_path, {}, **service.settings()).running() as plane,
            ):
                await scenario(plane, service)

        asyncio.run(main())

    return run


def test_a_restarted_engine_asks_for_the_stored_task(run_connected: Any) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.gets = [RUNNING]
        await register(plane, outputs=True)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await plane.restart()
        polls = len(service.requests["get"])
        await plane.until(lambda: len(service.requests["get"]) > polls)
        service.gets = [resource(Phase.SUCCEEDED, outputs={"o": 3})]
        assert await plane.outputs(id) == {"r": 3}
        assert len(service.requests["create"]) == 1
        assert {one.resource_meta for one in service.requests["get"]} == {b"meta"}
        assert not await jobs(plane)

    run_connected(scenario, Scripted((TYPE, 0, False)))


def test_a_restart_during_create_loses_no_task(run_connected: Any) -> None:
    going = asyncio.Event()

    async def slow(_: Any) -> Any:
        await going.wait()
        return agent_pb2.CreateTaskResponse(resource_meta=b"slow")

    async def scenario(plane: Plane, service: Scripted) -> None:
        service.creates = [slow]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["create"])
        asyncio.get_running_loop().call_later(0.1, going.set)
        await plane.restart()
        assert await plane.phase(id) == "SUCCEEDED"
        assert len(service.requests["create"]) == 1

    run_connected(scenario, Scripted((TYPE, 0, False)))


def test_an_abort_after_a_restart_deletes_the_task(run_connected: Any) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        service.gets = [RUNNING]
        await register(plane)
        id = await plane.launch("wf")
        await plane.until(lambda: service.requests["get"])
        await plane.engine.stop()
        await plane.terminate(id)
        await plane.start()
        assert await plane.phase(id) == "ABORTED"
        assert [one.resource_meta for one in service.requests["delete"]] == [b"meta"]

    run_connected(scenario, Scripted((TYPE, 0, False)))


def test_a_map_creates_a_task_for_each_index_once(run_connected: Any) -> None:
    def meta(request: Any) -> Any:
        index = request.task_execution_metadata.environment_variables["FLYTE_K8S_ARRAY_INDEX"]
        return agent_pb2.CreateTaskResponse(resource_meta=index.encode())

    def result(request: Any) -> Any:
        if request.resource_meta == b"1" and not hold.is_set():
            return RUNNING
        return resource(Phase.SUCCEEDED, outputs={"o": int(request.resource_meta) * 10})

    hold = asyncio.Event()

    async def scenario(plane: Plane, service: Scripted) -> None:
        service.creates, service.gets = [meta], [result]
        mapped = task("job", {"x": "[int]"}, {"o": "[int]"}, type=TYPE)
        mapped.spec.template.task_type_version = 1
        node = array_node("n0", task_node("n0", "job"), x=[4, 5, 6])
        wf = template("wf", node, outputs={"r": ("[int]", "n0.o")})
        await plane.register(mapped, workflow(wf), launch_plan("wf"))
        id = await plane.launch("wf")
        await plane.until(lambda: len(service.requests["get"]) > 4)
        await plane.restart()
        hold.set()
        assert await plane.outputs(id) == {"r": [0, 10, 20]}
        assert len(service.requests["create"]) == 3
        assert len({one.output_prefix for one in service.requests["create"]}) == 3
        # The service announces version 0, and flytekit's maps ask for 1.
        assert {one.template.task_type_version for one in service.requests["create"]} == {0}

    run_connected(scenario, Scripted((TYPE, 0, False)))

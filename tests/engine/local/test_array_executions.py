"""Array nodes, run in this process: indices, tolerated failures, retries, child executions, caching and aborts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf import json_format

from app.engine.local.processes.task_attempt import TaskAttempt
from tests.engine.fake_runner import boom
from tests.engine.plane import Plane, RunPlane
from tests.engine.workflows import (
    Node,
    array_node,
    launch_plan,
    launch_plan_node,
    task,
    task_node,
    template,
    with_metadata,
    workflow,
)

pytestmark = pytest.mark.heavy

# A list of integers, or None where an index failed.
INTEGERS = "collection_type { union_type { variants { simple: INTEGER } variants { simple: NONE } } }"
MAPPED = task("mapped", {"x": "[int]"}, {"o": INTEGERS})


def array(element: Node | None = None, **how: Any) -> Node:
    return array_node("n0", element or task_node("n0", "mapped"), **how)


async def register(plane: Plane, node: Node, *tasks: Any) -> None:
    main = template("wf", node, outputs={"r": (INTEGERS, "n0.o")})
    await plane.register(*(tasks or (MAPPED,)), workflow(main), launch_plan("wf"))


def odd_only(x: int) -> Any:
    return {"o": x} if x % 2 else boom(f"{x} is even")


def test_an_empty_array_has_empty_outputs(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        await register(plane, array(x=[]))
        assert await plane.outputs(await plane.launch("wf")) == {"r": []}
        assert not plane.runner.starts

    run_plane(scenario, {"mapped": odd_only})


def test_too_many_failures_report_the_messages_of_the_indices(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        await register(plane, array(min_success_ratio=0.9, x=[1, 3, 4]))
        id = await plane.launch("wf")
        assert await plane.error(id) == ("", "[2]: 4 is even\n")
        assert await plane.attempts(id, "n0") == [("FAILED", "")]

    run_plane(scenario, {"mapped": odd_only})


def test_indices_report_their_times_and_errors(run_plane: RunPlane) -> None:
    def flaky(x: int, attempt: TaskAttempt) -> Any:
        return {"o": x} if attempt.attempt >= x else boom("File x\nValueError: no", retryable=True)

    async def scenario(plane: Plane) -> None:
        element = with_metadata(task_node("n0", "mapped"), retries=1)
        await register(plane, array(element, min_success_ratio=0.5, x=[0, 1, 2, 3]))
        id = await plane.launch("wf")
        assert await plane.phase(id) == "SUCCEEDED"
        (closure,) = await plane.attempt_closures(id, "n0")
        infos = {
            (one.index, one.retry_attempt): json_format.MessageToDict(one.custom_info)
            for one in closure.metadata.external_resources
        }
        assert infos.keys() == {(0, 0), *((index, retry) for index in (1, 2, 3) for retry in (0, 1))}
        for key, info in infos.items():
            assert 0 <= info["ended_at"] - info["started_at"] < 60
            assert info.get("error", "") == ("" if key in {(0, 0), (1, 1)} else "File x\nValueError: no")

    run_plane(scenario, {"mapped": flaky})


@pytest.mark.parametrize(("ratio", "phase"), [(0.5, "SUCCEEDED"), (0.6, "FAILED")])
def test_the_ratio_of_successes_decides(run_plane: RunPlane, ratio: float, phase: str) -> None:
    async def scenario(plane: Plane) -> None:
        await register(plane, array(min_success_ratio=ratio, x=[1, 2, 3, 4]))
        assert await plane.phase(await plane.launch("wf")) == phase

    run_plane(scenario, {"mapped": odd_only})


def test_every_index_has_its_own_retries(run_plane: RunPlane) -> None:
    def flaky(x: int, attempt: TaskAttempt) -> Any:
        return {"o": x} if attempt.attempt >= x else boom(retryable=True)

    async def scenario(plane: Plane) -> None:
        element = with_metadata(task_node("n0", "mapped"), retries=2)
        await register(plane, array(element, x=[0, 1, 2]))
        assert await plane.outputs(await plane.launch("wf")) == {"r": [0, 1, 2]}
        assert len(plane.runner.starts) == 1 + 2 + 3

    run_plane(scenario, {"mapped": flaky})


def test_an_index_is_ended_at_its_timeout(run_plane: RunPlane) -> None:
    async def slow_at_first(x: int, attempt: TaskAttempt) -> Any:
        await asyncio.sleep(0 if attempt.attempt else 60)
        return {"o": x}

    async def scenario(plane: Plane) -> None:
        element = with_metadata(task_node("n0", "mapped"), retries=1, timeout_seconds=0.2)
        await register(plane, array(element, x=[7]))
        assert await plane.outputs(await plane.launch("wf")) == {"r": [7]}
        assert len(plane.runner.starts) == 2

    run_plane(scenario, {"mapped": slow_at_first})


def test_an_array_of_launch_plans_starts_executions(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        inner = template("inner", task_node("n0", "inc", x=".b"), inputs={"b": "int"}, outputs={"o": ("int", "n0.o")})
        inc = task("inc", {"x": "int"}, {"o": "int"})
        await plane.register(inc, workflow(inner), launch_plan("inner"))
        node = array(launch_plan_node("n0", "inner"), b=[1, 2, 3])
        main = template("wf", node, outputs={"r": ("[int]", "n0.o")})
        await plane.register(workflow(main), launch_plan("wf"))
        assert await plane.outputs(await plane.launch("wf")) == {"r": [2, 3, 4]}
        assert await plane.executions() == 4

    run_plane(scenario, {"inc": lambda x: {"o": x + 1}})


def test_indices_are_cached_one_by_one(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        cached = task("mapped", {"x": "[int]"}, {"o": "[int]"}, discoverable=True, discovery_version="1")
        main = template("wf", array(x=".xs"), inputs={"xs": "[int]"}, outputs={"r": ("[int]", "n0.o")})
        await plane.register(cached, workflow(main), launch_plan("wf"))
        assert await plane.outputs(await plane.launch("wf", "e1", xs=[1, 2])) == {"r": [10, 20]}
        assert await plane.outputs(await plane.launch("wf", "e2", xs=[2, 3])) == {"r": [20, 30]}
        assert len(plane.runner.starts) == 3

    run_plane(scenario, {"mapped": lambda x: {"o": x * 10}})


def test_an_abort_ends_the_indices(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        await register(plane, array(x=[1, 2, 3, 4]))
        id = await plane.launch("wf")
        await plane.until(lambda: plane.runner.alive)
        await plane.terminate(id)
        assert await plane.phase(id) == "ABORTED"
        assert not plane.runner.alive
        assert await plane.attempts(id, "n0") == [("ABORTED", "")]

    async def wait(x: int) -> Any:
        await asyncio.sleep(60)

    run_plane(scenario, {"mapped": wait})


def test_a_restart_runs_no_index_twice(run_plane: RunPlane) -> None:
    gate: list[asyncio.Event] = []

    async def wait_for_two(x: int) -> Any:
        if x == 2:
            await gate[0].wait()
        return {"o": x}

    async def scenario(plane: Plane) -> None:
        gate.append(asyncio.Event())
        await register(plane, array(x=[0, 1, 2, 3, 4]))
        id = await plane.launch("wf")
        await plane.until(lambda: len(plane.runner.starts) == 5 and len(plane.runner.alive) == 1)
        await plane.restart()
        gate[0].set()
        assert await plane.outputs(id) == {"r": [0, 1, 2, 3, 4]}
        assert len(plane.runner.starts) == 5

    run_plane(scenario, {"mapped": wait_for_two})

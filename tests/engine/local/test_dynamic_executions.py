"""Dynamic tasks, run in this process: the nodes that they return, failures, timeouts, limits and recovery."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from flyteidl.core import dynamic_job_pb2

from app.engine.local.processes.task_attempt import TaskAttempt
from tests.engine.fake_runner import boom
from tests.engine.plane import Functions, Plane, RunPlane
from tests.engine.workflows import Node, job, launch_plan, task, task_node, template, with_metadata, workflow

pytestmark = pytest.mark.heavy

INC = task("inc", {"x": "int"}, {"o": "int"})
FAIL = task("fail", {"x": "int"}, {"o": "int"})
DYNAMIC = task("dyn", {"x": "int"}, {"o": "int"}, retries=1)
FUNCTIONS: Functions = {"inc": lambda x: {"o": x + 1}, "fail": lambda x: boom()}


def asks(*nodes: Node, o: str) -> dynamic_job_pb2.DynamicJobSpec:
    spec = job(*nodes, o=o)
    spec.tasks.extend([INC.spec.template, FAIL.spec.template, DYNAMIC.spec.template])
    return spec


async def launch(plane: Plane, node: Node | None = None) -> Any:
    main = template("wf", node or task_node("n0", "dyn", x=1), outputs={"r": ("int", "n0.o")})
    await plane.register(INC, FAIL, DYNAMIC, workflow(main), launch_plan("wf"))
    return await plane.launch("wf")


def test_a_failed_node_inside_fails_the_dynamic_node_without_a_retry(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane)
        assert await plane.error(id) == ("USER:RuntimeError", "boom")
        assert await plane.attempts(id, "n0") == [("SUCCEEDED", "")]
        assert (await plane.nodes(id))["n0-0-dn0"] == "FAILED"

    run_plane(scenario, {**FUNCTIONS, "dyn": lambda x: asks(task_node("dn0", "fail", x=1), o="dn0.o")})


def test_nodes_that_do_not_compile_fail_the_node(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane)
        code, message = await plane.error(id)
        assert code == "DynamicWorkflowBuildFailed"
        assert "malformed dynamic workflow" in message

    run_plane(scenario, {**FUNCTIONS, "dyn": lambda x: asks(task_node("dn0", "inc", x="missing.o"), o="dn0.o")})


def test_a_task_with_a_part_of_its_id_missing_fails_the_node(run_plane: RunPlane) -> None:
    def nameless(x: int) -> dynamic_job_pb2.DynamicJobSpec:
        spec = asks(task_node("dn0", "inc", x=1), o="dn0.o")
        for id in (spec.tasks[0].id, spec.nodes[0].task_node.reference_id):
            id.version = ""
        return spec

    async def scenario(plane: Plane) -> None:
        id = await launch(plane)
        code, message = await plane.error(id)
        assert code == "DynamicWorkflowBuildFailed"
        assert "failed to compile dynamic tasks, caused by: missing version" in message

    run_plane(scenario, {**FUNCTIONS, "dyn": nameless})


def test_dynamic_tasks_in_each_other_have_a_limit(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane)
        assert "engine.local.dynamicDepthMax is 3" in (await plane.error(id))[1]

    functions = {**FUNCTIONS, "dyn": lambda x: asks(task_node("dn0", "dyn", x=1), o="dn0.o")}
    run_plane(scenario, functions, engine={"local": {"dynamic_depth_max": 3}})


def test_the_timeout_covers_the_nodes_inside(run_plane: RunPlane) -> None:
    def slow_at_first(x: int, attempt: TaskAttempt) -> Any:
        return asks(task_node("dn0", "wait" if attempt.attempt == 0 else "inc", x=4), o="dn0.o")

    async def scenario(plane: Plane) -> None:
        await plane.register(task("wait", {"x": "int"}, {"o": "int"}))
        id = await launch(plane, with_metadata(task_node("n0", "dyn", x=1), retries=1, timeout_seconds=0.5))
        assert await plane.outputs(id) == {"r": 5}
        phases = await plane.nodes(id)
        assert (phases["n0-0-dn0"], phases["n0-1-dn0"]) == ("ABORTED", "SUCCEEDED")
        assert not plane.runner.alive

    async def wait(x: int) -> None:
        await asyncio.sleep(60)

    wait_task = task("wait", {"x": "int"}, {"o": "int"}).spec.template

    def with_wait(x: int, attempt: TaskAttempt) -> Any:
        spec = slow_at_first(x, attempt)
        spec.tasks.add().CopyFrom(wait_task)
        return spec

    run_plane(scenario, {**FUNCTIONS, "dyn": with_wait, "wait": wait})


def test_a_recovered_dynamic_task_does_not_run_again(run_plane: RunPlane) -> None:
    broken = [True]

    async def scenario(plane: Plane) -> None:
        id = await launch(plane)
        assert await plane.phase(id) == "FAILED"
        broken.clear()
        again = await plane.recover("e1", "e2")
        assert await plane.outputs(again) == {"r": 7}
        assert (await plane.nodes(again))["n0-0-dn0"] == "RECOVERED"
        assert [name.startswith("e2") for name in plane.runner.starts].count(True) == 1

    def flaky(x: int) -> Any:
        return boom() if broken else {"o": x * 7}

    def nodes(x: int) -> Any:
        return asks(task_node("dn0", "inc", x=0), task_node("dn1", "fail", x="dn0.o"), o="dn1.o")

    run_plane(scenario, {**FUNCTIONS, "fail": flaky, "dyn": nodes})

"""Nodes that hold other nodes or executions, run in this process: failures, timeouts and aborts at every level."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.engine.local.processes.task_attempt import TaskAttempt
from tests.engine.fake_runner import boom
from tests.engine.plane import Functions, Plane, RunPlane
from tests.engine.workflows import (
    Node,
    approval,
    branch_node,
    launch_plan,
    launch_plan_node,
    sub_workflow_node,
    task,
    task_node,
    template,
    with_metadata,
    workflow,
)

pytestmark = pytest.mark.heavy

INC = task("inc", {"x": "int"}, {"o": "int"})
FAIL = task("fail", {"x": "int"}, {"o": "int"})
WAIT = task("wait", {"x": "int"}, {"o": "int"})


async def wait(x: int) -> Any:
    await asyncio.sleep(60)


FUNCTIONS: Functions = {"inc": lambda x: {"o": x + 1}, "fail": lambda x: boom(), "wait": wait}


def inner(node: Node, **how: Any) -> Any:
    return template("inner", node, outputs={"o": ("int", f"{node.id}.o")}, **how)


async def launch(plane: Plane, node: Node, inside: Any = None, **how: Any) -> Any:
    """Launch a workflow of one node; `inside` is its sub-workflow, or the workflow of its child."""
    await plane.register(INC, FAIL, WAIT)
    main = template("wf", node, **how)
    if node.workflow_node.HasField("launchplan_ref"):
        await plane.register(workflow(inside), launch_plan("inner"), workflow(main))
    else:
        await plane.register(workflow(main, *([inside] if inside is not None else [])))
    await plane.register(launch_plan("wf"))
    return await plane.launch("wf")


def test_a_sub_workflow_fails_with_the_error_of_its_node(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane, sub_workflow_node("n0", "inner"), inner(task_node("n0", "fail", x=1)))
        assert await plane.error(id) == ("USER:RuntimeError", "boom")
        phases = await plane.nodes(id)
        assert (phases["n0"], phases["n0-0-n0"]) == ("FAILED", "FAILED")

    run_plane(scenario, FUNCTIONS)


def test_a_sub_workflow_has_a_failure_node_of_its_own(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        inside = inner(task_node("n0", "fail", x=1), failure_node=task_node("efn", "inc", x=1))
        id = await launch(plane, sub_workflow_node("n0", "inner"), inside)
        assert await plane.phase(id) == "FAILED"
        assert (await plane.nodes(id))["n0-0-efn"] == "SUCCEEDED"

    run_plane(scenario, FUNCTIONS)


def test_the_error_of_a_failure_node_replaces_the_first_one(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        clean = task("clean", {"x": "int"}, {"o": "int"})
        await plane.register(clean)
        id = await launch(plane, task_node("n0", "fail", x=1), failure_node=task_node("efn", "clean", x=1))
        assert (await plane.error(id))[1] == "not clean"

    run_plane(scenario, {**FUNCTIONS, "clean": lambda x: boom("not clean")})


def test_a_sub_workflow_at_its_timeout_ends_its_nodes(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        node = with_metadata(sub_workflow_node("n0", "inner"), timeout_seconds=0.2)
        id = await launch(plane, node, inner(task_node("n0", "wait", x=1)))
        assert (await plane.error(id))[0] == "RetriesExhausted|TimeoutExpired"
        assert (await plane.nodes(id))["n0-0-n0"] == "ABORTED"
        assert not plane.runner.alive

    run_plane(scenario, FUNCTIONS)


def test_a_failed_child_fails_its_parent_with_its_error(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane, launch_plan_node("n0", "inner"), inner(task_node("n0", "fail", x=1)))
        assert await plane.error(id) == ("USER:RuntimeError", "boom")

    run_plane(scenario, FUNCTIONS)


def test_an_abort_reaches_the_children(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane, launch_plan_node("n0", "inner"), inner(task_node("n0", "wait", x=1)))
        await plane.until(lambda: plane.runner.alive)
        await plane.terminate(id)
        assert await plane.phase(id) == "ABORTED"
        await plane.check_all_ended()

    run_plane(scenario, FUNCTIONS)


@pytest.mark.slow
def test_a_child_at_its_timeout_is_terminated_and_launched_again(run_plane: RunPlane) -> None:
    waits = [True]

    async def wait_once(x: int) -> Any:
        if waits:
            waits.clear()
            await asyncio.sleep(60)
        return {"o": x}

    async def scenario(plane: Plane) -> None:
        node = with_metadata(launch_plan_node("n0", "inner"), retries=1, timeout_seconds=1.0)
        id = await launch(plane, node, inner(task_node("n0", "wait", x=4)), outputs={"r": ("int", "n0.o")})
        assert await plane.outputs(id) == {"r": 4}
        assert await plane.executions() == 3
        await plane.check_all_ended()

    run_plane(scenario, {**FUNCTIONS, "wait": wait_once})


def test_a_gate_at_its_timeout_fails(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        id = await launch(plane, with_metadata(approval("n0", x=1), timeout_seconds=0.05))
        assert (await plane.error(id))[0] == "RetriesExhausted|TimeoutExpired"

    run_plane(scenario, FUNCTIONS)


@pytest.mark.parametrize(("x", "phase"), [(10, "SUCCEEDED"), (1, "FAILED")])
def test_a_branch_fails_with_its_chosen_node(run_plane: RunPlane, x: int, phase: str) -> None:
    async def scenario(plane: Plane) -> None:
        node = branch_node("n0", "x", 5, task_node("big", "inc", x=1), task_node("small", "fail", x=1), x=x)
        assert await plane.phase(await launch(plane, node)) == phase

    run_plane(scenario, FUNCTIONS)


def test_an_attempt_resumes_from_the_checkpoint_of_the_one_before(run_plane: RunPlane) -> None:
    def flaky(x: int, attempt: TaskAttempt) -> Any:
        return {"o": x} if attempt.attempt else boom(retryable=True)

    async def scenario(plane: Plane) -> None:
        id = await launch(plane, with_metadata(task_node("n0", "fail", x=1), retries=1))
        assert await plane.phase(id) == "SUCCEEDED"
        first, second = plane.runner.attempts.values()
        assert (first.prev_checkpoint, second.prev_checkpoint) == ("", first.checkpoint_prefix)

    run_plane(scenario, {**FUNCTIONS, "fail": flaky})

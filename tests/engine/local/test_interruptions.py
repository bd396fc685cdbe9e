"""Restarts and aborts at every step of an execution with nodes of every kind, in this process.

A step is one call of a service function by the engine: an event, a launch of a child, a signal.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2

from app.engine.local import engine
from app.engine.local.graph import service_calls
from app.engine.local.processes.task_attempt import TaskAttempt
from tests.conftest import DATABASES
from tests.engine.fake_runner import boom
from tests.engine.plane import Functions, Plane
from tests.engine.workflows import (
    array_node,
    branch_node,
    job,
    launch_plan,
    launch_plan_node,
    sleep,
    sub_workflow_node,
    task,
    task_node,
    template,
    workflow,
)

Id = identifier_pb2.WorkflowExecutionIdentifier
Interrupted = Callable[[Plane, Id], Awaitable[None]]

INC = task("inc", {"x": "int"}, {"o": "int"})


def flaky(x: int, attempt: TaskAttempt) -> Any:
    """Fail once, then add two."""
    return {"o": x + 2} if attempt.attempt else boom(retryable=True)


FUNCTIONS: Functions = {
    "inc": lambda x: {"o": x + 1},
    "map_inc": lambda x: {"o": x + 1},
    "flaky": flaky,
    "dyn": lambda: dynamic_job(),
}


def dynamic_job() -> Any:
    spec = job(task_node("dn0", "inc", x=2), o="dn0.o")
    spec.tasks.add().CopyFrom(INC.spec.template)
    return spec


async def register(plane: Plane) -> None:
    """A workflow with a node of every kind; its output is 1 + 1 + 1 + ... of all of them."""
    inner = template("inner", task_node("n0", "inc", x=".b"), inputs={"b": "int"}, outputs={"o": ("int", "n0.o")})
    child = template("child", task_node("n0", "inc", x=".b"), inputs={"b": "int"}, outputs={"o": ("int", "n0.o")})
    main = template(
        "wf",
        task_node("n0", "flaky", x=1),
        branch_node("n1", "x", 2, task_node("big", "inc", x="n0.o"), task_node("small", "inc", x=0), x="n0.o"),
        sub_workflow_node("n2", "inner", b="n1.o"),
        launch_plan_node("n3", "child", b="n2.o"),
        array_node("n4", task_node("n0", "map_inc"), x=[1, 2, 3]),
        task_node("n5", "dyn"),
        sleep("n6", 0.001),
        outputs={"r": ("int", "n3.o"), "all": ("[int]", "n4.o"), "d": ("int", "n5.o")},
    )
    map_inc = task("map_inc", {"x": "[int]"}, {"o": "[int]"})
    tasks = [INC, map_inc, task("flaky", {"x": "int"}, {"o": "int"}, retries=1), task("dyn", {}, {"o": "int"})]
    await plane.register(*tasks, workflow(child), launch_plan("child"), workflow(main, inner), launch_plan("wf"))


EXPECTED = {"r": 6, "all": [2, 3, 4], "d": 3}


class Steps:
    """Counts the engine's calls of service functions, and holds one of them back to be interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.stop_at = 0
        self.reached = asyncio.Event()
        perform = service_calls.perform

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.stop_at:
                self.reached.set()
                await asyncio.sleep(0.005)
            return await perform(*arguments)

        monkeypatch.setattr(service_calls, "perform", counted)

    async def reach(self, plane: Plane, step: int) -> Id:
        """Launch an execution and return at a step of it, before the call; at its end, where it has fewer steps."""
        self.count, self.stop_at = 0, step
        self.reached.clear()
        id = await plane.launch("wf", f"e{step}")
        waits = [asyncio.ensure_future(plane.ended(id)), asyncio.ensure_future(self.reached.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return id


@pytest.fixture(params=DATABASES)
def at_every_step(
    request: pytest.FixtureRequest,
    emptied_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Interrupted], None]:
    """Launches the workflow once for each of its steps and calls back when the step is reached."""
    # SQLite takes every step. The engine's code is the same on PostgreSQL, which takes every fifth to save time.
    stride = 1 if request.param == "sqlite" else 5

    # A child that is launched while the engine stops is found by the poll of the next engine.
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.1)

    def run(interrupted: Interrupted) -> None:
        async def main() -> None:
            async with Plane(emptied_database(request.param), tmp_path, FUNCTIONS).running() as plane:
                await register(plane)
                steps = Steps(monkeypatch)
                assert await plane.outputs(await steps.reach(plane, 0)) == EXPECTED
                last = steps.count
                assert last > 30
                for step in range(1, last + 1, stride):
                    id = await steps.reach(plane, step)
                    await interrupted(plane, id)
                    await plane.until(plane.all_have_ended)
                    assert await plane.open_rows() == {}, step
                    assert not plane.runner.alive

        asyncio.run(main())

    return run


@pytest.mark.slow
def test_a_restart_at_any_step_runs_nothing_twice(at_every_step: Callable[[Interrupted], None]) -> None:
    async def restart(plane: Plane, id: Id) -> None:
        await plane.restart()
        assert await plane.outputs(id) == EXPECTED
        assert max(Counter(plane.runner.starts).values()) == 1
        assert await plane.attempts(id, "n0") == [("FAILED", "USER:RuntimeError"), ("SUCCEEDED", "")]

    at_every_step(restart)


@pytest.mark.slow
def test_an_abort_at_any_step_leaves_nothing_unfinished(at_every_step: Callable[[Interrupted], None]) -> None:
    async def abort(plane: Plane, id: Id) -> None:
        if await plane.phase_now(id) != "SUCCEEDED":
            await plane.terminate(id)
            assert await plane.phase(id) == "ABORTED"

    at_every_step(abort)


@pytest.mark.slow
def test_an_abort_at_any_step_survives_a_restart(at_every_step: Callable[[Interrupted], None]) -> None:
    async def abort(plane: Plane, id: Id) -> None:
        if await plane.phase_now(id) != "SUCCEEDED":
            await plane.terminate(id)
            await plane.restart()
            assert await plane.phase(id) == "ABORTED"

    at_every_step(abort)

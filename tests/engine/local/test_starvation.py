"""Parents that wait for others leave room for them, however low the limits are."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin import execution_pb2
from flyteidl.core import dynamic_job_pb2, identifier_pb2

from app.services import executions
from tests.engine.plane import Functions, Plane, RunPlane, execution_id
from tests.engine.workflows import job, launch_plan, launch_plan_node, task, task_node, template, workflow
from tests.support.builders import an_id

pytestmark = pytest.mark.heavy

INC = task("inc", {"x": "int"}, {"o": "int"})
DYNAMIC = task("dyn", {"x": "int"}, {"o": "int"})
EAGER = task("eager", {"x": "int"}, {"o": "int"}, is_eager=True)
FUNCTIONS: Functions = {"inc": lambda x: {"o": x + 1}}


def test_dynamic_parents_release_their_permit_for_their_nodes(run_plane: RunPlane) -> None:
    """With one permit, each dynamic task waits for a dynamic task inside it, down to a plain one."""

    def dyn(x: int) -> dynamic_job_pb2.DynamicJobSpec:
        nodes = [task_node("d0", "inc" if x == 0 else "dyn", x=x - 1), task_node("d1", "inc", x="d0.o")]
        spec = job(*nodes, o="d1.o")
        spec.tasks.extend([INC.spec.template, DYNAMIC.spec.template])
        return spec

    async def scenario(plane: Plane) -> None:
        nodes = [task_node(f"n{number}", "dyn", x=2) for number in range(2)]
        main = template("wf", *nodes, outputs={"r": ("int", "n0.o"), "s": ("int", "n1.o")})
        await plane.register(INC, DYNAMIC, workflow(main), launch_plan("wf"))
        id = await plane.launch("wf", spec={"max_parallelism": 1})
        assert await plane.outputs(id) == {"r": 3, "s": 3}

    run_plane(scenario, {**FUNCTIONS, "dyn": dyn})


def test_children_of_launch_plan_nodes_start_above_the_limit_on_executions(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        child = template("child", task_node("n0", "inc", x=1), outputs={"o": ("int", "n0.o")})
        main = template("wf", launch_plan_node("n0", "child"), outputs={"r": ("int", "n0.o")})
        await plane.register(INC, workflow(child), launch_plan("child"), workflow(main), launch_plan("wf"))
        assert await plane.outputs(await plane.launch("wf")) == {"r": 2}

    run_plane(scenario, FUNCTIONS, engine={"local": {"executions_max": 1}})


def test_executions_of_eager_tasks_start_above_the_limit_on_executions(run_plane: RunPlane) -> None:
    """An eager task launches executions with flytekit's label and waits for them, as its execution does for it."""

    async def scenario(plane: Plane) -> None:
        async def eager(x: int) -> dict[str, Any]:
            request = execution_pb2.ExecutionCreateRequest(project="p", domain="development", name="child")
            request.spec.launch_plan.CopyFrom(an_id(identifier_pb2.LAUNCH_PLAN, "child"))
            request.spec.labels.values["eager-exec"] = "e1"
            await plane.call(executions.create_execution, request)
            return {"o": (await plane.outputs(execution_id("child")))["o"] + x}

        plane.runner.tasks["eager"] = eager
        child = template("child", task_node("n0", "inc", x=1), outputs={"o": ("int", "n0.o")})
        main = template("wf", task_node("n0", "eager", x=5), outputs={"r": ("int", "n0.o")})
        await plane.register(INC, EAGER, workflow(child), launch_plan("child"), workflow(main), launch_plan("wf"))
        first = await plane.launch("wf")
        others = [await plane.launch("child", name=f"other{number}") for number in range(3)]
        assert await plane.outputs(first) == {"r": 7}
        for other in others:
            assert await plane.phase(other) == "SUCCEEDED"

    run_plane(scenario, FUNCTIONS, engine={"local": {"executions_max": 1}})

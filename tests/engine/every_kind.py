"""A workflow with a node of every kind, for tests that interrupt it at each of its steps."""

from __future__ import annotations

from typing import Any

from app.engine.local.processes.task_attempt import TaskAttempt
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

EXPECTED = {"r": 6, "all": [2, 3, 4], "d": 3}
# Nodes by id, with the nodes that they wait for.
UPSTREAM = {"n2": ("n1",), "n3": ("n2",), "n1": ("n0",), "end-node": ("n3", "n4", "n5")}

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
    """Register the workflow `wf`, whose outputs are EXPECTED."""
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

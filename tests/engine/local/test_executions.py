"""Executions of every kind of node, run in this process: phases, attempts, errors and outputs.

The tests in tests/engine/graphs run the same rules with real tasks and servers, which takes minutes.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from flyteidl.core import execution_pb2
from structlog.testing import capture_logs

from app.engine.local.processes.task_attempt import TaskAttempt
from tests.engine.fake_runner import boom
from tests.engine.plane import Functions, Plane, RunPlane
from tests.engine.workflows import (
    approval,
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
    with_metadata,
    workflow,
)

pytestmark = pytest.mark.heavy

_Kind = execution_pb2.ExecutionError

# A list of integers, or None where an index of an array failed.
INTEGERS = "collection_type { union_type { variants { simple: INTEGER } variants { simple: NONE } } }"
INC = task("inc", {"x": "int"}, {"o": "int"})
FAIL = task("fail", {"x": "int"}, {"o": "int"}, retries=2)
FUNCTIONS: Functions = {"inc": lambda x: {"o": x + 1}, "fail": lambda x: boom(retryable=True)}


def nothing() -> dict[str, Any]:
    return {}


class TestTasks:
    def test_outputs_pass_from_node_to_node(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template(
                "wf",
                task_node("n0", "inc", x=".a"),
                task_node("n1", "inc", x="n0.o"),
                inputs={"a": "int"},
                outputs={"r": ("int", "n1.o")},
            )
            await plane.register(INC, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf", a=1)
            assert await plane.outputs(id) == {"r": 3}
            assert await plane.nodes(id) == dict.fromkeys(("start-node", "n0", "n1", "end-node"), "SUCCEEDED")
            assert await plane.attempts(id, "n0") == [("SUCCEEDED", "")]
            assert len(plane.runner.starts) == 2

        run_plane(scenario, FUNCTIONS)

    def test_retries_are_used_up(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template("wf", task_node("n0", "fail", x=1))
            await plane.register(FAIL, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            code, message = await plane.error(id)
            assert code == "RetriesExhausted|USER:RuntimeError"
            assert message == "[3/3] currentAttempt done. Last Error: USER::boom"
            assert await plane.attempts(id, "n0") == [("FAILED", "USER:RuntimeError")] * 3
            assert (await plane.nodes(id))["n0"] == "FAILED"

        run_plane(scenario, FUNCTIONS)

    def test_a_killed_process_costs_no_retry_of_the_user(self, run_plane: RunPlane) -> None:
        def killed_twice(attempt: TaskAttempt) -> Any:
            return boom("OOM", kind=_Kind.SYSTEM, retryable=True) if attempt.attempt < 2 else {}

        async def scenario(plane: Plane) -> None:
            await plane.register(task("t"), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.phase(id) == "SUCCEEDED"
            assert [phase for phase, _ in await plane.attempts(id, "n0")] == ["FAILED", "FAILED", "SUCCEEDED"]

        run_plane(scenario, {"t": killed_twice})

    def test_an_attempt_ends_at_its_timeout_and_the_next_one_has_the_whole_time(self, run_plane: RunPlane) -> None:
        async def slow_at_first(attempt: TaskAttempt) -> dict[str, Any]:
            await asyncio.sleep(60 if attempt.attempt == 0 else 0)
            return {}

        async def scenario(plane: Plane) -> None:
            node = with_metadata(task_node("n0", "t"), retries=1, timeout_seconds=0.2)
            await plane.register(task("t"), workflow(template("wf", node)), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.phase(id) == "SUCCEEDED"
            assert [phase for phase, _ in await plane.attempts(id, "n0")] == ["ABORTED", "SUCCEEDED"]

        run_plane(scenario, {"t": slow_at_first})

    def test_a_task_with_links_receives_the_address_of_its_execution(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            await plane.register(task("t"), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
            await plane.ended(await plane.launch("wf"))
            (attempt,) = plane.runner.attempts.values()
            assert attempt.console_url == "http://c/console"

        run_plane(scenario, {"t": nothing}, flyteadmin={"console_url": "http://c/console"})


class TestFailures:
    def test_a_failure_aborts_the_nodes_that_run_beside_it(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template(
                "wf",
                task_node("n0", "wait"),
                task_node("n1", "fail", x=1),
                task_node("n2", "inc", after=("n0",), x=1),
            )
            await plane.register(INC, FAIL, task("wait"), workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.phase(id) == "FAILED"
            assert await plane.nodes(id) == {"start-node": "SUCCEEDED", "n0": "ABORTED", "n1": "FAILED"}
            assert not plane.runner.alive

        run_plane(scenario, {**FUNCTIONS, "wait": lambda: asyncio.sleep(60)})

    def test_the_lenient_policy_runs_all_that_the_failure_does_not_touch(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template(
                "wf",
                task_node("n0", "fail", x=1),
                task_node("n1", "inc", x="n0.o"),
                task_node("n2", "inc", x=1),
                task_node("n3", "inc", x="n2.o"),
                lenient=True,
            )
            await plane.register(INC, FAIL, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.phase(id) == "FAILED"
            phases = await plane.nodes(id)
            assert (phases["n0"], phases["n1"], phases["n3"], phases["end-node"]) == (
                "FAILED",
                "SKIPPED",
                "SUCCEEDED",
                "SKIPPED",
            )

        run_plane(scenario, FUNCTIONS)

    def test_a_failure_node_runs_after_the_failure(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template("wf", task_node("n0", "fail", x=1), failure_node=task_node("efn", "inc", x=4))
            await plane.register(INC, FAIL, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert (await plane.error(id))[0] == "RetriesExhausted|USER:RuntimeError"
            assert (await plane.nodes(id))["efn"] == "SUCCEEDED"

        run_plane(scenario, FUNCTIONS)


class TestKinds:
    @pytest.mark.parametrize(("x", "chosen"), [(10, "big"), (1, "small")])
    def test_a_branch_runs_one_of_its_nodes(self, run_plane: RunPlane, x: int, chosen: str) -> None:
        async def scenario(plane: Plane) -> None:
            branch = branch_node("n0", "x", 5, task_node("big", "inc", x=100), task_node("small", "inc", x=0), x=".a")
            main = template("wf", branch, inputs={"a": "int"}, outputs={"r": ("int", "n0.o")})
            await plane.register(INC, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf", a=x)
            assert await plane.outputs(id) == {"r": 101 if chosen == "big" else 1}
            assert set(await plane.nodes(id)) == {"start-node", "n0", f"n0-0-n0-{chosen}", "end-node"}

        run_plane(scenario, FUNCTIONS)

    def test_a_sub_workflow_is_a_tree_of_nodes(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            inner = template(
                "inner", task_node("n0", "inc", x=".b"), inputs={"b": "int"}, outputs={"o": ("int", "n0.o")}
            )
            main = template("wf", sub_workflow_node("n0", "inner", b=5), outputs={"r": ("int", "n0.o")})
            await plane.register(INC, workflow(main, inner), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.outputs(id) == {"r": 6}
            inside = {"n0-0-start-node", "n0-0-n0", "n0-0-end-node"}
            assert set(await plane.nodes(id)) == {"start-node", "n0", "end-node"} | inside

        run_plane(scenario, FUNCTIONS)

    def test_a_launch_plan_node_is_an_execution_of_its_own(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            inner = template(
                "inner", task_node("n0", "inc", x=".b"), inputs={"b": "int"}, outputs={"o": ("int", "n0.o")}
            )
            main = template("wf", launch_plan_node("n0", "inner", b=5), outputs={"r": ("int", "n0.o")})
            await plane.register(INC, workflow(inner), launch_plan("inner"), workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.outputs(id) == {"r": 6}
            assert len(plane.runner.starts) == 1

        run_plane(scenario, FUNCTIONS)

    def test_an_array_runs_its_element_for_every_index(self, run_plane: RunPlane) -> None:
        def picky(x: int, attempt: TaskAttempt) -> Any:
            return boom(f"bad {x}") if x == 2 else {"o": x * 10}

        async def scenario(plane: Plane) -> None:
            element = task_node("n0", "picky")
            array = array_node("n0", element, min_success_ratio=0.6, x=[1, 2, 3])
            main = template("wf", array, outputs={"r": (INTEGERS, "n0.o")})
            picky_task = task("picky", {"x": "[int]"}, {"o": INTEGERS})
            await plane.register(picky_task, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.outputs(id) == {"r": [10, None, 30]}
            assert await plane.attempts(id, "n0") == [("SUCCEEDED", "")]

        run_plane(scenario, {"picky": picky})

    @pytest.mark.parametrize(("verdict", "phase"), [(True, "SUCCEEDED"), (False, "FAILED")])
    def test_an_approval_waits_for_its_verdict(self, run_plane: RunPlane, verdict: bool, phase: str) -> None:
        async def scenario(plane: Plane) -> None:
            main = template("wf", approval("n0", x=1), sleep("n1", 0.01))
            await plane.register(workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            await plane.set_signal(id, "n0", verdict)
            assert await plane.phase(id) == phase

        run_plane(scenario, {})

    def test_a_dynamic_task_asks_for_nodes(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template("wf", task_node("n0", "dyn"), outputs={"r": ("int", "n0.o")})
            await plane.register(INC, task("dyn", {}, {"o": "int"}), workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.outputs(id) == {"r": 4}
            assert {"n0-0-dn0", "n0-0-dn1"} <= set(await plane.nodes(id))

        spec = job(task_node("dn0", "inc", x=2), task_node("dn1", "inc", x="dn0.o"), o="dn1.o")
        spec.tasks.add().CopyFrom(INC.spec.template)
        run_plane(scenario, {**FUNCTIONS, "dyn": lambda: spec})

    def test_an_echo_starts_no_process(self, run_plane: RunPlane) -> None:
        async def scenario(plane: Plane) -> None:
            main = template("wf", task_node("n0", "echo", x=7), outputs={"r": ("int", "n0.o")})
            echo = task("echo", {"x": "int"}, {"o": "int"}, type="echo")
            await plane.register(echo, workflow(main), launch_plan("wf"))
            id = await plane.launch("wf")
            assert await plane.outputs(id) == {"r": 7}
            assert await plane.attempts(id, "n0") == [("SUCCEEDED", "")]
            assert not plane.runner.starts

        run_plane(scenario, {})


def test_cached_outputs_are_taken_over(run_plane: RunPlane) -> None:
    async def scenario(plane: Plane) -> None:
        cached = task("inc", {"x": "int"}, {"o": "int"}, discoverable=True, discovery_version="1")
        main = template("wf", task_node("n0", "inc", x=1), outputs={"r": ("int", "n0.o")})
        await plane.register(cached, workflow(main), launch_plan("wf"))
        for name in ("e1", "e2"):
            assert await plane.outputs(await plane.launch("wf", name)) == {"r": 2}
        assert len(plane.runner.starts) == 1

    run_plane(scenario, FUNCTIONS)


def test_recovery_runs_only_what_had_failed(run_plane: RunPlane) -> None:
    broken = [True]

    async def scenario(plane: Plane) -> None:
        main = template(
            "wf", task_node("n0", "inc", x=1), task_node("n1", "flaky", x="n0.o"), outputs={"r": ("int", "n1.o")}
        )
        await plane.register(INC, task("flaky", {"x": "int"}, {"o": "int"}), workflow(main), launch_plan("wf"))
        assert await plane.phase(await plane.launch("wf")) == "FAILED"
        broken.clear()
        id = await plane.recover("e1", "e2")
        assert await plane.outputs(id) == {"r": 20}
        assert (await plane.nodes(id))["n0"] == "RECOVERED"
        assert len(plane.runner.starts) == 3

    run_plane(scenario, {**FUNCTIONS, "flaky": lambda x: boom() if broken else {"o": x * 10}})


def test_parallelism_is_bounded_by_the_execution(run_plane: RunPlane) -> None:
    most = [0]

    async def scenario(plane: Plane) -> None:
        async def count() -> dict[str, Any]:
            most[0] = max(most[0], len(plane.runner.alive))
            await plane.until(lambda: most[0] > 1)
            await asyncio.sleep(0.005)
            return {}

        plane.runner.tasks["t"] = count
        main = template("wf", *(task_node(f"n{number}", "t") for number in range(8)))
        await plane.register(task("t"), workflow(main), launch_plan("wf"))
        assert await plane.phase(await plane.launch("wf", spec={"max_parallelism": 2})) == "SUCCEEDED"

    run_plane(scenario, {}, engine={"local": {"processes_max": 8}})
    assert most == [2]


def test_debug_lines_give_the_reason_of_each_start_and_retry(
    run_plane: RunPlane, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(plane: Plane) -> None:
        main = template(
            "wf",
            task_node("n0", "inc", x=".a"),
            task_node("n1", "fail", x="n0.o"),
            inputs={"a": "int"},
            outputs={"r": ("int", "n1.o")},
        )
        await plane.register(INC, FAIL, workflow(main), launch_plan("wf"))
        id = await plane.launch("wf", a=1)
        assert await plane.phase(id) == "FAILED"

    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        run_plane(scenario, FUNCTIONS)
    lines = [line for line in logs if line["event"] != "sql"]
    starts = [(line["node"], line["because_of"]) for line in lines if line["event"] == "node_started"]
    assert starts == [("n0", []), ("n1", ["n0"])]
    decisions = [(line["attempt"], line["decision"]) for line in lines if line["event"] == "attempt_ended"]
    assert decisions == [(0, "end of the node"), (0, "retry"), (1, "retry"), (2, "end of the node: no retry is left")]
    assert [line["node"] for line in lines if line["event"] == "node_ended_without_outputs"] == ["n1"]
    assert any(line["event"] == "execution_started" for line in lines)

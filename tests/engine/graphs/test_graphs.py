"""What becomes of workflows of every shape: phases, ids, attempts, errors and outputs, as clients see them."""

from __future__ import annotations

import itertools
import json
import re

import pytest

from app.engine.local.graph.unique_ids import child_execution, node_unique_id
from tests.engine.graphs.conftest import Started, check_synchronized, failure
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign


def test_sub_workflows_are_trees_of_nodes_with_unique_ids(started: Started) -> None:
    name = started.names["nested"]
    assert started.remote.outputs(name) == {"o0": 22}
    inner = node_unique_id("n0-0-n1", 0, "start-node")
    assert started.remote.phases(name) == dict.fromkeys(
        [
            *("start-node", "end-node", "n0", "n1", "n2"),
            *("n0-0-start-node", "n0-0-end-node", "n0-0-n0", "n0-0-n1"),
            *(inner, node_unique_id("n0-0-n1", 0, "end-node"), "n0-0-n1-0-n0", "n0-0-n1-0-n1"),
        ],
        "SUCCEEDED",
    )
    node = started.remote.nodes(name)["n0"]
    assert node["metadata"]["is_parent_node"]
    assert started.remote.nodes(name, "n0")["n0-0-n1"]["metadata"] | {"is_array": False} == {
        "retry_group": "0",
        "is_parent_node": True,
        "spec_node_id": "n1",
        "is_dynamic": False,
        "is_array": False,
        "is_eager": False,
    }
    assert started.remote.node_data(name, "n0-0-n1") == ({"x": 4}, {"o0": 16})


@pytest.mark.parametrize(
    ("x", "expected", "inside"),
    [
        (1, 2, {"n0-0-n0-n2": "SUCCEEDED"}),
        (50, 200, {"n0-0-n0-n1": "SUCCEEDED", "n0-0-n0-n1-0-n0": "SUCCEEDED", "n0-0-n0-n1-0-n1": "SUCCEEDED"}),
        (500, 501, {"n0-0-n0-n0": "SUCCEEDED"}),
        (5000, 10000, {"n0-0-n0-n0": "SUCCEEDED"}),
    ],
)
def test_only_the_chosen_node_of_a_branch_leaves_traces(
    started: Started, x: int, expected: int, inside: dict[str, str]
) -> None:
    name = started.names[f"choices {x}"]
    assert started.remote.outputs(name) == {"o0": expected}
    phases = started.remote.phases(name)
    assert inside.items() <= phases.items()
    children = started.remote.nodes(name, "n0")
    assert len(children) == 1
    assert next(iter(children.values()))["metadata"]["retry_group"] == "0"
    assert not started.remote.nodes(name)["n0"]["metadata"]["is_dynamic"]


def test_a_branch_may_choose_to_fail(started: Started) -> None:
    assert failure(started, "choices 5") == ("USER", "UserProvidedError", "[UserProvidedError] too small")
    node = started.remote.nodes(started.names["choices 5"])["n0"]
    assert (node["phase"], node["started_at"]) == ("FAILED", None)


def test_a_chosen_node_waits_for_nodes_outside_of_its_branch(started: Started) -> None:
    assert started.remote.outputs(started.names["choice_that_waits"]) == {"o0": "after"}
    assert started.lines("waits") == ["slow", "after"]


def test_a_raising_task_fails_the_execution_with_the_users_traceback(started: Started) -> None:
    kind, code, message = failure(started, "failing")
    assert (kind, code) == ("USER", "USER:RuntimeError")
    assert re.search(r"Traceback .*raise ValueError\(message\)\n.*ValueError: boom", message, re.DOTALL)
    name = started.names["failing"]
    assert started.remote.phases(name) == {"start-node": "SUCCEEDED", "n0": "FAILED"}
    assert started.remote.tried(name, "n0") == [("FAILED", "USER:RuntimeError")]


def test_a_failing_task_with_a_deck_shows_both(started: Started) -> None:
    assert failure(started, "failing_with_deck")[:2] == ("USER", "USER:RuntimeError")
    node = started.remote.nodes(started.names["failing_with_deck"])["n0"]
    assert node["error"]["code"] == "USER:RuntimeError"
    assert node["deck_uri"].endswith("/n0/data/0/deck.html")


def test_recoverable_errors_use_up_the_retries(started: Started) -> None:
    kind, code, message = failure(started, "failing_for_now")
    assert (kind, code) == ("USER", "RetriesExhausted|USER:Recoverable")
    assert message.startswith("[2/2] currentAttempt done. Last Error: USER::")
    tried = started.remote.tried(started.names["failing_for_now"], "n0")
    assert tried == [("FAILED", "USER:Recoverable")] * 2


def test_killed_processes_have_a_budget_of_their_own(started: Started) -> None:
    kind, code, message = failure(started, "killed")
    assert (kind, code) == ("USER", "RetriesExhausted|Interrupted")
    assert message.startswith("[3/3] currentAttempt done. Last Error: SYSTEM::")
    assert started.remote.tried(started.names["killed"], "n0") == [("FAILED", "Interrupted")] * 4


def test_what_a_failure_does_not_touch_runs_to_its_end_where_the_policy_says_so(started: Started) -> None:
    assert failure(started, "fails_in_the_end")[1] == "USER:RuntimeError"
    assert started.remote.phases(started.names["fails_in_the_end"]) == {
        "start-node": "SUCCEEDED",
        "n0": "FAILED",
        "n1": "SKIPPED",
        "n2": "SUCCEEDED",
        "n3": "SUCCEEDED",
        "end-node": "SKIPPED",
    }
    assert started.lines("in the end") == ["first", "second"]


def test_a_failure_aborts_what_runs_beside_it(started: Started) -> None:
    assert failure(started, "fails_at_once")[1] == "USER:RuntimeError"
    name = started.names["fails_at_once"]
    nodes = started.remote.nodes(name)
    aborted = [node for node, closure in nodes.items() if closure["phase"] == "ABORTED"]
    for node in aborted:
        assert nodes[node]["error"]["message"] == "Some node execution failed, auto-abort."
        assert started.remote.tried(name, node) == [("ABORTED", "")]
    assert set(nodes) == {"start-node", "n2", *aborted}
    assert started.lines("at once") in ([], ["sleeper"])


@pytest.mark.parametrize(("both", "found"), [("neither", "none"), ("one", "some"), ("both", "some")])
def test_conditions_may_ask_whether_there_is_a_value(started: Started, both: str, found: str) -> None:
    assert started.remote.outputs(started.names[both]) == {"o0": found, "o1": both}


def test_a_failure_node_is_told_of_the_failure(started: Started) -> None:
    assert failure(started, "cleaned")[2].endswith("ValueError: dirty")
    phases = started.remote.phases(started.names["cleaned"])
    assert phases == {"start-node": "SUCCEEDED", "n0": "FAILED", "fn0": "SUCCEEDED"}
    assert started.lines("cleaned")[0].startswith("n0: Trace:")
    assert started.lines("cleaned")[-1] == "    ValueError: dirty"


def test_an_error_of_the_failure_node_hides_the_first_one(started: Started) -> None:
    assert failure(started, "not_cleaned")[2].endswith(f"ValueError: not cleaned {started.path('cleaned')}")
    assert started.remote.phases(started.names["not_cleaned"])["fn0"] == "FAILED"


def test_sub_workflows_have_failure_nodes_too(started: Started) -> None:
    assert failure(started, "cleaned_inside")[2].endswith("ValueError: dirty")
    phases = started.remote.phases(started.names["cleaned_inside"])
    assert (phases["n0"], phases["n0-0-n0"], phases["n0-0-fn0"]) == ("FAILED", "FAILED", "SUCCEEDED")
    assert started.lines("inside")[-1] == "    ValueError: dirty"


def test_an_attempt_that_takes_too_long_is_ended(started: Started) -> None:
    expired = "[1/1] currentAttempt done. Last Error: USER::task execution timeout [2s] expired"
    assert failure(started, "late") == ("USER", "RetriesExhausted|TimeoutExpired", expired)
    assert started.remote.tried(started.names["late"], "n0") == [("ABORTED", "")]


def test_every_attempt_has_its_own_time(started: Started) -> None:
    expired = "[3/3] currentAttempt done. Last Error: USER::task execution timeout [2s] expired"
    assert failure(started, "late_again") == ("USER", "RetriesExhausted|TimeoutExpired", expired)
    name = started.names["late_again"]
    assert started.remote.phases(name)["n0"] == "FAILED"
    assert started.remote.tried(name, "n0") == [("ABORTED", "")] * 3


def test_an_attempt_in_time_after_late_ones_succeeds(started: Started) -> None:
    name = started.names["in_time_at_last"]
    assert started.remote.outputs(name) == {"o0": 3}
    assert started.remote.tried(name, "n0") == [("ABORTED", "")] * 3 + [("SUCCEEDED", "")]


def test_a_task_launched_alone_has_its_timeout(started: Started) -> None:
    expired = "[1/1] currentAttempt done. Last Error: USER::task execution timeout [2s] expired"
    assert failure(started, "late_task") == ("USER", "RetriesExhausted|TimeoutExpired", expired)


@pytest.mark.parametrize(("scenario", "shown"), [("impatient", "1s"), ("late_sub_workflow", "2s"), ("late_plan", "2s")])
def test_nodes_that_are_no_tasks_have_timeouts_too(started: Started, scenario: str, shown: str) -> None:
    expired = f"[1/1] currentAttempt done. Last Error: USER::task execution timeout [{shown}] expired"
    assert failure(started, scenario) == ("USER", "RetriesExhausted|TimeoutExpired", expired)


def test_a_sub_workflow_that_takes_too_long_ends_with_what_runs_inside(started: Started) -> None:
    name = started.names["late_sub_workflow"]
    started.remote.wait(name)
    assert started.remote.phases(name)["n0-0-n0"] == "ABORTED"


def test_a_launch_plan_node_is_an_execution_of_its_own(started: Started) -> None:
    name = started.names["parent"]
    assert started.remote.outputs(name) == {"o0": 9}
    child = child_execution(name, "n0", 0)
    node = started.remote.nodes(name)["n0"]
    assert node["workflow_node_metadata"]["executionId"]["name"] == child
    assert started.remote.node_data(name, "n0") == ({"x": 2}, {"o0": 8})
    metadata = started.remote.execution(child)["spec"]["metadata"]
    assert (metadata["mode"], metadata["nesting"]) == ("CHILD_WORKFLOW", 1)
    assert metadata["parent_node_execution"]["node_id"] == "n0"
    assert metadata["parent_node_execution"]["execution_id"]["name"] == name


def test_a_failed_child_fails_its_parent_with_its_own_error(started: Started) -> None:
    error = failure(started, "parent_of_failing")
    assert error[:2] == ("USER", "USER:RuntimeError")
    child = started.remote.wait(child_execution(started.names["parent_of_failing"], "n0", 0))
    assert (child["error"]["kind"], child["error"]["code"], child["error"]["message"]) == error


def test_gates_wait_for_people_and_for_time(remote: Remote) -> None:
    name = remote.launch("gated", {"x": 1})
    signals = {one["id"]["signal_id"]: one["type"]["simple"] for one in remote.signals(name, 2)}
    assert signals == {"fine": "BOOLEAN", "number": "INTEGER"}
    remote.set_signal(name, "number", 40)
    remote.set_signal(name, "fine", True)
    assert remote.outputs(name) == {"o0": 42}
    nodes = remote.nodes(name)
    (pause,) = [closure for closure in nodes.values() if closure["metadata"]["spec_node_id"] == "n3"]
    assert float(pause["duration"].removesuffix("s")) >= 1
    assert not pause.get("output_uri")


def test_a_rejection_fails_the_gate(remote: Remote) -> None:
    name = remote.launch("gated", {"x": 1})
    remote.signals(name, 2)
    remote.set_signal(name, "fine", False)
    closure = remote.wait(name)
    error = closure["error"]
    assert (error["kind"], error["code"]) == ("USER", "ReceivedRejectSignal")
    assert error["message"] == "received a reject signal to disapprove the node input values"


def test_terminating_ends_what_runs_and_starts_nothing_more(remote: Remote, started: Started) -> None:
    name = remote.launch("long_run", {"path": started.path("terminated"), "seconds": 60.0})
    remote.until(lambda: bool(started.lines("terminated")), "the first task")
    remote.terminate(name, "enough")
    closure = remote.wait(name)
    assert (closure["phase"], closure["abort_metadata"]["cause"]) == ("ABORTED", "enough")
    assert closure.get("error") is None
    phases = remote.phases(name)
    assert set(phases.values()) == {"SUCCEEDED", "ABORTED"}
    running = [node for node, phase in phases.items() if phase == "ABORTED" and remote.attempts(name, node)]
    assert running
    for node in running:
        assert remote.tried(name, node) == [("ABORTED", "")]
    (error,) = {remote.nodes(name)[node]["error"]["message"] for node in ("n0", "n1") if phases.get(node) == "ABORTED"}
    assert error == "Workflow aborted."
    for record in remote.home.glob(f"attempts/*/*/{name}/*/*/process.json"):
        assert (record.parent / "exit.json").exists()


def test_an_abort_reaches_the_children(remote: Remote, started: Started) -> None:
    name = remote.launch("parent_of_slow", {"path": started.path("slow")})
    child = child_execution(name, "n0", 0)
    remote.until(lambda: bool(started.lines("slow")), "the child's task")
    remote.terminate(name, "enough")
    assert remote.wait(name)["phase"] == "ABORTED"
    assert remote.wait(child)["abort_metadata"]["cause"] == (
        f"cascading abort as parent execution id [{name}] aborted, reason [Workflow aborted.]"
    )
    assert remote.phases(child)["n0"] == "ABORTED"


def test_a_terminated_child_fails_its_parent(remote: Remote, started: Started) -> None:
    name = remote.launch("parent_of_slow", {"path": started.path("slow too")})
    child = child_execution(name, "n0", 0)
    remote.until(lambda: bool(started.lines("slow too")), "the child's task")
    remote.terminate(child, "enough")
    error = remote.wait(name)["error"]
    assert (error["kind"], error["code"]) == ("USER", "RemoteChildWorkflowExecutionFailed")
    assert f"launchplan [{child}] aborted" in error["message"]


def test_max_parallelism_holds_back_what_is_too_much(remote: Remote, started: Started) -> None:
    name = remote.launch("wide", {"path": started.path("limited"), "seconds": 0.3}, max_parallelism=1)
    assert remote.outputs(name) == {"o0": "3"}
    spans = sorted(
        (closure["created_at"], closure["updated_at"])
        for node, closure in remote.nodes(name).items()
        if node not in ("start-node", "end-node")
    )
    assert len(spans) == 4
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))


def test_a_recovered_execution_runs_what_had_not_ended_well(remote: Remote, started: Started) -> None:
    flag = started.path("flag")
    first = remote.launch("recoverable", {"path": started.path("recovered"), "flag": flag})
    assert remote.wait(first)["phase"] == "FAILED"
    before = started.lines("recovered")
    open(flag, "w").close()
    name = remote.again("recover", first)
    assert remote.outputs(name) == {"o0": "last"}
    old, new = remote.phases(first), remote.phases(name)
    for node, phase in old.items():
        if phase == "SUCCEEDED" and node not in ("start-node", "n1-0-start-node"):
            assert new[node] == "RECOVERED", node
    assert remote.execution(name)["spec"]["metadata"]["mode"] == "RECOVERED"
    assert remote.node_data(name, "n0") == remote.node_data(first, "n0")
    assert remote.tried(name, "n0") == []
    assert [line for line in started.lines("recovered")[len(before) :] if line == "first"] == []
    assert len([line for line in started.lines("recovered") if line == "first"]) == 1


def test_the_checkpoint_of_a_failed_task_is_passed_on_to_its_recovery(remote: Remote, started: Started) -> None:
    flag = started.path("checkpoint")
    first = remote.launch("checkpointed", {"flag": flag})
    assert remote.wait(first)["phase"] == "FAILED"
    open(flag, "w").close()
    assert remote.outputs(remote.again("recover", first)) == {"o0": "half done"}
    assert remote.outputs(remote.again("relaunch", first)) == {"o0": "nothing"}


def test_logs_can_be_read(started: Started) -> None:
    name = started.names["failing"]
    started.remote.wait(name)
    (attempt,) = started.remote.attempts(name, "n0")
    (log,) = attempt["logs"]
    assert log["uri"].endswith(f"/logs/flytesnacks/development/{name}/n0/0")
    answer = started.remote.text(f"/logs/flytesnacks/development/{name}/n0/0")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert "ValueError" in answer.text


def test_outputs_are_those_of_a_local_run(started: Started) -> None:
    cases = {"nested": {"x": 3}, "parent": {"x": 2}, **{f"choices {x}": {"x": x} for x in (1, 50, 500, 5000)}}
    local = started.remote.script(
        "local.py", "graphs", json.dumps([[scenario.partition(" ")[0], inputs] for scenario, inputs in cases.items()])
    )
    assert [started.remote.outputs(started.names[scenario])["o0"] for scenario in cases] == local


def test_flyte_remote_synchronizes_all_of_them(started: Started) -> None:
    check_synchronized(started)

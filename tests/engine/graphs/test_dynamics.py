"""Dynamic nodes: what tasks ask for is compiled, shown, run and recovered like what was registered."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.engine.local.graph.unique_ids import child_execution, node_unique_id
from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane, Started, check_synchronized, failure
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign

_LOCALLY = {
    "summed": {"n": 4},
    "sample": {"x": 3},
    "inside": {"x": 60},
    "constant": {"x": 0},
}


@pytest.fixture(scope="session")
def asked(remote: Remote, tmp_path_factory: pytest.TempPathFactory) -> Started:
    """The executions of flows/dynamics.py that need nothing from outside, all at once."""
    remote.script("register.py", "dynamics")
    scenarios = Started(remote, tmp_path_factory.mktemp("asked"))
    for scenario in ("late_inside", "late", "tried_again", "broken_inside", "no_outputs"):
        scenarios.launch(scenario, f"dynamics.{scenario}", path=scenarios.path(scenario))
    for scenario, inputs in _LOCALLY.items():
        scenarios.launch(scenario, f"dynamics.{scenario}", **inputs)
    scenarios.launch("malformed", "dynamics.malformed", x=1)
    scenarios.launch("misled", "dynamics.misled", x=1)
    scenarios.names["one at a time"] = remote.launch("dynamics.summed", {"n": 3}, max_parallelism=1)
    return scenarios


def of_node(remote: Remote, name: str, node: str) -> Any:
    """What the data of a node tells of its dynamic workflow."""
    data = remote.call("GET", f"/data/node_executions/flytesnacks/development/{name}/{node}")
    return data.get("dynamic_workflow")


def test_the_nodes_that_a_task_asks_for_run_inside_it(asked: Started) -> None:
    """The sample of the specification: ids, flags and groups of a dynamic node's children at every depth."""
    remote, name = asked.remote, asked.names["sample"]
    assert remote.outputs(name) == {"o0": 32}
    inside, below = remote.nodes(name, "n2"), remote.nodes(name, "n2-0-dn1")
    assert set(inside) == {"n2-0-start-node", "n2-0-dn0", "n2-0-dn1", "n2-0-end-node"}
    # The digest of the id that would be too long is upstream's own.
    assert set(below) == {"f5ngfiqy", "n2-0-dn1-0-dn0", "n2-0-dn1-0-dn1", "n2-0-dn1-0-end-node"}
    assert [node["metadata"]["spec_node_id"] for node in (inside["n2-0-dn0"], below["f5ngfiqy"])] == [
        "dn0",
        "start-node",
    ]
    assert {node["metadata"]["retry_group"] for node in (inside | below).values()} == {"0"}
    nodes = remote.nodes(name)
    flags = {
        node: (row["metadata"]["is_parent_node"], row["metadata"]["is_dynamic"])
        for node, row in (nodes | inside | below).items()
        if row["metadata"]["is_parent_node"] or row["metadata"]["is_dynamic"]
    }
    plain = (True, False)
    assert flags == {"n1": plain, "n2": (True, True), "n2-0-dn1": plain, "n4": plain}
    assert nodes["n2"]["output_uri"].endswith("/n2/data/0/outputs.pb")
    assert inside["n2-0-dn0"]["output_uri"].endswith("/n2/data/0/dn0/0/outputs.pb")
    assert remote.node_data(name, "n2") == ({"x": 3}, {"o0": 16})
    (attempt,) = remote.attempts(name, "n2-0-dn1-0-dn0")
    assert attempt["metadata"]["generated_name"] == f"{name}-n2-0-dn1-0-dn0-0"


def test_the_workflow_inside_is_told_with_the_node(asked: Started) -> None:
    remote, name = asked.remote, asked.names["sample"]
    remote.wait(name)
    told = of_node(remote, name, "n2")
    assert told["id"]["name"] == "dynamic_n2"
    assert told["id"]["version"] == f"{name}-n2-0"
    assert told["dynamic_job_spec_uri"].endswith("/n2/data/0/futures.pb")
    template = told["compiled_workflow"]["primary"]["template"]
    assert [node["id"] for node in template["nodes"]] == ["start-node", "end-node", "dn0", "dn1"]
    assert [one["template"]["id"]["name"] for one in told["compiled_workflow"]["sub_workflows"]] == ["graphs.twice"]
    assert of_node(remote, name, "n0") is None


def test_dynamic_nodes_may_be_anywhere_and_ask_for_anything(asked: Started) -> None:
    """In sub-workflows, branches and one another; sub-workflows, branches, launch plans and maps in them."""
    remote, name = asked.remote, asked.names["inside"]
    assert remote.outputs(name) == {"o0": 791}
    assert set(remote.phases(name).values()) == {"SUCCEEDED"}
    everything = "n0-0-n0-n0"
    (plan,) = [row for row in remote.nodes(name, everything).values() if row.get("workflow_node_metadata")]
    node = node_unique_id(everything, 0, plan["metadata"]["spec_node_id"])
    child = plan["workflow_node_metadata"]["executionId"]["name"]
    assert child == child_execution(name, node, 0)
    parent = remote.execution(child)["spec"]["metadata"]["parent_node_execution"]
    assert (parent["node_id"], parent["execution_id"]["name"]) == (node, name)


def test_a_task_that_asks_for_nothing_is_a_plain_one(asked: Started) -> None:
    remote, name = asked.remote, asked.names["constant"]
    assert remote.outputs(name) == {"o0": 7}
    assert remote.nodes(name)["n0"]["metadata"]["is_dynamic"] is False
    assert remote.nodes(name, "n0") == {}
    assert of_node(remote, name, "n0") is None


def test_a_dynamic_node_needs_no_outputs(asked: Started) -> None:
    assert asked.remote.outputs(asked.names["no_outputs"]) == {}
    assert asked.lines("no_outputs") == ["heard"]


def test_children_need_no_place_beside_their_parent(asked: Started) -> None:
    assert asked.remote.outputs(asked.names["one at a time"]) == {"o0": 6}


def test_a_failed_child_fails_its_dynamic_node_for_good(asked: Started) -> None:
    kind, code, message = failure(asked, "broken_inside")
    assert (kind, code, message[-16:]) == ("USER", "USER:RuntimeError", "ValueError: boom")
    remote, name = asked.remote, asked.names["broken_inside"]
    nodes = remote.nodes(name) | remote.nodes(name, "n0")
    assert nodes["n0-0-dn1"]["error"] == nodes["n0"]["error"]
    assert nodes["n0"]["metadata"]["is_dynamic"]
    assert remote.tried(name, "n0") == [("SUCCEEDED", "")]
    if "n0-0-dn0" in nodes:
        assert nodes["n0-0-dn0"]["error"]["message"] == "subworkflow failed"
        assert remote.tried(name, "n0-0-dn0") == [("ABORTED", "")]


def test_children_that_take_too_long_fail_like_others(asked: Started) -> None:
    message = "[3/3] currentAttempt done. Last Error: USER::task execution timeout [2s] expired"
    assert failure(asked, "late_inside") == ("USER", "RetriesExhausted|TimeoutExpired", message)
    remote, name = asked.remote, asked.names["late_inside"]
    assert remote.tried(name, "n0") == [("SUCCEEDED", "")]
    assert remote.phases(name)["n0-0-dn0"] == "FAILED"
    assert asked.lines("late_inside") == ["planned"]


def test_the_time_of_a_dynamic_node_is_its_childrens_too(asked: Started) -> None:
    message = "[2/2] currentAttempt done. Last Error: USER::task execution timeout [4s] expired"
    assert failure(asked, "late") == ("USER", "RetriesExhausted|TimeoutExpired", message)
    remote, name = asked.remote, asked.names["late"]
    phases = remote.phases(name)
    assert phases["n0"] == "FAILED"
    assert (phases["n0-0-dn0"], phases["n0-1-dn0"]) == ("ABORTED", "ABORTED")
    assert remote.nodes(name, "n0")["n0-0-dn0"]["error"]["message"] == "node timed out"
    assert remote.tried(name, "n0") == [("SUCCEEDED", "")] * 2


def test_children_belong_to_the_attempt_that_asked_for_them(asked: Started) -> None:
    remote, name = asked.remote, asked.names["tried_again"]
    assert remote.outputs(name) == {"o0": 42}
    assert remote.tried(name, "n0") == [("FAILED", "USER:Recoverable"), ("SUCCEEDED", "")]
    children = remote.nodes(name, "n0")
    assert set(children) == {"n0-1-start-node", "n0-1-dn0", "n0-1-end-node"}
    assert {row["metadata"]["retry_group"] for row in children.values()} == {"1"}
    assert children["n0-1-dn0"]["output_uri"].endswith("/n0/data/1/dn0/0/outputs.pb")


def test_what_cannot_be_built_says_why(asked: Started) -> None:
    kind, code, message = failure(asked, "malformed")
    assert (kind, code) == ("USER", "DynamicWorkflowBuildFailed")
    assert message.startswith("[User] malformed dynamic workflow, caused by: Collected Errors: 1\n\tError 0: ")
    assert "has type [simple:INTEGER]" in message
    kind, code, message = failure(asked, "misled")
    assert (kind, code) == ("USER", "DynamicWorkflowBuildFailed")
    where = "flytesnacks:development:dynamics.nowhere:v0"
    assert message.startswith(f"[User] incorrectly specified launchplan {where}, caused by: ")
    for scenario in ("malformed", "misled"):
        name = asked.names[scenario]
        assert asked.remote.tried(name, "n0") == [("SUCCEEDED", "")]
        assert asked.remote.nodes(name, "n0") == {}


def test_terminating_ends_what_runs_inside(remote: Remote, asked: Started) -> None:
    name = remote.launch("dynamics.long_run", {"path": asked.path("terminated"), "seconds": 60.0})
    remote.until(lambda: "a" in asked.lines("terminated"), "the first child")
    remote.terminate(name, "enough")
    assert remote.wait(name)["phase"] == "ABORTED"
    phases = remote.phases(name)
    assert (phases["n0"], phases["n0-0-dn0"]) == ("ABORTED", "ABORTED")
    assert remote.tried(name, "n0") == [("SUCCEEDED", "")]
    assert remote.tried(name, "n0-0-dn0") == [("ABORTED", "")]
    assert asked.lines("terminated") == ["planned", "a"]


def test_a_recovered_dynamic_node_is_not_asked_again(remote: Remote, asked: Started) -> None:
    """One that succeeded is taken over whole; of one that failed, the workflow and what had ended well in it."""
    flag = asked.path("flag")
    first = remote.launch("dynamics.recoverable", {"path": asked.path("recovered"), "flag": flag})
    assert remote.wait(first)["phase"] == "FAILED"
    before = asked.lines("recovered")
    assert sorted(before) == ["before", "first", "inside", "inside", "planned", "planned before"]
    open(flag, "w").close()
    name = remote.again("recover", first)
    assert remote.outputs(name) == {"o0": "firstinsideinsidebefore"}
    assert asked.lines("recovered") == before
    ids = {row["metadata"]["spec_node_id"]: node for node, row in remote.nodes(name).items()}
    whole, half = (ids[one] for one in sorted(ids) if of_node(remote, name, ids[one]) is not None)
    if remote.phases(name)[half] == "RECOVERED":
        whole, half = half, whole
    phases = remote.phases(name)
    assert (phases[whole], phases[half]) == ("RECOVERED", "SUCCEEDED")
    assert of_node(remote, name, whole)["id"]["version"] == f"{first}-{whole}-0"
    assert of_node(remote, name, half)["id"]["version"] == f"{name}-{half}-0"
    assert remote.tried(name, half) == []
    inside = {row["metadata"]["spec_node_id"]: row["phase"] for row in remote.nodes(name, half).values()}
    assert Counter(inside.values()) == {"SUCCEEDED": 5, "RECOVERED": 1}
    again = remote.again("recover", name)
    assert remote.outputs(again) == {"o0": "firstinsideinsidebefore"}
    assert set(remote.phases(again).values()) == {"SUCCEEDED", "RECOVERED"}
    synced = remote.script("synced.py", name, again)
    assert {one: synced[one]["nodes"] for one in (name, again)} == {one: remote.phases(one) for one in (name, again)}


def test_the_outputs_of_a_whole_dynamic_node_are_cached(remote: Remote, asked: Started) -> None:
    first = remote.launch("dynamics.cached", {"path": asked.path("cached")})
    assert remote.outputs(first) == {"o0": "run"}
    second = remote.launch("dynamics.cached", {"path": asked.path("cached")})
    assert remote.outputs(second) == {"o0": "run"}
    assert asked.lines("cached") == ["planned", "run"]
    one, two = (remote.nodes(name)["n0"] for name in (first, second))
    assert (one["metadata"]["is_dynamic"], two["metadata"]["is_dynamic"]) == (True, False)
    seen = [node["task_node_metadata"]["cache_status"] for node in (one, two)]
    assert seen == ["CACHE_POPULATED", "CACHE_HIT"]
    assert remote.nodes(second, "n0") == {}
    synced = remote.script("synced.py", first, second)
    assert {name: synced[name]["nodes"] for name in synced} == {name: remote.phases(name) for name in synced}


def test_a_dynamic_task_may_be_launched_by_itself(remote: Remote, asked: Started) -> None:
    name = remote.launch_task("dynamics.planned", {"x": 3})
    assert remote.outputs(name) == {"o0": 16}
    (node,) = [node for node, row in remote.nodes(name).items() if row["metadata"]["is_dynamic"]]
    assert set(remote.phases(name).values()) == {"SUCCEEDED"}
    assert of_node(remote, name, node)["id"]["version"] == f"{name}-{node}-0"
    assert remote.script("synced.py", name)[name]["nodes"] == remote.phases(name)


def test_outputs_are_those_of_a_local_run(asked: Started) -> None:
    local = asked.remote.script("local.py", "dynamics", json.dumps(list(_LOCALLY.items())))
    assert [asked.remote.outputs(asked.names[scenario])["o0"] for scenario in _LOCALLY] == local


def test_flyte_remote_synchronizes_all_of_them(asked: Started) -> None:
    check_synchronized(asked)


def test_dynamic_tasks_inside_one_another_have_an_end(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    limit = {"FLYTEADMIN__ENGINE__LOCAL__DYNAMICDEPTHMAX": "3"}
    with plane(tmp_path / "home", empty_database("sqlite"), **limit) as (_, remote):
        remote.script("register.py", "dynamics")
        deep, too_deep = (remote.launch_task("dynamics.countdown", {"n": n}) for n in (3, 4))
        assert remote.outputs(deep) == {"o0": 7}
        error = remote.error(too_deep)
        assert (error["kind"], error["code"]) == ("USER", "DynamicWorkflowBuildFailed")
        assert error["message"].endswith("more than 3 deep; engine.local.dynamicDepthMax is 3")


@pytest.mark.parametrize("kind", DATABASES)
def test_a_server_that_dies_amid_a_dynamic_node_asks_nothing_twice(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    """Killed after each line that the run leaves: neither the dynamic tasks nor their children are run again.

    The last server allows less depth than the run has reached, which is no reason to end it.
    """
    home, url, path = tmp_path / "home", empty_database(kind), tmp_path / "lines"
    words = ["planned", "a", "b", "deeper", "c", "d"]
    name = ""
    for count in range(1, len(words)):
        with plane(home, url) as (server, remote):
            if not name:
                remote.script("register.py", "dynamics")
                name = remote.launch("dynamics.long_run", {"path": str(path), "seconds": 1.0})
            remote.until(lambda: path.exists() and len(path.read_text().split()) >= count, f"{count} lines")  # noqa: B023
            time.sleep(0.2 * (count % 3))
            server.stop(signal.SIGKILL)
    with plane(home, url, FLYTEADMIN__ENGINE__LOCAL__DYNAMICDEPTHMAX="1") as (_, remote):
        assert remote.outputs(name) == {"o0": "d"}
        assert path.read_text().split() == words
        assert set(remote.phases(name).values()) == {"SUCCEEDED"}
        assert remote.tried(name, "n0") == [("SUCCEEDED", "")]
        synced = remote.script("synced.py", name)
        assert synced[name]["nodes"] == remote.phases(name)

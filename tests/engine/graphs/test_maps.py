"""Maps: what becomes of their indices, as clients see them, at every way in which they can end."""

from __future__ import annotations

import itertools
import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.engine.local.graph.unique_ids import child_execution
from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane, Started, check_synchronized, failure
from tests.engine.graphs.remote import Remote
from tests.engine.graphs.test_crashes import children as workers

pytestmark = pytest.mark.campaign

WORDS = [f"w{number}" for number in range(6)]


@pytest.fixture(scope="module", params=DATABASES)
def mapped(
    request: pytest.FixtureRequest,
    plane: Plane,
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Started]:
    """Executions of the workflows of flows/maps.py, all at once."""
    folder = tmp_path_factory.mktemp("maps")
    with plane(folder / "home", empty_database(request.param)) as (_, remote):
        remote.script("register.py", "maps")
        scenarios = Started(remote, folder)
        scenarios.launch("late_map", "maps.late_map", words=WORDS[:2], path=scenarios.path("late"))
        scenarios.launch("late_indices", "maps.late_indices", xs=[0, 1])
        scenarios.launch("doubled", "maps.doubled", n=3)
        scenarios.launch("empty", "maps.doubled", n=0)
        scenarios.launch("summed", "maps.summed", n=4)
        scenarios.launch("partial", "maps.partial", xs=[1, 2], ys=[3, 4], factor=10)
        scenarios.launch("uneven", "maps.partial", xs=[1, 2], ys=[3], factor=10)
        scenarios.launch("half", "maps.half", xs=[0, 1, 2])
        scenarios.launch("some", "maps.some", xs=[1, 2, 3])
        scenarios.launch("all_of_them", "maps.all_of_them", xs=[0, 2, 4, 1])
        scenarios.launch("retried", "maps.retried", xs=[1, 2, 3], folder=str(folder))
        scenarios.launch("exhausted", "maps.exhausted", xs=[5])
        scenarios.launch("killed", "maps.killed", xs=[5])
        scenarios.launch("marked", "maps.marked", words=WORDS, path=scenarios.path("marked"), seconds=0.3)
        scenarios.launch("wide", "maps.wide", words=WORDS, path=scenarios.path("wide"), seconds=0.3)
        scenarios.launch("beside_a_failure", "maps.beside_a_failure", words=WORDS, path=scenarios.path("beside"))
        scenarios.launch("plans", "maps.plans", xs=[2, 4, 6])
        scenarios.launch("no_plans", "maps.plans", xs=[])
        scenarios.launch("half_of_plans", "maps.half_of_plans", xs=[2, 3])
        scenarios.launch("old", "maps.old", xs=[1, 2])
        yield scenarios


def indices(remote: Remote, name: str, node: str) -> dict[tuple[int, int], str]:
    """The phases of the indices of a map, by index and attempt."""
    (row,) = remote.attempts(name, node)
    return {(one["index"], one["retry_attempt"]): one["phase"] for one in (row["metadata"] or {})["external_resources"]}


def test_a_map_is_one_task_execution_that_lists_its_indices(mapped: Started) -> None:
    remote, name = mapped.remote, mapped.names["doubled"]
    assert remote.outputs(name) == {"o0": [0, 2, 4]}
    node = remote.nodes(name)["n1"]
    assert (node["phase"], node["metadata"]["is_array"], node["metadata"]["is_parent_node"]) == (
        "SUCCEEDED",
        True,
        False,
    )
    assert remote.nodes(name, "n1") == {}
    (row,) = remote.attempts(name, "n1")
    assert (row["phase"], row["task_type"], row["metadata"]["plugin_identifier"]) == (
        "SUCCEEDED",
        "container_array",
        "k8s-array",
    )
    assert row["started_at"]
    assert row["output_uri"].endswith("/n1/data/0/outputs.pb")
    for index, resource in enumerate(row["metadata"]["external_resources"]):
        assert resource["external_id"] == f"{name}-n1-0-n{index}-0"
        assert (resource["index"], resource["phase"]) == (index, "SUCCEEDED")
        (log,) = resource["logs"]
        assert log["name"] == f"Task log-{index}"
        path = log["uri"].partition("/logs/")[2]
        assert remote.text(f"/logs/{path}").status_code == 200


def test_an_empty_map_has_empty_outputs(mapped: Started) -> None:
    name = mapped.names["empty"]
    assert mapped.remote.outputs(name) == {"o0": []}
    (row,) = mapped.remote.attempts(name, "n1")
    assert (row["phase"], row["started_at"], row["metadata"]["external_resources"]) == ("SUCCEEDED", None, [])
    assert mapped.remote.nodes(name)["n1"]["started_at"]


def test_a_map_inside_a_sub_workflow(mapped: Started) -> None:
    name = mapped.names["summed"]
    assert mapped.remote.outputs(name) == {"o0": 12}
    assert mapped.remote.nodes(name, "n0")["n0-0-n1"]["metadata"]["is_array"]
    (row,) = mapped.remote.attempts(name, "n0-0-n1")
    assert row["metadata"]["external_resources"][3]["external_id"] == f"{name}-n0-0-n1-0-n3-0"


def test_bound_inputs_are_passed_whole(mapped: Started) -> None:
    assert mapped.remote.outputs(mapped.names["partial"]) == {"o0": [13, 24]}


def test_lists_of_different_lengths_have_no_indices(mapped: Started) -> None:
    kind, code, message = failure(mapped, "uneven")
    assert (kind, code) == ("USER", "InvalidArrayLength")
    assert message == "input arrays have different lengths: expecting '2' found '1'"
    name = mapped.names["uneven"]
    assert mapped.remote.nodes(name)["n0"]["started_at"] is None
    assert mapped.remote.attempts(name, "n0") == []


@pytest.mark.parametrize(
    ("scenario", "outputs", "phases"),
    [
        ("half", [0, 2], ["SUCCEEDED", "FAILED", "SUCCEEDED"]),
        ("some", [None, 2, None], ["FAILED", "SUCCEEDED", "FAILED"]),
    ],
)
def test_tolerated_failures_are_none_among_the_outputs(
    mapped: Started, scenario: str, outputs: list[Any], phases: list[str]
) -> None:
    name = mapped.names[scenario]
    assert mapped.remote.outputs(name) == {"o0": outputs}
    assert list(indices(mapped.remote, name, "n0").values()) == phases
    assert mapped.remote.phases(name)["n0"] == "SUCCEEDED"


def test_too_many_failures_fail_the_map_with_the_messages_of_its_indices(mapped: Started) -> None:
    kind, code, message = failure(mapped, "all_of_them")
    assert (kind, code) == ("UNKNOWN", "")
    assert message.startswith("[3]: Trace:")
    name = mapped.names["all_of_them"]
    (row,) = mapped.remote.attempts(name, "n0")
    assert row["error"]["message"].startswith(message[:100])
    assert row["error"]["message"].endswith("ValueError: odd: 1\n")
    # Parity: lists show the end of a message.
    listed = mapped.remote.nodes(name)["n0"]["error"]["message"]
    assert message.rstrip().endswith(listed.rstrip())
    assert listed.rstrip().endswith("ValueError: odd: 1")
    assert indices(mapped.remote, name, "n0")[3, 0] == "FAILED"
    assert set(indices(mapped.remote, name, "n0").values()) <= {"SUCCEEDED", "FAILED", "ABORTED"}


def test_every_index_has_retries_of_its_own(mapped: Started) -> None:
    name = mapped.names["retried"]
    assert mapped.remote.outputs(name) == {"o0": [1, 2, 3]}
    assert indices(mapped.remote, name, "n0") == {
        (0, 0): "FAILED",
        (0, 1): "SUCCEEDED",
        (1, 0): "SUCCEEDED",
        (2, 0): "FAILED",
        (2, 1): "SUCCEEDED",
    }
    assert [len(mapped.lines(f"retried-{x}")) for x in (1, 2, 3)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("scenario", "attempts", "message"),
    [
        ("exhausted", 2, "[0]: [2/2] currentAttempt done. Last Error: USER::"),
        ("killed", 4, "[0]: [3/3] currentAttempt done. Last Error: SYSTEM::"),
    ],
)
def test_both_budgets_of_retries_end(mapped: Started, scenario: str, attempts: int, message: str) -> None:
    assert failure(mapped, scenario)[2].startswith(message)
    found = indices(mapped.remote, mapped.names[scenario], "n0")
    assert found == {(0, attempt): "FAILED" for attempt in range(attempts)}


def test_an_index_that_takes_too_long_is_cut_off_and_tried_again(mapped: Started) -> None:
    message = failure(mapped, "late_indices")[2]
    assert message == "[1]: [2/2] currentAttempt done. Last Error: USER::task execution timeout [8s] expired\n"
    assert indices(mapped.remote, mapped.names["late_indices"], "n0") == {
        (0, 0): "SUCCEEDED",
        (1, 0): "FAILED",
        (1, 1): "FAILED",
    }


def test_a_map_that_takes_too_long_is_cut_off(mapped: Started) -> None:
    kind, code, message = failure(mapped, "late_map")
    assert (kind, code) == ("USER", "RetriesExhausted|TimeoutExpired"), message
    (row,) = mapped.remote.attempts(mapped.names["late_map"], "n0")
    assert row["phase"] == "ABORTED"
    assert not [line for line in mapped.lines("late") if line.startswith("end")]


def test_no_more_indices_run_at_a_time_than_the_map_says(mapped: Started) -> None:
    assert mapped.remote.outputs(mapped.names["marked"]) == {"o0": WORDS}
    lines = mapped.lines("marked")
    assert Counter(lines) == {f"{what} {word}": 1 for word in WORDS for what in ("begin", "end")}
    depth = list(itertools.accumulate(1 if line.startswith("begin") else -1 for line in lines))
    assert max(depth) <= 2
    begun = [line.split()[1] for line in lines if line.startswith("begin")]
    # Places are filled again in the order of the indices; two that begin together may change places.
    assert all(abs(WORDS.index(word) - place) <= 1 for place, word in enumerate(begun))


def test_a_failure_beside_a_map_aborts_it(mapped: Started) -> None:
    assert failure(mapped, "beside_a_failure")[1] == "USER:RuntimeError"
    name = mapped.names["beside_a_failure"]
    assert mapped.remote.phases(name)["n1"] == "ABORTED"
    (row,) = mapped.remote.attempts(name, "n1")
    assert row["phase"] == "ABORTED"
    assert set(indices(mapped.remote, name, "n1").values()) == {"ABORTED"}
    assert not [line for line in mapped.lines("beside") if line.startswith("end")]


def test_a_map_of_launch_plans_starts_executions(mapped: Started) -> None:
    remote, name = mapped.remote, mapped.names["plans"]
    assert remote.outputs(name) == {"o0": [2, 4, 6]}
    (row,) = remote.attempts(name, "n0")
    for index, resource in enumerate(row["metadata"]["external_resources"]):
        child = child_execution(name, f"n0-0-n{index}", 0)
        assert (resource["external_id"], resource["phase"]) == (child, "SUCCEEDED")
        assert resource["workflow_node_metadata"]["execution_id"]["name"] == child
        metadata = remote.execution(child)["spec"]["metadata"]
        assert (metadata["mode"], metadata["parent_node_execution"]["node_id"]) == ("CHILD_WORKFLOW", "n0")
    assert remote.outputs(mapped.names["no_plans"]) == {"o0": []}


def test_children_that_fail_may_be_tolerated_too(mapped: Started) -> None:
    name = mapped.names["half_of_plans"]
    assert mapped.remote.outputs(name) == {"o0": [2]}
    assert list(indices(mapped.remote, name, "n0").values()) == ["SUCCEEDED", "FAILED"]


def test_maps_of_old_flytekits_run_by_the_same_rules(mapped: Started) -> None:
    name = mapped.names["old"]
    assert mapped.remote.outputs(name) == {"o0": [2, 4]}
    assert not mapped.remote.nodes(name)["n0"]["metadata"]["is_array"]
    assert list(indices(mapped.remote, name, "n0").values()) == ["SUCCEEDED"] * 2


def test_an_abort_ends_the_indices(mapped: Started) -> None:
    remote, path = mapped.remote, mapped.path("aborted")
    name = remote.launch("maps.marked", {"words": WORDS, "path": path, "seconds": 600.0})
    remote.until(lambda: len(mapped.lines("aborted")) >= 1, "an index")
    check_aborted(mapped, name)
    assert not [line for line in mapped.lines("aborted") if line.startswith("end")]


def test_an_abort_ends_the_children(mapped: Started) -> None:
    remote, count = mapped.remote, len(WORDS)
    inputs = {"words": WORDS, "paths": [mapped.path("aborted too")] * count, "seconds": [600.0] * count}
    name = remote.launch("maps.marked_plans", inputs)
    remote.until(lambda: len(mapped.lines("aborted too")) >= 1, "a child")
    check_aborted(mapped, name)
    for index in range(2):
        assert remote.wait(child_execution(name, f"n0-0-n{index}", 0))["phase"] == "ABORTED"
    assert not [line for line in mapped.lines("aborted too") if line.startswith("end")]


def check_aborted(mapped: Started, name: str) -> None:
    remote = mapped.remote
    remote.terminate(name, "enough")
    assert remote.wait(name)["phase"] == "ABORTED"
    assert remote.phases(name)["n0"] == "ABORTED"
    (row,) = remote.attempts(name, "n0")
    assert row["phase"] == "ABORTED"
    assert set(indices(remote, name, "n0").values()) == {"ABORTED"}


def test_indices_are_cached_one_by_one(mapped: Started) -> None:
    remote, path = mapped.remote, mapped.path("kept")
    first = remote.launch("maps.cached", {"xs": [1, 2], "path": path})
    assert remote.outputs(first) == {"o0": [3, 6]}
    second = remote.launch("maps.cached", {"xs": [2, 1, 3], "path": path})
    assert remote.outputs(second) == {"o0": [6, 3, 9]}
    assert sorted(mapped.lines("kept")) == ["1", "2", "3"]
    statuses = [
        [one["cache_status"] for one in remote.attempts(name, "n0")[0]["metadata"]["external_resources"]]
        for name in (first, second)
    ]
    assert statuses == [["CACHE_POPULATED"] * 2, ["CACHE_HIT", "CACHE_HIT", "CACHE_POPULATED"]]


def test_outputs_equal_those_of_a_local_run(mapped: Started) -> None:
    cases = {
        "doubled": {"n": 3},
        "summed": {"n": 4},
        "partial": {"xs": [1, 2], "ys": [3, 4], "factor": 10},
        "half": {"xs": [0, 1, 2]},
        "old": {"xs": [1, 2]},
    }
    expected = mapped.remote.script("local.py", "maps", json.dumps(list(cases.items())))
    assert expected == [mapped.remote.outputs(mapped.names[scenario])["o0"] for scenario in cases]
    by_remote = mapped.remote.script("executed.py", "maps.half", json.dumps(cases["half"]))
    assert by_remote == {"o0": expected[3]}


def test_flyte_remote_synchronizes_maps(mapped: Started) -> None:
    check_synchronized(mapped)


@pytest.mark.parametrize("kind", DATABASES)
def test_indices_that_have_ended_are_not_run_again_after_a_crash(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    home, url = tmp_path / "home", empty_database(kind)
    words = [f"w{number}" for number in range(40)]
    path, children = tmp_path / "marks", tmp_path / "children"
    names: dict[str, str] = {}
    for round in range(4):
        with plane(home, url) as (server, remote):
            if round == 0:
                remote.script("register.py", "maps")
                inputs = {"words": words, "path": str(path), "seconds": 0.2}
                names["tasks"] = remote.launch("maps.wide", inputs)
                few = words[:6]
                names["plans"] = remote.launch(
                    "maps.marked_plans",
                    {"words": few, "paths": [str(children)] * len(few), "seconds": [0.3] * len(few)},
                )
            before = len(ends(path))
            remote.until(lambda: len(ends(path)) >= min(len(words), before + 4), "some indices")  # noqa: B023
            server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        assert remote.outputs(names["tasks"]) == {"o0": words}
        assert remote.outputs(names["plans"]) == {"o0": words[:6]}
        assert Counter(ends(path)) == dict.fromkeys(words, 1), "an index was run twice"
        assert Counter(ends(children)) == dict.fromkeys(words[:6], 1), "a child was run twice"
        assert indices(remote, names["tasks"], "n0") == {(index, 0): "SUCCEEDED" for index in range(len(words))}
        (row,) = remote.attempts(names["tasks"], "n0")
        assert all(len(one["logs"]) == 1 for one in row["metadata"]["external_resources"])


@pytest.mark.parametrize("kind", DATABASES)
def test_a_map_goes_on_in_another_worker(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    words = [f"w{number}" for number in range(12)]
    with plane(tmp_path / "home", empty_database(kind), "--workers", "2") as (server, remote):
        remote.script("register.py", "marked_map")
        marks = [tmp_path / f"marks-{number}" for number in range(3)]
        names = [
            remote.launch("marked_map.marked", {"words": words, "path": str(path), "seconds": 0.3}) for path in marks
        ]
        remote.until(lambda: all(ends(path) for path in marks), "an index of each")
        for worker in workers(server.process.pid):
            before = sum(len(ends(path)) for path in marks)
            os.kill(worker, signal.SIGKILL)
            remote.until(lambda: sum(len(ends(path)) for path in marks) > before + 3, "some indices")  # noqa: B023
        for name, path in zip(names, marks, strict=True):
            assert remote.outputs(name) == {"o0": words}
            assert Counter(ends(path)) == dict.fromkeys(words, 1), "an index was run twice"


def ends(path: Path) -> list[str]:
    """The words whose tasks have come to their end."""
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split()[1] for line in lines if line.startswith("end")]

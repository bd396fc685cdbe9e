"""Eager tasks: executions that flytekit's own client launches from inside a task, against the server that runs it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane, Started, check_synchronized
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign


@pytest.fixture(scope="module", params=DATABASES)
def eager(
    request: pytest.FixtureRequest,
    plane: Plane,
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Started]:
    """All of flows/eagers.py at once, with two places for processes: those who wait for others hold none."""
    home = tmp_path_factory.mktemp("eager") / request.param
    places = {"FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": "2"}
    with plane(home, empty_database(request.param), **places) as (_, remote):
        remote.script("register.py", "eagers")
        started = Started(remote, tmp_path_factory.mktemp("files"))
        for scenario in ("counted", "nested"):
            started.launch(scenario, f"eagers.{scenario}", x=2)
        for scenario in ("failing", "forgiving"):
            started.launch(scenario, f"eagers.{scenario}", message="boom")
        started.launch("leaving", "eagers.leaving", path=started.path("leaving"))
        yield started


def launched_by(remote: Remote, name: str, label: str = "eager-exec") -> dict[str, Any]:
    """The executions that carry a label with the name of another one, by what they run."""
    filters = f"value_in(execution_tag.key,{label})%2Bvalue_in(execution_tag.value,{name})"
    path = f"/executions/flytesnacks/development?limit=100&filters={filters}"
    return {row["spec"]["launch_plan"]["name"]: row for row in remote.call("GET", path)["executions"]}


def test_an_eager_task_is_one_task_that_launches_executions(eager: Started) -> None:
    remote, name = eager.remote, eager.names["counted"]
    assert remote.outputs(name) == {"o0": 16}
    assert remote.phases(name) == dict.fromkeys(("start-node", "n0", "end-node"), "SUCCEEDED")
    assert remote.tried(name, "n0") == [("SUCCEEDED", "")]
    children = launched_by(remote, name)
    assert set(children) == {"graphs.double", "graphs.twice"}
    for child in children.values():
        assert child["id"]["name"].startswith(f"e-counted-{name[:5]}-")
        assert child["spec"]["labels"]["values"] == {"eager-exec": name, "eager-root-exec": name}
        assert child["spec"]["envs"]["values"] == [{"key": "_F_EE_ROOT", "value": name}]
        assert child["closure"]["phase"] == "SUCCEEDED"
    deck = remote.nodes(name)["n0"]["deck_uri"]
    assert children["graphs.double"]["id"]["name"] in Path(deck).read_text()


def test_eager_tasks_may_launch_one_another(eager: Started) -> None:
    remote, name = eager.remote, eager.names["nested"]
    assert remote.outputs(name) == {"o0": 17}
    children = launched_by(remote, name)
    assert set(children) == {"eagers.counted", "graphs.add"}
    below = launched_by(remote, children["eagers.counted"]["id"]["name"])
    assert set(below) == {"graphs.double", "graphs.twice"}
    everything = launched_by(remote, name, "eager-root-exec")
    assert set(everything) == set(children) | set(below)


def test_a_failed_child_raises_in_the_task(eager: Started) -> None:
    remote = eager.remote
    assert remote.outputs(eager.names["forgiving"]) == {"o0": 42}
    error = remote.wait(eager.names["failing"])["error"]
    assert error["code"] == "USER:NonRecoverableSystemError"
    assert "Error executing graphs.fail with error" in error["message"]
    assert remote.phases(eager.names["failing"]) == {"start-node": "SUCCEEDED", "n0": "FAILED", "efn": "SUCCEEDED"}


def test_the_failure_node_ends_what_the_task_left_behind(eager: Started) -> None:
    remote, name = eager.remote, eager.names["leaving"]
    assert remote.wait(name)["phase"] == "FAILED"
    assert remote.phases(name)["efn"] == "SUCCEEDED"
    left = launched_by(remote, name)["eagers.leave_behind"]
    assert left["closure"]["phase"] in ("ABORTING", "ABORTED")
    assert remote.wait(left["id"]["name"])["abort_metadata"]["cause"] == f"clean up by parent eager execution {name}"
    assert eager.lines("leaving") == ["left behind"]


def test_flyte_remote_synchronizes_all_of_them(eager: Started) -> None:
    check_synchronized(eager)


def test_an_abort_ends_what_the_task_launched(eager: Started) -> None:
    remote = eager.remote
    for name in eager.names.values():
        remote.wait(name)
    name = remote.launch("eagers.waiting", {"path": eager.path("waiting"), "seconds": 120.0})
    remote.until(lambda: bool(eager.lines("waiting")), "the child's task")
    # flytekit publishes a deck that lists the children.
    remote.until(lambda: bool(remote.nodes(name)["n0"]["deck_uri"]), "the deck")
    remote.terminate(name, "enough")
    assert remote.wait(name)["phase"] == "ABORTED"
    deck = Path(remote.nodes(name)["n0"]["deck_uri"])
    child = launched_by(remote, name)["graphs.mark"]
    cause = f"cascading abort as parent execution id [{name}] aborted, reason [Workflow aborted.]"
    assert remote.wait(child["id"]["name"])["abort_metadata"]["cause"] == cause
    assert child["id"]["name"] in deck.read_text()


@pytest.mark.parametrize("kind", DATABASES)
def test_an_eager_task_goes_on_where_a_dead_server_left_it(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    """flytekit gives up as soon as there is no server; another attempt finds the executions that it launched."""
    home, url, path = tmp_path / "home", empty_database(kind), tmp_path / "lines"
    with plane(home, url) as (server, remote):
        remote.script("register.py", "eagers")
        name = remote.launch("eagers.waiting", {"path": str(path), "seconds": 15.0})
        remote.until(path.exists, "the child's task")
        server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        assert remote.outputs(name) == {"o0": "child"}
        assert path.read_text() == "child\n"
        first, second = remote.attempts(name, "n0")
        assert (first["error"]["kind"], second["phase"]) == ("SYSTEM", "SUCCEEDED")

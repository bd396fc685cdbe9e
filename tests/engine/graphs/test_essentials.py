"""A workflow of each kind through a real server that is killed in the middle: the part of `make test-all`."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.local.graph.unique_ids import child_execution
from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.slow

_WORKFLOWS = {
    "graphs": ("nested", "choices", "cleaned", "twice_plan", "parent", "gated", "long_run", "fails_at_once"),
    "data": ("collections", "optionals", "sorting"),
    "dynamics": ("summed",),
    "maps": ("doubled",),
    "bad": ("command_missing",),
}


@pytest.mark.parametrize("kind", DATABASES)
def test_workflows_of_every_kind_survive_the_end_of_their_server(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    home, url = tmp_path / "home", empty_database(kind)
    with plane(home, url) as (server, remote):
        for module, workflows in _WORKFLOWS.items():
            remote.script("register.py", module, *workflows)
        names = {
            "nested": remote.launch("nested", {"x": 3}),
            "choices": remote.launch("choices", {"x": 50}),
            "parent": remote.launch("parent", {"x": 2}),
            "long_run": remote.launch("long_run", {"path": str(tmp_path / "marks"), "seconds": 0.3}),
            "dynamic": remote.launch("dynamics.summed", {"n": 3}),
            "map": remote.launch("maps.doubled", {"n": 3}),
            "collections": remote.launch("data.collections", {"count": 4}),
            "optionals": remote.launch("data.optionals"),
            "sorting": remote.launch("data.sorting", {"text": "b\na\n"}),
            "cleaned": remote.launch("cleaned", {"path": str(tmp_path / "cleaned")}),
            "missing": remote.launch("bad.command_missing"),
            "gated": remote.launch("gated", {"x": 1}),
            "unwanted": remote.launch("long_run", {"path": str(tmp_path / "unwanted"), "seconds": 60.0}),
        }
        remote.until(lambda: (tmp_path / "marks").exists(), "the first task of long_run")
        server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        remote.terminate(names["unwanted"], "enough")
        check_ends(remote, names)
        assert sorted((tmp_path / "marks").read_text().split()) == ["a", "b", "d", "e"], "each task ran once"
        assert (tmp_path / "cleaned").read_text().startswith("n0: ")
        check_synchronized(remote, names)


def check_ends(remote: Remote, names: dict[str, str]) -> None:
    remote.signals(names["gated"], 2)
    remote.set_signal(names["gated"], "number", 40)
    remote.set_signal(names["gated"], "fine", True)
    expected = {"nested": 22, "choices": 200, "parent": 9, "long_run": 215, "dynamic": 6, "gated": 42}
    for scenario, value in expected.items():
        assert remote.outputs(names[scenario]) == {"o0": value}, scenario
    for scenario in ("map", "collections", "optionals", "sorting"):
        assert remote.wait(names[scenario])["phase"] == "SUCCEEDED", scenario
    assert remote.execution(child_execution(names["parent"], "n0", 0))["closure"]["phase"] == "SUCCEEDED"
    codes = {scenario: remote.wait(names[scenario])["error"]["code"] for scenario in ("cleaned", "missing")}
    assert codes == {"cleaned": "USER:RuntimeError", "missing": "FailedToBuildResource"}
    assert remote.wait(names["unwanted"])["abort_metadata"]["cause"] == "enough"


def check_synchronized(remote: Remote, names: dict[str, str]) -> None:
    """FlyteRemote finds in each what the rows say."""
    plain = [name for scenario, name in names.items() if scenario not in ("map", "collections", "optionals", "sorting")]
    synced = remote.script("synced.py", *plain)
    for name in plain:
        assert synced[name]["phase"] == remote.execution(name)["closure"]["phase"]
        assert synced[name]["nodes"] == remote.phases(name)

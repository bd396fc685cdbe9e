"""More executions than one server holds at once: the others wait in the database, and nothing waits for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("kind", DATABASES)
def test_only_so_many_run_at_once_and_children_are_not_held_back(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    limit = {"FLYTEADMIN__ENGINE__LOCAL__EXECUTIONS_MAX": "1"}
    with plane(tmp_path / "home", empty_database(kind), **limit) as (_, remote):
        remote.script("register.py", "graphs")
        gated = remote.launch("gated", {"x": 1})
        remote.signals(gated, 2)
        waiting = [remote.launch("parent", {"x": number}) for number in range(3)]
        unwanted = remote.launch("nested", {"x": 3})
        remote.terminate(unwanted, "not wanted any more")
        # The end of one that waits needs no room.
        assert remote.wait(unwanted)["phase"] == "ABORTED"
        time.sleep(2)
        assert [phase_of(remote, name) for name in waiting] == ["UNDEFINED"] * 3
        remote.set_signal(gated, "fine", True)
        remote.set_signal(gated, "number", 40)
        assert remote.outputs(gated) == {"o0": 42}
        # Each has a child, which runs beside it.
        assert [remote.outputs(name) for name in waiting] == [{"o0": 1}, {"o0": 5}, {"o0": 9}]
        starts = [remote.execution(name)["closure"]["started_at"] for name in waiting]
        assert starts == sorted(starts), "the one that came first is the first"


def phase_of(remote: Remote, name: str) -> str:
    return str(remote.execution(name)["closure"]["phase"])

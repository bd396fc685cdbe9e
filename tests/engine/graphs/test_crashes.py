"""Servers that die at any moment, and several that share the work: nothing is lost and nothing is run twice."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign

# What one run of long_run leaves in its file, and what it puts out.
WORDS = dict.fromkeys("abde", 1)
OUTPUT = {"o0": 215}


def marks(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


def check(remote: Remote, names: dict[str, Path]) -> None:
    for name, path in names.items():
        assert remote.outputs(name) == OUTPUT
        assert marks(path) == WORDS, "a task was run twice, or not at all"
        assert set(remote.phases(name).values()) == {"SUCCEEDED"}


def launch(remote: Remote, folder: Path, count: int, seconds: float) -> dict[str, Path]:
    names = {}
    for number in range(count):
        path = folder / f"marks-{time.monotonic_ns()}-{number}"
        names[remote.launch("long_run", {"path": str(path), "seconds": seconds})] = path
    return names


@pytest.mark.parametrize("kind", DATABASES)
def test_a_server_may_be_killed_at_any_moment(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    home, url = tmp_path / "home", empty_database(kind)
    chance = random.Random(kind)
    names: dict[str, Path] = {}
    for round in range(5):
        with plane(home, url) as (server, remote):
            if round == 0:
                remote.script("register.py", "graphs")
            names |= launch(remote, tmp_path, 1, 0.5)
            time.sleep(chance.uniform(0.0, 2.0))
            server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        check(remote, names)


@pytest.mark.parametrize("kind", DATABASES)
def test_workers_share_the_work_and_replace_one_another(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    with plane(tmp_path / "home", empty_database(kind), "--workers", "2") as (server, remote):
        remote.script("register.py", "graphs")
        names = launch(remote, tmp_path, 6, 0.5)
        for _ in range(3):
            time.sleep(1.0)
            workers = children(server.process.pid)
            os.kill(random.Random(kind).choice(workers), signal.SIGKILL)
        check(remote, names)


def children(pid: int) -> list[int]:
    """The worker processes of a server: its children that run Python's spawn."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
            found.append(int(child))
    return found


@pytest.mark.parametrize("kind", DATABASES)
def test_what_one_server_is_asked_another_one_does(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    """Two servers with homes of their own on one database and one store: aborts and signals reach the right one."""
    url = empty_database(kind)
    store = {"FLYTEADMIN_STORAGE_URL": str(tmp_path / "store")}
    with plane(tmp_path / "one", url, **store) as (_, one), plane(tmp_path / "two", url, **store) as (_, two):
        one.script("register.py", "graphs")
        names = launch(one, tmp_path, 2, 0.3) | launch(two, tmp_path, 2, 0.3)
        gated = one.launch("gated", {"x": 1})
        slow = one.launch("parent_of_slow", {"path": str(tmp_path / "slow")})
        two.signals(gated, 2)
        two.set_signal(gated, "fine", True)
        two.set_signal(gated, "number", 40)
        two.until((tmp_path / "slow").exists, "the child's task")
        two.terminate(slow, "enough")
        assert one.wait(slow)["phase"] == "ABORTED"
        assert two.outputs(gated) == {"o0": 42}
        check(two, names)


@pytest.mark.parametrize("kind", DATABASES)
def test_a_server_with_another_home_adopts_what_runs_on_this_machine(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    """The tasks of a server that was killed run on, so that nobody may run them again."""
    url = empty_database(kind)
    store = {"FLYTEADMIN_STORAGE_URL": str(tmp_path / "store")}
    with plane(tmp_path / "one", url, **store) as (server, one):
        one.script("register.py", "graphs", "long_run", "step")
        names = launch(one, tmp_path, 1, 4.0)
        ((name, path),) = names.items()
        one.until(lambda: bool(marks(path)), "the first task")
        server.stop(signal.SIGKILL)
    with plane(tmp_path / "two", url, **store) as (_, two):
        check(two, names)
        for node, closure in two.nodes(name, "n0").items():
            tried = two.tried(name, node)
            assert tried in ([], [("SUCCEEDED", "")]), (closure["metadata"]["spec_node_id"], tried)


def test_an_abort_goes_on_where_a_dead_server_left_it(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    home, url = tmp_path / "home", empty_database("sqlite")
    with plane(home, url) as (server, remote):
        remote.script("register.py", "graphs")
        name = remote.launch("fails_at_once", {"path": str(tmp_path / "one")})
        other = remote.launch("long_run", {"path": str(tmp_path / "two"), "seconds": 60.0})
        remote.until(lambda: bool(marks(tmp_path / "two")), "the first task")
        remote.terminate(other, "enough")
        server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        assert remote.wait(name)["phase"] == "FAILED"
        assert remote.wait(other)["phase"] == "ABORTED"
        for execution in (name, other):
            assert set(remote.phases(execution).values()) <= {"SUCCEEDED", "FAILED", "ABORTED"}
        for record in home.glob("attempts/*/*/*/*/*/process.json"):
            assert (record.parent / "exit.json").exists(), record


def test_a_pause_goes_on_where_it_was(plane: Plane, empty_database: Callable[[str], str], tmp_path: Path) -> None:
    """The clock of a sleep is the node's start, not the server's."""
    home, url = tmp_path / "home", empty_database("sqlite")
    with plane(home, url) as (server, remote):
        remote.script("register.py", "graphs")
        name = remote.launch("pause")
        remote.until(lambda: remote.phases(name).get("n0") == "RUNNING", "the pause")
        began = time.monotonic()
        time.sleep(1.0)
        server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        ready = time.monotonic() - began
        assert remote.wait(name)["phase"] == "SUCCEEDED"
        seconds = float(remote.nodes(name)["n0"]["duration"].removesuffix("s"))
        # With a clock that began anew it would have been six seconds more after the server was ready.
        assert 5 < seconds < max(6.0, ready) + 4

"""Tasks that misbehave, through the whole server: each fails with an error that names the cause, the others go on."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.system import system
from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.campaign

_LIMITS = {
    "FLYTEADMIN__ENGINE__LOCAL__PRINTED_BYTES_MAX": str(5 * 1024 * 1024),
    "FLYTEADMIN__ENGINE__LOCAL__TASK_PROCESSES_MAX": "20",
    "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "1",
    "FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": "4",
}


@pytest.fixture(scope="module", params=DATABASES)
def limited(
    request: pytest.FixtureRequest,
    plane: Plane,
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Remote]:
    """A control plane with small limits that knows the workflows of flows/bad.py."""
    home = tmp_path_factory.mktemp("limited") / request.param
    with plane(home, empty_database(request.param), **_LIMITS) as (_, remote):
        remote.script("register.py", "bad")
        yield remote


def test_each_fails_for_its_own_reason_while_others_go_on(limited: Remote, tmp_path: Path) -> None:
    remote = limited
    bad = {
        "FailedToBuildResource": (remote.launch("bad.command_missing"), "command [no-such-command] is not found"),
        "RetriesExhausted|OutputsBadFormat": (
            remote.launch("bad.malformed_outputs", {"prefix": "x"}),
            "outputs.pb] of [4] bytes is not a serialized LiteralMap",
        ),
        "TooManyProcesses": (
            remote.launch("bad.many_processes", {"count": 60}),
            "The limit is FLYTEADMIN__ENGINE__LOCAL__TASK_PROCESSES_MAX",
        ),
        "LogLimitExceeded": (
            remote.launch("bad.prints_much", {"mebibytes": 100_000}),
            "The limit is FLYTEADMIN__ENGINE__LOCAL__PRINTED_BYTES_MAX",
        ),
    }
    marker = tmp_path / "children"
    left = remote.launch("bad.children_left", {"marker": str(marker)})
    others = [remote.launch("bad.healthy", {"x": number}) for number in range(3)]
    assert [remote.outputs(name)["o0"] for name in others] == [0, 256, 512]
    for code, (name, message) in bad.items():
        error = remote.error(name)
        assert (error["kind"], error["code"]) == ("USER", code)
        assert message in error["message"]
    # A task that ends well takes its children with it, wherever they went.
    assert remote.outputs(left) == {"o0": 3}
    pids = [int(pid) for pid in marker.read_text().split()]
    assert len(pids) == 3
    assert not [pid for pid in pids if system.stamp(pid)]


def test_a_task_that_ignores_sigterm_is_killed_when_its_execution_is_terminated(limited: Remote) -> None:
    remote = limited
    name = remote.launch("bad.deaf", {"seconds": 120.0})
    (attempt,) = running(remote, name)
    log = attempt / "log"
    remote.until(lambda: log.exists() and "deaf" in log.read_text(), "the task")
    began = time.monotonic()
    remote.terminate(name, "enough")
    assert remote.wait(name)["phase"] == "ABORTED"
    assert time.monotonic() - began < 20
    assert not system.stamp(json.loads((attempt / "process.json").read_text())["task_pid"])


def running(remote: Remote, name: str) -> list[Path]:
    """The folders of the attempts of an execution that have processes, once there is one."""

    def found() -> list[Path]:
        return [path.parent for path in remote.home.glob(f"attempts/*/*/{name}/*/*/process.json")]

    remote.until(lambda: bool(found()), f"a process of {name}")
    return found()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_task_that_fills_the_disk_is_ended_before_the_server_is_hurt(
    kind: str, plane: Plane, empty_database: Callable[[str], str], small_disk: Path, tmp_path: Path
) -> None:
    """The server's own home, SQLite's file included, lies on the disk that is filled."""
    home = small_disk / "home"
    home.mkdir()
    url = f"sqlite:///{home}/own.db" if kind == "sqlite" else empty_database(kind)
    limits = {**_LIMITS, "FLYTEADMIN__ENGINE__LOCAL__FREE_BYTES_MIN": str(30 * 1024 * 1024)}
    with plane(home, url, **limits) as (_, remote):
        remote.script("register.py", "bad")
        name = remote.launch("bad.disk_filled", {"mebibytes": 75})
        other = remote.launch("bad.healthy", {"x": 1})
        error = remote.error(name)
        assert (error["kind"], error["code"]) == ("USER", "DiskFull")
        assert "FLYTEADMIN__ENGINE__LOCAL__FREE_BYTES_MIN" in error["message"]
        assert remote.outputs(other) == {"o0": 256}
        free = os.statvfs(home)
        assert free.f_bavail * free.f_frsize > 40 * 1024 * 1024, "its files are gone"


def test_an_aborted_task_keeps_its_place_until_its_process_has_ended(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    limits = {"FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": "1", "FLYTEADMIN__ENGINE__LOCAL__GRACE_SECONDS": "3"}
    with plane(tmp_path / "home", empty_database("sqlite"), **limits) as (_, remote):
        remote.script("register.py", "bad")
        name = remote.launch("bad.deaf", {"seconds": 120.0})
        (first,) = running(remote, name)
        remote.until(lambda: (first / "log").exists() and "deaf" in (first / "log").read_text(), "the task")
        other = remote.launch("bad.asleep", {"seconds": 0.1})
        remote.until(lambda: "n0" in remote.nodes(other), "the one that waits")
        remote.terminate(name, "enough")
        assert remote.outputs(other) == {"o0": 1}
        (second,) = running(remote, other)
        ended = json.loads((first / "exit.json").read_text())["ended_at"]
        assert json.loads((second / "process.json").read_text())["started_at"] >= ended

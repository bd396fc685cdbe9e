"""Caches under several servers and under crashes: one computes for all, whatever becomes of its server."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATABASES
from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote
from tests.engine.graphs.test_caches import lines, status
from tests.support.servers import Running

pytestmark = pytest.mark.campaign


def launch(remote: Remote, path: Path, seconds: float) -> str:
    return remote.launch("caches.serialized", {"path": str(path), "seconds": seconds})


def check(remote: Remote, names: list[str], seconds: float) -> None:
    assert [remote.outputs(name) for name in names] == [{"o0": seconds}] * len(names)
    assert [status(remote, name) for name in names] == ["CACHE_POPULATED"] + ["CACHE_HIT"] * (len(names) - 1)


def waits(remote: Remote, name: str) -> bool:
    return bool(remote.phases(name).get("n0") == "QUEUED")


@pytest.mark.parametrize("kind", DATABASES)
def test_servers_on_one_database_share_what_they_compute(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    """The second server waits for what the first one computes; when that one is gone for good, it computes itself."""
    url, path, other = empty_database(kind), tmp_path / "shared", tmp_path / "left"
    store = {"FLYTEADMIN_STORAGE_URL": str(tmp_path / "store")}
    with plane(tmp_path / "two", url, **store) as (_, two):
        with plane(tmp_path / "one", url, **store) as (server, one):
            one.script("register.py", "caches")
            names = [launch(one, path, 4.0)]
            one.until(lambda: lines(path) == ["began"], "the first line")
            names.append(launch(two, path, 4.0))
            two.until(lambda: waits(two, names[1]), "the second one")
            check(two, names, 4.0)
            assert lines(path) == ["began", "ended"]

            names = [launch(one, other, 60.0)]
            one.until(lambda: lines(other) == ["began"], "the first line")
            names.append(launch(two, other, 60.0))
            two.until(lambda: waits(two, names[1]), "the second one")
            kill(server, tmp_path / "one")
        # Its execution is taken over, and with it the right to compute; nobody else begins meanwhile.
        two.until(lambda: lines(other) == ["began", "began"], "the other server")
        found = [two.phases(name)["n0"] for name in names]
        assert found == ["RUNNING", "QUEUED"]
        assert two.tried(names[0], "n0")[0] == ("FAILED", "ResourceDeletedExternally")
        for name in names:
            two.terminate(name, "enough")
            assert two.wait(name)["phase"] == "ABORTED"


def kill(server: Running, home: Path) -> None:
    """End a server as a machine that loses its power does: with everything that it started."""
    server.stop(signal.SIGKILL)
    for record in home.glob("attempts/**/process.json"):
        if not (record.parent / "exit.json").exists():
            described: dict[str, Any] = json.loads(record.read_text())
            os.kill(described["pid"], signal.SIGKILL)
            os.killpg(described["task_pid"], signal.SIGKILL)


@pytest.mark.parametrize("kind", DATABASES)
def test_a_crash_takes_the_right_to_compute_from_nobody(
    kind: str, plane: Plane, empty_database: Callable[[str], str], tmp_path: Path
) -> None:
    home, url, path = tmp_path / "home", empty_database(kind), tmp_path / "lines"
    with plane(home, url) as (server, remote):
        remote.script("register.py", "caches")
        names = [launch(remote, path, 10.0)]
        remote.until(lambda: lines(path) == ["began"], "the first line")
        names.append(launch(remote, path, 10.0))
        remote.until(lambda: waits(remote, names[1]), "the second one")
        server.stop(signal.SIGKILL)
    with plane(home, url) as (_, remote):
        check(remote, names, 10.0)
        assert lines(path) == ["began", "ended"]
        assert remote.tried(names[0], "n0") == [("SUCCEEDED", "")]


def test_outputs_that_cannot_be_cached_count_all_the_same(plane: Plane, tmp_path: Path) -> None:
    home, path = tmp_path / "home", tmp_path / "lines"
    with plane(home) as (_, remote):
        remote.script("register.py", "caches")
        broken = "CREATE TRIGGER broken BEFORE INSERT ON catalog_artifacts BEGIN SELECT RAISE(ABORT, 'broken'); END"
        change(home, broken)
        names = [launch(remote, path, 0.1) for _ in range(2)]
        assert [remote.outputs(name) for name in names] == [{"o0": 0.1}] * 2
        assert [status(remote, name) for name in names] == ["CACHE_PUT_FAILURE"] * 2
        assert lines(path) == ["began", "ended"] * 2, "one after the other all the same"
        change(home, "DROP TRIGGER broken")
        names = [launch(remote, path, 0.1)]
        check(remote, names, 0.1)
        with sqlite3.connect(home / "flyteadmin.db") as connection:
            assert connection.execute("SELECT count(*) FROM catalog_reservations").fetchone() == (0,)
        connection.close()


def change(home: Path, statement: str) -> None:
    with sqlite3.connect(home / "flyteadmin.db", timeout=20) as connection:
        connection.execute(statement)
    connection.close()

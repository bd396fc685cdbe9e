"""flytekit's own service of connectors, started by a real server. Both are killed while tasks run."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest

from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.slow

SETTINGS = {
    "FLYTEADMIN__ENGINE__LOCAL__CONNECTORS__SERVICEMODULES": "connected",
    "FLYTEADMIN__ENGINE__LOCAL__CONNECTORS__FIRSTPOLLSECONDS": "0.2",
    "FLYTEADMIN__ENGINE__LOCAL__CONNECTORS__SERVICEPOLLSECONDSMAX": "0.5",
    "FLYTEADMIN__PLUGINS__CONNECTORSERVICE__CONNECTORFORTASKTYPES__SENSOR": "flytekit",
}


def runs(remote: Remote, name: str) -> bool:
    return remote.tried(name, "n0") == [("RUNNING", "")]


def service_in(home: Path) -> list[int]:
    """The process of flytekit's service: it works in a folder of the home."""
    return [
        int(link.parent.name)
        for link in Path("/proc").glob("[0-9]*/cwd")
        if link.is_symlink() and _target(link).startswith(str(home / "connectors"))
    ]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_connectors_of_flytekit_run_across_kills_of_the_server_and_of_the_service(plane: Plane, tmp_path: Path) -> None:
    home = tmp_path / "home"
    paths = {name: tmp_path / name for name in ("good", "bad", "unwanted", "seen")}
    with plane(home, **SETTINGS) as (server, remote):
        remote.script("register.py", "connected")
        now = remote.launch("connected.nows", {"path": "abc"})
        jobs = {
            name: remote.launch("connected.jobs", {"path": str(paths[name])}) for name in ("good", "bad", "unwanted")
        }
        jobs["seen"] = remote.launch("connected.sensed", {"path": str(paths["seen"])})
        unknown = remote.launch("connected.unknown", {"path": "x"})
        assert remote.outputs(now) == {"o0": "ABC"}
        error = remote.error(unknown)
        assert error["code"] == "FailedToBuildResource"
        assert "no service runs tasks of type [unheard_of]" in error["message"]
        for name in jobs.values():
            remote.until(partial(runs, remote, name), "a task of a connector")
        server.stop(signal.SIGKILL)
    with plane(home, **SETTINGS) as (_, remote):
        remote.until(lambda: bool(service_in(home)), "flytekit's service")
        (service,) = service_in(home)
        os.kill(service, signal.SIGKILL)
        remote.until(lambda: any(pid != service for pid in service_in(home)), "another service")
        assert {name: remote.tried(jobs[name], "n0") for name in jobs} == {key: [("RUNNING", "")] for key in jobs}
        paths["good"].write_text("result")
        paths["bad"].write_text("boom")
        paths["seen"].write_text("")
        remote.terminate(jobs["unwanted"], "enough")
        assert remote.outputs(jobs["good"]) == {"o0": "result"}
        assert remote.error(jobs["bad"])["message"] == "failed to run the job: the file says boom"
        assert remote.outputs(jobs["seen"]) == {}
        assert remote.wait(jobs["unwanted"])["phase"] == "ABORTED"
    for name in ("good", "bad", "unwanted"):
        assert Path(f"{paths[name]}.created").read_text() == "created\n"
    assert Path(f"{paths['unwanted']}.deleted").read_text() == "deleted\n"
    assert not Path(f"{paths['good']}.deleted").exists()

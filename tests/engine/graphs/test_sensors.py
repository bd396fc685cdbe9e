"""Sensors through a real server that is killed while they wait."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path

import pytest
from flyteidl.core import literals_pb2

from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import Remote

pytestmark = pytest.mark.slow


def is_waiting(remote: Remote, name: str) -> bool:
    return "RUNNING" in [phase for node in ("n0", "n1") for phase, _ in remote.tried(name, node)]


def test_sensors_poke_until_they_are_true(plane: Plane, tmp_path: Path) -> None:
    since = literals_pb2.Literal()
    since.scalar.primitive.datetime.FromJsonString("2024-05-06T07:08:09Z")
    home, interval = tmp_path / "home", {"FLYTEADMIN__ENGINE__LOCAL__SENSOR_INTERVAL_SECONDS": "0.2"}
    waiting = [str(tmp_path / f"there {n}") for n in range(4)]
    with plane(home, **interval) as (server, remote):
        remote.script("register.py", "sensing")
        # More sensors than processes: the tasks that they wait for still have a place.
        names = [remote.launch("sensing.sensed", {"path": path}) for path in waiting]
        unwanted = remote.launch("sensing.sensed", {"path": str(tmp_path / "never")})
        soon = remote.launch("sensing.sensed_soon", {"path": str(tmp_path / "never")})
        counts = {"path": str(tmp_path / "counts"), "n": 4, "since": since}
        counted = remote.launch("sensing.sensed_in_the_end", counts)
        badly = remote.launch("sensing.sensed_badly", {"path": str(tmp_path / "pokes")})
        never = remote.launch("sensing.not_sensed")
        assert remote.outputs(counted) == {}
        assert (tmp_path / "counts").read_text() == "2024\n" * 4
        assert remote.error(badly)["code"] == "USER:RuntimeError"
        assert remote.error(badly)["message"].endswith("ValueError: boom")
        assert (tmp_path / "pokes").read_text() == "poked\n" * 6
        assert "sensor UnmadeSensor of module sensing cannot be made: ValueError" in remote.error(never)["message"]
        assert remote.error(soon)["code"] == "RetriesExhausted|TimeoutExpired"
        for name in names:
            remote.until(partial(is_waiting, remote, name), "a sensor")
        server.stop(signal.SIGKILL)
    for path in waiting:
        Path(path).write_text("four")
    with plane(home, **interval) as (_, remote):
        remote.terminate(unwanted, "enough")
        for name in names:
            assert remote.outputs(name) == {"o0": 4}
            assert [remote.tried(name, node) for node in ("n0", "n1")] == [[("SUCCEEDED", "")]] * 2
        assert remote.wait(unwanted)["phase"] == "ABORTED"

"""How much the engine takes on at once, what that costs, and that waiting costs nothing. Prints its figures (-s)."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.engine.graphs.conftest import Plane
from tests.engine.graphs.remote import ENDS, Remote
from tests.support.servers import Running

pytestmark = pytest.mark.campaign

INDICES, EXECUTIONS = 5000, 1000
PROCESSES_MAX = 4
SECONDS_MAX = 1800
MEMORY_MAX_MB = 300
DESCRIPTORS_MAX = 200
SCOPE = "flytesnacks/development"
_TICKS = os.sysconf("SC_CLK_TCK")


class Figures:
    """What a server process has used: seconds of CPU since this was made, the most memory, the most descriptors."""

    def __init__(self, server: Running) -> None:
        self._process = Path(f"/proc/{server.process.pid}")
        self._cpu_before = self._cpu()
        self._began = time.monotonic()
        self.descriptors = 0

    def look(self) -> None:
        self.descriptors = max(self.descriptors, len(os.listdir(self._process / "fd")))

    def _cpu(self) -> float:
        fields = (self._process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def cpu_seconds(self) -> float:
        return self._cpu() - self._cpu_before

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def memory_mb(self) -> int:
        """At its peak."""
        status = (self._process / "status").read_text()
        return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))

    def told(self, count: int, what: str) -> str:
        """All of it, for so many of something."""
        return (
            f"{count} {what} in {self.seconds:.0f} s, {self.cpu_seconds / count * 1000:.1f} ms of CPU each in the "
            f"server, {self.memory_mb} MB and {self.descriptors} descriptors at most"
        )

    @property
    def wakeups(self) -> int:
        """How often a thread of it has waited and gone on."""
        lines = [line for path in self._process.glob("task/*/status") for line in path.read_text().splitlines()]
        return sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))


def limited() -> dict[str, str]:
    return {"FLYTEADMIN__ENGINE__LOCAL__PROCESSES_MAX": str(PROCESSES_MAX)}


def check_bounds(figures: Figures) -> None:
    assert figures.memory_mb < MEMORY_MAX_MB
    assert figures.descriptors < DESCRIPTORS_MAX


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def until_counted(figures: Figures, path: Path, lines: int) -> None:
    while lines_of(path) < lines:
        assert figures.seconds < SECONDS_MAX
        figures.look()
        time.sleep(0.2)


def check_counted(path: Path, count: int) -> int:
    """Every task has begun and ended once; the most that ran at once."""
    lines = path.read_text().splitlines()
    assert Counter(line[0] for line in lines) == {"+": count, "-": count}
    return max(itertools.accumulate(1 if line[0] == "+" else -1 for line in lines))


def until_ended(remote: Remote, figures: Figures, name: str) -> None:
    while remote.execution(name)["closure"]["phase"] not in ENDS:
        assert figures.seconds < SECONDS_MAX
        figures.look()
        time.sleep(1.0)


def test_a_map_of_thousands_is_bounded_and_survives_a_crash(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted, home, url = tmp_path / "counted", tmp_path / "home", empty_database("sqlite")
    variables = {"envs": {"values": [{"key": "COUNTED", "value": str(counted)}]}}
    with plane(home, url, **limited()) as (server, remote):
        remote.script("register.py", "maps")
        remote.wait(remote.launch("maps.many", {"n": 10}))
        figures = Figures(server)
        name = remote.launch("maps.many_counted", {"n": INDICES}, **variables)
        until_counted(figures, counted, INDICES * 4 // 5)
        done, told = lines_of(counted) // 2, figures.told(lines_of(counted) // 2, "indices")
        check_bounds(figures)
        # An event that tells of everything each time something changes would cost a hundred times as much.
        assert figures.cpu_seconds / done < 0.05
        server.stop(signal.SIGKILL)
    before = lines_of(counted)
    with plane(home, url, **limited()) as (server, remote):
        figures = Figures(server)
        until_counted(figures, counted, before + 2 * PROCESSES_MAX)
        resumed = figures.seconds
        until_ended(remote, figures, name)
        remote.outputs(name)
        with capsys.disabled():
            print(f"\n{told}; goes on {resumed:.1f} s after a crash at {before // 2}")  # noqa: T201
        (row,) = remote.attempts(name, "n1")
        assert Counter(one["phase"] for one in row["metadata"]["external_resources"]) == {"SUCCEEDED": INDICES}
        assert check_counted(counted, INDICES) <= PROCESSES_MAX
        check_bounds(figures)


def test_a_thousand_executions_at_once_are_bounded(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counted = tmp_path / "counted"
    variables = {"envs": {"values": [{"key": "COUNTED", "value": str(counted)}]}}
    with plane(tmp_path / "home", empty_database("sqlite"), **limited()) as (server, remote):
        remote.script("register.py", "maps")
        figures = Figures(server)
        with ThreadPoolExecutor(8) as threads:
            names = list(
                threads.map(lambda _: remote.launch("maps.one_counted", {"x": 1}, **variables), range(EXECUTIONS))
            )
        launched = figures.seconds
        for name in names:
            until_ended(remote, figures, name)
        with capsys.disabled():
            print(f"\n{figures.told(EXECUTIONS, 'executions')}; launched in {launched:.0f} s")  # noqa: T201
        query = f"/executions/{SCOPE}?limit=1&filters=ne(phase,SUCCEEDED)"
        assert remote.call("GET", query)["executions"] == []
        assert check_counted(counted, EXECUTIONS) <= PROCESSES_MAX
        check_bounds(figures)


def test_an_idle_server_sleeps(
    plane: Plane, empty_database: Callable[[str], str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = 30
    with plane(tmp_path / "home", empty_database("sqlite")) as (server, remote):
        remote.script("register.py", "maps")
        remote.wait(remote.launch("maps.doubled", {"n": 2}))
        time.sleep(5.0)
        figures, before = Figures(server), Figures(server).wakeups
        time.sleep(seconds)
        woken = figures.wakeups - before
        with capsys.disabled():
            print(f"\nidle for {seconds} s: {figures.cpu_seconds:.2f} s of CPU, {woken} wakeups")  # noqa: T201
        assert figures.cpu_seconds < 0.5
        # In a second uvicorn looks ten times whether it is to stop, the listener of metrics twice, and the scheduler
        # twice for changes on SQLite; all else together, with threads that wait for each other, less than five times.
        assert woken < (10 + 2 + 2 + 5) * seconds

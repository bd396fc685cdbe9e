"""Both twins of app/system answer alike, and the choice between them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app import system as package
from app.system import linux
from app.system.interface import System
from app.system.portable import Portable

TWINS = [
    pytest.param(linux.Linux, marks=pytest.mark.skipif(not linux.is_possible(), reason="no /proc")),
    Portable,
]
# A task with a child in its session, a grandchild in a session of its own, and an orphan of the same kind.
FAMILY = """
sleep 61 &
setsid sleep 62 &
(setsid sleep 63 &)
echo ready; wait
"""


@pytest.fixture(params=TWINS)
def twin(request: pytest.FixtureRequest) -> System:
    made: System = request.param()
    return made


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def test_a_stamp_stays_and_exists_for_running_processes_only(twin: System) -> None:
    own = twin.stamp(os.getpid())
    assert own
    assert own == twin.stamp(os.getpid())
    assert twin.stamp(1) not in ("", own)
    assert twin.stamp(2**22 + 1) == ""


@pytest.mark.slow
def test_the_switches_of_a_process_grow_until_it_is_stopped(twin: System, tmp_path: Path) -> None:
    program = tmp_path / "schläft"
    program.symlink_to("/bin/sh")
    with subprocess.Popen([program, "-c", "while :; do sleep 0.02; done"]) as child:
        before = twin.switches(child.pid)
        until(lambda: twin.switches(child.pid) > before > 0)
        os.kill(child.pid, signal.SIGSTOP)
        time.sleep(0.2)
        stopped = twin.switches(child.pid)
        time.sleep(0.2)
        assert twin.switches(child.pid) == stopped
        child.kill()
    assert twin.switches(child.pid) == 0


@pytest.mark.slow
@pytest.mark.smoke
def test_a_zombie_has_no_stamp(twin: System) -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    until(lambda: twin.stamp(child.pid) == "")
    assert child.wait() == 0


def test_the_memory_of_a_process_is_measured(twin: System) -> None:
    resident = twin.memory_of([os.getpid()], 2**62)
    own = twin.memory_of([os.getpid()], 0)
    assert 2**23 < own <= resident
    assert twin.memory_of([2**22 + 1], 0) == 0


def test_facts_of_the_machine(twin: System) -> None:
    assert 2**26 < twin.machine_memory() < 2**50
    assert twin.native_threads() >= 1
    assert twin.oom_kills() >= 0


def test_the_path_of_an_open_file_has_no_links(twin: System, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("1")
    (tmp_path / "link").symlink_to("real")
    path = str(tmp_path / "link" / "file")
    descriptor = os.open(path, os.O_RDONLY)
    assert twin.path_of(descriptor, path) == str(tmp_path.resolve() / "real" / "file")
    os.close(descriptor)


def test_the_portable_twin_detects_a_file_that_replaced_the_open_one(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("1")
    descriptor = os.open(path, os.O_RDONLY)
    (tmp_path / "other").write_text("2")
    (tmp_path / "other").replace(path)
    assert Portable().path_of(descriptor, str(path)) == ""
    path.unlink()
    assert Portable().path_of(descriptor, str(path)) == ""
    os.close(descriptor)


@pytest.mark.slow
@pytest.mark.smoke
def test_the_portable_twin_finds_the_processes_of_a_task_before_and_after_its_end() -> None:
    twin, mark = Portable(), f"/tmp/fl-{os.urandom(8).hex()}"
    task = subprocess.Popen(
        ["sh", "-c", FAMILY],
        env={"PATH": os.environ["PATH"], "TMPDIR": mark},
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert task.stdout is not None
    assert task.stdout.readline() == b"ready\n"
    with task.stdout:
        time.sleep(0.2)
        family = twin.family(task.pid, 100)
        # The orphan in its own session is found by TMPDIR, after the end of the task.
        assert family[0] == task.pid
        assert len(family) == 3
        assert twin.left_behind({}, {task.pid}) == {}
        task.kill()
        task.wait()
        left = twin.left_behind({task.pid: mark}, {task.pid})
        assert len(left) == 3
        assert set(left.values()) == {task.pid}
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not twin.left_behind({task.pid: mark}, {task.pid}))


@pytest.mark.parametrize(("variable", "portable"), [("1", True), ("0", False), ("", not linux.is_possible())])
def test_a_variable_chooses_the_twin(variable: str, portable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(package.PORTABLE, variable)
    assert package._choose().is_portable is portable


def test_a_system_without_proc_gets_the_portable_twin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(package.PORTABLE, raising=False)

    def missing(pid: int | str) -> list[str]:
        raise FileNotFoundError(pid)

    monkeypatch.setattr(linux, "_stat", missing)
    assert package._choose().is_portable


HUGE = """
import re
from app.system import linux

data = bytearray(range(256)) * 2**15
linux.Linux().use_huge_pages()
assert data == bytearray(range(256)) * 2**15
print(re.search(r"AnonHugePages: +([0-9]+)", open("/proc/self/smaps_rollup").read())[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(not linux.is_possible(), reason="no /proc")
def test_memory_keeps_its_content_in_huge_pages() -> None:
    done = subprocess.run([sys.executable, "-c", HUGE], capture_output=True, text=True, check=True)
    kernel = re.findall("[0-9]+", os.uname().release)
    supported = [int(number) for number in kernel[:2]] >= [6, 1] and Path(
        "/sys/kernel/mm/transparent_hugepage/enabled"
    ).is_file()
    assert int(done.stdout) >= (4096 if supported else 0)

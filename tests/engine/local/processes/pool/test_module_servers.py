"""Modules of registered versions that stay imported: when tasks share the import, and when each imports for itself."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.engine.local.processes.pool import module_servers
from app.engine.local.processes.pool.fork_server_client import ForkServer
from app.engine.local.processes.pool.module_servers import ModuleServer
from app.engine.local.processes.pool.spec import NotStarted
from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Succeeded, TaskAttempt
from app.system import system
from tests.engine.conftest import Bench, run, until_ended, with_runner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(system.is_portable, reason="other systems have neither module servers nor workers"),
]

Benches = Callable[..., Bench]
Serialize = Callable[..., None]

_HEAD = "from flytekit import task\n"
_TASK = "\n\n@task\ndef look() -> None:\n    print({shown}, flush=True)\n"


class Version:
    """A module of a user, its registered task, and attempts of it."""

    def __init__(self, bench: Benches, serialize: Serialize, folder: Path, **local: object) -> None:
        self._bench, self._serialize, self._folder, self._local = bench, serialize, folder, local
        self.source = folder / "source"
        self.source.mkdir()

    def write(self, text: str, shown: str, distribution: str = "", files: dict[str, str] | None = None) -> Bench:
        """Write and register the module; it prints `shown` when its task runs."""
        for name, content in {"user_module.py": _HEAD + text + _TASK.format(shown=shown), **(files or {})}.items():
            (self.source / name).write_text(content)
        folder = self._folder / "templates"
        folder.mkdir(exist_ok=True)
        self._serialize("user_module", self.source, folder, distribution)
        made = self._bench(python_path="" if distribution else str(self.source), **self._local)
        made.templates = folder
        return made


@pytest.fixture
def version(bench: Benches, serialize: Serialize, tmp_path: Path) -> Version:
    return Version(bench, serialize, tmp_path)


def ready(runner: TaskRunner) -> list[ModuleServer]:
    """The module servers that are ready."""
    return list(runner._pool._module_servers._ready.values())  # type: ignore[union-attr]


def oom_score(pid: int) -> int:
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


async def settled(runner: TaskRunner) -> None:
    """Wait until no module server is being made."""
    await asyncio.gather(*runner._pool._module_servers._working)  # type: ignore[union-attr]


async def printed_by(runner: TaskRunner, attempt: TaskAttempt) -> str:
    """Run an attempt, and return its log."""
    outcome = await run(runner, attempt)
    assert isinstance(outcome, Succeeded), attempt.log_path.read_text()
    await settled(runner)
    lines = attempt.log_path.read_text().splitlines()
    return "\n".join(line for line in lines if line and not line.startswith("flyteadmin: "))


def test_the_third_task_of_a_version_does_not_import_its_module(version: Version) -> None:
    made = version.write("import sys\nIMPORTED_IN = sys.flags, []\n", "__import__('os').getpid(), id(IMPORTED_IN)")

    async def main(runner: TaskRunner) -> None:
        for index in range(4):
            await printed_by(runner, made.attempt("look", node=f"n{index}"))
        (module_server,) = ready(runner)
        assert module_server._started == 2
        # It supervises its tasks: it kills them, and they count as lost without it.
        pid = module_server._process.pid  # type: ignore[union-attr]
        assert system.stamp(pid)
        # It has run code of a user, so the kernel ends it before the server.
        assert oom_score(pid) == 500

    with_runner(made, main)


# A module, what its task prints, and a part of the reason why tasks do not share its import.
_DIFFERENT = (
    ("import random\nDRAWN = random.random()", "DRAWN", "_random.random"),
    ("import random\nDRAWN = random.Random()", "DRAWN.random()", "_random.seed"),
    ("import uuid\nDRAWN = uuid.uuid4()", "DRAWN", "posix.urandom"),
    ("from datetime import datetime\nDRAWN = datetime.now()", "DRAWN", "datetime.now"),
    ("from datetime import date\nDRAWN = date.today(), id(date)", "__import__('os').getpid()", "datetime.today"),
    ("import sys, time\nsys.setprofile(None)\nDRAWN = time.time()", "DRAWN", "sys.setprofile"),
    ("import os\nDRAWN = os.getpid()", "DRAWN", "posix.getpid"),
    ("import os\nDRAWN = os.getcwd()", "DRAWN", "posix.getcwd"),
    ("import sys\nDRAWN = list(sys.argv)", "DRAWN", "sys.argv"),
    ("import os\nDRAWN = dict(os.environ)", "DRAWN['TMPDIR']", "all environment variables"),
    ("import tempfile\nDRAWN = tempfile.mkdtemp()", "DRAWN", ""),
    ("from flytekit import current_context\nDRAWN = current_context()", "DRAWN.raw_output_prefix", "the execution"),
    ("import threading\nT = threading.Thread(target=id, args=(1,))\nT.start()\nT.join()", "T.native_id", "thread"),
    ("import socket\nS = socket.socket()\nS.bind(('127.0.0.1', 0))", "S.getsockname()", "socket"),
    ("import subprocess\nDRAWN = subprocess.check_output('echo $$', shell=True)", "DRAWN", ""),
)


def test_a_module_that_differs_between_tasks_is_imported_by_each(
    bench: Benches, serialize: Serialize, tmp_path: Path
) -> None:
    names = [f"case{number}" for number in range(len(_DIFFERENT))]
    for name, (text, shown, _) in zip(names, _DIFFERENT, strict=True):
        (tmp_path / f"{name}.py").write_text(_HEAD + text + _TASK.format(shown=shown).replace("look", name))
    (tmp_path / "all_cases.py").write_text("".join(f"from {name} import {name}\n" for name in names))
    serialize("all_cases", tmp_path, tmp_path)
    made = bench(python_path=str(tmp_path))
    made.templates = tmp_path

    async def main(runner: TaskRunner) -> None:
        for name in names:
            attempts = [made.attempt(name, node=f"{name}n{index}") for index in range(3)]
            assert len({await printed_by(runner, attempt) for attempt in attempts}) == 3, name
        assert not ready(runner)

    with capture_logs() as logs:
        with_runner(made, main)
    reasons = {line["module"]: line["reason"] for line in logs if line["event"] == "tasks_import_their_module"}
    for name, (_, _, reason) in zip(names, _DIFFERENT, strict=True):
        assert reason in reasons[name], (name, reasons[name])


# Modules of which flytekit and its libraries ask for chance, the process or the time, in ways that do not matter.
_DATACLASS = """
from dataclasses import dataclass

@dataclass
class Point:
    x: int = 3

@task
def moved(point: Point) -> Point:
    return point

VALUE = Point().x
"""
_LAUNCH_PLAN = """
from flytekit import CronSchedule, LaunchPlan, workflow

@workflow
def empty(x: int) -> int:
    return x

PLAN = LaunchPlan.get_or_create(empty, "plan", default_inputs={"x": 3}, schedule=CronSchedule(schedule="0 * * * *"))
VALUE = PLAN.parameters.parameters["x"].default.scalar.primitive.integer
"""


@pytest.mark.parametrize("text", [_DATACLASS, _LAUNCH_PLAN], ids=["dataclass", "launch plan"])
def test_usual_modules_are_shared(version: Version, text: str) -> None:
    made = version.write(text, "VALUE, __import__('uuid').uuid4(), __import__('threading').active_count()")
    seen: list[str] = []

    async def main(runner: TaskRunner) -> None:
        for index in range(4):
            seen.append(await printed_by(runner, made.attempt("look", node=f"n{index}")))
        assert [one._started for one in ready(runner)] == [2]

    with_runner(made, main)
    assert len(set(seen)) == 4
    assert {text.split()[0] for text in seen} == {"3"}


def test_an_import_that_fails_is_tried_again_later(version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_servers, "_RETRY_SECONDS", 0.0)
    made = version.write("", "'here'")
    starting = ForkServer.fork

    async def refused(self: ForkServer, request: dict[str, Any], connection: socket.socket) -> dict[str, Any]:
        monkeypatch.setattr(ForkServer, "fork", starting)
        raise NotStarted("no memory")

    async def main(runner: TaskRunner) -> None:
        monkeypatch.setattr(ForkServer, "fork", refused)
        for index in range(2):
            await printed_by(runner, made.attempt("look", node=f"n{index}"))
        assert not ready(runner)
        for index in range(2, 4):
            assert await printed_by(runner, made.attempt("look", node=f"n{index}")) == "here"
        assert len(ready(runner)) == 1

    with_runner(made, main)


def test_an_import_that_needs_too_much_memory_ends(bench: Benches, serialize: Serialize, tmp_path: Path) -> None:
    version = Version(bench, serialize, tmp_path, warm_modules_bytes_max=150_000_000)
    made = version.write("import time\nDATA = b'x' * 250_000_000\ntime.sleep(0.5)\n", "'here'")

    async def main(runner: TaskRunner) -> None:
        for index in range(3):
            assert await printed_by(runner, made.attempt("look", node=f"n{index}")) == "here"
        assert not ready(runner)

    with capture_logs() as logs:
        with_runner(made, main)
    (line,) = [line for line in logs if line["event"] == "tasks_import_their_module"]
    assert "more than 150000000 bytes of memory" in line["reason"]


def test_an_open_file_or_a_changed_environment_keep_tasks_from_sharing(version: Version, tmp_path: Path) -> None:
    file = tmp_path / "counted"
    file.write_text("")
    made = version.write(
        f"import os\nFILE = open({str(file)!r})\nos.environ['SET_AT_IMPORT'] = 'yes'\n",
        "FILE.readline(), __import__('os').environ['SET_AT_IMPORT']",
    )

    async def main(runner: TaskRunner) -> None:
        for index in range(4):
            assert "yes" in await printed_by(runner, made.attempt("look", node=f"n{index}"))
        assert not ready(runner)

    with_runner(made, main)


def test_a_variable_that_the_module_reads_has_its_value_in_every_task(version: Version) -> None:
    made = version.write(
        "import os\nREAD = os.environ.get('FLAVOUR'), os.environ.get('FLYTE_INTERNAL_EXECUTION_ID')\n", "READ"
    )

    async def main(runner: TaskRunner) -> None:
        for index in range(5):
            attempt = made.attempt("look", node=f"n{index}", envs={"FLAVOUR": f"f{index}"})
            assert await printed_by(runner, attempt) == f"('f{index}', 'ex1')"
        # The name of the execution differs between executions, so that nobody gets it from a module server.
        assert [one._started for one in ready(runner)] == [0]

    with_runner(made, main)


def test_a_value_of_a_version_is_shared_and_another_value_is_not(version: Version) -> None:
    made = version.write("import os\nREAD = os.environ.get('FLAVOUR')\n", "READ")

    async def main(runner: TaskRunner) -> None:
        for index, value in enumerate(("a", "a", "a", "b", "a", "b")):
            attempt = made.attempt("look", node=f"n{index}", envs={"FLAVOUR": value})
            assert await printed_by(runner, attempt) == value
        assert [one._started for one in ready(runner)] == [2]

    with_runner(made, main)


def test_an_edited_module_is_imported_again(version: Version) -> None:
    made = version.write("VALUE = 'before'\n", "VALUE")

    async def main(runner: TaskRunner) -> None:
        for index in range(3):
            assert await printed_by(runner, made.attempt("look", node=f"n{index}")) == "before"
        assert [one._started for one in ready(runner)] == [1]
        version.write("VALUE = 'afterwards'\n", "VALUE")
        for index in range(3, 8):
            assert await printed_by(runner, made.attempt("look", node=f"n{index}")) == "afterwards"
        assert len(ready(runner)) == 1

    with_runner(made, main)


def test_random_numbers_and_temporary_folders_of_tasks_differ(version: Version) -> None:
    shown = "__import__('random').random(), __import__('uuid').uuid4(), __import__('tempfile').mkdtemp()"
    made = version.write("", shown)
    seen: list[str] = []

    async def main(runner: TaskRunner) -> None:
        for index in range(4):
            seen.append(await printed_by(runner, made.attempt("look", node=f"n{index}")))
        assert [one._started for one in ready(runner)] == [2]

    with_runner(made, main)
    assert len({part for text in seen for part in text.split()}) == 4 * 3


@pytest.mark.parametrize("asks", [False, True])
def test_code_of_a_fast_registration_belongs_to_each_task(version: Version, tmp_path: Path, asks: bool) -> None:
    archive = tmp_path / "code.tar.gz"
    own_path = "__file__" if asks else "globals()['__fil' + chr(101) + '__']"
    shown = f"open('data.txt').read(), open('data.txt', 'a').write('x'), {own_path}, helper.VALUE"
    files = {"data.txt": "mine", "helper.py": "VALUE = 1\n"}
    made = version.write("import helper\n", shown, str(archive), files)
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(version.source.glob("*.*")):
            tar.add(path, path.name)

    async def main(runner: TaskRunner) -> None:
        for index in range(5):
            attempt = made.attempt("look", node=f"n{index}")
            text = await printed_by(runner, attempt)
            assert text == f"mine 1 {(attempt.directory.resolve() / 'work' / 'user_module.py')} 1"
        assert [one._started for one in ready(runner)] == ([] if asks else [3])

    with_runner(made, main)


def test_the_least_recently_used_module_server_ends_and_its_task_runs_on(
    bench: Benches, serialize: Serialize, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module_servers, "KEPT_SECONDS", 0.0)
    version = Version(bench, serialize, tmp_path, warm_modules_max=1)
    made = version.write("import time as clock\n", "clock.sleep(1.0)")
    (version.source / "other_module.py").write_text(_HEAD + _TASK.format(shown="'other'"))
    serialize("other_module", version.source, made.templates / "..")
    other = made.templates.parent / "look.pb"

    async def main(runner: TaskRunner) -> None:
        for index in range(2):
            await printed_by(runner, made.attempt("look", node=f"n{index}"))
        (first,) = ready(runner)
        pid = first._process.pid  # type: ignore[union-attr]
        attempt = made.attempt("look", node="n2")
        running = await runner.start(await runner.prepare(attempt))
        assert running.supervisor.pid == pid
        template = type(attempt.task).FromString(other.read_bytes())
        for index in range(3, 5):
            await printed_by(runner, made.attempt(template, node=f"n{index}"))
        (second,) = ready(runner)
        assert second is not first
        assert isinstance(await runner.wait(running), Succeeded)
        await until_ended([pid])

    with_runner(made, main)


def test_a_killed_module_server_costs_its_tasks_only(version: Version) -> None:
    made = version.write("", "'here'")

    async def main(runner: TaskRunner) -> None:
        for index in range(2):
            await printed_by(runner, made.attempt("look", node=f"n{index}"))
        (module_server,) = ready(runner)
        os.kill(module_server._process.pid, signal.SIGKILL)  # type: ignore[union-attr]
        for index in range(2, 5):
            assert await printed_by(runner, made.attempt("look", node=f"n{index}")) == "here"

    with_runner(made, main)


def test_no_modules_stay_imported_where_the_setting_says_so(
    bench: Benches, serialize: Serialize, tmp_path: Path
) -> None:
    made = Version(bench, serialize, tmp_path, warm_modules_max=0).write("", "'here'")

    async def main(runner: TaskRunner) -> None:
        for index in range(3):
            await printed_by(runner, made.attempt("look", node=f"n{index}"))
        assert not ready(runner)

    with_runner(made, main)

"""`run` and `hello` before pyflyte is called, and what they print of its errors."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import Any

import httpx
import pexpect
import pytest
from typer.testing import CliRunner

from app.cli.client import connected
from app.cli.main import app
from app.cli.options import INTERRUPTED
from app.cli.rest import LOCAL
from app.cli.terminal import run
from app.cli.terminal.interrupts import Interrupts
from app.cli.terminal.places import ExecutionAddress
from app.engine.local.processes import environment
from app.server import home
from tests.cli.api import Api
from tests.cli.terminal import rows
from tests.support.servers import COMMAND
from tests.support.servers import environment as environment_of


def test_no_environment_is_made_where_no_server_answers(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def ensure(settings: Any, progress: Any, *, present: bool) -> Any:
        made.append(present)
        progress("installing flytekit[connector], from [/odd]")
        raise environment.EnvironmentBroken("not here")

    made: list[Any] = []
    monkeypatch.setattr(environment, "ensure", ensure)
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path))
    api.replies = [httpx.ConnectError("refused")]
    done = CliRunner().invoke(app, ["hello"])
    assert (done.exit_code, made) == (3, [])
    assert "is the server running" in done.stderr
    api.replies = [{}]
    assert "not here" in CliRunner().invoke(app, ["hello"]).stderr
    assert made == [False]
    # A server that runs from this home has made the environment of its own settings.
    lock = home.lock(tmp_path)
    try:
        api.replies = [{}]
        assert "not here" in CliRunner().invoke(app, ["hello"]).stderr
    finally:
        lock.release()
    assert made == [False, True]


@pytest.mark.slow
def test_ctrl_c_ends_a_command_that_waits_for_the_environment(tmp_path: Path) -> None:
    envs = tmp_path / "envs"
    envs.mkdir()
    (tmp_path / "wf.py").touch()
    with (envs / "default.lock").open("w") as server:
        fcntl.flock(server, fcntl.LOCK_EX)
        command = [*COMMAND, "run", str(tmp_path / "wf.py"), "main", "--help"]
        child = pexpect.spawn(command[0], command[1:], env=environment_of(tmp_path), timeout=60, encoding="utf-8")
        child.expect("waiting for it")
        child.sendintr()
        child.expect(pexpect.EOF)
        child.close()
    assert child.exitstatus == INTERRUPTED


def test_a_taken_name_is_refused_as_pyflyte_would_leave_the_old_execution(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def launch(*arguments: Any, **options: Any) -> int:
        launched.append(arguments[2].name)
        return 3

    launched: list[str] = []
    monkeypatch.setattr(run, "_pyflyte", lambda context: tmp_path)
    monkeypatch.setattr(run, "_launch", launch)
    (tmp_path / "wf.py").touch()
    api.routes |= {"GET /api/v1/version": {}, f"GET /api/v1/executions/{rows.PATH}": rows.execution()}
    arguments = ["run", "--name", "f1", str(tmp_path / "wf.py"), "main"]
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, launched) == (3, [])
    assert done.stderr == "flyteadmin: flytesnacks/development has an execution f1 already; give another --name\n"
    api.routes[f"GET /api/v1/executions/{rows.PATH}"] = httpx.Response(404, json={"code": 5, "message": "missing"})
    assert (CliRunner().invoke(app, arguments).exit_code, launched) == (3, ["f1"])


@pytest.mark.parametrize(
    ("said", "arguments", "advice"),
    [
        ("Usage: …\nCommands\n  main", ["--copy", "all", "wf.py"], "name a workflow or task of this list after wf.py"),
        ("No such option '--m'", ["wf.py", "main", "--m"], "options of this command stand before FILE"),
        ("SyntaxError", ["wf.py", "main"], "(exit code 2); correct the error above"),
        (
            "ModuleNotFoundError: No module named 'pandas.core'",
            ["wf.py", "main"],
            "the environment of tasks has no module 'pandas'; start the server with its package in "
            "FLYTEADMIN__ENGINE__LOCAL__REQUIREMENTS beside those that are there",
        ),
    ],
)
def test_a_failure_of_pyflyte_ends_with_what_to_do(said: str, arguments: list[str], advice: str) -> None:
    assert run._advice(said, arguments, 2).endswith(advice)


def test_errors_of_pyflyte_are_printed_without_its_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "program", lambda: "flyteadmin")
    width = int(run.COLUMNS)
    said = [
        "Usage: pyflyte run wf.py main [OPTIONS]".ljust(width),
        " " * width,
        " Try 'pyflyte run wf.py main --help' for help".ljust(width),
        f"╭─ Error {'─' * (width - 10)}╮",
        f"│ {'Invalid value'.ljust(width - 4)} │",
        f"│ {'main'.ljust(300) + 'workflow (wf.main)'.ljust(width - 304)} │",
        f"╰{'─' * (width - 2)}╯",
        "  File wf.py, line 3",
        "    ~~^~~",
    ]
    assert run._unframed("\n".join(said)).splitlines() == [
        "Usage: flyteadmin run wf.py main [OPTIONS]",
        "Try 'flyteadmin run wf.py main --help' for help",
        "Error",
        "  Invalid value",
        "  main  workflow (wf.main)",
        "  File wf.py, line 3",
        "    ~~^~~",
    ]


class EndedPyflyte:
    """A pyflyte that runs until it is ended."""

    returncode: int | None = None

    def __init__(self, *_: Any, **__: Any) -> None:
        return

    def poll(self) -> int | None:
        return self.returncode

    def terminate(self) -> None:
        self.returncode = -15

    def wait(self, _: float) -> int:
        return -15


@pytest.mark.parametrize(
    ("replies", "code", "printed"),
    [
        (
            [httpx.Response(404, json={"code": 5}), httpx.Response(404, json={"code": 5})],
            INTERRUPTED,
            "interrupted before the launch; nothing runs, and files that were uploaded stay\n",
        ),
        ([rows.execution("RUNNING")], 0, ""),
        # The call of pyflyte arrives after it was ended.
        ([httpx.Response(404, json={"code": 5}), rows.execution("QUEUED")], 0, ""),
    ],
)
def test_ctrl_c_says_that_nothing_runs_only_where_nothing_was_launched(
    api: Api,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    replies: list[Any],
    code: int,
    printed: str,
) -> None:
    monkeypatch.setattr(run.subprocess, "Popen", EndedPyflyte)
    monkeypatch.setattr(run, "ARRIVAL_SECONDS", 0.0)
    api.replies = replies
    interrupts = Interrupts()
    interrupts.pressed.set()
    place = ExecutionAddress("flytesnacks", "development", "f1")
    with connected(LOCAL) as client:
        assert run._launch(client, Path("/pyflyte"), place, ["wf.py", "w"], interrupts, quiet=True) == code
    assert capsys.readouterr().err == printed
    assert api.paths() == [f"GET /api/v1/executions/{rows.PATH}"] * len(replies)

"""`run` and `hello` before pyflyte is called, and what they print of its errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.cli.terminal import run
from app.engine.local.processes import environment
from tests.cli.api import Api


def test_no_environment_is_made_where_no_server_answers(
    api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def ensure(*arguments: Any) -> Any:
        made.append(arguments)
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
    assert len(made) == 1


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

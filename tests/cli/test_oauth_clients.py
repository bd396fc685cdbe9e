"""`flyteadmin auth client` and `auth token`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli.main import app

pytestmark = pytest.mark.heavy

Run = Callable[..., Result]


@pytest.fixture(params=["sqlite", "postgresql"])
def run(
    request: pytest.FixtureRequest,
    emptied_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    monkeypatch.setenv("FLYTEADMIN_DATABASE_URL", emptied_database(request.param))
    monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path))
    return lambda *arguments: CliRunner().invoke(app, ["auth", *arguments])


def test_a_client_is_made_listed_and_revoked(run: Run) -> None:
    made = run("client", "create", "ci", "--description", "pipeline", "-o", "json")
    assert made.exit_code == 0, made.output
    values = json.loads(made.stdout)
    assert values["client_id"] == "ci"
    assert len(values["client_secret"]) >= 43
    (listed,) = json.loads(run("client", "list", "-o", "json").stdout)
    assert (listed["state"], listed["last_used"], listed["description"]) == ("valid", "never", "pipeline")
    assert values["client_secret"] not in run("client", "list").output
    again = run("client", "create", "ci")
    assert (again.exit_code, "choose another name" in again.output) == (1, True)
    assert "revocationDelay" in run("client", "revoke", "ci").stdout
    (listed,) = json.loads(run("client", "list", "-o", "json").stdout)
    assert listed["state"] == "revoked"
    assert run("token", "revoke", "ci").exit_code == 1
    assert run("client", "revoke", "nobody").exit_code == 1


def test_a_token_is_made_listed_and_revoked(run: Run) -> None:
    made = run("token", "create", "laptop", "--subject", "alice", "--expires", "1h")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("flyte_pat_laptop_")
    (listed,) = json.loads(run("token", "list", "-o", "json").stdout)
    assert (listed["subject"], listed["state"]) == ("alice", "valid")
    assert made.stdout.strip().rpartition("_")[2] not in run("token", "list").output
    assert run("token", "revoke", "laptop").exit_code == 0
    assert "revoked" in run("token", "list").output


@pytest.mark.parametrize(
    "arguments",
    [
        ("client", "create", "flytepropeller"),
        ("client", "create", "a b"),
        ("client", "create", "x", "--expires", "-1h"),
        ("token", "create", "x", "--subject", "a", "--expires", "9000h"),
        ("token", "create", "x", "--subject", "a", "--expires", "soon"),
    ],
)
def test_wrong_arguments_are_one_line(run: Run, arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 1
    assert len([line for line in result.stderr.splitlines() if not line.startswith("warning")]) == 1

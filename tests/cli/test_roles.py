"""`flyteadmin auth role|admin` on a migrated database."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from app.auth import audit
from app.cli.main import app
from app.settings import Settings
from tests.support.databases import migrated

pytestmark = pytest.mark.heavy

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command with a configuration of its own."""
    url = migrated(tmp_path / "flyte.db")
    config = tmp_path / "config.yaml"
    config.write_text(
        json.dumps(
            {
                "home": str(tmp_path),
                "database": {"url": url},
                "auth": {"roles": {"enabled": True}, "audit": {"level": "writes", "file": str(tmp_path / "audit.log")}},
            }
        )
    )

    def call(*words: str) -> Result:
        return CliRunner().invoke(app, ["--config", str(config), "auth", *words], catch_exceptions=False)

    return call


@pytest.fixture(autouse=True)
def _no_audit_afterwards() -> object:
    yield
    audit.set_up(Settings())


def test_the_first_administrator_and_the_last(run: Run, tmp_path: Path) -> None:
    assert "make an administrator" in run("role", "list").stdout
    assert run("admin", "add", "alice").stdout == "granted admin on */* for subject alice\n"
    assert run("admin", "add", "alice").stdout == "unchanged: admin on */* for subject alice\n"
    refused = run("role", "revoke", "admin", "*/*", "alice")
    assert refused.exit_code == 1
    assert "last administrator" in refused.stderr
    assert run("admin", "add", "bob").exit_code == 0
    assert run("role", "revoke", "admin", "*/*", "alice").exit_code == 0
    assert run("role", "list").stdout == "admin on */* for subject bob  (database)\n"
    lines = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert [(line["what"], line["outcome"]) for line in lines] == [
        ("grant", "ok"),
        ("grant", "ok"),
        ("revoke", "error 9"),
        ("grant", "ok"),
        ("revoke", "ok"),
    ]
    assert all(line["who"].endswith("(command line)") for line in lines)


def test_roles_of_groups(run: Run) -> None:
    assert run("role", "grant", "view", "team-a*/*", "team-a", "--claim").exit_code == 0
    assert run("role", "list").stdout == "view on team-a*/* for claim team-a  (database)\n"
    assert run("role", "revoke", "view", "team-a*/*", "team-a").exit_code == 1  # That is a subject.
    assert run("role", "revoke", "view", "team-a*/*", "team-a", "--claim").exit_code == 0


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("owner", "p/d", "a"), "allowed: view, run, register, admin"),
        (("view", "p", "a"), "allowed: PROJECT/DOMAIN"),
        (("view", "p/d/e", "a"), "is no pattern"),
        (("view", "*p/d", "a"), "is no pattern"),
        (("view", "/d", "a"), "is no pattern"),
        (("view", "p/d", ""), "member must have"),
        (("view", "p/d", "*", "--claim"), "subjects only"),
    ],
)
def test_wrong_words_are_refused_in_one_line(run: Run, words: tuple[str, ...], problem: str) -> None:
    refused = run("role", "grant", *words)
    assert refused.exit_code == 1
    assert problem in refused.stderr
    assert refused.stderr.count("\n") == 1

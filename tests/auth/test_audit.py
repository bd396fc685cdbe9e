"""The audit log: which lines, what they hold, and the file."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import limited_log
from app.auth import audit
from app.auth.identity import Identity, TaskGrant, UserInfo
from app.settings import Settings

ALICE = Identity(subject="alice", client_id="flytectl", user=UserInfo(email="a@x.y"), method="access_token")
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


@pytest.fixture(autouse=True)
def _off_again() -> Iterator[None]:
    yield
    audit.set_up(Settings())


def settings_of(level: Any, file: str = "") -> Settings:
    return Settings(auth={"audit": {"level": level, "file": file}})


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("off", []),
        (False, []),  # YAML reads the word off as false.
        ("denied", ["denied read", "denied sign_in"]),
        ("writes", ["write", "token", "role", "sign_in", "denied read", "denied sign_in"]),
        ("all", ["read", "write", "token", "role", "sign_in", "denied read", "denied sign_in"]),
    ],
)
def test_the_level_chooses_the_lines(level: Any, written: list[str]) -> None:
    assert (audit.set_up(settings_of(level)) is None) is (not written)
    with capture_logs() as lines:
        for kind in ("read", "write", "token", "role", "sign_in"):
            audit.record(kind, kind, who=ALICE)  # type: ignore[arg-type]
        for kind in ("read", "sign_in"):
            audit.record(kind, f"denied {kind}", outcome=audit.DENIED)  # type: ignore[arg-type]
    assert [line["what"] for line in lines] == written


def test_a_line_names_who_what_where_and_outcome() -> None:
    audit.set_up(settings_of("all"))
    with capture_logs() as lines:
        audit.record("write", "CreateExecution", who=ALICE, where="p/d", request_id="r", caller="10.0.0.1")
        audit.record("read", "GetTask", who=Identity(subject="a", method="task", task=TaskGrant("p", "d", "e")))
        audit.record("sign_in", "login", outcome=audit.DENIED, reason="wrong domain")
        audit.record("token", "client_credentials", who="robot")
    assert lines[0] == {
        "event": "audit",
        "log_level": "info",
        "kind": "write",
        "what": "CreateExecution",
        "who": "alice",
        "client": "flytectl",
        "email": "a@x.y",
        "method": "access_token",
        "where": "p/d",
        "outcome": "ok",
        "request_id": "r",
        "caller": "10.0.0.1",
    }
    assert lines[1]["task_of"] == "p/d/e"
    assert (lines[2]["who"], lines[2]["reason"]) == ("anonymous", "wrong domain")
    assert lines[3]["who"] == "robot"


@pytest.mark.parametrize("secret", [JWT, f"Bearer {JWT}", f"access_token={JWT}", "client_secret=hunter22x"])
def test_a_token_never_gets_into_a_line(secret: str, tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    audit.set_up(settings_of("all", str(file)))
    audit.record("token", "x", who=secret, where=secret, outcome="error", reason=f"found {secret}")
    text = file.read_text()
    assert JWT not in text
    assert "hunter22x" not in text


def test_long_and_hostile_texts_stay_one_line(tmp_path: Path) -> None:
    file = tmp_path / "audit.log"
    audit.set_up(settings_of("all", str(file)))
    for text in ("x" * 100_000, "a\nb\r\n{}", "\x1b[31m", "\x00", "\udcff"):
        audit.record("read", "x", who=Identity(subject=text, method="session"), where=text)
    lines = file.read_text().splitlines()
    assert len(lines) == 5
    assert all(len(line) < 8000 for line in lines)
    assert [json.loads(line)["what"] for line in lines] == ["x"] * len(lines)


def test_the_file_is_private_and_may_be_rotated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_SECONDS_BETWEEN_LOOKS", 0.0)
    file = tmp_path / "audit.log"
    audit.set_up(settings_of("all", str(file)))
    audit.record("write", "first")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    file.rename(tmp_path / "audit.log.1")
    audit.record("write", "second")
    assert json.loads(file.read_text())["what"] == "second"
    assert json.loads((tmp_path / "audit.log.1").read_text())["what"] == "first"


def test_a_line_that_the_file_cannot_take_is_logged(tmp_path: Path) -> None:
    limited_log.clear()
    audit.set_up(settings_of("all", str(tmp_path / "missing" / "audit.log")))
    with capture_logs() as lines:
        audit.record("write", "first")
    assert [line["event"] for line in lines] == ["audit_file_unwritable", "audit"]


def test_lines_pass_a_log_that_has_errors_only(caplog: pytest.LogCaptureFixture) -> None:
    import logging

    caplog.set_level(logging.ERROR)
    audit.set_up(settings_of("all"))
    assert logging.getLogger("audit").isEnabledFor(logging.INFO)

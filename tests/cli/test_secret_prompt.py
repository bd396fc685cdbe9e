"""`flyteadmin secret set` at a real terminal: the value is not shown, asked for twice, and not stored after Ctrl-C."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Any

import pexpect
import pytest

from app.engine.local.processes.secret_store import SecretName, SecretStore
from app.settings import Settings
from tests.support.servers import COMMAND, environment

pytestmark = pytest.mark.slow

VALUE = "geheim-und-lang"


def at_terminal(home: Path) -> Any:
    child = pexpect.spawn(
        sys.executable,
        [*COMMAND[1:], "secret", "set", "lab/token"],
        env=environment(home),
        timeout=120,
        encoding="utf-8",
        # A shell starts background jobs with SIGINT ignored, and the tests may be one.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    child.expect("Value: ")
    return child


def stored(home: Path) -> bytes | None:
    return SecretStore(Settings.model_validate({"home": home})).get(SecretName.of("lab", "", "token"))


def test_the_value_is_asked_for_twice_and_never_shown(tmp_path: Path) -> None:
    child = at_terminal(tmp_path)
    assert not child.getecho()
    child.sendline(VALUE)
    child.expect("Repeat for confirmation: ")
    child.sendline("another")
    child.expect("The two entered values do not match")
    shown = child.before + child.after
    for _ in range(2):
        child.expect(": ")
        shown += child.before
        child.sendline(VALUE)
    child.expect("set lab/token")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert VALUE not in shown + child.before
    assert stored(tmp_path) == VALUE.encode()


def test_ctrl_c_at_the_prompt_stores_nothing_and_restores_the_terminal(tmp_path: Path) -> None:
    child = at_terminal(tmp_path)
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus not in (0, None)
    assert "Traceback" not in child.before
    assert not (tmp_path / "task-secrets").exists()

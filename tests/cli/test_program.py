"""The command that messages print, and the end of a pipe."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli.program import program

CODE = """
import typer
from app.cli.options import errors_in_one_line
with errors_in_one_line():
    for _ in range(10_000):
        typer.echo("x" * 100)
"""


def test_messages_print_the_command_as_it_was_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = tmp_path / "a folder" / "flyteadmin"
    called.parent.mkdir()
    called.write_text("#!/bin/sh\n")
    called.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(called)])
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    assert program() == f"'{called}'"
    monkeypatch.setenv("PATH", f"{called.parent}:/usr/bin")
    assert program() == "flyteadmin"
    other = tmp_path / "flyteadmin"
    other.write_text("")
    monkeypatch.setattr(sys, "argv", [str(other)])
    assert program() == str(other)


@pytest.mark.parametrize("called", ["/usr/lib/python3/pytest", "/nowhere/flyteadmin", ""])
def test_other_ways_to_call_it_print_its_name(called: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    assert program() == "flyteadmin"


@pytest.mark.slow
def test_a_reader_that_ends_early_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer) as output:
        done = subprocess.run([sys.executable, "-c", CODE], stdout=output, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (0, b"")

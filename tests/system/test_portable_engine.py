"""Tasks and servers with the portable twin of app/system switched on under Linux; the campaign has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.system import PORTABLE

ROOT = Path(__file__).parents[2]
PROCESSES = "tests/engine/local/processes"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.environ.get(PORTABLE) == "1", reason="all tests use it"),
]


def passes(*tests: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        cwd=ROOT,
        env={**os.environ, PORTABLE: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_processes_start_end_and_are_adopted() -> None:
    passes(f"{PROCESSES}/pool/test_process_pool.py")


def test_tasks_are_forked_where_the_setting_allows_it_and_adopted_with_all_they_have_started() -> None:
    passes(
        f"{PROCESSES}/pool/test_fork_server.py::test_a_setting_forks_tasks_on_every_system",
        f"{PROCESSES}/pool/test_adoption.py",
        f"{PROCESSES}/test_runner.py::TestKill::test_children_end_with_the_task",
    )

"""Tasks and servers with the portable twin of app/system switched on under Linux; the campaign has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.system import PORTABLE

ROOT = Path(__file__).parents[2]
POOL = "tests/engine/local/processes/test_pool.py"


@pytest.mark.slow
@pytest.mark.smoke
@pytest.mark.skipif(os.environ.get(PORTABLE) == "1", reason="all tests use it")
def test_tasks_run_and_end_with_all_their_processes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", POOL],
        cwd=ROOT,
        env={**os.environ, PORTABLE: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout

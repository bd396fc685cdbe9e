"""Schemathesis sends what the document allows, and somewhat more, and judges a real server by the document.

The runs are bounded and seeded: a failure can be repeated, and the whole takes less than two minutes.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from app.api.docs import DOCUMENT
from tests.servers import serving

pytestmark = pytest.mark.slow

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

RUNS = {
    # Every parameter at the ends of its range and beyond. Bodies are left out: their fields are too many to combine.
    "parameters": ["--phases", "examples,coverage", "--include-method", "GET"],
    "bodies": ["--phases", "examples,fuzzing", "--max-examples", "6"],
}


@pytest.mark.parametrize("run", RUNS)
def test_answers_are_what_the_document_says(tmp_path: Path, run: str) -> None:
    with serving(tmp_path / "home") as server:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(CONFIGURATION)),
                *("run", str(DOCUMENT), "--url", server.web, "--no-color", *RUNS[run]),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " 69 total" in done.stdout

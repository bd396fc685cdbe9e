"""Schemathesis sends what the document allows, and somewhat more, and judges a real server by the document.

The runs are bounded and seeded: a failure can be repeated, and the whole takes less than two minutes.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.api.docs import DOCUMENT
from tests.servers import Running, serving

pytestmark = pytest.mark.slow

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

RUNS = {
    # Every parameter at the ends of its range and beyond. Bodies are left out: their fields are too many to combine.
    "parameters": ["--phases", "examples,coverage", "--include-method", "GET"],
    "bodies": ["--phases", "examples,fuzzing", "--max-examples", "5"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server in which the document's examples have been registered and launched, so that lists have rows."""
    bodies = json.loads(DOCUMENT.with_name("examples.json").read_text(encoding="utf-8"))["bodies"]
    paths = ("tasks", "workflows", "launch_plans", "executions", "events/workflows", "events/nodes", "events/tasks")
    names = ("Task", "Workflow", "LaunchPlan", "Execution", "WorkflowEvent", "NodeEvent", "TaskEvent")
    with serving(tmp_path_factory.mktemp("home")) as running, httpx.Client(base_url=running.web) as client:
        for path, name in zip(paths, names, strict=True):
            client.post(f"/api/v1/{path}", json=bodies[f"Create{name}"]).raise_for_status()
        yield running


@pytest.mark.parametrize("run", RUNS)
def test_answers_are_what_the_document_says(server: Running, tmp_path: Path, run: str) -> None:
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

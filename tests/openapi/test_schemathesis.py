"""Schemathesis sends what the document allows, and somewhat more, and judges a real server by the document.

The runs are bounded and seeded, so that a failure can be repeated. `make test-examples` sends more bodies.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.api.pages.docs import DOCUMENT
from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")

BODIES: dict[str, Any] = json.loads(DOCUMENT.with_name("examples.json").read_text(encoding="utf-8"))["bodies"]

PLACE = {
    "id": "flytesnacks",
    "project": "flytesnacks",
    "domain": "development",
    "version": "v1",
    "workflow": "example.main",
    "resource_type": "TASK",
}

RUNS = {
    # Every parameter at the ends of its range and beyond. Bodies are left out: their fields are too many to combine.
    "parameters": ["--phases", "examples,coverage", "--include-method", "GET"],
    "bodies": ["--phases", "examples,fuzzing", "--max-examples", "1"],
    "more bodies": ["--phases", "fuzzing", "--max-examples", "20"],
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server in which the document's examples have been registered and launched, so that lists have rows."""
    paths = ("tasks", "workflows", "launch_plans", "executions", "events/workflows", "events/nodes", "events/tasks")
    names = ("Task", "Workflow", "LaunchPlan", "Execution", "WorkflowEvent", "NodeEvent", "TaskEvent")
    with serving(tmp_path_factory.mktemp("home")) as running, httpx.Client(base_url=running.web) as client:
        for path, name in zip(paths, names, strict=True):
            client.post(f"/api/v1/{path}", json=BODIES[f"Create{name}"]).raise_for_status()
        yield running


@pytest.mark.parametrize("run", ["parameters", "bodies", pytest.param("more bodies", marks=pytest.mark.campaign)])
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
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " 69 total" in done.stdout


WRONG: tuple[Any, ...] = ("", "x\u2603", "\x00", -1, 2**40, 1.5, True, None, [], {}, [{}], {"x": {}}, "9" * 5000)


def damaged(value: Any) -> Iterator[Any]:
    """The value with one thing in it missing or replaced by something wrong, one after another."""
    yield from WRONG
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in list(parts):
        copy = value.copy()
        del copy[key]
        yield copy
        for one in damaged(part):
            copy = value.copy()
            copy[key] = one
            yield copy


@pytest.mark.parametrize("operation_id", BODIES)
def test_bodies_with_one_thing_wrong_are_never_the_servers_fault(server: Running, operation_id: str) -> None:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    verb, path = next(
        (verb, path)
        for path, operations in document["paths"].items()
        for verb, operation in operations.items()
        if operation["operationId"] == operation_id
    )
    place = {**PLACE, "name": "example.hourly" if "launch_plans" in path else "example1"}
    with httpx.Client(base_url=server.web, headers={"Accept": "application/json"}, timeout=30) as client:
        for body in damaged(BODIES[operation_id]):
            answer = client.request(verb, path.format(**place), json=body)
            assert answer.status_code < 500, (body, answer.text)
            assert answer.status_code == 200 or answer.json()["message"], body

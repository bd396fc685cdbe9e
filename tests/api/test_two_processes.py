"""Two server processes on one database: what is written through one is read through the other at once.

Whatever a process keeps in memory must not outlive a change that another process makes. So every answer is read twice
through the second server, changed through the first, and read through the second again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from google.protobuf.message import Message

from tests.conftest import DATABASES
from tests.services.test_events import node_event
from tests.support.builders import a_launch_plan, a_project, a_task, a_workflow
from tests.support.servers import serving

HERE = "p/development"


@dataclass
class Pair:
    """Clients of two servers: changes go through `a`, reads through `b`."""

    a: httpx.Client
    b: httpx.Client

    def change(self, verb: str, path: str, message: Message | dict[str, Any] | None = None) -> None:
        """Change something through the first server."""
        if isinstance(message, Message):
            headers = {"content-type": "application/octet-stream"}
            answer = self.a.request(verb, path, content=message.SerializeToString(), headers=headers)
        else:
            answer = self.a.request(verb, path, json=message or {})
        assert answer.status_code == 200, answer.text

    def read(self, path: str) -> Any:
        """Read through the second server: its answer, None for 404."""
        answer = self.b.get(path)
        assert answer.status_code in (200, 404), answer.text
        return answer.json() if answer.status_code == 200 else None


@pytest.fixture(scope="module", params=DATABASES)
def pair(
    request: pytest.FixtureRequest, empty_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    """Two servers with a home each, one database and one store."""
    folder = tmp_path_factory.mktemp("two")
    variables = {
        "FLYTEADMIN_DATABASE_URL": empty_database(request.param),
        "FLYTEADMIN_STORAGE_URL": str(folder / "objects"),
    }
    with (
        serving(Path(folder / "a"), variables=variables) as one,
        serving(Path(folder / "b"), variables=variables) as other,
        httpx.Client(base_url=f"{one.web}/api/v1", timeout=30) as a,
        httpx.Client(base_url=f"{other.web}/api/v1", timeout=30) as b,
    ):
        made = Pair(a, b)
        made.change("POST", "/projects", a_project())
        made.change("POST", "/tasks", a_task())
        made.change("POST", "/workflows", a_workflow())
        for version in ("v1", "v2"):
            made.change("POST", "/launch_plans", a_launch_plan(version=version))
        for name in ("e1", "e2"):
            spec = {"launchPlan": {"resourceType": 3, **_id("lp"), "version": "v1"}}
            inputs = {"literals": {"a": {"scalar": {"primitive": {"integer": "1"}}}}}
            made.change("POST", "/executions", {**_where(), "name": name, "spec": spec, "inputs": inputs})
        yield made


def _where() -> dict[str, str]:
    return {"project": "p", "domain": "development"}


def _id(name: str) -> dict[str, str]:
    return {**_where(), "name": name}


def _node(phase: int) -> Message:
    event = node_event("n0", phase, 1)
    event.event.id.execution_id.name = "e1"
    return event


NODE = core_execution_pb2.NodeExecution
TERMINATE = execution_pb2.ExecutionTerminateRequest(cause="enough")
LP = f"/launch_plans/{HERE}/lp"
CONFIG = {"matchingAttributes": {"workflowExecutionConfig": {"maxParallelism": 7}}}
AT_DOMAIN = f"/project_domain_attributes/{HERE}"
AT_PROJECT = "/project_attributes/p"
AT_WORKFLOW = f"/workflow_attributes/{HERE}/wf"
KIND = "resource_type=6"

# (what is read, what changes it: verb, path, message)
CHANGES: list[tuple[str, tuple[str, str, Any]]] = [
    (f"/tasks/{HERE}/inc/v2", ("POST", "/tasks", a_task(version="v2"))),
    (f"/tasks/{HERE}/inc?limit=10", ("POST", "/tasks", a_task(version="v3"))),
    (f"/task_ids/{HERE}?limit=10", ("POST", "/tasks", a_task(name="dec"))),
    (f"/named_entities/1/{HERE}?limit=10", ("POST", "/tasks", a_task(name="dec2"))),
    (f"/named_entities/1/{HERE}/dec3", ("POST", "/tasks", a_task(name="dec3"))),
    (f"/workflow_ids/{HERE}?limit=10", ("POST", "/workflows", a_workflow(name="wf2"))),
    (f"/launch_plan_ids/{HERE}?limit=10", ("POST", "/launch_plans", a_launch_plan(name="lp2"))),
    ("/launch_plan_ids/p/?limit=10", ("POST", "/launch_plans", a_launch_plan(name="lp3"))),
    (f"/workflows/{HERE}/wf/v2", ("POST", "/workflows", a_workflow(version="v2"))),
    (f"/workflows/{HERE}/wf?limit=10", ("POST", "/workflows", a_workflow(version="v3"))),
    (f"{LP}/v3", ("POST", "/launch_plans", a_launch_plan(version="v3"))),
    (f"{LP}/v1", ("PUT", f"{LP}/v1", {"state": "ACTIVE"})),
    (f"/active_launch_plans/{HERE}/lp", ("PUT", f"{LP}/v2", {"state": "ACTIVE"})),
    (f"{LP}/v1", ("PUT", f"{LP}/v1", {"state": "ACTIVE"})),
    (f"{LP}/v2", ("PUT", f"{LP}/v2", {"state": "ACTIVE"})),
    (f"{LP}?limit=10", ("PUT", f"{LP}/v2", {"state": "INACTIVE"})),
    ("/projects", ("PUT", "/projects/p", {"name": "another name"})),
    ("/projects", ("POST", "/projects", a_project("q"))),
    (f"/named_entities/2/{HERE}/wf", ("PUT", f"/named_entities/2/{HERE}/wf", {"metadata": {"description": "new"}})),
    (f"/named_entities/2/{HERE}?limit=10", ("PUT", f"/named_entities/2/{HERE}/wf", {"metadata": {"state": 1}})),
    (f"{AT_DOMAIN}?{KIND}", ("PUT", AT_DOMAIN, {"attributes": CONFIG})),
    (f"{AT_DOMAIN}?{KIND}", ("DELETE", AT_DOMAIN, {"resourceType": 6})),
    (f"{AT_PROJECT}?{KIND}", ("PUT", AT_PROJECT, {"attributes": CONFIG})),
    (f"{AT_WORKFLOW}?{KIND}", ("PUT", AT_WORKFLOW, {"attributes": CONFIG})),
    (f"{AT_WORKFLOW}?{KIND}", ("DELETE", AT_WORKFLOW, {"resourceType": 6})),
    (f"/node_executions/{HERE}/e1/n0", ("POST", "/events/nodes", _node(NODE.QUEUED))),
    (f"/node_executions/{HERE}/e1/n0", ("POST", "/events/nodes", _node(NODE.RUNNING))),
    (f"/node_executions/{HERE}/e1?limit=10", ("POST", "/events/nodes", _node(NODE.FAILED))),
    (f"/executions/{HERE}/e1", ("PUT", f"/executions/{HERE}/e1", {"state": "EXECUTION_ARCHIVED"})),
    (f"/executions/{HERE}?limit=10", ("PUT", f"/executions/{HERE}/e1", {"state": "EXECUTION_ACTIVE"})),
    (f"/executions/{HERE}/e2", ("DELETE", f"/executions/{HERE}/e2", TERMINATE)),
]


@pytest.mark.slow
def test_what_one_process_writes_the_other_reads_at_once(pair: Pair) -> None:
    for path, (verb, where, message) in CHANGES:
        before = pair.read(path)
        assert pair.read(path) == before, path
        pair.change(verb, where, message)
        after = pair.read(path)
        assert after != before, f"{path} is as it was before {verb} {where}"
        assert after == pair.a.get(path).json() or after is None, path

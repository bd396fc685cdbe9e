"""Messages of the API, as a server renders them, for tests of drawings."""

from __future__ import annotations

from typing import Any

import httpx

from tests.cli.api import Api

PLACE = {"project": "flytesnacks", "domain": "development"}
PATH = "flytesnacks/development/f1"


def execution(phase: str = "SUCCEEDED", **closure: Any) -> dict[str, Any]:
    """An execution of wf.main that began at noon and took 83 seconds."""
    duration = {"duration": "83.2s"} if phase in ("SUCCEEDED", "FAILED", "ABORTED") else {"duration": None}
    return {
        "id": {**PLACE, "name": "f1"},
        "spec": {
            "launch_plan": {**PLACE, "name": "wf.main", "version": "v1"},
            "metadata": {"principal": "ada"},
        },
        "closure": {
            "phase": phase,
            "created_at": "2026-01-02T12:00:00Z",
            "started_at": "2026-01-02T12:00:00.5Z",
            "workflow_id": {**PLACE, "name": "wf.main", "version": "v1"},
            **duration,
            **closure,
        },
    }


def node(id: str, phase: str = "SUCCEEDED", *, spec: str = "", metadata: Any = None, **closure: Any) -> dict[str, Any]:
    """A node execution of one and a half seconds."""
    return {
        "id": {"node_id": id, "execution_id": {**PLACE, "name": "f1"}},
        "metadata": {"spec_node_id": spec or id, "is_parent_node": False, "is_array": False, **(metadata or {})},
        "closure": {
            "phase": phase,
            "created_at": "2026-01-02T12:00:01Z",
            "started_at": "2026-01-02T12:00:01Z",
            "duration": "1.5s",
            **closure,
        },
    }


def attempt(node_id: str, number: int = 0, phase: str = "SUCCEEDED", **closure: Any) -> dict[str, Any]:
    """A task execution of wf.work."""
    uri = f"http://localhost:30080/logs/{PATH}/{node_id}/{number}"
    return {
        "id": {"task_id": {**PLACE, "name": "wf.work"}, "retry_attempt": number},
        "closure": {
            "phase": phase,
            "started_at": "2026-01-02T12:00:01.5Z",
            "logs": [{"name": "Task log", "uri": uri}],
            **closure,
        },
    }


def task(id: str, name: str = "wf.work") -> dict[str, Any]:
    """A node of a compiled workflow that runs a task."""
    return {"id": id, "task_node": {"reference_id": {**PLACE, "name": name}}}


def workflow(*nodes: dict[str, Any], subs: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    """A compiled workflow, as GET /workflows answers."""
    ends = ({"id": "start-node"}, {"id": "end-node"})
    template = {"template": {"nodes": [*ends, *nodes]}}
    return {"closure": {"compiled_workflow": {"primary": template, "sub_workflows": list(subs)}}}


def serve(api: Api, row: dict[str, Any], nodes: list[dict[str, Any]], compiled: dict[str, Any]) -> None:
    """Serve an execution with nodes at the top and one attempt of each."""
    api.routes[f"GET /api/v1/executions/{PATH}"] = row
    api.routes["GET /api/v1/workflows/flytesnacks/development/wf.main/v1"] = compiled
    api.routes[f"GET /api/v1/node_executions/{PATH}"] = lambda request: {
        "node_executions": nodes if "uniqueParentId" not in request.url.params else [],
        "token": "",
    }
    for one in nodes:
        id = one["id"]["node_id"]
        api.routes[f"GET /api/v1/task_executions/{PATH}/{id}"] = {"task_executions": [attempt(id)], "token": ""}


def serve_projects(api: Api, **projects: tuple[str, ...]) -> None:
    """Serve the list of projects, each with its domains."""
    found = [{"id": id, "domains": [{"id": domain} for domain in domains]} for id, domains in projects.items()]

    def answer(request: httpx.Request) -> dict[str, Any]:
        chosen = request.url.params.get("filters", "").removeprefix("eq(identifier,").removesuffix(")")
        return {"projects": [one for one in found if chosen in ("", one["id"])], "token": ""}

    api.routes["GET /api/v1/projects"] = answer

"""A database and a bucket that upstream wrote, served by us: the same answers, and every registration recognised.

How: sample/dump.sql is loaded into PostgreSQL, the bucket's address is an alias of sample/blobs, and the application
answers in this process.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.database import migrations
from app.main import create_app
from app.settings import Settings
from tests.conftest import Postgres

SAMPLE = Path(__file__).parent
LIMITS = {"defaults": {"cpu": "500m", "memory": "500Mi"}, "limits": {"cpu": "2", "memory": "1Gi", "gpu": "1"}}


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> str:
    """The sample's database, migrated."""
    made = postgres.create()
    with psycopg.connect(made, autocommit=True) as connection:
        connection.execute((SAMPLE / "dump.sql").read_bytes())
    migrations.run(made)
    return made


def serve(url: str, home: Path, scenario: Callable[[httpx.AsyncClient], Any]) -> Any:
    """Run a scenario against a server of the sample."""
    settings = Settings(
        home=home,
        database={"url": url},  # type: ignore[arg-type]
        storage={"aliases": {"s3://flyte-sample": str(SAMPLE / "blobs" / "flyte-sample")}},  # type: ignore[arg-type]
        task_resources=LIMITS,  # type: ignore[arg-type]
        engine={"kind": "none"},  # type: ignore[arg-type]
        # The sample has an active schedule, whose slots since the recording would be caught up.
        scheduler={"enabled": False},  # type: ignore[arg-type]
    )

    async def main() -> Any:
        app = create_app(settings)
        async with app.running():
            transport = httpx.ASGITransport(app=app)
            headers = {"Accept": "application/json"}
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers) as client:
                return await scenario(client)

    return asyncio.run(main())


def test_every_recorded_answer(url: str, tmp_path: Path) -> None:
    replies = json.loads((SAMPLE / "replies.json").read_text())

    async def scenario(client: httpx.AsyncClient) -> None:
        differing = []
        for path, reply in replies.items():
            answer = await client.get(path)
            if (answer.status_code, answer.json()) != (reply.get("status", 200), reply["json"]):
                differing.append(path)
        assert differing == []

    assert len(replies) > 100
    serve(url, tmp_path, scenario)


def _submitted(template: dict[str, Any]) -> dict[str, Any]:
    """A workflow template as it was before it was compiled."""
    template = copy.deepcopy(template)
    template["nodes"] = [node for node in template["nodes"] if node["id"] not in ("start-node", "end-node")]
    for node in template["nodes"]:
        _unprefix(node, "")
    return template


def _unprefix(node: dict[str, Any], prefix: str) -> None:
    """Take the name of the branch off the names of the nodes inside it."""
    inside = f"{node['id']}-"
    node["id"] = node["id"].removeprefix(prefix)
    if branch := node.get("branch_node"):
        if_else = branch["if_else"]
        blocks = [if_else["case"], *if_else["other"]]
        for inner in [*(block["then_node"] for block in blocks), if_else.get("else_node")]:
            if inner:
                _unprefix(inner, inside)


async def _registrations(client: httpx.AsyncClient, kind: str) -> list[dict[str, Any]]:
    """A request to register each version of a kind again."""
    found = (await client.get(f"/api/v1/{kind}/flytesnacks/development?limit=1000")).json()[kind]
    requests = []
    for entity in found:
        id = entity["id"]
        if kind == "tasks":
            spec = {"template": entity["closure"]["compiled_task"]["template"]}
        elif kind == "launch_plans":
            spec = entity["spec"]
        else:
            place = f"{id['project']}/{id['domain']}/{id['name']}/{id['version']}"
            closure = (await client.get(f"/api/v1/workflows/{place}")).json()["closure"]["compiled_workflow"]
            spec = {
                "template": _submitted(closure["primary"]["template"]),
                "sub_workflows": [_submitted(sub["template"]) for sub in closure["sub_workflows"]],
            }
        requests.append({"id": id, "spec": spec})
    return requests


@pytest.mark.parametrize(("kind", "count"), [("tasks", 10), ("workflows", 6), ("launch_plans", 10)])
def test_every_registration_is_recognised(url: str, tmp_path: Path, kind: str, count: int) -> None:
    async def scenario(client: httpx.AsyncClient) -> None:
        requests = await _registrations(client, kind)
        assert len(requests) == count
        name = kind.removesuffix("s").replace("_", " ")
        for request in requests:
            answer = await client.post(f"/api/v1/{kind}", json=request)
            assert answer.json()["message"] == f"{name} with identical structure already exists"

    serve(url, tmp_path, scenario)

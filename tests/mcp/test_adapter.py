"""The REST adapter: the same answers as the API's own paths, under the capability's."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from app.cache import ByteCache
from app.main import create_app
from app.mcp import adapter, tools
from app.server import home
from app.settings import load
from tests.mcp.conftest import ENDS, SCOPE, WAIT_SECONDS_MAX, Served, launch_arguments

pytestmark = pytest.mark.slow

BASE = f"/v1/api/v1/executions/{SCOPE['project']}/{SCOPE['domain']}"


@pytest.fixture
def client(served: Served) -> Any:
    with httpx.Client(base_url=served.adapter, headers={"accept": "application/json"}, timeout=30) as made:
        yield made


def phase(client: httpx.Client, name: str) -> str:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while (found := client.get(f"{BASE}/{name}").json()["closure"]["phase"]) not in ENDS:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return str(found)


def test_the_seven_operations(served: Served, client: httpx.Client) -> None:
    made = client.post("/v1/api/v1/executions", json=launch_arguments("twice", x=2))
    assert made.status_code == 200, made.text
    name = made.json()["id"]["name"]
    assert phase(client, name) == "SUCCEEDED"
    assert client.get(f"{BASE}/{name}").json() == served.remote.execution(name)
    assert name in [row["id"]["name"] for row in client.get(f"{BASE}?limit=50").json()["executions"]]
    metrics = client.get(f"/v1/api/v1/metrics/executions/{SCOPE['project']}/{SCOPE['domain']}/{name}?depth=5").json()
    assert metrics["span"]["spans"]
    for verb in ("relaunch", "recover"):
        again = client.post(f"/v1/api/v1/executions/{verb}", json={"id": {**SCOPE, "name": name}})
        assert again.status_code == 200, again.text
        assert phase(client, again.json()["id"]["name"]) == "SUCCEEDED"
    late = client.request("DELETE", f"{BASE}/{name}", json={"cause": "late"})
    assert (late.status_code, late.json()["code"]) == (400, 9)


def test_all_of_a_process_keep_their_json_in_one_place(tmp_path: Path) -> None:
    """Its limit, limits.kept_json_bytes_max, is the process's."""
    variables = {"FLYTEADMIN_HOME": str(tmp_path), "FLYTEADMIN_ENGINE": "none", "FLYTEADMIN_MCP": "1"}
    # Told from all others, those of other limits too, by its size.
    variables["FLYTEADMIN__LIMITS__KEPTJSONBYTESMAX"] = "1234568"
    home.prepare(tmp_path)
    app = create_app(load(environ=variables).settings)
    assert app.assistants is not None
    made = [one for one in gc.get_objects() if type(one) is ByteCache and one._half_bytes_max == 617_284]
    assert made == [app.server.cache]


def test_nothing_else_is_served(client: httpx.Client) -> None:
    for path in ("/api/v1/executions/p/d", "/v1/api/v1/projects", "/mcp", "/v1/api/v1/executions/../projects"):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert answer.json()["code"] == 5
    assert client.put(f"{BASE}/name").status_code == 501
    unknown = client.post("/v1/api/v1/executions", json={"projet": "p"})
    assert (unknown.status_code, unknown.json()["code"]) == (400, 3)


def test_its_document(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    OpenAPIV31SpecValidator(document).validate()
    found = {
        (path, verb.upper(), operation["operationId"])
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    }
    assert found == {(adapter.path_of(tool), tools.binding_of(tool).verb, tool.operation) for tool in tools.OPERATIONS}
    one = document["paths"]["/v1/api/v1/executions/{id-project}/{id-domain}/{id-name}"]["get"]
    names = [parameter["name"] for parameter in one["parameters"] if parameter["in"] == "path"]
    assert names == ["id-project", "id-domain", "id-name"]

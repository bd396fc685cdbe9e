"""The list of services, over HTTP and as the command prints it."""

from __future__ import annotations

import orjson
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from app.api.pages import connectors as page
from app.cli import connectors as command
from tests.engine.local.connectors.conftest import RunConnected
from tests.engine.local.connectors.scripted import Scripted
from tests.engine.plane import Plane


def test_services_are_listed_with_types_and_last_answers(
    run_connected: RunConnected, capsys: pytest.CaptureFixture[str]
) -> None:
    async def scenario(plane: Plane, service: Scripted) -> None:
        await plane.until(lambda: plane.connectors.registry.services[0].answered_at)
        client = TestClient(Starlette(routes=page.routes(plane.server)), base_url="http://localhost")
        found = orjson.loads(client.get("/api/v1/connectors").content)
        assert found["open_tasks"] == 0
        (one,) = found["services"]
        assert one["types"] == [
            {"name": "a", "version": 0, "sync": False},
            {"name": "b", "version": 2, "sync": True},
        ]
        assert (one["plugin"], one["id"], one["endpoint"]) == ("connector-service", "", service.endpoint)
        command._print(one)
        assert "types: a 0, b 2 (sync)" in capsys.readouterr().out

    run_connected(scenario, Scripted(("a", 0, False), ("b", 2, True)))

"""`flyteadmin notifications list` and `flyteadmin events list`: which messages they ask for."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from tests.cli.api import Api
from tests.cli.terminal import rows


@pytest.mark.parametrize(
    ("command", "query"),
    [
        (("notifications", "list"), {"about": "notifications"}),
        (("notifications", "list", "--target", "mail"), {"about": "notifications", "target": "mail"}),
        (("events", "list", "--state", "failed"), {"about": "events", "state": "failed"}),
        (("events", "list", "--target", "cloudEvents"), {"about": "events", "target": "cloud_events"}),
    ],
)
@pytest.mark.parametrize(
    ("where", "path"),
    [((), "flytesnacks/development"), (("e1", "-p", "p"), "p/development/e1"), (("p/d/e1",), "p/d/e1")],
)
def test_notifications_and_events_have_lists_of_their_own(
    answer: Any, command: tuple[str, ...], query: dict[str, str], where: tuple[str, ...], path: str
) -> None:
    project, domain, *_ = path.split("/")
    known = {"projects": [{"id": project, "domains": [{"id": domain}]}]}
    requests = answer(httpx.Response(200, json={"deliveries": [], "token": ""} | known))
    done = CliRunner().invoke(app, [*command, *where])
    assert (done.exit_code, done.stdout) == (0, f"0 {command[0]}\n")
    url = httpx.URL(requests[0]["url"])
    assert url.path == f"/api/v1/notifications/{path}"
    assert dict(url.params) == {**query, "limit": "100", "token": ""}


@pytest.mark.parametrize("command", ["events", "notifications"])
def test_an_empty_list_of_an_unknown_project_is_refused(api: Api, command: str) -> None:
    api.routes["GET /api/v1/notifications/nope/development"] = {"deliveries": [], "token": ""}
    rows.serve_projects(api, mine=("development",))
    done = CliRunner().invoke(app, [command, "list", "-p", "nope"])
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the project nope is unknown; there are mine" in done.stderr

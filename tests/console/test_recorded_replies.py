"""The console without a server: every GET is answered by what upstream's flyteadmin answered, and none is missing."""

from __future__ import annotations

import json
import mimetypes
import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.checks import open_page
from tests.console.recordings import PROJECT, Replies
from tests.support.browser import Faults

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "app" / "console" / "static"
# Nothing listens here: a request that the test does not answer fails.
ADDRESS = "http://localhost:1"
SCOPE = f"/console/projects/{PROJECT}/domains/development"
WORKFLOW, TASK, PLAN = "demo.flows.shapes", "demo.flows.add", "demo.flows.shapes"
# Routes of this server that upstream lacks. The console works without them.
EXTENSIONS = re.compile(r"^/api/v1/(schedules|notifications|attempt_logs|cached_outputs)/")

PAGES = (
    "/console",
    "/console/select-project",
    *(
        SCOPE + path
        for path in (
            "/executions",
            "/executions?status=failed&version=v1",
            "/executions/run1",
            "/executions/run1?tab=graph",
            "/executions/run1?node=n3",
            "/executions/run1?node=n2",
            "/compare?executions=run1,run2",
            "/compare?executions=run1,run2&tab=nodes",
            "/workflows",
            "/tasks",
            "/launchPlans",
            "/schedules",
            "/search?q=flows",
            "/settings",
            "/cache",
            f"/workflows/{WORKFLOW}",
            f"/workflows/{WORKFLOW}?tab=versions",
            f"/workflows/{WORKFLOW}?tab=plans",
            f"/workflows/{WORKFLOW}?tab=interface",
            f"/workflows/{WORKFLOW}/grid",
            f"/workflows/{WORKFLOW}/launch",
            f"/workflow/{WORKFLOW}/version/v1",
            f"/tasks/{TASK}",
            f"/tasks/{TASK}?tab=versions",
            f"/tasks/{TASK}/launch",
            f"/task/{TASK}/version/v1",
            f"/launchPlans/{PLAN}",
            f"/launchPlans/{PLAN}?tab=versions",
            f"/launch_plan/{PLAN}/version/v1",
        )
    ),
)


@pytest.fixture
def address() -> str:
    """The server that is not there."""
    return ADDRESS


@pytest.fixture
def replies(new_page: Page) -> Replies:
    """Answers of upstream's server for the requests of a page; files of the console come from the built folder."""
    paths = json.loads((ROOT / "openapi" / "flyte.json").read_text())["paths"]
    found = Replies({one["get"]["operationId"]: path for path, one in paths.items() if "get" in one})

    def answer(route: Route) -> None:
        path = urlsplit(route.request.url).path
        if path.startswith("/console"):
            file = STATIC / path.removeprefix("/console/")
            file = file if file.is_file() else STATIC / "index.html"
            kind = mimetypes.guess_type(file.name)[0]
            # The server writes the prefix of a proxy into the page in the same way.
            body = file.read_bytes().replace(b'"./assets/', b'"/console/assets/')
            route.fulfill(body=body, content_type=kind, status=200)
        elif path == "/me":
            # Without authentication upstream has no such route.
            route.fulfill(status=501, json={"code": 12, "message": "Not Implemented", "details": []})
        else:
            status, body = found.answer(route.request.url)
            route.fulfill(status=status, json=body)

    new_page.context.route("**/*", answer)
    return found


@pytest.mark.parametrize("path", PAGES)
def test_every_read_has_a_recorded_reply(page: Page, replies: Replies, faults: Faults, path: str) -> None:
    faults.allow(r"^404 GET \S*/api/v1/(schedules|notifications|attempt_logs|cached_outputs)/")
    open_page(page, path)
    page.wait_for_load_state("networkidle")
    expect(page.locator("main h1").first).to_be_visible()
    assert not replies.missing
    assert [one for one in replies.unknown if not EXTENSIONS.match(one)] == []
    methods = {one.split(" ", 1)[0] for one in faults.calls()}
    assert methods <= {"GET"}, "opening a page changed something"


def test_a_server_without_schedules_shows_what_launch_plans_say(page: Page, replies: Replies, faults: Faults) -> None:
    faults.allow(r"^404 GET \S*/api/v1/schedules/")
    open_page(page, f"{SCOPE}/schedules")
    page.get_by_role("link", name="Launch plans with a schedule").click()
    expect(page.get_by_role("heading", name="Launch plans")).to_be_visible()
    page.wait_for_load_state("networkidle")
    asked = [one for one in faults.calls() if "/schedules/" in one]
    assert len(asked) == 1, "a route that the server lacks was asked for again"

"""Every page: that it shows its data, without faults, accessible, in both themes and on a phone, in few calls."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.console.checks import (
    both_themes,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

CALLS_MAX = 6
PHONE: ViewportSize = {"width": 390, "height": 844}
# Page → its path below SCOPE, or a scenario of tests/console/world.py with a query.
PATHS = {
    "executions": "/executions",
    "failed executions": "/executions?q=phase:failed",
    "workflows": "/workflows",
    "tasks": "/tasks",
    "launch plans": "/launchPlans",
    "schedules": "/schedules",
    "search": "/search?q=nested",
    "settings": "/settings",
    "cache": "/cache",
    "workflow": "/workflows/shown.every_type",
    "task": "/tasks/shown.make",
    "launch plan": "/launchPlans/shown.nightly",
    "workflow version": "/workflow/graphs.choices/version/v1",
    "task version": "/task/shown.make/version/v1",
    "launch plan version": "/launch_plan/shown.nightly/version/v1",
    "launch": "/workflows/shown.every_type/launch",
    "launch of required inputs": "/workflows/shown.required/launch",
    "grid": "/workflows/graphs.choices/grid",
}
RUNS = {
    "timeline": ("every_type", ""),
    "graph": ("dynamic", "?tab=graph"),
    "failed": ("failing", ""),
    "retried": ("failing_for_now", ""),
    "branches": ("choices 5000", "?tab=graph"),
    "gates": ("gated", ""),
    "map": ("most_fail", "?node=n1"),
    "aborted": ("aborted", ""),
    "parent": ("parent", ""),
    "eager": ("eager", ""),
    "recovered": ("recovered", ""),
    "cached": ("cached again", "?node=n0"),
    "own image": ("own_image", ""),
    "single task": ("task", ""),
    "log": ("talking", "?node=n0&panel=log"),
    "inputs": ("every_type", "?node=n0&panel=inputs"),
    "outputs": ("every_type", "?node=n0&panel=outputs"),
    "deck": ("decks", "?node=n0&panel=deck"),
    "hostile": ("hostile", "?node=n0&panel=log"),
    "hostile outputs": ("hostile", "?node=n0&panel=outputs"),
    "hostile deck": ("hostile", "?node=n0&panel=deck"),
    "hostile failure": ("hostile_failure", ""),
    "hostile links": ("long_nap", "?node=n0"),
}
OTHERS = {"projects": "/console/select-project", "home": "/console", "unknown": "/console/nothing/here"}


def path_of(world: World, name: str) -> str:
    if name in RUNS:
        scenario, query = RUNS[name]
        return world.execution(scenario) + query
    return OTHERS.get(name) or SCOPE + PATHS[name]


EVERY = (*OTHERS, *PATHS, *RUNS)


# The grid reads the nodes of each run that it shows, a graph those of each group that it unfolds.
MANY_CALLS = ("grid", "graph", "branches", *OTHERS)


@both_themes
@pytest.mark.parametrize("name", EVERY)
def test_a_page_is_accessible_narrow_and_asks_little(
    world: World, page: Page, faults: Faults, name: str, theme: str
) -> None:
    # The deck's script tries to reach the page around it.
    faults.allow('Blocked a frame with origin "null"' if name == "hostile deck" else "^$")
    open_page(page, path_of(world, name))
    expect(page.locator("main")).not_to_be_empty()
    # The frame reads the projects once. A page of something that runs asks for what changed since.
    calls = {one for one in faults.calls() if "/projects?" not in one and "gte(updated_at" not in one}
    assert name in MANY_CALLS or len(calls) <= CALLS_MAX, "\n".join(sorted(calls))
    check_accessible(page)
    check_no_sideways_scrolling(page)
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)
    check_no_sideways_scrolling(page)
    if theme == "light":
        check_accessible(page)
    check_not_attacked(page)


def test_an_execution_that_does_not_exist(world: World, page: Page, faults: Faults) -> None:
    faults.allow("404 GET .*/executions/flytesnacks/development/missing")
    open_page(page, f"{SCOPE}/executions/missing")
    expect(page.locator("main")).to_contain_text("missing")
    before = len(faults.calls("/missing"))
    page.wait_for_timeout(5000)
    assert len(faults.calls("/missing")) == before, "a 404 is not asked for again"
    check_accessible(page)


def test_a_forbidden_list_is_shown_and_not_asked_for_again(world: World, page: Page, faults: Faults) -> None:
    faults.allow("403 GET .*/executions/")
    refusal = {"code": 7, "message": "role viewer of project flytesnacks is missing", "details": []}
    page.route("**/api/v1/executions/**", lambda route: route.fulfill(status=403, json=refusal))
    open_page(page, f"{SCOPE}/executions")
    expect(page.locator("main")).to_contain_text("role viewer of project flytesnacks is missing")
    before = len(faults.calls("/api/v1/executions/"))
    page.wait_for_timeout(5000)
    assert len(faults.calls("/api/v1/executions/")) == before

"""Every page: that it shows its data, without faults, accessible, in both themes and on a phone, in few calls."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import (
    both_themes,
    both_widths,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import ODD_NAMES, ODD_VERSION, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

CALLS_MAX = 6
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


@both_themes
@pytest.mark.parametrize("name", EVERY)
def test_a_page_shows_its_data_accessibly(world: World, page: Page, faults: Faults, name: str, theme: str) -> None:
    # The deck's script tries to reach the page around it.
    faults.allow('Blocked a frame with origin "null"' if name == "hostile deck" else "^$")
    open_page(page, path_of(world, name))
    expect(page.locator("main")).not_to_be_empty()
    check_accessible(page)
    check_not_attacked(page)


@both_widths
@pytest.mark.parametrize("name", EVERY)
def test_a_page_is_no_wider_than_its_window(world: World, page: Page, name: str, width: int) -> None:
    open_page(page, path_of(world, name))
    check_no_sideways_scrolling(page)


# The grid reads the nodes of each run that it shows, a graph those of each group that it unfolds.
@pytest.mark.parametrize("name", [one for one in (*PATHS, *RUNS) if one not in ("grid", "graph", "branches")])
def test_a_page_opens_with_few_calls(world: World, page: Page, faults: Faults, name: str) -> None:
    open_page(page, path_of(world, name))
    page.wait_for_timeout(500)
    # The frame reads the projects once. A page of something that runs asks for what changed since.
    calls = {one for one in faults.calls() if "/projects?" not in one and "gte(updated_at" not in one}
    assert len(calls) <= CALLS_MAX, "\n".join(sorted(calls))


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_and_versions_that_addresses_escape(world: World, page: Page, name: str) -> None:
    for path in (
        f"/tasks/{quote(name, safe='')}",
        f"/task/{quote(name, safe='')}/version/{quote(ODD_VERSION, safe='')}",
    ):
        open_page(page, SCOPE + path)
        expect(page.locator("h1")).to_contain_text(name)
        check_not_attacked(page)
    # flytekit prints versions as they are, but for characters that no address holds.
    if "%" not in name and "#" not in name and "?" not in name and "/" not in name:
        page.goto(f"{SCOPE}/task/{quote(name)}/version/{quote(ODD_VERSION, safe='/+:=%')}")
        expect(page.locator("h1")).to_contain_text(name)


# Addresses of flyteconsole and of tools, and what they lead to: the path, and a text in the page.
ADDRESSES = {
    "/": ("/console", "flytesnacks"),
    "/console/": ("/console", "flytesnacks"),
    f"{SCOPE}": ("", "shown.every_type"),
    f"{SCOPE}/executions?duration=all&fromExecutionNav=true": ("", "shown.every_type"),
    f"{SCOPE}/executions?status=failed;aborted": ("", "graphs.failing"),
    "/console/projects/flytesnacks?domain=development": (f"{SCOPE}", "shown.every_type"),
    "/console/projects/flytesnacks/workflows?domain=development": (f"{SCOPE}/workflows", "shown.every_type"),
    f"{SCOPE}/workflow/shown.every_type": ("", "shown.every_type"),
    f"{SCOPE}/launchPlans/shown.nightly": ("", "shown.nightly"),
    f"{SCOPE}/workflow/shown.every_type/version/v1": ("", "shown.every_type"),
}


@pytest.mark.parametrize("given", ADDRESSES)
def test_addresses_of_flyteconsole(world: World, page: Page, given: str) -> None:
    leads_to, text = ADDRESSES[given]
    open_page(page, given)
    expect(page.locator("main")).to_contain_text(text)
    if leads_to:
        assert page.url.partition("?")[0].removeprefix(world.web).startswith(leads_to)


@pytest.mark.parametrize("prefix", ["/console", ""])
@pytest.mark.parametrize("tab", ["nodes", "graph", "timeline"])
def test_addresses_of_executions(world: World, page: Page, prefix: str, tab: str) -> None:
    path = world.execution("nested").removeprefix("/console")
    open_page(page, f"{prefix}{path}?tab={tab}")
    expect(page.locator("main")).to_contain_text("graphs.nested")
    assert page.url.startswith(f"{world.web}/console{path}")


def test_the_address_of_an_attempt_opens_its_node(world: World, page: Page) -> None:
    path = f"{world.execution('failing_for_now')}/nodeId/n0/taskId/graphs.fail_for_now/attempt/1/view/logs"
    open_page(page, path)
    expect(page.get_by_text("once more").first).to_be_visible()


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


def test_a_server_that_is_away_for_a_while(world: World, page: Page, faults: Faults) -> None:
    open_page(page, f"{SCOPE}/executions")
    expect(page.locator("main")).to_contain_text("shown.every_type")
    faults.allow("ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.wait_for_timeout(8000)
    # The last data stays.
    expect(page.locator("main")).to_contain_text("shown.every_type")
    away = len(faults.calls("/api/v1/executions"))
    page.context.set_offline(False)
    page.wait_for_timeout(6000)
    assert len(faults.calls("/api/v1/executions")) > away
    check_accessible(page)


def test_a_clock_that_is_an_hour_slow(world: World, page: Page) -> None:
    """Nothing lies in the future, and no duration is negative."""
    page.add_init_script("const now = Date.now.bind(Date); Date.now = () => now() - 3600000")
    open_page(page, f"{SCOPE}/executions")
    text = page.inner_text("main")
    assert "-" + "1h" not in text
    assert "NaN" not in text

"""Every address that tools print and that flyteconsole has, as a table: where it leads and what the page shows."""

from __future__ import annotations

from urllib.parse import quote, unquote_plus, urlsplit

import pytest
from playwright.sync_api import Error, Page, expect

from tests.console.checks import check_not_attacked, open_page, shown
from tests.console.world import ODD_NAMES, ODD_VERSION, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

PROJECT = "/console/projects/flytesnacks"
# Address → the address that the page ends at, "" for the same; a text of the page.
ADDRESSES = {
    "/": ("/console", "Failures of the day"),
    "/console": ("", "Failures of the day"),
    "/console/": ("", "Failures of the day"),
    "/console/nothing/here": ("", "no page at the address"),
    "/console/select-project": ("", "flytesnacks"),
    PROJECT: (SCOPE, "shown.every_type"),
    f"{PROJECT}?domain=development": (SCOPE, "shown.every_type"),
    **{
        f"{PROJECT}/{section}?domain=development": (f"{SCOPE}/{section}", text)
        for section, text in {
            "executions": "shown.every_type",
            "workflows": "graphs.nested",
            "tasks": "graphs.double",
            "launchPlans": "shown.nightly",
        }.items()
    },
    SCOPE: ("", "shown.every_type"),
    f"{SCOPE}/executions": ("", "shown.every_type"),
    f"{SCOPE}/workflows": ("", "graphs.nested"),
    f"{SCOPE}/tasks": ("", "graphs.double"),
    f"{SCOPE}/launchPlans": ("", "shown.nightly"),
    f"{SCOPE}/workflow/shown.every_type": ("", "shown.every_type"),
    f"{SCOPE}/workflows/shown.every_type": ("", "shown.every_type"),
    f"{SCOPE}/task/shown.make": ("", "shown.make"),
    f"{SCOPE}/tasks/shown.make": ("", "shown.make"),
    f"{SCOPE}/launchPlans/shown.nightly": ("", "shown.nightly"),
    f"{SCOPE}/workflow/shown.every_type/version/v1": ("", "shown.every_type"),
    f"{SCOPE}/task/shown.make/version/v1": ("", "shown.make"),
    f"{SCOPE}/launch_plan/shown.nightly/version/v1": ("", "shown.nightly"),
}
FAILING = "{failing}"
EXECUTIONS = {
    "": ("", "the shape of the data is wrong"),
    "?tab=nodes": ("", "the shape of the data is wrong"),
    "?tab=graph": ("", "the shape of the data is wrong"),
    "?tab=timeline": ("", "the shape of the data is wrong"),
    **{
        f"/nodeId/n0/taskId/graphs.fail/attempt/0/view/{view}": (f"?node=n0&attempt=1&panel={panel}", "n0")
        for view, panel in {"resources": "events", "logs": "log", "io": "outputs", "flytedecks": "deck"}.items()
    },
}
# Query of a list of flyteconsole → the filters of ours; "" where nothing is filtered.
FILTERS = {
    "status=queued;running": "phase:queued,running",
    "status=succeeded": "phase:succeeded",
    "status=failed;aborted": "phase:failed,aborted",
    "version=v1": "version:v1",
    **{f"startTime={word}": None for word in ("lastHour", "today", "yesterday", "thisWeek", "thisMonth", "lastMonth")},
    **{f"startTime={word}": None for word in ("thisYear", "lastYear")},
    **{f"duration={word}": None for word in ("lt1hour", "gt1hour", "2to3hours", "3to4hours", "gte4hours")},
    "startTime=all": "",
    "duration=all&fromExecutionNav=true": "",
}


def problem(page: Page, given: str, leads_to: str, text: str) -> str:
    """Open an address; return what is wrong with its page, "" where nothing is."""
    try:
        open_page(page, given)
        expect(page.locator("main")).to_contain_text(text)
    except (AssertionError, Error) as error:
        return str(error).partition("\n")[0]
    found = page.url.partition("/console")
    found_path = found[1] + found[2]
    expected = leads_to or given
    same = found_path if "?" in expected else found_path.partition("?")[0]
    return "" if unquote_plus(same) == unquote_plus(expected) else f"leads to {found_path}, not {expected}"


def problems(page: Page, rows: dict[str, tuple[str, str]]) -> dict[str, str]:
    found = {given: problem(page, given, *row) for given, row in rows.items()}
    return {given: text for given, text in found.items() if text}


def test_addresses_of_lists_and_entities(world: World, page: Page) -> None:
    # The place that was used last.
    open_page(page, SCOPE)
    assert problems(page, ADDRESSES) == {}


@pytest.mark.parametrize("prefix", ["/console", ""])
def test_addresses_of_executions(world: World, page: Page, prefix: str) -> None:
    path = world.execution("failing")
    rows = {
        prefix + path.removeprefix("/console") + given: (path + (leads_to or given), text)
        for given, (leads_to, text) in EXECUTIONS.items()
    }
    # An execution that failed opens at its cause, which is part of the address then.
    opened = {given: row for given, row in rows.items() if not given.endswith(world.names["failing"])}
    assert problems(page, opened) == {}
    open_page(page, prefix + path.removeprefix("/console"))
    assert page.url.partition("?")[0] == f"{world.web}{path}"


def test_the_address_of_an_index_of_a_map_opens_it(world: World, page: Page) -> None:
    nodes = world.remote.nodes(world.names["some_fail"])
    node = next(name for name in nodes if "n" in name and name not in ("start-node", "end-node"))
    open_page(
        page, f"{world.execution('some_fail')}/nodeId/{node}/taskId/t/attempt/0/mappedIndex/1/mappedAttempt/0/view/logs"
    )
    query = urlsplit(page.url).query
    assert f"node={node}" in query
    assert "index=1" in query


def test_queries_of_flyteconsole_become_filters(world: World, page: Page) -> None:
    wrong = {}
    for given, expected in FILTERS.items():
        open_page(page, f"{SCOPE}/executions?{given}")
        found = unquote_plus(urlsplit(page.url).query)
        right = found.startswith("q=") if expected is None else found == (f"q={expected}" if expected else "")
        if not right or page.get_by_text("This filter is left out").count():
            wrong[given] = found
    assert wrong == {}


def test_without_a_last_project_the_unknown_address_shows_projects(page: Page) -> None:
    open_page(page, "/console/nothing/here")
    expect(page.locator("main")).to_contain_text("flytesnacks")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_names_and_versions_that_addresses_escape(world: World, page: Page, name: str) -> None:
    version = quote(ODD_VERSION, safe="")
    for path in (f"/tasks/{quote(name, safe='')}", f"/task/{quote(name, safe='')}/version/{version}"):
        open_page(page, SCOPE + path)
        expect(page.locator("h1")).to_contain_text(name if "/version/" not in path else ODD_VERSION)
        expect(page.locator("main")).to_contain_text(name)
        check_not_attacked(page)
    # flytekit prints names and versions as they are, but for characters that no address holds.
    if not set("%#?/") & set(name):
        page.goto(f"{SCOPE}/task/{quote(name)}/version/{quote(ODD_VERSION, safe='/+:=')}")
        shown(page)
        expect(page.locator("main")).to_contain_text(name)


def test_what_does_not_exist_is_named(world: World, page: Page, faults: Faults) -> None:
    faults.allow("^404 GET ")
    for path, text in {
        "/executions/missing": "There is no execution missing",
        "/workflows/missing": "There is no workflow missing",
        "/task/missing/version/v1": "This version does not exist",
    }.items():
        open_page(page, SCOPE + path)
        expect(page.locator("main")).to_contain_text(text)
    before = len(faults.calls("/missing"))
    page.wait_for_timeout(4000)
    assert len(faults.calls("/missing")) == before, "a 404 is not asked for again"

"""Workflows, tasks, launch plans, schedules, comparison, run grid, search: each action with its effect on the API."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.console.checks import (
    both_themes,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import DOMAIN, ODD_NAMES, ODD_VERSION, PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

PLACE = f"{PROJECT}/{DOMAIN}"
CALLS_MAX = 6


def schedule(world: World, name: str = "shown.nightly") -> Any:
    [found] = world.remote.call("GET", f"/schedules/{PLACE}/{name}")["schedules"]
    return found


PHONE: ViewportSize = {"width": 390, "height": 844}


def check_both_widths(page: Page) -> None:
    check_accessible(page)
    check_no_sideways_scrolling(page)
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(100)
    check_no_sideways_scrolling(page)
    check_not_attacked(page)


@both_themes
@pytest.mark.parametrize(
    "path",
    [
        "/workflows/graphs.nested?tab=versions",
        "/workflows/graphs.nested?tab=plans",
        "/workflows/shown.every_type?tab=interface",
        "/launchPlans/shown.nightly?tab=versions",
        "/launchPlans/shown.nightly?tab=interface",
        "/workflows/nothing",
        "/compare",
    ],
)
def test_tabs_of_entities_are_accessible_and_narrow(page: Page, world: World, faults: Faults, path: str) -> None:
    faults.allow("^404 GET .*/nothing$")
    open_page(page, SCOPE + path)
    check_both_widths(page)


@both_themes
@pytest.mark.parametrize("tab", ["", "&tab=nodes&all=1", "&tab=settings"])
def test_comparisons_are_accessible_and_narrow(page: Page, world: World, faults: Faults, tab: str) -> None:
    names = ",".join(world.names[one] for one in ("choices 1", "choices 5", "choices 50", "choices 5000", "hostile"))
    open_page(page, f"{SCOPE}/compare?executions={names}{tab}")
    reads = [one for one in faults.calls() if "/projects?" not in one]
    assert len(reads) <= CALLS_MAX + (1 if "nodes" in tab else 0), reads
    check_both_widths(page)


@both_themes
@pytest.mark.parametrize("button", ["Pause…", "Backfill…", "Change version…"])
def test_dialogs_of_launch_plans_are_accessible(page: Page, world: World, button: str) -> None:
    open_page(page, f"{SCOPE}/launchPlans/shown.nightly")
    opener = page.get_by_role("button", name=button)
    opener.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check_accessible(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_names_and_versions_have_pages(page: Page, world: World, name: str) -> None:
    open_page(page, f"{SCOPE}/tasks?q={quote(name)}")
    page.get_by_role("link", name=name, exact=True).click()
    expect(page.locator("h1")).to_have_text(name)
    page.get_by_role("tab", name="Versions").click()
    page.get_by_role("link", name=ODD_VERSION, exact=True).click()
    expect(page.locator("h1")).to_have_text(ODD_VERSION)
    expect(page.get_by_role("heading", name="Template")).to_be_visible()
    page.reload()
    expect(page.locator("h1")).to_have_text(ODD_VERSION)
    check_not_attacked(page)


def test_a_launch_plan_is_deactivated_and_activated(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/launchPlans?q=shown.often")
    switch = page.get_by_role("switch", name="shown.often is active")
    expect(switch).to_be_checked()
    switch.click()
    page.get_by_role("button", name="Deactivate", exact=True).click()
    expect(switch).not_to_be_checked()
    plan = f"/launch_plans/{PLACE}/shown.often/v1"
    assert world.remote.call("GET", plan)["closure"]["state"] == "INACTIVE"
    switch.click()
    page.get_by_role("dialog").get_by_role("button", name="Activate", exact=True).click()
    expect(switch).to_be_checked()
    assert world.remote.call("GET", plan)["closure"]["state"] == "ACTIVE"


def test_another_version_is_activated(page: Page, world: World) -> None:
    plan = f"/launch_plans/{PLACE}/shown.often"
    spec = world.remote.call("GET", f"{plan}/v1")["spec"]
    id = {"resource_type": "LAUNCH_PLAN", "project": PROJECT, "domain": DOMAIN, "name": "shown.often", "version": "v2"}
    if world.remote.text(f"/api/v1{plan}/v2").status_code == 404:
        world.remote.call("POST", "/launch_plans", {"id": id, "spec": spec})
    open_page(page, f"{SCOPE}/launchPlans/shown.often")
    for version, other in (("v2", "v1"), ("v1", "v2")):
        page.get_by_role("button", name="Change version…").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("radio", name=re.compile(f"^{version}")).check()
        dialog.get_by_role("button", name="Activate", exact=True).click()
        expect(dialog).to_have_count(0)
        assert world.remote.call("GET", f"{plan}/{version}")["closure"]["state"] == "ACTIVE"
        assert world.remote.call("GET", f"{plan}/{other}")["closure"]["state"] == "INACTIVE"


def test_a_schedule_is_paused_with_a_reason_and_resumed(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/launchPlans/shown.nightly")
    panel = page.get_by_role("region", name="Schedule")
    expect(panel).to_contain_text("At 03:00")
    expect(panel.locator("ol time").first).to_be_visible()
    panel.get_by_role("button", name="Pause…").click()
    page.get_by_label("Reason").fill("the source is moved")
    page.keyboard.press("Enter")
    expect(panel.get_by_role("status")).to_contain_text("the source is moved")
    assert schedule(world)["paused"]["reason"] == "the source is moved"
    panel.get_by_role("button", name="Resume…").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume", exact=True).click()
    expect(panel.get_by_role("button", name="Pause…")).to_be_visible()
    assert schedule(world)["active"]


def test_a_schedule_is_launched_now(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/schedules?q=nightly")
    page.get_by_role("button", name="Actions on shown.nightly").click()
    page.get_by_role("menuitem", name="Launch now").click()
    page.get_by_role("button", name="Open").click()
    expect(page).to_have_url(re.compile("/executions/"))
    name = page.url.split("/executions/")[1].split("?")[0]
    execution = world.remote.call("GET", f"/executions/{PLACE}/{name}")
    assert execution["spec"]["launch_plan"]["name"] == "shown.nightly"
    assert execution["spec"]["metadata"]["mode"] == "MANUAL"


def test_past_slots_are_listed_and_launched(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/launchPlans/shown.nightly")
    page.get_by_role("button", name="Backfill…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("After").fill("2021-05-01T12:00:00")
    dialog.get_by_label("Up to").fill("2021-05-02T12:00:00")
    dialog.get_by_role("button", name="List the runs").click()
    expect(dialog.get_by_role("cell", name="will be launched")).to_have_count(1)
    dialog.get_by_role("button", name="Launch 1 run").click()
    link = dialog.locator("tbody a")
    expect(link).to_be_visible()
    execution = world.remote.call("GET", f"/executions/{PLACE}/{link.inner_text()}")
    assert execution["spec"]["metadata"]["scheduled_at"].startswith("2021-05-02T")


def test_a_workflow_is_archived_and_brought_back(page: Page, world: World) -> None:
    path = f"/named_entities/WORKFLOW/{PLACE}/graphs.late"
    open_page(page, f"{SCOPE}/workflows?q=graphs.late")
    page.get_by_role("button", name="More about graphs.late").click()
    page.get_by_role("menuitem", name="Archive").click()
    expect(page.get_by_role("link", name="graphs.late", exact=True)).to_have_count(0)
    assert world.remote.call("GET", path)["metadata"]["state"] == "NAMED_ENTITY_ARCHIVED"
    page.get_by_role("button", name="Undo").click()
    expect(page.get_by_role("link", name="graphs.late", exact=True)).to_be_visible()
    assert world.remote.call("GET", path)["metadata"]["state"] == "NAMED_ENTITY_ACTIVE"


def test_two_executions_are_compared(page: Page, world: World) -> None:
    names = [world.names["choices 1"], world.names["choices 50"]]
    open_page(page, f"{SCOPE}/compare?executions={','.join(names)}")
    inputs = page.get_by_role("region", name="Inputs").first
    expect(inputs.get_by_role("row", name=re.compile(r"^x 1 50$"))).to_be_visible()
    page.get_by_role("tab", name="Versions and settings").click()
    page.get_by_role("checkbox", name="Differences only").uncheck()
    expect(page.get_by_role("rowheader", name="workflow version")).to_be_visible()
    page.get_by_role("tab", name="Nodes").click()
    expect(page.get_by_role("rowheader").first).to_be_visible()


def test_the_grid_names_the_node_that_fails(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/workflows/graphs.failing/grid")
    expect(page.locator(".findings")).to_contain_text("fails in the last")
    page.locator(".grid-cell.phase-failed").last.click()
    expect(page).to_have_url(re.compile("/executions/.*node="))


def test_search_finds_names_versions_and_executions(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/search")
    field = page.get_by_role("searchbox", name=f"Search {PROJECT} / {DOMAIN}")
    field.fill("nightly")
    expect(page.get_by_role("region", name="Launch plans").get_by_role("link", name="shown.nightly")).to_be_visible()
    field.fill(world.names["nested"][:12])
    found = page.get_by_role("region", name="Executions").get_by_role("link", name=world.names["nested"])
    expect(found).to_be_visible()
    field.fill("1+2")
    expect(page.get_by_role("region", name="Versions").get_by_role("link", name=ODD_VERSION).first).to_be_visible()


def test_an_entity_that_does_not_exist(page: Page, world: World, faults: Faults) -> None:
    faults.allow(r"^404 GET ")
    open_page(page, f"{SCOPE}/workflows/nothing/here")
    expect(page.get_by_role("heading", name="There is no workflow nothing/here")).to_be_visible()
    open_page(page, f"{SCOPE}/workflow/graphs.nested/version/nope")
    expect(page.get_by_text("This version does not exist")).to_be_visible()

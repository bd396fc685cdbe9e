"""Whole tasks of a day by the keyboard alone, and pages that follow the server without a reload."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import open_page
from tests.console.world import DOMAIN, PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

TABS_MAX = 80
END_MS = 90_000


def focus_by_tab(page: Page, name: str) -> None:
    """Press Tab until an element of this name has the focus, which must be visible."""
    told = []
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        text = page.evaluate(
            "(e => (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || e.title || e.tagName)"
            ".trim())(document.activeElement)"
        )
        told.append(text)
        if re.fullmatch(name, text):
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"the focus on {text} is not visible"
            return
    pytest.fail(f"Tab does not reach {name}: {told}")


def test_a_failed_run_is_found_understood_and_started_again(world: World, page: Page) -> None:
    """From the list to the failed run, its log, its error, and a recovered run."""
    open_page(page, f"{SCOPE}/executions")
    page.keyboard.press("/")
    page.keyboard.type(f"name:{world.names['failing']}")
    page.keyboard.press("Enter")
    expect(page.locator("tr[data-row]")).to_have_count(1)
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/executions/{world.names['failing']}"))
    expect(page.locator(".log-lines")).to_contain_text("ValueError: the shape of the data is wrong")
    page.get_by_role("treegrid", name="Nodes of the execution").focus()
    page.keyboard.press("e")
    expect(page.get_by_role("tab", name="Error")).to_have_attribute("aria-selected", "true")
    page.evaluate("document.activeElement.blur()")
    focus_by_tab(page, "Recover")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    focus_by_tab(page, "Recover")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile(world.names["failing"]))
    name = page.url.partition("?")[0].rpartition("/")[2]
    assert world.remote.execution(name)["spec"]["metadata"]["mode"] == "RECOVERED"


def test_a_workflow_is_launched_watched_and_compared(world: World, page: Page) -> None:
    open_page(page, f"{SCOPE}/executions")
    page.evaluate("window.sameDocument = true")
    page.keyboard.press("Control+k")
    page.keyboard.type("graphs.nested")
    expect(page.get_by_role("option", name=re.compile(r"^graphs\.nested ?workflow$"))).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/workflows/graphs\.nested$"))
    focus_by_tab(page, "Launch")
    page.keyboard.press("Enter")
    expect(page.get_by_label(re.compile(r"^x"))).to_be_visible()
    focus_by_tab(page, r"x( \*)?")
    page.keyboard.type("4")
    focus_by_tab(page, "Launch")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/executions/"))
    name = page.url.partition("?")[0].rpartition("/")[2]
    expect(page.locator(".execution-head .phase").first).to_contain_text("Succeeded", timeout=END_MS)
    assert world.remote.execution(name)["closure"]["phase"] == "SUCCEEDED"
    # Two runs of the list, compared.
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.locator("tr[data-row]").nth(1)).to_be_visible()
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    focus_by_tab(page, "Compare")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/compare"))
    assert page.evaluate("window.sameDocument"), "the page was loaded again"


def test_the_graph_is_walked_by_arrows(world: World, page: Page) -> None:
    open_page(page, world.execution("nested") + "?tab=graph")
    graph = page.get_by_role("application")
    graph.focus()
    seen = []
    for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft"):
        page.keyboard.press(key)
        seen.append(graph.get_attribute("aria-activedescendant"))
    assert None not in seen
    assert len(set(seen)) >= 2
    expect(page.locator(".panel")).to_be_visible()


def test_a_schedule_is_paused_and_resumed(world: World, page: Page) -> None:
    """The one who schedules a training: the schedule, its next slot, pause, resume."""
    path = f"/schedules/{PROJECT}/{DOMAIN}/shown.often"
    open_page(page, f"{SCOPE}/launchPlans/shown.often")
    focus_by_tab(page, "Pause…")
    page.keyboard.press("Enter")
    focus_by_tab(page, r"Reason.*")
    page.keyboard.type("holiday")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Resume…")).to_be_visible()
    assert world.remote.call("GET", path)["schedules"][0]["paused"]["reason"] == "holiday"
    focus_by_tab(page, "Resume…")
    page.keyboard.press("Enter")
    focus_by_tab(page, "Resume")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pause…")).to_be_visible()
    assert world.remote.call("GET", path)["schedules"][0]["active"]


def test_a_log_grows_on_the_page(world: World, page: Page, faults: Faults) -> None:
    # The log of a running attempt has no new bytes.
    faults.allow("416 GET .*/logs/")
    world.launch("grows", "shown.talking", {"lines": 60, "seconds": 20.0})
    open_page(page, world.execution("grows") + "?node=n0&panel=log")
    page.evaluate("window.sameDocument = true")
    expect(page.locator(".log-lines")).to_contain_text("line 1 of 60", timeout=END_MS)
    expect(page.locator(".log-lines")).to_contain_text("line 59 of 60", timeout=END_MS)
    assert page.evaluate("window.sameDocument")


def test_lists_of_entities_follow_the_server(world: World, page: Page) -> None:
    """A new run and a new version show on the page of their workflow without a reload."""
    open_page(page, f"{SCOPE}/workflows/graphs.nested")
    page.evaluate("window.sameDocument = true")
    name = world.launch("on its page", "nested", {"x": 2})
    expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible(timeout=END_MS)
    assert page.evaluate("window.sameDocument")


def test_a_failed_run_is_launched_again_with_another_input(world: World, page: Page) -> None:
    """By clicks: the reason, the form filled from the run, a run that succeeds and names the failed one."""
    failed = world.names["most_fail"]
    open_page(page, f"{SCOPE}/executions?q=name:{failed}")
    page.get_by_role("link", name=failed).click()
    expect(page.locator(".problem")).to_contain_text("is not wanted")
    page.get_by_role("link", name="Relaunch").click()
    field = page.get_by_label("n", exact=True)
    expect(field).to_have_value("20")
    field.fill("3")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page).to_have_url(re.compile(f"/executions/(?!{failed})"))
    expect(page.locator(".execution-facts")).to_contain_text(f"relaunch of {failed}")
    expect(page.locator(".execution-head .phase").first).to_contain_text("Succeeded", timeout=END_MS)
    name = page.url.partition("?")[0].rpartition("/")[2]
    assert world.remote.execution(name)["spec"]["metadata"]["reference_execution"]["name"] == failed


def test_a_training_is_scheduled_and_its_messages_are_found(world: World, page: Page) -> None:
    """Activate a launch plan, launch it now, and look at what its run sent."""
    plan, address = "train.daily", "ann@example.com"
    _register_with_a_message(world, plan, address)
    open_page(page, f"{SCOPE}/launchPlans/{plan}")
    page.get_by_role("switch").click()
    page.get_by_role("dialog").get_by_role("button", name="Activate", exact=True).click()
    expect(page.locator(".schedule-panel")).to_contain_text("At 03:00 UTC")
    page.get_by_role("button", name="Launch now").click()
    row = page.locator("tr[data-row]").first
    expect(row).to_contain_text("Succeeded", timeout=END_MS)
    assert world.remote.call("GET", f"/launch_plans/{PROJECT}/{DOMAIN}/{plan}/v1")["closure"]["state"] == "ACTIVE"
    row.get_by_role("link").first.click()
    page.get_by_role("tab", name="Notifications").click()
    expect(page.get_by_role("tabpanel").first).to_contain_text(f"e-mail to {address} when succeeded, failed")
    page.goto(f"{SCOPE}/launchPlans/{plan}")
    page.get_by_role("switch").click()
    page.get_by_role("dialog").get_by_role("button").last.click()
    expect(page.get_by_text("Not active").first).to_be_visible()


def _register_with_a_message(world: World, name: str, address: str) -> None:
    """Register a launch plan like shown.nightly that sends a mail when its executions end."""
    spec = world.remote.call("GET", f"/launch_plans/{PROJECT}/{DOMAIN}/shown.nightly/v1")["spec"]
    mail = {"phases": ["SUCCEEDED", "FAILED"], "email": {"recipients_email": [address]}}
    spec["entity_metadata"]["notifications"] = [mail]
    scope = {"resource_type": "LAUNCH_PLAN", "project": PROJECT, "domain": DOMAIN, "name": name, "version": "v1"}
    world.remote.call("POST", "/launch_plans", {"id": scope, "spec": spec})

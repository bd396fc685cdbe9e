"""Dialogs of actions on an execution, with their effect read back over the API."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import both_themes, check_accessible, open_page
from tests.console.world import MARKUP, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign


def opened_name(page: Page, before: str) -> str:
    """Wait for the page of another execution and return its name."""
    page.wait_for_url(lambda url: "/executions/" in url and before not in url)
    return page.url.split("?")[0].rsplit("/", 1)[1]


def test_terminate_asks_for_a_cause(page: Page, world: World, faults: Faults) -> None:
    """The execution ends with the cause, which shows as text."""
    # The log of a running attempt has no new bytes.
    faults.allow("416 GET .*/logs/")
    name = world.remote.launch("shown.long_nap")
    open_page(page, f"{SCOPE}/executions/{name}")
    page.get_by_role("button", name="Terminate").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Terminate")).to_be_disabled()
    dialog.get_by_label("Cause").fill(MARKUP)
    dialog.get_by_role("button", name="Terminate").click()
    expect(dialog).to_have_count(0)
    closure = world.remote.execution(name)["closure"]
    assert closure["phase"] in ("ABORTING", "ABORTED")
    assert closure["abort_metadata"]["cause"] == MARKUP


def test_recover_opens_the_new_execution(page: Page, world: World) -> None:
    """A failed execution is recovered under a chosen name."""
    failed = world.names["failing"]
    open_page(page, f"{SCOPE}/executions/{failed}")
    page.get_by_role("button", name="Recover").click()
    page.get_by_role("dialog").get_by_role("button", name="Recover").click()
    name = opened_name(page, failed)
    metadata = world.remote.execution(name)["spec"]["metadata"]
    assert (metadata["mode"], metadata["reference_execution"]["name"]) == ("RECOVERED", failed)


def test_relaunch_and_archive(page: Page, world: World) -> None:
    """The menu relaunches an execution as it was, and archives and restores one."""
    old = world.names["every_type"]
    open_page(page, f"{SCOPE}/executions/{old}")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Relaunch as it was…").click()
    page.get_by_role("dialog").get_by_role("button", name="Relaunch").click()
    name = opened_name(page, old)
    assert world.remote.execution(name)["spec"]["metadata"]["mode"] == "RELAUNCH"
    states = []
    for word in ("Archive", "Restore"):
        page.get_by_role("button", name="More actions").click()
        page.get_by_role("menuitem", name=f"{word}…").click()
        page.get_by_role("dialog").get_by_role("button", name=word).click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        states.append(world.remote.execution(name)["closure"]["state_change_details"]["state"])
    assert states == ["EXECUTION_ARCHIVED", "EXECUTION_ACTIVE"]


def test_failures_stay_in_the_dialog(page: Page, world: World, faults: Faults) -> None:
    """Without a reply the dialog says so, and the action can be tried again."""
    faults.allow("executions/relaunch")
    name = world.names["every_type"]
    page.route("**/api/v1/executions/relaunch", lambda route: route.abort())
    open_page(page, f"{SCOPE}/executions/{name}")
    page.get_by_role("button", name="More actions").click()
    page.get_by_role("menuitem", name="Relaunch as it was…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Relaunch").click()
    expect(dialog.get_by_role("alert")).to_have_text("the server does not answer")
    expect(dialog.get_by_role("button", name="Relaunch")).to_be_enabled()


@both_themes
def test_dialogs_are_accessible(page: Page, world: World, faults: Faults) -> None:
    """The dialog passes axe, and Escape closes it with the focus back on its button."""
    # The log of a running attempt has no new bytes.
    faults.allow("416 GET .*/logs/")
    open_page(page, f"{SCOPE}/executions/{world.names['long_nap']}")
    button = page.get_by_role("button", name="Terminate")
    button.click()
    check_accessible(page)
    page.keyboard.press("Escape")
    expect(button).to_be_focused()

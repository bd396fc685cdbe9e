"""The page of cached outputs: who produced them, the choice of a task, deletion, other servers' lack of it."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import (
    both_themes,
    both_widths,
    check_accessible,
    check_no_sideways_scrolling,
    open_page,
)
from tests.console.world import DOMAIN, PROJECT, SCOPE, World

pytestmark = pytest.mark.campaign

TASK = "caches.doubled"
ENTRIES = f"/cached_outputs/{PROJECT}/{DOMAIN}?task={TASK}"


@both_themes
@both_widths
def test_the_page_is_accessible(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/cache")
    expect(page.locator("tr[data-row]").first).to_be_visible()
    check_accessible(page)
    check_no_sideways_scrolling(page)


def test_the_entries_of_a_task_are_found_and_deleted(page: Page, world: World) -> None:
    """From the task's page to its entries, to the run that produced one, and back to delete them all."""
    before = world.remote.call("GET", ENTRIES)["entries"]
    assert before
    open_page(page, f"{SCOPE}/tasks/{TASK}")
    page.get_by_role("button", name=f"More about {TASK}").click()
    page.get_by_role("menuitem", name="Cached outputs").click()
    rows = page.locator("tr[data-row]")
    expect(rows).to_have_count(len(before))
    page.get_by_role("link", name=before[0]["execution"]).first.click()
    expect(page).to_have_url(re.compile(f"/executions/{before[0]['execution']}"))
    page.go_back()
    page.get_by_role("button", name="Delete all of this task…").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text(f"Nothing is cached of {TASK}")).to_be_visible()
    assert world.remote.call("GET", ENTRIES)["entries"] == []

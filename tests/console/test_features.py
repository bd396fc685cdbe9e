"""Log links, durations of indices, operations of a node, and numbers over runs."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.console.checks import both_themes, both_widths, check_accessible, check_no_sideways_scrolling, open_page
from tests.console.world import SCOPE, World

pytestmark = pytest.mark.campaign


def test_a_log_link_opens_the_log_in_the_console(page: Page, world: World) -> None:
    """The link counts attempts from 0, the console from 1."""
    name = world.names["failing_for_now"]
    (log,) = world.remote.attempts(name, "n0")[0]["logs"]
    page.goto(log["uri"].replace(log["uri"].partition("/logs/")[0], world.web))
    expect(page).to_have_url(re.compile(rf"/executions/{name}\?node=n0&attempt=1&panel=log"))
    expect(page.get_by_role("button", name="1", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".log-lines")).to_contain_text("once more")


@both_themes
@both_widths
def test_indices_have_durations_and_errors(page: Page, world: World) -> None:
    open_page(page, f"{world.execution('most_fail')}?node=n1&panel=indices")
    rows = page.get_by_role("treegrid", name=re.compile("^Indices of")).locator(".tree-row")
    failed = rows.filter(has_text="Failed").first
    expect(failed.locator(".index-time")).to_have_text(re.compile(r"[0-9](ms| ms|s|m)"))
    expect(failed.locator(".index-error")).to_contain_text("is not wanted")
    check_accessible(page)
    check_no_sideways_scrolling(page)


def test_a_card_at_a_bar_says_where_the_time_went(page: Page, world: World) -> None:
    open_page(page, f"{world.execution('failing_for_now')}?node=n0&panel=events")
    panel = page.get_by_role("table", name="Where the time went")
    expect(panel).to_contain_text("Running, attempt 1")
    expect(panel).to_contain_text("Waiting for the next attempt")
    page.locator(".tree-row .cell-bar").first.hover()
    card = page.get_by_role("tooltip")
    expect(card).to_contain_text("Running, attempt 2")
    page.mouse.move(5, 5)
    expect(card).to_have_count(0)
    check_accessible(page)


@both_themes
@both_widths
def test_numbers_of_runs_are_plotted(page: Page, world: World) -> None:
    open_page(page, f"{SCOPE}/workflows/graphs.choices?tab=numbers")
    plot = page.locator(".number-plot").filter(has_text="x").filter(has_text="input")
    expect(plot).to_contain_text("from 1 to 5,000")
    plot.get_by_text("Values").click()
    expect(plot.get_by_role("link", name=world.names["choices 50"])).to_be_visible()
    check_accessible(page)
    check_no_sideways_scrolling(page)

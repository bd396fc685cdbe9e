"""Values as trees: types and digits kept, search, copies, previews of files and tables, hostile text."""

from __future__ import annotations

import json

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
from tests.console.world import World

pytestmark = pytest.mark.campaign


def open_values(page: Page, world: World, scenario: str = "every_type") -> None:
    open_page(page, f"{world.execution(scenario)}?tab=io")
    expect(page.get_by_role("heading", name="Outputs")).to_be_visible()


def test_integers_keep_their_digits(page: Page, world: World) -> None:
    """An integer beyond 2^53 shows and copies as the server has it."""
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_values(page, world)
    outputs = page.get_by_role("list", name="outputs")
    expect(outputs.get_by_text("9007199254740993").first).to_be_visible()
    page.get_by_title("Copy inputs as JSON").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_have_count(1)
    copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
    assert (copied["integer"], copied["number"], copied["maybe"]) == (9007199254740993, 0.1, None)
    assert copied["model"]["layers"][0]["width"] == 9007199254740993


def test_search_opens_the_way_to_a_match(page: Page, world: World) -> None:
    """A member deep inside a dataclass is found and shown."""
    open_values(page, world)
    page.get_by_label("Search in inputs").fill("dropout")
    inputs = page.get_by_role("list", name="inputs")
    expect(inputs.get_by_text("dropout")).to_be_visible()
    expect(inputs.get_by_text("how_long")).to_have_count(0)


def test_files_and_tables_are_shown(page: Page, world: World) -> None:
    """Markdown becomes elements, the head of a Parquet dataset a table, and a file downloads as it is."""
    open_values(page, world)
    outputs = page.get_by_role("list", name="outputs")
    for button in outputs.get_by_role("button", name="Preview").all():
        button.click()
        expect(outputs.get_by_text("Reading…")).to_have_count(0)
    expect(outputs.get_by_role("heading", name="Report")).to_be_visible()
    expect(outputs.get_by_role("columnheader", name="name")).to_be_visible()
    expect(outputs.get_by_role("cell", name="Zoë said “hello”")).to_be_visible()
    with page.expect_download() as download:
        outputs.get_by_role("button", name="Download").first.click()
    assert download.value.path().read_text().startswith("# Report")


def test_hostile_values_are_text(page: Page, world: World) -> None:
    """Markup in values and files runs nowhere."""
    open_values(page, world, "hostile")
    for button in page.get_by_role("button", name="Preview").all():
        button.click()
    expect(page.get_by_text("Reading…")).to_have_count(0)
    check_not_attacked(page)


@both_themes
@both_widths
def test_values_are_accessible(page: Page, world: World) -> None:
    """Trees with an open table and Markdown pass axe, and the page does not scroll sideways."""
    open_values(page, world)
    for button in page.get_by_role("button", name="Preview").all():
        button.click()
    expect(page.get_by_text("Reading…")).to_have_count(0)
    # A click scrolls, and what is half below the page's head has no size of a target.
    page.evaluate("scrollTo(0, 0)")
    check_accessible(page)
    check_no_sideways_scrolling(page)

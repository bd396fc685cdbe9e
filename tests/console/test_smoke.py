"""The console in a few minutes: one walk through its pages. `make test-console` has the other tests."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from tests.console import world as worlds
from tests.console.checks import (
    both_themes,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import DOMAIN, PROJECT, SCOPE, World
from tests.support.browser import Faults, skip_without_chromium

pytestmark = pytest.mark.slow

PHONE: ViewportSize = {"width": 390, "height": 844}
PATHS = (
    "/console",
    "/console/select-project",
    *(
        SCOPE + path
        for path in (
            "/executions",
            "/workflows",
            "/launchPlans",
            "/schedules",
            "/settings",
            "/workflows/shown.every_type",
            "/workflows/shown.every_type/launch",
            "/workflow/shown.every_type/version/v1",
        )
    ),
)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with three executions: one failed, one succeeded, one runs."""
    skip_without_chromium()
    with worlds.server(tmp_path_factory.mktemp("few") / "home", small=True) as made:
        yield made


@pytest.fixture
def address(few: World) -> str:
    return few.web


@both_themes
def test_pages_are_accessible_and_narrow(page: Page, few: World, faults: Faults) -> None:
    # The log of a running attempt has no new bytes.
    faults.allow("416 GET .*/logs/")
    runs = (few.execution("failing"), few.execution("nested") + "?tab=graph", few.execution("long_nap") + "?node=n0")
    for path in (*PATHS, *runs):
        page.set_viewport_size({"width": 1440, "height": 900})
        open_page(page, path)
        check_accessible(page)
        page.set_viewport_size(PHONE)
        page.wait_for_timeout(100)
        check_no_sideways_scrolling(page)
        check_not_attacked(page)


@pytest.mark.parametrize("prefix", ["/console", ""])
def test_the_printed_address_shows_why_a_run_failed(page: Page, few: World, prefix: str) -> None:
    open_page(page, prefix + few.execution("failing").removeprefix("/console"))
    expect(page.locator(".problem")).to_contain_text("the shape of the data is wrong")
    expect(page.locator(".log-lines")).to_contain_text("ValueError: the shape of the data is wrong")
    check_not_attacked(page)


def test_a_run_is_launched_and_ends_without_reload(page: Page, few: World) -> None:
    """From the list to the form by keys, then to the run, which is read back from the API."""
    open_page(page, f"{SCOPE}/executions")
    page.evaluate("window.sameDocument = true")
    page.keyboard.press("Control+k")
    page.keyboard.type("graphs.nested")
    expect(page.get_by_role("option", selected=True)).to_have_text(re.compile(r"^graphs\.nested ?workflow$"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/workflows/graphs\.nested$"))
    page.locator("main").get_by_role("link", name="Launch", exact=True).click()
    page.get_by_label("x", exact=True).fill("7")
    page.get_by_role("button", name="Launch", exact=True).click()
    expect(page).to_have_url(re.compile("/executions/"))
    name = page.url.partition("?")[0].rpartition("/")[2]
    expect(page.locator(".execution-head .phase").first).to_contain_text("Succeeded", timeout=90_000)
    assert page.evaluate("window.sameDocument")
    inputs = few.remote.call("GET", f"/data/executions/{PROJECT}/{DOMAIN}/{name}")["full_inputs"]["literals"]
    assert inputs["x"]["scalar"]["primitive"] == {"integer": "7"}
    page.keyboard.press("g")
    page.keyboard.press("e")
    expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()


def test_a_run_is_terminated_by_keys(page: Page, few: World) -> None:
    name = few.launch("ended", "shown.long_nap")
    open_page(page, f"{SCOPE}/executions?q=name:{name}")
    page.keyboard.press("j")
    page.keyboard.press("t")
    page.get_by_role("dialog").get_by_label("Cause").fill("no longer needed")
    page.keyboard.press("Enter")
    few.remote.until(lambda: few.remote.execution(name)["closure"]["phase"] == "ABORTED", "it is aborted")
    expect(page.locator("tr[data-row]")).to_contain_text("no longer needed", timeout=30_000)
    closure = few.remote.execution(name)["closure"]
    assert closure["abort_metadata"]["cause"] == "no longer needed"

"""The list of executions: live rows, filters in the address, keys, bulk actions with their effect, few calls."""

from __future__ import annotations

import re

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
from tests.console.world import DOMAIN, PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

LIST = f"{SCOPE}/executions"
NAP_SECONDS_MAX = 30_000


def row(page: Page, name: str):  # type: ignore[no-untyped-def]
    return page.locator("tr[data-row]", has=page.get_by_role("link", name=name, exact=True))


def phase_of(world: World, name: str) -> str:
    return str(world.remote.call("GET", f"/executions/{PROJECT}/{DOMAIN}/{name}")["closure"]["phase"])


def archived(world: World, name: str) -> bool:
    found = world.remote.call("GET", f"/executions/{PROJECT}/{DOMAIN}/{name}")["closure"]
    return bool((found.get("state_change_details") or {}).get("state") == "EXECUTION_ARCHIVED")


@pytest.mark.parametrize("width", [800, 1024, 1200, 1280])
def test_names_of_workflows_have_room_in_a_small_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 720})
    open_page(page, LIST)
    head = page.locator("th", has_text="Workflow or task").bounding_box()
    assert head is not None
    assert head["width"] >= 120


@both_themes
@both_widths
def test_the_list_is_accessible_and_fits(page: Page, world: World) -> None:
    open_page(page, LIST)
    expect(row(page, world.names["failing"])).to_contain_text("ValueError: the shape of the data is wrong")
    check_accessible(page)
    check_no_sideways_scrolling(page)
    check_not_attacked(page)


def test_the_list_opens_with_few_calls_and_none_per_row(page: Page, faults: Faults) -> None:
    open_page(page, LIST)
    expect(page.locator("tr[data-row]").nth(20)).to_be_visible()
    assert len(faults.calls("/api/")) + len(faults.calls("/me")) <= 3, faults.calls("/api/")


def test_a_launched_execution_appears_and_ends_without_reload(page: Page, world: World) -> None:
    open_page(page, LIST)
    page.evaluate("window.sameDocument = true")
    name = world.launch("appears", "nested", {"x": 1})
    expect(row(page, name)).to_be_visible(timeout=NAP_SECONDS_MAX)
    expect(row(page, name)).to_contain_text("Succeeded", timeout=NAP_SECONDS_MAX * 2)
    assert page.evaluate("window.sameDocument")


def test_new_rows_wait_while_rows_are_selected(page: Page, world: World) -> None:
    open_page(page, LIST)
    page.get_by_role("checkbox", name=f"Select {world.names['failing']}").check()
    first = page.locator("tr[data-row]").first.inner_text()
    name = world.launch("waits", "nested", {"x": 1})
    page.get_by_role("button", name=re.compile("1 new")).click(timeout=NAP_SECONDS_MAX)
    expect(page.locator("tr[data-row]").first).not_to_have_text(first)
    expect(row(page, name)).to_be_visible()


def test_filters_are_typed_clicked_and_kept_in_the_address(page: Page, world: World) -> None:
    open_page(page, LIST)
    page.keyboard.press("/")
    page.keyboard.type("phase:failed")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"\?q=phase:failed$"))
    expect(row(page, world.names["nested"])).to_have_count(0)
    failing = row(page, world.names["failing"])
    failing.hover()
    failing.get_by_role("button", name="Filter by workflow graphs.failing").click()
    expect(page).to_have_url(re.compile(r"q=phase:failed\+workflow:%3Dgraphs\.failing$"))
    expect(page.locator("tr[data-row]").first).to_contain_text("graphs.failing")
    expect(row(page, world.names["most_fail"])).to_have_count(0)
    page.go_back()
    expect(row(page, world.names["most_fail"])).to_be_visible()
    page.get_by_role("button", name="Remove the filter phase:failed").click()
    expect(row(page, world.names["nested"])).to_be_visible()


def test_alt_excludes(page: Page, world: World) -> None:
    open_page(page, LIST)
    nested = row(page, world.names["nested"])
    nested.hover()
    nested.get_by_role("button", name="Filter by phase succeeded").click(modifiers=["Alt"])
    expect(page).to_have_url(re.compile("q=-phase:succeeded$"))
    expect(row(page, world.names["nested"])).to_have_count(0)
    expect(row(page, world.names["failing"])).to_be_visible()


def test_addresses_of_flyteconsole_are_rewritten(page: Page, world: World) -> None:
    open_page(page, f"{LIST}?status=failed;aborted&startTime=today&duration=all&fromExecutionNav=true")
    expect(page).to_have_url(re.compile(r"/executions\?q=phase:failed,aborted\+after:today$"))
    expect(row(page, world.names["aborted"])).to_be_visible()
    expect(row(page, world.names["nested"])).to_have_count(0)


def test_filters_without_a_match_say_which_one_to_drop(page: Page) -> None:
    open_page(page, f"{LIST}?q=phase:failed+workflow:nowhere")
    page.get_by_role("button", name="Without workflow:nowhere").click()
    expect(page).to_have_url(re.compile(r"\?q=phase:failed$"))
    expect(page.locator("tr[data-row]").first).to_be_visible()


def test_what_the_api_cannot_express_is_said_and_not_asked(page: Page, faults: Faults) -> None:
    open_page(page, f'{LIST}?q=version:"a,b"+duration:long')
    expect(page.get_by_text("This filter is left out")).to_have_count(2)
    expect(page.locator("tr[data-row]").first).to_be_visible()
    assert not [call for call in faults.calls() if "a%2Cb" in call]


def test_keys_move_select_and_open(page: Page, world: World) -> None:
    open_page(page, f"{LIST}?q=phase:failed")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.get_by_role("toolbar", name="Selected executions")).to_contain_text("3 selected")
    page.keyboard.press("k")
    chosen = page.locator("tr[data-row]:focus a.main").inner_text()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/executions/{chosen}"))
    page.go_back()
    expect(page.locator("tr[data-row]").first).to_be_visible()


def test_links_of_a_row_are_reached_by_arrows(page: Page) -> None:
    open_page(page, LIST)
    page.keyboard.press("j")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('tr[data-row]') !== null")
    assert page.evaluate("document.activeElement.tagName") in ("A", "BUTTON", "INPUT")
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.tagName") == "TR"


def test_terminating_by_the_keyboard_ends_the_execution(page: Page, world: World) -> None:
    name = world.launch("ended", "shown.long_nap")
    world.remote.until(lambda: phase_of(world, name) == "RUNNING", "it runs")
    open_page(page, f"{LIST}?q=name:{name}")
    page.keyboard.press("j")
    page.keyboard.press("t")
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Cause").fill("no longer needed")
    check_accessible(page)
    dialog.get_by_role("button", name="Terminate").click()
    world.remote.until(lambda: phase_of(world, name) == "ABORTED", "it is aborted")
    expect(row(page, name)).to_contain_text("no longer needed", timeout=NAP_SECONDS_MAX)


def test_several_are_terminated_and_one_is_relaunched_by_keys(page: Page, world: World) -> None:
    names = [world.launch(f"several {number}", "shown.long_nap") for number in (1, 2)]
    open_page(page, f"{LIST}?q=workflow:shown.long_nap+phase:running,queued")
    for name in names:
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("toolbar", name="Selected executions").get_by_role("button", name="Terminate").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Cause").fill("both")
    dialog.get_by_role("button", name="Terminate").click()
    world.remote.until(lambda: all(phase_of(world, name) == "ABORTED" for name in names), "both are aborted")
    assert phase_of(world, world.names["long_nap"]) == "RUNNING"
    open_page(page, f"{LIST}?q=name:{world.names['nested']}")
    page.keyboard.press("j")
    page.keyboard.press("r")
    expect(page).to_have_url(re.compile(f"from={world.names['nested']}"))


def test_several_are_archived_and_restored(page: Page, world: World) -> None:
    names = [world.launch(f"archived {number}", "nested", {"x": number}) for number in (1, 2)]
    for name in names:
        world.remote.wait(name)
    open_page(page, LIST)
    for name in names:
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("toolbar").get_by_role("button", name="Archive").click()
    page.get_by_role("dialog").get_by_role("button", name="Archive").click()
    world.remote.until(lambda: all(archived(world, name) for name in names), "both are archived")
    open_page(page, f"{LIST}?q=archived:yes")
    for name in names:
        page.get_by_role("checkbox", name=f"Select {name}").check()
    page.get_by_role("toolbar").get_by_role("button", name="Restore").click()
    page.get_by_role("dialog").get_by_role("button", name="Restore").click()
    world.remote.until(lambda: not any(archived(world, name) for name in names), "both are restored")


def test_pausing_stops_the_calls(page: Page, faults: Faults) -> None:
    open_page(page, LIST)
    page.get_by_role("button", name="Pause live updates").click()
    page.wait_for_timeout(500)
    before = len(faults.calls())
    page.wait_for_timeout(7000)
    assert len(faults.calls()) == before
    page.get_by_role("button", name="Go on with live updates").click()
    page.wait_for_timeout(1000)
    assert len(faults.calls()) > before


def test_a_drag_over_bars_is_a_range_of_time(page: Page, world: World) -> None:
    open_page(page, LIST)
    bars = page.locator(".run-bars [data-bar]")
    # The last three were launched after the others had ended.
    count = bars.count()
    first, last = bars.nth(count - 3).bounding_box(), bars.nth(count - 1).bounding_box()
    assert first is not None
    assert last is not None
    page.mouse.move(first["x"] + 3, first["y"] + first["height"] - 2)
    page.mouse.down()
    page.mouse.move(last["x"] + 3, last["y"] + last["height"] - 2, steps=5)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"q=after:.*\+before:"))
    expect(page.locator("tr[data-row]").nth(2)).to_be_visible()
    expect(row(page, world.names["nested"])).to_have_count(0)
    assert page.locator("tr[data-row]").count() < count


def test_a_view_is_saved_and_opened_from_the_first_page(page: Page) -> None:
    open_page(page, f"{LIST}?q=phase:failed")
    page.get_by_role("button", name="Saved views").click()
    page.get_by_role("menuitem", name="Save these filters").click()
    page.get_by_role("dialog").get_by_label("Name").fill("broken")
    page.keyboard.press("Enter")
    open_page(page, "/console")
    page.get_by_role("link", name="broken").click()
    expect(page).to_have_url(re.compile(r"/executions\?q=phase:failed$"))

"""What surrounds each page: navigation, palette, help, theme, times, banners, first page, projects."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.console.checks import (
    both_themes,
    both_widths,
    check_accessible,
    check_no_sideways_scrolling,
    check_not_attacked,
    open_page,
)
from tests.console.world import PROJECT, SCOPE, World
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

LIST = f"{SCOPE}/executions"
RECOVERY_MS = 20_000
SENT_BACK = {"status": 401, "json": {"code": 16, "message": "the session has ended"}}


@both_themes
@both_widths
def test_the_first_page_shows_the_failures_of_the_day(page: Page, world: World) -> None:
    open_page(page, LIST)
    open_page(page, "/console")
    expect(page.get_by_role("heading", name="Failures of the day")).to_be_visible()
    expect(page.locator(".home-list").first).to_contain_text("ValueError: the shape of the data is wrong")
    expect(page.get_by_role("link", name=re.compile("running"))).to_be_visible()
    check_accessible(page)
    check_no_sideways_scrolling(page)
    check_not_attacked(page)


@both_themes
@both_widths
def test_without_a_last_project_the_first_page_lists_projects(page: Page, faults: Faults) -> None:
    open_page(page, "/console")
    check_accessible(page)
    check_no_sideways_scrolling(page)
    page.get_by_role("row", name=re.compile(f"^{PROJECT}")).get_by_role("link", name="staging").click()
    expect(page).to_have_url(re.compile(f"/projects/{PROJECT}/domains/staging/executions"))
    expect(page.get_by_role("heading", name="Nothing has run here yet")).to_be_visible()
    expect(page.locator(".commands li")).to_have_count(3)
    check_accessible(page)
    check_no_sideways_scrolling(page)


def test_an_unknown_address_says_so_and_shows_the_first_page(page: Page) -> None:
    open_page(page, LIST)
    open_page(page, "/console/nothing/here")
    expect(page.get_by_text("no page at the address")).to_be_visible()
    expect(page.get_by_role("heading", name="Failures of the day")).to_be_visible()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (f"/console/projects/{PROJECT}?domain=staging", f"/console/projects/{PROJECT}/domains/staging"),
        (f"/console/projects/{PROJECT}/tasks?domain=staging", f"/console/projects/{PROJECT}/domains/staging/tasks"),
        (f"/projects/{PROJECT}/domains/staging/executions", f"/console/projects/{PROJECT}/domains/staging/executions"),
        ("/", "/console"),
    ],
)
def test_old_addresses_move(page: Page, given: str, shown: str) -> None:
    open_page(page, given)
    expect(page).to_have_url(re.compile(f"{re.escape(shown)}$"))


def test_the_place_is_switched_and_the_list_stays(page: Page) -> None:
    open_page(page, f"{SCOPE}/workflows")
    page.get_by_role("button", name=f"{PROJECT} / development").click()
    page.keyboard.type("stag")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/domains/staging/workflows$"))


def test_the_palette_finds_names_executions_and_commands(page: Page, world: World) -> None:
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    page.keyboard.type("graphs.failing")
    option = page.get_by_role("option", name=re.compile(r"^graphs\.failing ?workflow$"))
    expect(option).to_be_visible()
    check_accessible(page)
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("Control+k")
    page.keyboard.type(world.names["failing"])
    expect(page.get_by_role("option", name=re.compile("execution$"))).to_be_visible()
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/executions/{world.names['failing']}"))
    page.keyboard.press("Control+k")
    page.keyboard.type("Theme: dark")
    page.keyboard.press("Enter")
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"


def held_requests(page: Page, pattern: re.Pattern[str]) -> list[Route]:
    """Return the list of requests that wait from now on until the test continues them."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route(pattern, hold)
    return held


def test_letters_typed_before_the_palette_is_loaded_are_kept(page: Page) -> None:
    """Its module is loaded when it is opened first; the letters are no commands of the page below."""
    held = held_requests(page, re.compile("/Palette-[^/]*[.]js$"))
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    page.keyboard.type("g wgraphs.failing")
    for _ in "ing":
        page.keyboard.press("Backspace")
    assert held, "the module was not asked for"
    expect(page).to_have_url(re.compile("/executions$"))
    held[0].continue_()
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_have_value("g wgraphs.fail")
    page.keyboard.type("ing")
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_have_value("g wgraphs.failing")
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog").get_by_role("combobox")).to_have_value("")


def test_enter_before_the_palette_is_loaded_picks_the_first_option_of_all_names(page: Page) -> None:
    held = held_requests(page, re.compile("/Palette-[^/]*[.]js$|/api/v1/named_entities/"))
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    page.keyboard.type("graphs.failing")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/executions$"))
    held.pop(0).continue_()
    expect(page.get_by_text("Reading names")).to_be_visible()
    # One list of names for each kind of entity.
    for _ in range(3):
        while not held:
            page.wait_for_timeout(20)
        held.pop().continue_()
    expect(page).to_have_url(re.compile(r"/workflows/graphs[.]failing$"))


def test_a_palette_that_cannot_be_loaded_leaves_the_keys_to_the_page(page: Page, faults: Faults) -> None:
    faults.allow("net::ERR_FAILED.*/Palette-")
    page.route(re.compile("/Palette-[^/]*[.]js$"), lambda route: route.abort())
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    expect(page.locator(".toast")).to_contain_text("The dialog cannot be loaded. Load the page again.")
    page.keyboard.press("g")
    page.keyboard.press("w")
    expect(page).to_have_url(re.compile("/workflows$"))


def test_enter_in_the_palette_chooses_what_is_drawn_as_chosen(page: Page) -> None:
    """Names that arrive after the text was typed change neither the chosen option nor what Enter does."""
    held = held_requests(page, re.compile("/api/v1/named_entities/"))
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    chosen = page.get_by_role("dialog").get_by_role("option", selected=True)
    expect(page.get_by_text("Reading names")).to_be_visible()
    # No name is read yet, and Enter does nothing.
    page.keyboard.type("shown.every")
    expect(page.get_by_role("dialog").get_by_role("option")).to_have_count(0)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Search")).to_be_visible()
    page.keyboard.press("Control+a")
    page.keyboard.type("s")
    page.keyboard.press("ArrowDown")
    wanted = chosen.text_content() or ""
    for one in held:
        one.continue_()
    expect(page.get_by_role("option", name=re.compile("^shown.*workflow$")).first).to_be_attached()
    expect(chosen).to_have_text(wanted)
    page.keyboard.press("Control+a")
    page.keyboard.type("shown.every_type")
    expect(chosen).to_have_text(re.compile("^shown.every_type ?workflow$"))
    page.keyboard.press("ArrowDown")
    expect(chosen).to_have_text(re.compile("^shown.every_type ?launch plan$"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/launchPlans/shown.every_type$"))


def test_executions_that_are_found_late_leave_the_chosen_option(page: Page, world: World) -> None:
    name = world.names["failing"]
    held = held_requests(page, re.compile(r"contains(\(|%28)execution_name"))
    open_page(page, LIST)
    page.keyboard.press("Control+k")
    page.keyboard.type(name[:3])
    chosen = page.get_by_role("dialog").get_by_role("option", selected=True)
    expect(page.get_by_text("Reading names")).to_have_count(0)
    before = chosen.all_text_contents()
    page.wait_for_timeout(500)
    assert held, "the executions are not asked for"
    held[-1].continue_()
    execution = page.get_by_role("option", name=re.compile(f"^{name}.*execution$"))
    expect(execution).to_be_attached()
    expect(chosen).to_have_text(before or [re.compile("execution$")])
    page.keyboard.type(name[3:])
    page.wait_for_timeout(500)
    held[-1].continue_()
    expect(chosen).to_have_text(re.compile(f"^{name} ?execution$"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/executions/{name}"))


def test_help_lists_the_keys_and_sequences_lead_to_lists(page: Page) -> None:
    open_page(page, LIST)
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("search and go anywhere")
    expect(dialog).to_contain_text("terminate the row")
    expect(dialog.get_by_role("region", name="Server")).to_contain_text(re.compile(r"State ?ready"))
    expect(dialog.get_by_role("region", name="Server")).to_contain_text(re.compile(r"Reply after ?\d+ ms"))
    check_accessible(page)
    page.keyboard.press("Escape")
    for keys, path in {
        "gw": "workflows",
        "gt": "tasks",
        "gl": "launchPlans",
        "gs": "schedules",
        "ge": "executions",
    }.items():
        page.keyboard.press(keys[0])
        page.keyboard.press(keys[1])
        expect(page).to_have_url(re.compile(f"/{path}$"))


def test_letters_typed_into_fields_are_no_commands(page: Page) -> None:
    open_page(page, LIST)
    page.keyboard.press("/")
    page.keyboard.type("gt?x")
    expect(page.get_by_role("combobox", name="Add a filter")).to_have_value("gt?x")
    expect(page).to_have_url(re.compile("/executions$"))


def test_times_are_shown_in_one_zone(page: Page, world: World) -> None:
    open_page(page, LIST)
    shown = page.locator("tr[data-row] time").first
    local = shown.inner_text()
    page.get_by_role("button", name="Times: Local").click()
    page.get_by_role("menuitemradio", name="UTC").click()
    assert shown.inner_text() != local
    title = shown.get_attribute("title") or ""
    assert "UTC+01:00" in title or "UTC+02:00" in title
    page.get_by_role("button", name="Times: UTC").click()
    page.get_by_role("menuitemradio", name="Relative to now").click()
    expect(shown).to_have_text(re.compile("ago$|^now$"))


def test_tab_reaches_the_content_by_one_step_and_focus_is_visible(page: Page) -> None:
    open_page(page, LIST)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_server_that_is_away_is_said_and_found_again(page: Page, faults: Faults) -> None:
    faults.allow("ERR_CONNECTION_REFUSED|ERR_FAILED")
    open_page(page, LIST)
    count = page.locator("tr[data-row]").count()

    def refuse(route: Route) -> None:
        route.abort("connectionrefused")

    page.route("**/api/v1/**", refuse)
    expect(page.get_by_text("The server does not answer.")).to_be_visible(timeout=RECOVERY_MS)
    assert page.locator("tr[data-row]").count() == count
    page.unroute("**/api/v1/**", refuse)
    expect(page.get_by_text("The server does not answer.")).to_have_count(0, timeout=RECOVERY_MS)
    expect(page.locator(".error-box")).to_have_count(0)


def test_a_session_that_ends_under_a_poll_shows_a_banner_and_keeps_the_page(page: Page, faults: Faults) -> None:
    faults.allow("^401 GET")
    open_page(page, LIST)
    page.keyboard.press("/")
    page.keyboard.type("half typed")
    page.route("**/api/v1/**", lambda route: route.fulfill(**SENT_BACK))
    banner = page.get_by_text("Your session has ended")
    expect(banner).to_be_visible(timeout=RECOVERY_MS)
    expect(page.get_by_role("combobox", name="Add a filter")).to_have_value("half typed")
    target = page.get_by_role("link", name="Sign in again").get_attribute("href") or ""
    assert target.startswith("/login?redirect_url=%2Fconsole%2Fprojects%2F")
    polls = len(faults.calls())
    page.wait_for_timeout(5000)
    assert len(faults.calls()) - polls <= 1, "a refused poll is not sent again"


def test_a_refused_page_load_leads_to_the_login_once(page: Page, faults: Faults) -> None:
    faults.allow("^401 GET")
    logins: list[str] = []

    def login(route: Route) -> None:
        logins.append(route.request.url)
        route.fulfill(status=303, headers={"location": LIST})

    page.route("**/login?**", login)
    page.route("**/api/v1/**", lambda route: route.fulfill(**SENT_BACK))
    page.goto(LIST)
    expect(page.get_by_text("Your session has ended")).to_be_visible(timeout=RECOVERY_MS)
    assert len(logins) == 1


def test_a_missing_role_is_shown_and_not_asked_again(page: Page, faults: Faults) -> None:
    faults.allow("^403 GET")
    body = {"code": 7, "message": "the role view in flytesnacks/development is needed"}
    page.route(f"**/api/v1/executions/{PROJECT}/**", lambda route: route.fulfill(status=403, json=body))
    page.goto(LIST)
    expect(page.get_by_role("alert")).to_contain_text("the role view in flytesnacks/development is needed")
    before = len(faults.calls("/executions/"))
    page.wait_for_timeout(4000)
    assert len(faults.calls("/executions/")) == before

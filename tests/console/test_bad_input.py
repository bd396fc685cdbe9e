"""What users store and what goes wrong: hostile strings, huge values, a server that is away, a wrong clock."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console import hostile as hostiles
from tests.console.checks import check_accessible, check_no_sideways_scrolling, check_not_attacked, open_page
from tests.console.world import DOMAIN, MARKUP, PROJECT, SCOPE, World
from tests.support.browser import Faults, tab
from tests.support.servers import serving
from tests.support.sign_in import free_port

pytestmark = pytest.mark.campaign

HOSTILE_PROJECT = "hostile"
# The name of a project has at most 64 characters.
SHORT_MARKUP = "<img src=x onerror=\"document.title='attacked'\">"
HUGE = 3_000_000
RECOVERY_MS = 40_000


@pytest.fixture(scope="module")
def hostile(world: World) -> World:
    """Markup in every string that a user can store over the API; tests/console/world.py has those of tasks."""
    call = world.remote.call
    project = {"id": HOSTILE_PROJECT, "name": SHORT_MARKUP, "description": MARKUP, "labels": {"values": {"team": "a"}}}
    known = {one["id"] for one in call("GET", "/projects?limit=100")["projects"]}
    if HOSTILE_PROJECT not in known:
        call("POST", "/projects", {"project": project})
    name = world.launch(
        "hostile spec",
        "nested",
        {"x": 1},
        labels={"values": {"team": "x"}},
        annotations={"values": {"note": MARKUP, "link": "javascript:document.title='attacked'"}},
        tags=[MARKUP],
        metadata={"principal": MARKUP},
    )
    world.remote.wait(name)
    world.names["hostile cause"] = world.launch("hostile cause", "shown.long_nap")
    world.remote.terminate(world.names["hostile cause"], MARKUP)
    for kind, entity in {"WORKFLOW": "graphs.nested", "TASK": "graphs.double", "LAUNCH_PLAN": "shown.nightly"}.items():
        path = f"/named_entities/{kind}/{PROJECT}/{DOMAIN}/{entity}"
        call("PUT", path, {"metadata": {"description": MARKUP}})
    attributes = {"cluster_resource_attributes": {"attributes": {"quota": MARKUP}}}
    call(
        "PUT",
        f"/project_domain_attributes/{PROJECT}/{DOMAIN}",
        {"attributes": {"project": PROJECT, "domain": DOMAIN, "matching_attributes": attributes}},
    )
    return world


HOSTILE_PAGES = {
    "projects": "/console/select-project",
    "executions": f"{SCOPE}/executions",
    "tags": f"{SCOPE}/executions?q=name:a",
    "spec": "{hostile spec}?tab=spec",
    "run": "{hostile spec}",
    "cause": "{hostile cause}",
    "inputs and outputs": "{hostile}?tab=io",
    "compare": f"{SCOPE}/compare?executions=" + "{hostile spec!n},{hostile!n}&tab=settings",
    "relaunch": f"{SCOPE}/workflows/shown.hostile/launch?from=" + "{hostile!n}",
    "workflow": f"{SCOPE}/workflows/graphs.nested",
    "workflows": f"{SCOPE}/workflows",
    "hostile workflow": f"{SCOPE}/workflows/shown.hostile",
    "task": f"{SCOPE}/tasks/graphs.double",
    "tasks": f"{SCOPE}/tasks",
    "launch plan": f"{SCOPE}/launchPlans/shown.nightly",
    "launch plans": f"{SCOPE}/launchPlans",
    "settings": f"{SCOPE}/settings?type=CLUSTER_RESOURCE",
    "cache": f"{SCOPE}/cache",
    "project settings": f"/console/projects/{HOSTILE_PROJECT}/domains/development/settings",
    "search": f"{SCOPE}/search?q=%3Cimg%20src%3Dx%20onerror%3D%22document.title%3D'attacked'%22%3E",
    "filter": f"{SCOPE}/executions?q=%3Cscript%3Edocument.title%3D'attacked'%3C/script%3E",
    "home": "/console",
}


def address_of(world: World, path: str) -> str:
    """Return an address with its executions: `{scenario}` is the path of a page, `{scenario!n}` a name."""
    for scenario, execution in world.names.items():
        path = path.replace(f"{{{scenario}!n}}", execution).replace(f"{{{scenario}}}", world.execution(scenario))
    return path


@pytest.mark.parametrize("name", HOSTILE_PAGES)
def test_strings_of_users_are_text(hostile: World, page: Page, name: str) -> None:
    open_page(page, address_of(hostile, HOSTILE_PAGES[name]))
    page.wait_for_timeout(300)
    check_not_attacked(page)
    check_no_sideways_scrolling(page)
    # Titles and descriptions for screen readers are text, too.
    page.hover("h1")
    check_not_attacked(page)


def test_markup_is_shown_as_it_was_typed(hostile: World, page: Page) -> None:
    open_page(page, hostile.execution("hostile cause"))
    expect(page.locator("main")).to_contain_text(MARKUP)
    open_page(page, "/console/select-project")
    expect(page.locator("main")).to_contain_text(MARKUP)


# The markup as addresses write it.
WRITTEN = quote(hostiles.TAIL)
# Page → its address, where every string of the API's replies ends with markup. The names are those of every kind.
MARKED_PAGES = {
    "home": "/console",
    "project and domain": "/console/select-project",
    "executions": f"{SCOPE}/executions",
    "failed executions": f"{SCOPE}/executions?q=phase:failed",
    "execution and nodes": "{nested}?node=n0",
    "graph": "{nested}?tab=graph",
    "folded groups": "{dynamic}?tab=graph",
    "branches": "{choices 50}?tab=graph",
    "error": "{hostile_failure}?node=n0&panel=error",
    "log line": "{hostile}?node=n0&panel=log",
    "log links": "{long_nap}?node=n0",
    "deck": "{decks}?node=n0&panel=deck",
    "task of a node": "{hostile}?node=n0&panel=task",
    "inputs": "{every_type}?node=n0&panel=inputs",
    "outputs": "{every_type}?tab=io",
    "events": "{failing_for_now}?node=n0&panel=events",
    "map": "{most_fail}?node=n1",
    "gates": "{gated}",
    "spec": "{every_type}?tab=spec",
    "workflow": f"{SCOPE}/workflows/graphs.nested",
    "workflows": f"{SCOPE}/workflows",
    "workflow version": f"{SCOPE}/workflow/graphs.choices/version/v1",
    "task": f"{SCOPE}/tasks/shown.make",
    "tasks": f"{SCOPE}/tasks",
    "task version": f"{SCOPE}/task/shown.make/version/v1",
    "launch plan": f"{SCOPE}/launchPlans/shown.nightly",
    "launch plans": f"{SCOPE}/launchPlans",
    "launch plan version": f"{SCOPE}/launch_plan/shown.nightly/version/v1",
    "schedules": f"{SCOPE}/schedules",
    "settings": f"{SCOPE}/settings",
    "search": f"{SCOPE}/search?q=nested",
    "grid": f"{SCOPE}/workflows/graphs.choices{WRITTEN}/grid",
    "numbers": f"{SCOPE}/workflows/graphs.choices?tab=numbers",
    "launch": f"{SCOPE}/workflows/shown.every_type/launch",
    "relaunch": f"{SCOPE}/workflows/shown.every_type/launch?from=" + "{every_type!n}",
    "compare": f"{SCOPE}/compare?executions=" + f"{{choices 1!n}}{WRITTEN},{{choices 50!n}}{WRITTEN}",
}


@pytest.mark.parametrize("name", MARKED_PAGES)
def test_names_of_every_kind_are_text(world: World, page: Page, faults: Faults, name: str) -> None:
    # A running attempt has no new bytes of its log.
    faults.allow("416 GET .*/logs/")
    with hostiles.marked_replies(page):
        open_page(page, address_of(world, MARKED_PAGES[name]))
        expect(page.locator("main")).to_contain_text(hostiles.TAIL)
        page.wait_for_timeout(300)
        check_not_attacked(page)
        check_no_sideways_scrolling(page)
        page.hover("h1")
        page.keyboard.press("Control+k")
        named = page.get_by_role("dialog").get_by_role("option").filter(has_text=hostiles.TAIL)
        expect(named.first).to_be_visible()
        check_not_attacked(page)


def test_addresses_with_markup_lead_to_their_page(world: World, page: Page) -> None:
    """A link of a list, whose address has the markup, opens the page that has it as its heading."""
    with hostiles.marked_replies(page):
        for kind in ("workflows", "tasks", "launchPlans"):
            open_page(page, f"{SCOPE}/{kind}")
            page.locator(f"tr[data-row] a[href*='/{kind}/']").first.click()
            expect(page.locator("h1").first).to_contain_text(hostiles.TAIL)
            expect(page.locator("[aria-busy=true]")).to_have_count(0)
            expect(page.locator(".error-box")).to_have_count(0)
            check_not_attacked(page)


def test_a_stored_value_is_text(world: World, page: Page) -> None:
    """An output that is stored as an object of its own and read on demand."""
    world.remote.wait(world.launch("stored", "shown.stored_apart"))
    open_page(page, world.execution("stored") + "?tab=io")
    page.get_by_role("button", name="Show the value").click()
    expect(page.locator(".preview")).to_contain_text(MARKUP)
    check_not_attacked(page)
    check_no_sideways_scrolling(page)
    assert page.locator("*").count() < 5000


def test_a_huge_value_is_cut_and_whole_on_demand(world: World, page: Page, faults: Faults) -> None:
    """Values of 3 MB leave the page usable: few elements, an answer to keys."""
    name = world.launch("huge", "shown.every_type", {"text": "long " * (HUGE // 5)})
    world.remote.wait(name)
    open_page(page, world.execution("huge") + "?tab=io")
    expect(page.get_by_role("heading", name="Outputs")).to_be_visible()
    expect(page.locator("main")).to_contain_text("long long long")
    assert page.locator("*").count() < 5000
    assert len(page.inner_text("main")) < HUGE // 2, "the whole value is drawn"
    check_no_sideways_scrolling(page)
    check_accessible(page)
    page.keyboard.press("Control+k")
    expect(page.get_by_role("dialog", name="Search")).to_be_visible()


def test_a_page_lives_through_a_restart_of_its_server(browser: Browser, tmp_path: Path) -> None:
    """The last data stays, a banner says what is wrong, the page goes on by itself when the server is back."""
    port, home = str(free_port()), tmp_path / "home"
    arguments = ("--port", port)
    with tab(browser, base_url=f"http://localhost:{port}") as page:
        faults = Faults(page.context)
        faults.allow("ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|ERR_INCOMPLETE")
        with serving(home, *arguments, variables={"FLYTEADMIN_ENGINE": "none"}):
            open_page(page, f"{SCOPE}/executions")
            expect(page.get_by_role("heading", name="Nothing has run here yet")).to_be_visible()
            page.evaluate("window.sameDocument = true")
        expect(page.get_by_text("The server does not answer.")).to_be_visible(timeout=RECOVERY_MS)
        expect(page.get_by_role("heading", name="Nothing has run here yet")).to_be_visible()
        # Reads are further and further apart.
        before = len(faults.calls())
        page.wait_for_timeout(15_000)
        assert len(faults.calls()) - before <= 8
        with serving(home, *arguments, variables={"FLYTEADMIN_ENGINE": "none"}):
            expect(page.get_by_text("The server does not answer.")).to_have_count(0, timeout=RECOVERY_MS)
            expect(page.locator(".error-box")).to_have_count(0)
            assert page.evaluate("window.sameDocument")
        faults.check()


def test_a_minute_without_a_server_costs_few_calls(world: World, page: Page, faults: Faults) -> None:
    page.clock.install()
    open_page(page, f"{SCOPE}/executions")
    expect(page.locator("tr[data-row]").first).to_be_visible()
    faults.allow("ERR_INTERNET_DISCONNECTED")
    rows = page.locator("tr[data-row]").count()
    page.context.set_offline(True)
    before = len(faults.calls())
    for _ in range(60):
        page.clock.run_for(1000)
    away = len(faults.calls()) - before
    # After 1, 2, 4, 8, 16 and 32 s, for each of the lists of the page.
    assert 1 <= away <= 24, away
    assert page.locator("tr[data-row]").count() == rows
    page.context.set_offline(False)
    for _ in range(70):
        page.clock.run_for(1000)
        if not page.get_by_text("The server does not answer.").count():
            break
    expect(page.get_by_text("The server does not answer.")).to_have_count(0)


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_is_an_hour_off(world: World, page: Page, hours: int) -> None:
    """Nothing is negative or not a number; a run of a moment ago does not last for hours."""
    name = world.launch(f"clock {hours}", "shown.long_nap")
    page.add_init_script(f"const now = Date.now.bind(Date); Date.now = () => now() + {hours} * 3600000")
    open_page(page, f"{SCOPE}/executions?q=name:{name}")
    row = page.locator("tr[data-row]")
    expect(row).to_have_count(1)
    text = page.inner_text("main")
    assert not re.search(r"NaN|undefined|Invalid|-\d+ ?(s|m|h|ms)\b", text), text
    open_page(page, f"{SCOPE}/executions/{name}")
    page.wait_for_timeout(3000)
    text = page.inner_text("main")
    assert not re.search(r"NaN|undefined|Invalid|(?<![\w-])-\d+ ?(s|m|h|ms)\b", text), text
    world.remote.terminate(name, "clock")

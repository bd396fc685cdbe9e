"""Sizes and times that pages must keep: each is measured up to five times, and the fastest counts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.large import SCOPE
from tests.support.browser import tab
from tests.support.servers import Running

pytestmark = pytest.mark.campaign

STATIC = Path(__file__).parents[2] / "app" / "console" / "static"
TRIES = 5
# The row that is looked for, and the time since the page was asked for at which it was there.
_FIRST = """selector => new Promise(done => {
  const look = () => {
    const now = performance.now();
    document.querySelector(selector) || now > 20000 ? done(now) : requestAnimationFrame(look);
  };
  look();
})"""


@pytest.fixture
def address(large: Running) -> str:
    return large.web


def fastest(measure: Callable[[], float], ms_max: float) -> float:
    """Return the first measure within the budget, else the fastest of five."""
    found = []
    for _ in range(TRIES):
        found.append(measure())
        if found[-1] <= ms_max:
            break
    return min(found)


def test_the_first_view_is_small(page: Page) -> None:
    """Scripts and styles that a browser without a cache loads to show a list."""
    sizes = {"js": 0, "css": 0}

    def add(response: object) -> None:
        kind = response.url.rpartition(".")[2]  # type: ignore[attr-defined]
        if kind in sizes:
            sizes[kind] += (STATIC / "assets" / f"{response.url.rpartition('/')[2]}.gz").stat().st_size  # type: ignore[attr-defined]

    page.on("response", add)
    page.goto(f"{SCOPE}/executions")
    page.locator("[role=row], tr[data-row]").nth(1).wait_for()
    assert 0 < sizes["js"] <= 100_000, sizes
    assert 0 < sizes["css"] <= 20_000, sizes


@pytest.mark.parametrize(
    ("path", "selector", "ms_max"),
    [
        ("/executions", "tr[data-row]", 500),
        ("/executions/chains", "[role=treegrid] [aria-level]", 1500),
        ("/executions/layered", "[role=treegrid] [aria-level]", 1500),
    ],
)
def test_rows_are_there_soon(browser: Browser, address: str, path: str, selector: str, ms_max: float) -> None:
    def measure() -> float:
        with tab(browser, base_url=address, viewport={"width": 1440, "height": 900}) as page:
            page.goto(SCOPE + path, wait_until="commit")
            found: float = page.evaluate(_FIRST, selector)
            return found

    assert fastest(measure, ms_max) <= ms_max


def test_a_graph_of_a_thousand_nodes_is_drawn_soon(browser: Browser, address: str) -> None:
    with tab(browser, base_url=address, viewport={"width": 1440, "height": 900}) as page:
        page.goto(f"{SCOPE}/executions/layered?tab=timeline")
        expect(page.locator("[role=treegrid] [aria-level]").first).to_be_visible()
        page.wait_for_timeout(2000)

        def measure() -> float:
            page.get_by_role("tab", name="Timeline").click()
            page.locator("[role=treegrid]").wait_for()
            script = """async () => {
              const tab = [...document.querySelectorAll('[role=tab]')].find(e => e.textContent.includes('Graph'));
              const from = performance.now();
              tab.click();
              while (document.querySelectorAll('[role=application] rect').length < 1000) {
                if (performance.now() - from > 10000) throw new Error('no graph');
                await new Promise(requestAnimationFrame);
              }
              await new Promise(requestAnimationFrame);
              return performance.now() - from;
            }"""
            found: float = page.evaluate(script)
            return found

        assert fastest(measure, 500) <= 500


def test_ten_thousand_nodes_take_few_elements_and_little_memory(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/chains")
    expect(page.locator("[role=treegrid] [aria-level]").first).to_be_visible()
    assert page.locator("*").count() < 5000
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    assert used <= 150_000_000, f"{used / 1e6:.0f} MB"


def test_scrolling_ten_thousand_nodes_shows_the_last_one(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/chains")
    rows = page.locator("[role=treegrid]")
    expect(rows.locator("[aria-level]").first).to_be_visible()
    rows.press("End")
    expect(page.get_by_text("step_n99x99").first).to_be_visible()
    assert page.locator("*").count() < 5000


def test_a_log_of_100_megabytes_opens_at_its_end(browser: Browser, address: str) -> None:
    def measure() -> float:
        with tab(browser, base_url=address, viewport={"width": 1440, "height": 900}) as page:
            page.goto(f"{SCOPE}/executions/log?node=n0&panel=log")
            expect(page.get_by_text("the last line")).to_be_visible()
            timing = """() => {
              const logs = performance.getEntriesByType('resource').filter(e => e.name.includes('/logs/'));
              return Math.max(...logs.map(e => e.responseEnd)) - Math.min(...logs.map(e => e.startTime));
            }"""
            found: float = page.evaluate(timing)
            size = json.loads(
                page.evaluate(
                    "JSON.stringify(performance.getEntriesByType('resource').filter(e => e.name.includes('/logs/'))"
                    ".reduce((sum, e) => sum + e.transferSize, 0))"
                )
            )
            assert size < 2_000_000, "only the end of the log is read"
            return found

    assert fastest(measure, 300) <= 300


def test_a_map_of_100_000_indices_is_windowed(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/map?node=n0")
    expect(page.get_by_text("Failed").first).to_be_visible()
    expect(page.get_by_text("100,000").or_(page.get_by_text("100000")).first).to_be_visible()
    assert page.locator("*").count() < 8000

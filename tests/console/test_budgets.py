"""Sizes and times that pages must keep.

A time is measured up to five times and the fastest counts: by the clock, and as CPU time of the page's thread. The CPU
time must be within the budget on every machine, the clock where the machine has nothing else to do.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Response, ViewportSize, expect

from tests.console.large import MANY_DOMAIN, SCOPE
from tests.support.browser import tab
from tests.support.servers import Running

pytestmark = pytest.mark.campaign

STATIC = Path(__file__).parents[2] / "app" / "console" / "static"
TRIES = 5
WINDOW: ViewportSize = {"width": 1440, "height": 900}
ROW = "tr[data-row]"
NODE = "[role=treegrid] [aria-level]"
# Call a function, wait for an element and its painting, and return the ms that it took.
_UNTIL = """async ([selector, from]) => {
  while (!document.querySelector(selector)) {
    if (performance.now() > from + 20000) throw new Error(`no ${selector}`);
    await new Promise(requestAnimationFrame);
  }
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - from;
}"""
# Durations from an input to the next painting, as the browser reports them in steps of 8 ms.
_EVENTS = """() => {
  window.inputs = [];
  new PerformanceObserver(list => window.inputs.push(...list.getEntries().map(e => [e.name, e.duration])))
    .observe({type: 'event', durationThreshold: 16});
}"""


@dataclass(frozen=True)
class Spent:
    """Time in ms: by the clock, and of the CPU in the page's thread."""

    clock: float
    cpu: float


class Cpu:
    """The CPU time of a page's thread."""

    def __init__(self, page: Page) -> None:
        self._session = page.context.new_cdp_session(page)
        self._session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def ms(self) -> float:
        metrics = self._session.send("Performance.getMetrics")["metrics"]
        return float(next(one["value"] for one in metrics if one["name"] == "TaskDuration")) * 1000


@pytest.fixture
def address(large: Running) -> str:
    return large.web


def check_time(measure: Callable[[], Spent], ms_max: float, what: str) -> None:
    """Fail where no measure of five is within the budget."""
    found = []
    for _ in range(TRIES):
        found.append(measure())
        if found[-1].clock <= ms_max and found[-1].cpu <= ms_max:
            break
    clock, cpu = min(one.clock for one in found), min(one.cpu for one in found)
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    text = f"{what}: {clock:.0f} ms, CPU {cpu:.0f} ms, budget {ms_max:.0f} ms, load {load:.1f} on {cores} cores"
    print(text)  # noqa: T201
    assert cpu <= ms_max, text
    assert clock <= ms_max or load > cores, text


def test_the_first_view_is_small(page: Page) -> None:
    """Scripts and styles that a browser without a cache loads to show a list."""
    sizes = {"js": 0, "css": 0}

    def add(response: Response) -> None:
        kind = response.url.rpartition(".")[2]
        if kind in sizes:
            sizes[kind] += (STATIC / "assets" / f"{response.url.rpartition('/')[2]}.gz").stat().st_size

    page.on("response", add)
    page.goto(f"{SCOPE}/executions")
    page.locator(ROW).first.wait_for()
    print(f"first view: {sizes}")  # noqa: T201
    assert 0 < sizes["js"] <= 100_000, sizes
    assert 0 < sizes["css"] <= 20_000, sizes


@pytest.mark.parametrize(
    ("path", "selector", "ms_max"),
    [
        ("/executions", ROW, 500),
        ("/executions/layered", NODE, 1500),
        ("/executions/chains", NODE, 1500),
    ],
)
def test_rows_are_there_soon(browser: Browser, address: str, path: str, selector: str, ms_max: float) -> None:
    with tab(browser, base_url=address, viewport=WINDOW) as page:
        cpu = Cpu(page)

        def measure() -> Spent:
            page.goto("about:blank")
            before = cpu.ms()
            page.goto(SCOPE + path, wait_until="commit")
            clock: float = page.evaluate(_UNTIL, [selector, 0])
            return Spent(clock, cpu.ms() - before)

        check_time(measure, ms_max, f"rows of {path}")


def test_a_graph_of_a_thousand_nodes_is_drawn_soon(browser: Browser, address: str) -> None:
    with tab(browser, base_url=address, viewport=WINDOW) as page:
        page.goto(f"{SCOPE}/executions/layered")
        expect(page.locator(NODE).first).to_be_visible()
        page.wait_for_timeout(2000)
        cpu = Cpu(page)

        def measure() -> Spent:
            page.get_by_role("tab", name="Timeline").click()
            page.locator("[role=treegrid]").wait_for()
            before = cpu.ms()
            click = "[...document.querySelectorAll('[role=tab]')].find(e => e.textContent.includes('Graph')).click()"
            begun = page.evaluate(f"() => {{ const from = performance.now(); {click}; return from; }}")
            clock: float = page.evaluate(_UNTIL, [".graph-node", begun])
            return Spent(clock, cpu.ms() - before)

        check_time(measure, 500, "graph of 1,000 nodes")
        expect(page.get_by_role("application")).to_have_accessible_name(re.compile("^Graph of 1000 nodes"))
        # Nodes outside of the view have no elements.
        assert 0 < page.locator(".graph-node").count() < 300
        page.get_by_role("button", name="Fit").click()
        expect(page.locator(".graph-node")).to_have_count(1000)


@pytest.mark.parametrize(
    ("path", "focus", "keys"),
    [
        ("/executions/chains", "[role=treegrid]", ["ArrowDown"] * 8 + ["End", "Home"]),
        ("/executions/chains", "main input[type=search]", list("step_n99x")),
        ("/executions/layered?tab=graph", "[role=application]", ["ArrowLeft"] * 8),
        ("/executions", "main [role=combobox]", list("workflow:large")),
        ("/executions", ROW, list("jjjjjjkk")),
    ],
)
def test_an_input_is_painted_soon(browser: Browser, address: str, path: str, focus: str, keys: list[str]) -> None:
    with tab(browser, base_url=address, viewport=WINDOW) as page:
        page.goto(SCOPE + path)
        page.locator(focus).first.focus()
        page.wait_for_timeout(2500)
        cpu = Cpu(page)
        page.evaluate(_EVENTS)

        def measure() -> Spent:
            page.evaluate("window.inputs.length = 0")
            before = cpu.ms()
            for key in keys:
                page.keyboard.press(key)
                page.wait_for_timeout(60)
            page.wait_for_timeout(100)
            spent = (cpu.ms() - before) / len(keys)
            return Spent(page.evaluate("Math.max(0, ...window.inputs.map(([, ms]) => ms))"), spent)

        check_time(measure, 100, f"input in {focus} of {path}")


def test_ten_thousand_nodes_take_few_elements_and_little_memory(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/chains")
    expect(page.locator(NODE).first).to_be_visible()
    page.wait_for_timeout(2000)
    assert page.locator("*").count() < 5000
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    print(f"heap with 10,000 nodes: {used / 1e6:.0f} MB")  # noqa: T201
    assert used <= 150_000_000, f"{used / 1e6:.0f} MB"


def test_scrolling_ten_thousand_nodes_shows_the_last_one(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/chains")
    rows = page.locator("[role=treegrid]")
    expect(rows.locator("[aria-level]").first).to_be_visible()
    rows.press("End")
    expect(page.get_by_text("step_n99x99").first).to_be_visible()
    assert page.locator("*").count() < 5000


def test_a_log_of_100_megabytes_opens_at_its_end(browser: Browser, address: str) -> None:
    """The end of the log is read, and the page is as large as that of a short log."""
    read = "performance.getEntriesByType('resource').filter(e => e.name.includes('/logs/'))"

    with tab(browser, base_url=address, viewport=WINDOW) as page:
        cpu = Cpu(page)

        def measure() -> Spent:
            page.goto(f"{SCOPE}/executions/log?node=n0&panel=io")
            expect(page.locator(NODE).first).to_be_visible()
            page.wait_for_timeout(1000)
            before = cpu.ms()
            page.evaluate("window.begun = performance.now()")
            page.get_by_role("tab", name="Log", exact=True).click()
            expect(page.get_by_text("the last line")).to_be_visible()
            clock: float = page.evaluate(
                f"Math.max(...{read}.map(e => e.responseEnd)) - Math.min(...{read}.map(e => e.startTime))"
            )
            return Spent(clock, cpu.ms() - before)

        check_time(measure, 300, "the end of a log of 100 MB")
        size = page.evaluate(f"{read}.reduce((sum, e) => sum + e.transferSize, 0)")
        assert size < 2_000_000, "only the end of the log is read"
        assert page.locator("*").count() < 5000


def test_a_map_of_100_000_indices_is_windowed(page: Page) -> None:
    page.goto(f"{SCOPE}/executions/map?node=n0")
    expect(page.get_by_text("Failed").first).to_be_visible()
    expect(page.get_by_text("100,000 of 100,000")).to_be_visible()
    assert page.locator("*").count() < 8000


def test_a_million_executions_are_listed_at_the_speed_of_the_api(browser: Browser, address: str) -> None:
    """The page waits for its list no longer than another client does, up to 50 ms."""
    path = SCOPE.replace("development", MANY_DOMAIN) + "/executions"
    timing = "performance.getEntriesByType('resource').filter(e => e.name.includes('/api/v1/executions/'))"
    with tab(browser, base_url=address, viewport=WINDOW) as page:
        cpu = Cpu(page)
        found: list[str] = []

        def measure() -> Spent:
            page.goto("about:blank")
            before = cpu.ms()
            page.goto(path, wait_until="commit")
            page.evaluate(_UNTIL, [ROW, 0])
            spent = cpu.ms() - before
            found[:] = page.evaluate(f"{timing}.map(e => e.name)")
            clock: float = page.evaluate(f"Math.max(...{timing}.map(e => e.responseEnd - e.requestStart))")
            return Spent(clock - _fastest_reply(found), spent)

        check_clock(measure, 50)
        assert page.locator(ROW).count() <= 100
        page.locator(ROW).last.scroll_into_view_if_needed()
        expect(page.locator(ROW).nth(60)).to_be_attached()


def check_clock(measure: Callable[[], Spent], ms_max: float) -> None:
    found = [measure() for _ in range(TRIES)]
    best = min(one.clock for one in found)
    print(f"a million executions: {best:.0f} ms beyond the API's own time, CPU {min(one.cpu for one in found):.0f} ms")  # noqa: T201
    assert best <= ms_max


def _fastest_reply(urls: list[str]) -> float:
    """Return the ms that the slowest of some requests takes another client."""
    slowest = 0.0
    with httpx.Client(headers={"accept": "application/json"}) as client:
        for url in urls:
            times = []
            for _ in range(3):
                begun = time.perf_counter()
                client.get(url).raise_for_status()
                times.append((time.perf_counter() - begun) * 1000)
            slowest = max(slowest, min(times))
    print(f"the API alone: {slowest:.0f} ms for the slowest of {len(urls)} lists")  # noqa: T201
    return slowest

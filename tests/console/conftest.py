"""Pages in Chromium. A test asks for `world` (a server with executions) and `page`; it fails for faults of the page.

@both_themes and @both_widths (tests/console/checks.py) run a test in light and dark, and at 1440 and 390 px.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console import large as larges
from tests.console import world as worlds
from tests.console.world import World
from tests.support.browser import Faults, browsing, skip_without_chromium, tab
from tests.support.servers import Running

# The time that a page has to show what is expected, on a machine with much else to do.
expect.set_options(timeout=15_000)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server with executions of every kind: that of FLYTEADMIN_TEST_CONSOLE, else one for this session."""
    if given := os.environ.get("FLYTEADMIN_TEST_CONSOLE"):
        found = worlds.running_at(Path(given))
        yield found
        found.remote.close()
        return
    skip_without_chromium()
    with worlds.server(tmp_path_factory.mktemp("console") / "home") as made:
        yield made


@pytest.fixture(scope="session")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server with large executions and a million small ones: see tests/console/large.py."""
    skip_without_chromium()
    with larges.server(tmp_path_factory.mktemp("large") / "home", many=larges.MANY) as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Chromium. Of the package, because `asyncio.run` fails in this thread while playwright runs."""
    with browsing() as opened:
        yield opened


@pytest.fixture
def theme() -> str:
    """The colour scheme that the system asks for."""
    return "light"


@pytest.fixture
def width() -> int:
    """The width of the window in px."""
    return 1440


@pytest.fixture
def address() -> str:
    """The server of the pages of `page`, without a slash at its end. Override it where a test has its own server."""
    return ""


@pytest.fixture
def new_page(browser: Browser, theme: str, width: int, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of a browser context of its own, in a theme, at a width; paths are those of `world`."""
    base = request.getfixturevalue("address") or request.getfixturevalue("world").web
    options = {"base_url": base, "color_scheme": theme, "viewport": {"width": width, "height": 900}}
    with tab(browser, **options, locale="en-GB", timezone_id="Europe/Berlin", reduced_motion="reduce") as page:
        yield page


@pytest.fixture
def faults(new_page: Page) -> Faults:
    """What goes wrong in `page`; `allow` expects a fault, `calls` returns the requests."""
    return Faults(new_page.context)


@pytest.fixture
def page(new_page: Page, faults: Faults) -> Iterator[Page]:
    """A page that must not log errors, violate its CSP, or send requests that are refused."""
    yield new_page
    faults.check()

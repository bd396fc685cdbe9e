"""Checks that hold for every page of the console."""

from __future__ import annotations

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

both_themes = pytest.mark.parametrize("theme", ["light", "dark"])
both_widths = pytest.mark.parametrize("width", [1440, 390])

# WCAG 2.2, levels A and AA.
_RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
_SIDEWAYS = """() => {
  const wide = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= wide) return [];
  return [...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > wide + 1)
    .slice(-5).map(e => `${e.tagName.toLowerCase()}.${e.className} ends at ${e.getBoundingClientRect().right}`);
}"""


def open_page(page: Page, path: str) -> None:
    """Open a path and wait until the page shows its data."""
    page.goto(path)
    shown(page)


def shown(page: Page) -> None:
    """Wait until the page has a heading and nothing in it is loading."""
    expect(page.locator("h1").first).to_be_attached()
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def check_accessible(page: Page) -> None:
    """Fail for each violation of WCAG 2.2 AA that axe finds in the page as it is shown now."""
    found = Axe().run(page, options=_RULES).response["violations"]
    assert not found, "\n".join(_told(one) for one in found)


def _told(violation: dict[str, Any]) -> str:
    nodes = violation["nodes"]
    places = "\n".join(
        f"    {node['target']} {node['html'][:200]}\n      {node['failureSummary']}" for node in nodes[:5]
    )
    return f"{violation['id']}: {violation['help']} ({len(nodes)} elements)\n{places}"


def check_no_sideways_scrolling(page: Page) -> None:
    """Fail where the page is wider than the window."""
    found = page.evaluate(_SIDEWAYS)
    assert not found, found


def check_not_attacked(page: Page) -> None:
    """Fail where the strings of tests/console/world.py ran as a script, which sets the page's title."""
    assert page.title() != "attacked"
    assert page.locator("img[src=x], script:not([src])").count() == 0
    links = page.eval_on_selector_all("[href], [src]", "all => all.map(e => e.getAttribute('href') ?? e.src)")
    bad = [link for link in links if link.strip().lower().startswith(("javascript:", "data:text", "vbscript:"))]
    assert not bad, bad

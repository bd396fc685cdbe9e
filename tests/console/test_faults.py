"""The check of pages itself: each fault of a page is found, and a page without faults passes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Page

from tests.console.checks import check_accessible, check_no_sideways_scrolling
from tests.support.browser import Faults

pytestmark = pytest.mark.campaign

_HEAD = "<!doctype html><html lang=en><title>t</title><link rel=icon href='data:,'><script src=/script.js></script>"
_SCRIPTS = {
    "none": "",
    "console": "console.error('written')",
    "uncaught": "throw new Error('thrown')",
    "rejected": "Promise.reject(new Error('rejected'))",
    "refused": "fetch('/api/v1/missing')",
    "me": "fetch('/me')",
    "unreachable": "fetch('http://127.0.0.1:1/')",
    "inline": "document.documentElement.setAttribute('onclick', 'alert(1)')",
    "style": "document.documentElement.setAttribute('style', 'color: red')",
}


@pytest.fixture
def address() -> Iterator[str]:
    """Pages with a CSP; the query chooses their script."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, _, wanted = self.path.partition("?")
            status = {"/api/v1/missing": 404, "/me": 501}.get(path, 200)
            body = _SCRIPTS[wanted or self.headers["Referer"].partition("?")[2]] if path == "/script.js" else _HEAD
            self.send_response(status)
            self.send_header("Content-Type", "text/javascript" if path == "/script.js" else "text/html")
            self.send_header("Content-Security-Policy", "default-src 'self' http://127.0.0.1:1; img-src data:")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, format: str, *args: object) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_faults_of_a_page_are_found(new_page: Page, faults: Faults) -> None:
    found = {}
    for name in _SCRIPTS:
        faults.found.clear()
        new_page.goto(f"/?{name}", wait_until="networkidle")
        try:
            faults.check()
        except AssertionError as error:
            found[name] = str(error).partition("\n")[2]
    assert set(found) == set(_SCRIPTS) - {"none", "me"}
    assert "console: written" in found["console"]
    assert "thrown" in found["uncaught"]
    assert "rejected" in found["rejected"]
    assert "404 GET" in found["refused"]
    assert "ERR_" in found["unreachable"]
    assert "CSP violation: script-src-attr inline" in found["inline"]
    assert "CSP violation: style-src-attr inline" in found["style"]
    assert [one.rpartition("/")[2] for one in faults.calls("/api/")] == ["missing"]


def test_expected_faults_are_none(page: Page, faults: Faults) -> None:
    faults.allow("404 GET .*/missing$")
    page.goto("/?refused", wait_until="networkidle")
    assert len(faults.found) == 1


@pytest.mark.parametrize(("body", "rule"), [("<img src='data:,'>", "image-alt"), ("<p style>fine</p>", "")])
def test_violations_of_accessibility_are_found(page: Page, faults: Faults, body: str, rule: str) -> None:
    faults.allow("data:,|style-src")
    page.goto("/?none")
    page.evaluate("text => { document.body.innerHTML = text }", body)
    if rule:
        with pytest.raises(AssertionError, match=rule):
            check_accessible(page)
    else:
        check_accessible(page)


def test_a_page_that_is_too_wide_is_found(page: Page) -> None:
    page.goto("/?none")
    check_no_sideways_scrolling(page)
    page.evaluate("document.body.innerHTML = '<p>wide</p>'; document.body.style.width = '3000px'")
    with pytest.raises(AssertionError, match="p\\. ends at"):
        check_no_sideways_scrolling(page)

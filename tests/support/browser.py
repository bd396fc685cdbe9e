"""Debian's Chromium, driven by playwright, and a list of what went wrong in a page."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, Response, sync_playwright

T = TypeVar("T")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync", "--disable-dev-shm-usage"),
    *("--disable-background-networking", "--disable-component-update"),
    "--host-resolver-rules=MAP flyte.site.example 127.0.0.1, "
    "MAP *.example 127.0.0.2, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE 127.0.0.2",
)
MILLISECONDS_MAX = 30_000


def skip_without_chromium() -> None:
    """Skip the test where no browser is installed, or playwright's driver. Debian: apt-get install chromium."""
    missing = ""
    if CHROMIUM is None or sys.platform != "linux":
        missing = "CHROMIUM"
    elif not all(Path(part).exists() for part in compute_driver_executable()):
        missing = "DRIVER OF PLAYWRIGHT"
    if missing:
        warnings.warn(f"NO {missing} on this machine: nothing is TESTED in a real browser", stacklevel=2)
        pytest.skip(f"NO {missing} on this machine: this is NOT TESTED")


@contextmanager
def browsing(*flags: str) -> Iterator[Browser]:
    """Yield a browser that ends with the block.

    playwright's event loop counts as running in this thread until then, so `asyncio.run` fails inside the block.
    """
    skip_without_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
        try:
            yield browser
        finally:
            browser.close()


def beside_playwright(function: Callable[[], T]) -> T:
    """Call a function that runs an event loop of its own, while playwright's runs in this thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(function).result()


@contextmanager
def tab(browser: Browser, **options: Any) -> Iterator[Page]:
    """Yield a page in a context of its own: no cookies, storage or cache of others.

    Args:
        **options: Arguments of playwright's Browser.new_context.
    """
    context = browser.new_context(**options)
    context.set_default_timeout(MILLISECONDS_MAX)
    try:
        yield context.new_page()
    finally:
        context.close()


def cookies(context: BrowserContext) -> dict[str, dict[str, Any]]:
    """Return all cookies of a context by name."""
    return {one["name"]: dict(one) for one in context.cookies()}


# Chromium logs each refused response to the console, too. `Faults` reads responses themselves.
_REFUSED_RESPONSE = re.compile(r"^Failed to load resource: the server responded with a status of \d+")
# A page that is left cancels its requests.
_CANCELLED = ("net::ERR_ABORTED",)
# Files of users, which frames show at signed addresses.
_DECK = "/storage/"


def _is_inside_deck(request: Request) -> bool:
    """Return whether a deck's own document asks for something."""
    return request.resource_type != "document" and _DECK in request.frame.url


class Faults:
    """What went wrong in the pages of a context: errors in the console, refused requests, violations of the CSP.

    `/me` answers 501 where authentication is off, so that is none. A deck is the work of a user in its own sandbox,
    so faults inside its frame are none.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.found: list[str] = []
        self.requests: list[Request] = []
        self._of_decks: set[str] = set()
        self._allowed = [re.compile(r"^501 GET \S*/me$")]
        context.on("console", self._console)
        context.on("weberror", lambda error: self._add(f"uncaught {error.error}"))
        context.on("request", self._request)
        context.on("response", self._response)
        context.on("requestfailed", self._failed)
        # A violation inside a worker or of a report-only policy has no line in the console.
        context.expose_function("reportViolation", lambda text: self._add(f"CSP violation: {text}"))
        context.add_init_script(
            f"if (!location.pathname.includes('{_DECK}')) addEventListener('securitypolicyviolation', e => "
            "reportViolation(`${e.effectiveDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`))"
        )

    def allow(self, pattern: str) -> None:
        """Expect faults whose text contains a regular expression, such as `404 GET .*/executions/`."""
        self._allowed.append(re.compile(pattern))

    def check(self) -> None:
        """Fail for every fault that is not expected."""
        unexpected = [one for one in self.found if not any(allowed.search(one) for allowed in self._allowed)]
        assert not unexpected, "the page did what no page may do:\n" + "\n".join(unexpected)

    def calls(self, path: str = "/api/v1/") -> list[str]:
        """Return method and address of the requests so far whose address contains a path."""
        return [f"{one.method} {one.url}" for one in self.requests if path in one.url]

    def _add(self, text: str) -> None:
        self.found.append(text)

    def _console(self, message: ConsoleMessage) -> None:
        source = message.location.get("url", "")
        if _DECK in source or source in self._of_decks or _DECK in message.text:
            return
        if message.type in ("error", "assert") and not _REFUSED_RESPONSE.search(message.text):
            self._add(f"console: {message.text} ({message.location.get('url', '')})")

    def _request(self, request: Request) -> None:
        if _is_inside_deck(request):
            self._of_decks.add(request.url)
        else:
            self.requests.append(request)

    def _response(self, response: Response) -> None:
        if response.status >= 400 and response.url not in self._of_decks:
            self._add(f"{response.status} {response.request.method} {response.url}")

    def _failed(self, request: Request) -> None:
        if request.failure not in _CANCELLED and request.url not in self._of_decks:
            self._add(f"{request.failure} {request.method} {request.url}")

"""Chromium without a screen, driven by the DevTools protocol over pipes."""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--host-resolver-rules=MAP flyte.site.example 127.0.0.1, "
    "MAP *.example 127.0.0.2, MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.2",
)
SECONDS_MAX = 60.0
# Chromium reads commands from descriptor 3 and writes to 4.
_WITH_PIPES = """
import fcntl, os, sys
for given, wanted in [(fcntl.fcntl(int(one), fcntl.F_DUPFD, 10), 3 + i) for i, one in enumerate(sys.argv[1:3])]:
    os.dup2(given, wanted)
os.execv(sys.argv[3], sys.argv[3:])
"""


def skip_without_chromium() -> None:
    if CHROMIUM is None or sys.platform != "linux":
        pytest.skip("NO CHROMIUM on this machine: sign-in in a real browser is NOT TESTED")


class Browser:
    """One tab of a browser."""

    def __init__(self, process: subprocess.Popen[bytes], to_browser: int, from_browser: int) -> None:
        self._process = process
        self._to, self._from = to_browser, from_browser
        self._received = b""
        self._number = 0
        self._session = ""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.command("Page.enable")

    def command(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + SECONDS_MAX
        while True:
            reply = self._next(deadline)
            if reply.get("id") == self._number:
                assert "error" not in reply, reply["error"]
                return reply["result"]

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._received:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._from, 1 << 16)
            assert piece, "Chromium has ended"
            self._received += piece
        one, _, self._received = self._received.partition(b"\0")
        found: dict[str, Any] = json.loads(one)
        return found

    def evaluate(self, script: str) -> Any:
        """Run a script in the page and return its value, which may be a promise."""
        found = self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, address: str) -> None:
        self.command("Page.navigate", url=address)

    @property
    def address(self) -> str:
        return str(self._value("location.href"))

    @property
    def text(self) -> str:
        return str(self._value("document.body ? document.body.innerText : ''"))

    def _value(self, script: str) -> Any:
        try:
            return self.evaluate(script)
        except AssertionError:
            # The page is replaced at this moment.
            return ""

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, f"no {what} at {self.address}: {self.text[:1000]}"
            time.sleep(0.1)

    def wait_for(self, selector: str) -> None:
        """Wait for an element."""
        self.wait(lambda: self._value(f"!!document.querySelector({json.dumps(selector)})"), selector)

    def submit(self, **fields: str) -> None:
        """Fill in fields by name and submit their form by its first button."""
        names = list(fields)
        self.wait_for(f"[name={names[0]}]")
        for name, value in fields.items():
            self.evaluate(f"document.querySelector('[name={name}]').value = {json.dumps(value)}")
        # Keycloak's form has a button that shows the password.
        self.evaluate(
            "(f => (f.querySelector('[type=submit]') || f.querySelector('button:not([type=button])')).click())"
            f"(document.querySelector('[name={names[0]}]').form)"
        )

    def cookies(self) -> dict[str, dict[str, Any]]:
        """All cookies of the browser by name."""
        return {one["name"]: one for one in self.command("Network.getAllCookies")["cookies"]}


@contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own."""
    skip_without_chromium()
    read_there, write_here = os.pipe()
    read_here, write_there = os.pipe()

    command = [sys.executable, "-c", _WITH_PIPES, str(read_there), str(write_there), str(CHROMIUM), *FLAGS]
    process = subprocess.Popen(
        [*command, "--remote-debugging-pipe", f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(read_there, write_there),
    )
    os.close(read_there)
    os.close(write_there)
    try:
        yield Browser(process, write_here, read_here)
    finally:
        process.terminate()
        process.wait(20)
        os.close(write_here)
        os.close(read_here)

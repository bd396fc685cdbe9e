"""The service that makes the environment of tasks in the background, before the first task needs it."""

from __future__ import annotations

import asyncio
import textwrap
import threading
import time
from collections.abc import Mapping

from app.engine.local.processes import environment
from app.server.startup import Progress
from app.settings import Settings

# The installer alone prints a hundred lines, so most of its progress is not printed.
LINE_SECONDS_MIN = 5.0
LINE_CHARACTERS_MAX = 160


class TaskEnvironmentMaker:
    """Makes the environment of tasks once requests are served.

    Args:
        progress: Where progress is printed, at most one line in LINE_SECONDS_MIN.
        serving: Set when requests are served.
    """

    name = "task_environment"

    def __init__(self, settings: Settings, progress: Progress, serving: threading.Event) -> None:
        self._settings = settings
        self._progress = progress
        self._serving = serving
        self._printed_at = 0.0
        self._failure = ""
        self._stopping = False

    async def start(self) -> None:
        """Start the thread that waits until requests are served and then makes the environment."""
        threading.Thread(target=self._make, name="task-environment", daemon=True).start()

    async def stop(self) -> None:
        """End an installer that runs."""
        self._stopping = True
        self._serving.set()
        environment.interrupt()

    def health(self) -> str:
        """Return why the environment could not be made, "" while it is being made and when it is ready."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}

    def _make(self) -> None:
        self._serving.wait()
        if self._stopping:
            return
        try:
            made = asyncio.run(environment.ensure(self._settings, self._print))
        except environment.EnvironmentBroken as error:
            # Stopping the server ends the installer, which is no failure.
            if not environment.interrupted():
                self._failure = str(error)
                self._progress.line(f"warning: {error}")
        else:
            if self._printed_at:
                self._progress.line(f"task environment: ready in {made.path}")

    def _print(self, line: str) -> None:
        if time.monotonic() - self._printed_at >= LINE_SECONDS_MIN:
            self._printed_at = time.monotonic()
            # pip appends "(from …", the requirement that needs a package, and lists all packages in one line.
            short = textwrap.shorten(line.partition(" (from ")[0], LINE_CHARACTERS_MAX, placeholder=" …")
            self._progress.line(f"task environment: {short}")

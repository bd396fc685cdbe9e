"""Make environments in the background of a server, each once, however many tasks wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from app.engine.local.processes.environments import pruning
from app.engine.local.processes.environments.installer import InstallationStopped, Installer
from app.engine.local.processes.environments.store import EnvironmentStore, NotMade, shortened
from app.engine.local.processes.environments.wanted import Wanted
from app.settings import Settings

log = structlog.get_logger(__name__)

# Time between two records of the use of one environment.
_TOUCH_SECONDS = 60.0


class EnvironmentMaker:
    """The environments of one server process.

    Args:
        settings: The settings.
    """

    def __init__(self, settings: Settings) -> None:
        section = settings.engine.local.environments
        self._installer = Installer()
        self.store = EnvironmentStore(
            settings.home_path / "envs", self._installer, seconds_max=section.making_seconds_max
        )
        self._bytes_max = section.bytes_max
        self._retry_seconds = section.retry_seconds
        self._threads = ThreadPoolExecutor(section.making_max, thread_name_prefix="environments")
        self._making: dict[str, asyncio.Future[None]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._used: dict[str, float] = {}

    def is_ready(self, key: str) -> bool:
        """Return whether an environment can be used at once; record its use."""
        # Another process may have removed it and begun to make it again, so the record is read each time.
        if not self.store.is_ready(key):
            return False
        now = time.monotonic()
        if now - self._used.get(key, -_TOUCH_SECONDS) >= _TOUCH_SECONDS:
            self.store.touch(key)
            self._used[key] = now
        return True

    async def ensure(self, wanted: Wanted, image: str, notices: tuple[str, ...] = ()) -> None:
        """Make an environment if it is not ready. All tasks that want it wait for one installation.

        Args:
            wanted: Its contents.
            image: The image that it is made for.
            notices: Parts of the image that have no effect.

        Raises:
            NotMade: The environment cannot be made. For some seconds other tasks get the same error at once.
        """
        key = wanted.key
        if self.is_ready(key):
            return
        failed_at, reason = self._failed.get(key, (0.0, ""))
        if reason and time.monotonic() - failed_at < self._retry_seconds:
            raise NotMade(reason)
        making = self._making.get(key)
        if making is None:
            log.info("environment_making", key=key, image=image, packages=shortened(wanted.shown))
            making = asyncio.ensure_future(self._make(wanted, image, notices))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        # A task that is aborted meanwhile does not end the installation for others.
        await asyncio.shield(making)

    async def close(self) -> None:
        """End the running installations."""
        self._installer.stop()
        await asyncio.gather(*self._making.values(), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _make(self, wanted: Wanted, image: str, notices: tuple[str, ...]) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._threads, self.store.make, wanted, image, notices)
        except NotMade as error:
            self._failed[wanted.key] = (time.monotonic(), str(error))
            log.warning("environment_not_made", key=wanted.key, image=image, reason=error.cause)
            raise
        except InstallationStopped as error:
            raise NotMade(f"environment {wanted.key} is not made: the server stops") from error
        self._failed.pop(wanted.key, None)
        log.info("environment_ready", key=wanted.key, image=image)
        steps: list[Callable[[], Any]] = [self.store.forget_failed]
        if self._bytes_max:
            steps.append(partial(pruning.to_size, self.store, self._bytes_max))
        for step in steps:
            try:
                await loop.run_in_executor(self._threads, step)
            except OSError:
                # The environment that the tasks wait for is ready.
                log.exception("environments_not_pruned")

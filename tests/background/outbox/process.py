"""Processes that only deliver the messages of the outbox."""

from __future__ import annotations

import asyncio
import itertools
import signal
from pathlib import Path

from app.background.outbox import service
from app.background.outbox.build import outbox_of
from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import load
from tests.support.forked_commands import Forked

START_SECONDS_MAX = 60.0

_numbers = itertools.count()


class Deliverer:
    """A process that delivers until SIGTERM.

    Args:
        config: A file of settings.
        folder: Receives the log.
        renew_seconds: The time between two renewals of leases, after which messages of killed processes are free.
    """

    def __init__(self, config: Path, folder: Path, *, renew_seconds: float = service.RENEW_SECONDS) -> None:
        self._log = folder / f"deliverer-{next(_numbers)}"
        self._log.touch()
        self._process = Forked(_run, (str(config), renew_seconds), self._log)

    @property
    def log(self) -> str:
        """The end of the log."""
        return self._log.read_text()[-3000:]

    async def started(self) -> None:
        """Wait until the process delivers."""
        async with asyncio.timeout(START_SECONDS_MAX):
            while not self.log.startswith("started"):
                assert self._process.poll() is None, self.log
                await asyncio.sleep(0.01)

    def kill(self) -> None:
        """Kill the process, where it has not ended, and wait for its end."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self._process.terminate()
        return await asyncio.to_thread(self._process.wait, 60)


def _run(config: str, renew_seconds: float) -> None:
    service.RENEW_SECONDS = renew_seconds
    asyncio.run(_work(Path(config)))


async def _work(config: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    settings = load([config], None, {}).settings
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    outbox = outbox_of(server)
    await outbox.start()
    print("started", flush=True)  # noqa: T201
    await ended.wait()
    await outbox.stop()
    await server.database.close()

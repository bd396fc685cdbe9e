"""A process that only delivers the messages of the outbox: python -m tests.background.outbox.process CONFIG."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from app.background.outbox.build import outbox_of
from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import load


async def work(config: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    settings = load([config]).settings
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    outbox = outbox_of(server)
    await outbox.start()
    await ended.wait()
    await outbox.stop()
    await server.database.close()


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1])))

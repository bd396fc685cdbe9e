"""A process that publishes events and does nothing else. Its argument is a file of settings."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from app.background.outbox import service
from app.background.outbox.build import outbox_of
from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import load

# The messages of a killed process are free after at most this time.
service.RENEW_SECONDS = 0.3


async def main(file: Path) -> None:
    settings = load([file], None, {}).settings
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    await outbox_of(server).start()
    print("started", flush=True)  # noqa: T201
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

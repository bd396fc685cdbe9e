"""Run one background service in a process of its own, until SIGTERM or Ctrl-C."""

import asyncio
import signal
from collections.abc import Callable

from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.runtime.lifecycle import Service, Services
from app.settings import Settings


def run_alone(settings: Settings, make: Callable[[Server], Service]) -> None:
    """Run a service that `make` returns for the objects of this process."""
    asyncio.run(_run(settings, make))


async def _run(settings: Settings, make: Callable[[Server], Service]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    services = Services([make(server)])
    try:
        await services.start()
        await ended.wait()
        await services.stop()
    finally:
        await server.database.close()

"""Run background services in a process of their own, until SIGTERM or Ctrl-C."""

import asyncio
import signal
from collections.abc import Callable, Sequence

from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.runtime.lifecycle import Service, Services
from app.settings import Settings


def run_alone(settings: Settings, *makers: Callable[[Server], Service]) -> None:
    """Run the services that functions return for the objects of this process; they start in this order."""
    asyncio.run(_run(settings, makers))


async def _run(settings: Settings, makers: Sequence[Callable[[Server], Service]]) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = Server(settings, database_of(settings, serves=True), Blobs(settings), NoEngine())
    await server.database.open()
    services = Services([make(server) for make in makers])
    try:
        await services.start()
        await ended.wait()
        await services.stop()
    finally:
        await server.database.close()

"""The web server of one process: signals before it serves."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path

import pytest

from app.main import create_app
from app.runtime import metrics
from app.server import web_server
from app.server.reload import SettingsSource
from app.settings import Settings
from tests.support.databases import migrated


@pytest.fixture
def _handlers() -> object:
    """Restore the handlers of the signals after the test."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.usefixtures("_handlers")
def test_a_worker_that_is_stopped_while_it_starts_takes_no_connection(tmp_path: Path) -> None:
    url = migrated(tmp_path / "flyte.db")
    settings = Settings(home=tmp_path, database={"url": url}, engine={"kind": "none"})
    served: list[str] = []

    async def scenario() -> None:
        with socket.create_server(("127.0.0.1", 0)) as bound, socket.create_connection(bound.getsockname()):
            counts = metrics.CallMetrics([name for _, name in metrics.rpcs()])
            source, stop = SettingsSource(), web_server.StopSignals()
            serving = web_server.Serving(
                settings, source, [bound], counts, lambda: served.append("ready"), shares_sockets=True
            )
            server = web_server._uvicorn_server(create_app(settings), serving, stop, None)
            stop.stop(signal.SIGTERM)
            stop.attach(server)
            await server.serve([bound])
            bound.settimeout(1)
            # Another worker could still accept the connection that waits.
            bound.accept()[0].close()

    asyncio.run(scenario())
    assert not served

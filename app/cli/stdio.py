"""`flyteadmin mcp`: the tools over stdin and stdout, for an assistant that starts its servers itself.

With an endpoint they act on that server. Without one they act on the database that `serve` would open, in this process;
no engine runs here, so what is launched is run by the server that shares the database, and its absence is told.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from mcp.server.stdio import stdio_server

from app.blobs import Blobs
from app.engine.port import NoEngine
from app.mcp import remote
from app.mcp.assistants import Assistants
from app.mcp.callers import Caller, InProcess
from app.runtime.dispatch import Server
from app.server import home, installation, startup
from app.settings import Settings, check_served


def run(settings: Settings, endpoint: str | None) -> None:
    """Serve until stdin ends.

    errors: BadSetting for a bad endpoint, a home or a database that cannot be used
    """
    # The thread that waits for stdin cannot be interrupted, so Ctrl-C ends the process as it ends any other.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve(settings, endpoint))


async def _serve(settings: Settings, endpoint: str | None) -> None:
    opened = _there(settings, endpoint) if endpoint is not None else _here(settings)
    async with opened as (caller, warning):
        server = Assistants(caller, settings, warning=warning).server()
        if told := warning():
            startup.Progress(sys.stderr).line(f"warning: {told}")
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


@asynccontextmanager
async def _there(settings: Settings, endpoint: str) -> AsyncIterator[tuple[Caller, Callable[[], str]]]:
    key = settings.mcp.api_key.get_secret_value()
    async with remote.connected(endpoint, key, settings.mcp.call_seconds_max) as caller:
        yield caller, str


@asynccontextmanager
async def _here(settings: Settings) -> AsyncIterator[tuple[Caller, Callable[[], str]]]:
    progress = startup.Progress(sys.stderr)
    check_served(settings)
    home.prepare(settings.home_path)
    await asyncio.to_thread(_prepare, settings, progress)
    async with startup.opened(settings, serves=True) as database:
        server = Server(settings=settings, database=database, blobs=Blobs(settings), engine=NoEngine())
        server.blobs.use_signing_key(await installation.link_key(database, settings))
        yield InProcess(server), lambda: _warning(settings)


def _prepare(settings: Settings, progress: startup.Progress) -> None:
    """errors: BadSetting where a server runs whose database has another schema than this version's"""
    if serving := home.holder(settings.home_path):
        # An assistant may come with a newer package; the schema under a running server is not its to change.
        startup.check_migrated(
            settings,
            f"the flyteadmin (process {serving}) that serves from {settings.home_path} is of another version or uses "
            "another database; give its address with --endpoint http://host:port, or stop it first",
        )
        startup.bind_storage(settings)
        return
    startup.migrate(settings, progress)
    startup.bind_storage(settings)
    startup.first_project(settings, progress)


def _warning(settings: Settings) -> str:
    """Why nothing will run what is launched; "" where a server does."""
    if settings.engine.kind == "none":
        return "No engine runs (engine.kind is none): executions are recorded and stay as they are until events arrive."
    if home.holder(settings.home_path):
        return ""
    return (
        f"No engine runs: no flyteadmin serves from {settings.home_path}. Executions wait until one does "
        "(`flyteadmin serve`), or until another server that shares the database takes them."
    )

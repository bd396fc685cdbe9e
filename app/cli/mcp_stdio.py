"""`flyteadmin mcp`: MCP over stdin and stdout.

With an endpoint, the tools call that server. Without one, they call the service functions in this process, on the
database of the settings. This process has no engine: a server that shares the database runs the executions, and the
tools warn while no such server runs.
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
from app.mcp.clients import InProcessClient, RpcClient
from app.mcp.tool_server import ToolServer
from app.runtime.dispatch import Server
from app.server import home, installation, startup
from app.settings import Settings, check_served


def run(settings: Settings, endpoint: str | None) -> None:
    """Serve until stdin ends.

    Raises:
        BadSetting: The endpoint is no address, or home folder or database cannot be used.
    """
    # The thread that reads stdin cannot be interrupted, so SIGINT gets its default effect: it ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    asyncio.run(_serve(settings, endpoint))


async def _serve(settings: Settings, endpoint: str | None) -> None:
    opened = _remote(settings, endpoint) if endpoint is not None else _in_process(settings)
    async with opened as (caller, warning):
        server = ToolServer(caller, settings, warning=warning).server()
        if text := warning():
            startup.Progress(sys.stderr).line(f"warning: {text}")
        async with stdio_server() as (read, write):
            await server.run(read, write, server.create_initialization_options())


@asynccontextmanager
async def _remote(settings: Settings, endpoint: str) -> AsyncIterator[tuple[RpcClient, Callable[[], str]]]:
    key = settings.mcp.api_key.get_secret_value()
    async with remote.connect(endpoint, key, settings.mcp.call_seconds_max) as caller:
        yield caller, str


@asynccontextmanager
async def _in_process(settings: Settings) -> AsyncIterator[tuple[RpcClient, Callable[[], str]]]:
    progress = startup.Progress(sys.stderr)
    check_served(settings)
    home.prepare(settings.home_path)
    await asyncio.to_thread(_prepare, settings, progress)
    async with startup.opened(settings, serves=True) as database:
        server = Server(settings=settings, database=database, blobs=Blobs(settings), engine=NoEngine())
        server.blobs.use_signing_key(await installation.link_key(database, settings))
        yield InProcessClient(server), lambda: _warning(settings)


def _prepare(settings: Settings, progress: startup.Progress) -> None:
    """Migrate the database and make the first project, unless a server runs with this home folder.

    Raises:
        BadSetting: A server runs with this home folder, and the database has the schema of another version.
    """
    if process := home.holder(settings.home_path):
        # The assistant may start a newer version of this program, which must not migrate under a running server.
        startup.check_migrated(
            settings,
            f"the flyteadmin (process {process}) that serves from {settings.home_path} is of another version or uses "
            "another database; give its address with --endpoint http://host:port, or stop it first",
        )
        startup.bind_storage(settings)
        return
    startup.migrate(settings, progress)
    startup.bind_storage(settings)
    startup.first_project(settings, progress)


def _warning(settings: Settings) -> str:
    """Return why no engine will run a launched execution; "" where a server with this home folder runs."""
    if settings.engine.kind == "none":
        return "No engine runs (engine.kind is none): executions are recorded and stay as they are until events arrive."
    if home.holder(settings.home_path):
        return ""
    return (
        f"No engine runs: no flyteadmin serves from {settings.home_path}. Executions wait until one does "
        "(`flyteadmin serve`), or until another server that shares the database takes them."
    )

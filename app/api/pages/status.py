"""The state of this server at /api/v1/status, for `flyteadmin status`. Not upstream's.

GET /api/v1/status      for administrators
    {"version": "…", "home": "/…", "started_at": "2026-01-01T00:00:00Z",
     "addresses": {"rest": "127.0.0.1:30080", "grpc": "…", "metrics": "…"},
     "database": {"address": "/…/flyteadmin.db", "bytes": 4096},
     "storage": {"address": "/…/storage", "bytes": 123, "complete": true},
     "engine": {"kind": "local", "running": 1, "queued": 0, "problem": ""},
     "environments": [{"name": "default", "path": "/…", "state": "making" | "ready" | "failed", "bytes": 1,
         "complete": true}],
     "services": {"local_engine": ""}, "not_ready": [], "last_error": null}
    `bytes` is null where the size is not known, and too small where `complete` is false: the count was stopped.
    `services` has the reason why a service does not work. `last_error` is the last line of this process's log.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, ClauseElement, Dialect, column, func, select, text
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import last_error
from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, require
from app.auth.roles import ANY, Need, Role
from app.database import schema
from app.database.statements import Statement
from app.engine.local.processes.environments.views import store_of
from app.runtime.dispatch import Server
from app.settings import Settings, redact

PATH = "/api/v1/status"
# Time for counting the bytes of one folder.
COUNT_SECONDS_MAX = 2.0
# A size is counted again after this time.
SIZES_SECONDS = 30.0

_launches = schema.table(schema.Launch)
_COUNTS = Statement(
    select(func.count().label("rows"), func.count(_launches.c.owner).label("owned")).select_from(_launches)
)


def _database_bytes(dialect: Dialect) -> ClauseElement:
    if dialect.name == "sqlite":
        pages = text("SELECT page_count * page_size AS bytes FROM pragma_page_count(), pragma_page_size()")
        return pages.columns(column("bytes", BigInteger))
    return select(func.pg_database_size(func.current_database()).label("bytes"))


_DATABASE_BYTES = Statement(_database_bytes)


def routes(server: Server, services: Callable[[], Mapping[str, str]]) -> list[BaseRoute]:
    """Return the route for the state.

    Args:
        server: The objects of this process.
        services: Returns the health of each service by name.
    """
    page = _Page(server, services)
    return [Route(PATH, answering_errors(page.serve), methods=["GET"])]


class _Page:
    def __init__(self, server: Server, services: Callable[[], Mapping[str, str]]) -> None:
        self._server = server
        self._services = services
        self._started_at = datetime.now(UTC)
        self._counting = asyncio.Lock()
        self._sizes: dict[Path, tuple[float, int, bool]] = {}

    async def serve(self, request: Request) -> Response:
        """Serve one request."""
        server, settings = self._server, self._server.settings
        await require(server, request, Need(Role.ADMIN, ANY, ANY), "status")
        services = dict(self._services())
        host = settings.server.host
        addresses = {"rest": settings.server.http_port, "grpc": settings.server.grpc.port}
        addresses["metrics"] = settings.flyteadmin.profiler_port
        async with self._counting:
            storage = await self._storage()
            found = await asyncio.to_thread(_environments, settings)
            environments = [await self._environment(*one) for one in found]
        return json_pages.reply(
            {
                "version": version("flyteadmin"),
                "home": str(settings.home_path),
                "started_at": self._started_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
                "addresses": {name: f"{host}:{port}" for name, port in addresses.items()},
                "database": await self._database(),
                "storage": storage,
                "engine": await self._engine(services),
                "environments": environments,
                "services": services,
                "not_ready": list(await server.health.failing()),
                "last_error": last_error.last(),
            }
        )

    async def _engine(self, services: Mapping[str, str]) -> dict[str, Any]:
        """Return the number of executions that engines run, and that wait for one."""
        async with self._server.database.unit_of_work() as unit:
            row = await unit.one(_COUNTS)
        assert row is not None
        kind = self._server.settings.engine.kind
        problem = next((reason for name, reason in services.items() if name.endswith("_engine") and reason), "")
        return {"kind": kind, "running": row.owned, "queued": row.rows - row.owned, "problem": problem}

    async def _database(self) -> dict[str, Any]:
        url = self._server.settings.database_url
        address = url.removeprefix("sqlite:///") if url.startswith("sqlite") else redact(url)
        async with self._server.database.unit_of_work() as unit:
            row = await unit.one(_DATABASE_BYTES)
        return {"address": address, "bytes": None if row is None else int(row.bytes)}

    async def _storage(self) -> dict[str, Any]:
        settings, blobs = self._server.settings, self._server.blobs
        size = await self._size(Path(blobs.base)) if blobs.local else {"bytes": None, "complete": False}
        return {"address": redact(settings.storage_url), **size}

    async def _environment(self, name: str, folder: Path, state: str, size_bytes: int) -> dict[str, Any]:
        size = {"bytes": size_bytes, "complete": True} if size_bytes else await self._size(folder)
        return {"name": name, "path": str(folder), "state": state, **size}

    async def _size(self, folder: Path) -> dict[str, Any]:
        counted_at, size, complete = self._sizes.get(folder, (-SIZES_SECONDS, 0, False))
        if time.monotonic() - counted_at > SIZES_SECONDS:
            size, complete = await asyncio.to_thread(count_bytes, folder, COUNT_SECONDS_MAX)
            self._sizes[folder] = time.monotonic(), size, complete
        return {"bytes": size, "complete": complete}


def count_bytes(folder: Path, seconds_max: float) -> tuple[int, bool]:
    """Return the bytes of the files in a folder, and whether all were counted in time."""
    deadline, found = time.monotonic() + seconds_max, 0
    for where, _, names in os.walk(folder):
        if time.monotonic() > deadline:
            return found, False
        found += _bytes_of(tuple(Path(where, name) for name in names))
    return found, True


def _bytes_of(files: tuple[Path, ...]) -> int:
    found = 0
    for file in files:
        try:
            found += file.lstat().st_size
        except FileNotFoundError:
            # Temporary files come and go while they are counted.
            continue
    return found


def _environments(settings: Settings) -> list[tuple[str, Path, str, int]]:
    """Return the default environment of the settings, and the others of this machine.

    Returns:
        The name, the folder and the state of each, and its size in bytes where that was counted when it was made,
        otherwise 0.
    """
    store, default = store_of(settings), settings.environment_path
    records = {store.path(record.key).resolve(): record for record in store.all()}
    # The link to the default environment is missing while that is made for the first time.
    beside = default.parent.iterdir() if default.parent.name == "envs" and default.parent.is_dir() else ()
    others = {path.resolve() for path in beside if (path / "bin" / "python").exists()}
    # No folder is left of an environment that was not made.
    others |= {path for path, record in records.items() if record.state != "ready"}
    paths = [*([default] if default.exists() else []), *sorted(others - {default.resolve()})]
    found = []
    for path in paths:
        folder = path.resolve()
        record = records.get(folder)
        state, size_bytes = ("ready", 0) if record is None else (record.state, record.size_bytes)
        found.append((path.name, folder, state, size_bytes))
    return found

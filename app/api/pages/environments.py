"""The environments of tasks of this machine, over HTTP (docs/local-engine.md). Not upstream's.

GET /api/v1/environments    {"environments": [{"id": "5c9e…", "state": "making" | "ready" | "failed", "default": false,
    "path": "/…/5c9e…", "python": "", "image": "me:tag-env…", "requirements": ["six"], "packages": ["six==1.17.0"],
    "size_bytes": 1, "reason": "", "notices": [], "started_at": "2026-01-01T00:00:00Z", "made_at": null,
    "used_at": null, "progress": "Resolved …"}]}
GET /api/v1/environments/{id}/log    {"log": "…"}, the end of the output of the installer
"""

from __future__ import annotations

import asyncio
import re

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import errors
from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, require
from app.auth.roles import ANY, Need, Role
from app.engine.local.processes.environments.views import store_of, views
from app.runtime.dispatch import Server
from app.settings import redact

PATH = "/api/v1/environments"
LOG_BYTES_MAX = 256 * 1024
_ID = re.compile(r"[0-9a-f]{16}|default-[0-9a-f]{8}")


def routes(server: Server) -> list[BaseRoute]:
    """Return the routes for environments."""
    store = store_of(server.settings)

    async def list_all(request: Request) -> Response:
        await require(server, request, Need(Role.VIEW, ANY, ANY), "environments")
        found = await asyncio.to_thread(views, server.settings, store)
        return json_pages.reply({"environments": found})

    async def log(request: Request) -> Response:
        await require(server, request, Need(Role.VIEW, ANY, ANY), "environment log")
        id = request.path_params["id"]
        if not _ID.fullmatch(id) or store.record(id) is None:
            raise errors.NotFound(f"this machine has no environment [{id[:40]}]; GET {PATH} lists them")
        text = await asyncio.to_thread(store.log_of, id, LOG_BYTES_MAX)
        return json_pages.reply({"log": redact(text)})

    return [
        Route(PATH, answering_errors(list_all), methods=["GET"]),
        Route(f"{PATH}/{{id}}/log", answering_errors(log), methods=["GET"]),
    ]

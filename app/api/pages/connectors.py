"""The services that run tasks of connectors, over HTTP (docs/connectors.md). Not upstream's.

GET /api/v1/connectors
    {"services": [
        {"plugin": "connector-service", "id": "", "endpoint": "localhost:8000",
         "types": [{"name": "sensor", "version": 0, "sync": false}],
         "answered_at": "2026-01-01T00:00:00.000000Z", "problem": "", "calls": 12, "failed_calls": 0}],
     "open_tasks": 3}
    The services of the process that replies. `id`: of the settings, "" for the default service, `flytekit` for the
    one that this server starts itself. `answered_at`: the last answer to ListAgents, null for none. `problem`: why the
    last ListAgents failed, or why flytekit's own service does not run.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, require
from app.auth.roles import ANY, Need, Role
from app.engine.port import CallsConnectors
from app.runtime.dispatch import Server

PATH = "/api/v1/connectors"


def routes(server: Server) -> list[BaseRoute]:
    """Return the route of the services."""

    async def services(request: Request) -> Response:
        await require(server, request, Need(Role.VIEW, ANY, ANY), "connectors")
        engine = server.engine
        if not isinstance(engine, CallsConnectors):
            return json_pages.reply({"services": [], "open_tasks": 0})
        return json_pages.reply(engine.connector_status())

    return [Route(PATH, answering_errors(services), methods=["GET"])]

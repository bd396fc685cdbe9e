"""The roles of the caller: GET /api/v1/roles/mine, for clients that disable an action before it is refused.

    {"enabled": true, "grants": [{"role": "run", "project": "flytesnacks", "domain": "*"}]}

A grant is the highest role in a place; project and domain are patterns (docs/roles.md). `enabled` is false where roles
are off: every caller then may do everything.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, identity_of
from app.runtime.dispatch import Server

PATH = "/api/v1/roles/mine"


def routes(server: Server) -> list[BaseRoute]:
    """Return the route for the caller's own roles."""

    async def serve(request: Request) -> Response:
        identity = await identity_of(server, request)
        access = None if server.access is None else await server.access.access(identity)
        if access is None or access.permissions is None:
            return json_pages.reply({"enabled": False, "grants": []})
        grants = [
            {"role": role.text, "project": project, "domain": domain}
            for role, project, domain in access.permissions.grants
        ]
        return json_pages.reply({"enabled": True, "grants": grants})

    return [Route(PATH, answering_errors(serve), methods=["GET"])]

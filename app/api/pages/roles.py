"""The bindings of roles over HTTP, for administrators: GET, POST and DELETE /api/v1/roles (docs/roles.md).

GET lists the bindings of the settings and of the database. POST stores a binding, DELETE removes one; both take it as
JSON. A change has effect in this process at once, and in the others within `auth.roles.cacheSeconds`.
"""

from __future__ import annotations

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from app import errors
from app.api.pages import json_pages
from app.api.pages.page_access import answering_errors, require
from app.auth import audit, role_store
from app.auth.identity import Identity
from app.auth.role_store import Roles
from app.auth.roles import ANY, MemberRole, Need, Role
from app.runtime.dispatch import Server

PATH = "/api/v1/roles"
_FIELDS = ("role", "project", "domain", "member_kind", "member")
_ADMIN = Need(Role.ADMIN, ANY, ANY)


def routes(server: Server) -> list[BaseRoute]:
    """Return the route for roles."""
    page = _Page(server)
    return [Route(PATH, answering_errors(page.serve), methods=["GET", "POST", "DELETE"])]


class _Page:
    def __init__(self, server: Server) -> None:
        self._server = server

    async def serve(self, request: Request) -> Response:
        """Serve one request."""
        server = self._server
        caller = await require(server, request, _ADMIN, "roles")
        if server.access is None or server.access.roles is None:
            raise errors.Unimplemented("roles are off (auth.roles.enabled)")
        if request.method in ("GET", "HEAD"):
            return json_pages.reply(await self._list(request))
        binding = _binding(await self._body(request))
        await self._change(request.method == "POST", binding, caller, server.access.roles)
        return json_pages.reply({})

    async def _list(self, request: Request) -> dict[str, Any]:
        """Return one page: the bindings of the settings first, then the rows in the order of their ids."""
        limit = json_pages.number(request.query_params.get("limit", "100"), "limit", 1, json_pages.PAGE_ROWS_MAX)
        start = json_pages.number(request.query_params.get("token") or "0", "token", 0, 2**31)
        configured = role_store.configured_bindings(self._server.settings)
        async with self._server.database.unit_of_work() as unit:
            stored = await role_store.read_bindings(unit, self._server.settings.auth.roles.rows_max)
        found = [(one, "settings") for one in configured] + [(one, "database") for one in stored]
        page = found[start : start + limit]
        more = len(found) > start + limit
        return {
            "roles": [{**_shown(binding), "source": source} for binding, source in page],
            "token": str(start + limit) if more else "",
        }

    async def _body(self, request: Request) -> Any:
        raw = await json_pages.read(request, self._server.settings)
        try:
            return orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise errors.InvalidArgument(f"the body is no JSON: {error}") from error

    async def _change(self, grants: bool, binding: MemberRole, caller: Identity, roles: Roles) -> None:
        settings = self._server.settings
        what, outcome = ("grant" if grants else "revoke"), "error"
        try:
            async with self._server.database.unit_of_work() as unit:
                if grants:
                    by, rows_max = caller.subject or caller.client_id, settings.auth.roles.rows_max
                    await role_store.grant(unit, binding, by=by, rows_max=rows_max)
                else:
                    await role_store.revoke(unit, binding, role_store.configured_bindings(settings))
            outcome = "ok"
            await roles.read(at_once=True)
        except errors.FlyteError as error:
            outcome = f"error {error.code}"
            raise
        finally:
            audit.record("role", what, who=caller, where=role_store.shown(binding), outcome=outcome)


def _binding(body: Any) -> MemberRole:
    """Return the binding of a body. Raises INVALID_ARGUMENT, which names the field."""
    if not isinstance(body, dict) or not set(body) <= set(_FIELDS):
        raise errors.InvalidArgument(f"the body must be a JSON object with {', '.join(_FIELDS)}")
    values = {"member_kind": "subject", **body}
    for name in _FIELDS:
        if not isinstance(values.get(name), str):
            raise errors.InvalidArgument(f"{name} must be a text")
    return role_store.binding_of(*(values[name] for name in _FIELDS))


def _shown(binding: MemberRole) -> dict[str, str]:
    return dict(zip(_FIELDS, (binding.role.text, *binding[1:]), strict=True))

"""The guard in front of all pages: a page answers an anonymous caller only where app/auth/access.py has it open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.api.rest.exchange import Head, send_error
from app.auth.access import rule_of
from app.auth.credentials import Credentials
from app.runtime import dispatch

if TYPE_CHECKING:
    from app.auth.authentication import Authentication


class PageGuard:
    """ASGI middleware around the routes of pages, which find the identity of the caller in the scope.

    Args:
        app: Serves the pages.
        routes: The routes, which may grow later.
        auth: Finds out who calls.
    """

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute], auth: Authentication) -> None:
        self._app = app
        self._routes = routes
        self._auth = auth

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request, or answer 401. Unknown paths and wrong methods are left to the routes, as upstream does."""
        if scope["type"] in ("http", "websocket") and self._needs_identity(scope):
            try:
                credentials = Credentials.of_scope({"method": "GET", **scope}, "http")
                identity = scope[dispatch.IDENTITY_KEY] = await dispatch.identity(self._auth, credentials)
                self._auth.check_origin(identity, credentials)
            except errors.FlyteError as error:
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1008})
                else:
                    await send_error(send, scope, Head.of(scope), error)
                return
        await self._app(scope, receive, send)

    def _needs_identity(self, scope: Scope) -> bool:
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                return rule_of(getattr(route, "path", "")).needs == "identity"
        return False

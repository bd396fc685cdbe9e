"""The bearer key that both ports of the service for assistants require when mcp.api_key is set.

The key is compared in constant time and never logged. Host and Origin are checked before, by app/api/http/origins.py.
"""

from __future__ import annotations

import hmac

from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.api.http.refusals import refuse
from app.settings import Settings

_BEARER = b"bearer "


class ApiKeyGuard:
    """ASGI middleware that refuses requests without the key."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._key = settings.mcp.api_key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before its body is read."""
        if scope["type"] != "http":
            raise RuntimeError(f"the adapters do not serve {scope['type']}")
        if self._key and not self._has_key(scope):
            error = errors.Unauthenticated(
                "this port requires the API key: send the header Authorization: Bearer <FLYTE_API_KEY>"
            )
            await refuse(send, error, [(b"www-authenticate", b"Bearer")])
        else:
            await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        # Two headers are refused, because it is unclear which one counts.
        if len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER:
            return False
        return hmac.compare_digest(given[0][len(_BEARER) :].strip(), self._key)

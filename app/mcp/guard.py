"""What stands before both listeners: the Host and Origin of a request, and the key where one is set.

A page of another origin, or one that made its name lead to this machine (DNS rebinding), must not reach tools that
launch and stop executions; the SDK's own check decides that. The key is compared in constant time and never logged.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.api.status import http_status
from app.settings import Settings
from app.wire.render import Encoding, status_bytes

_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_BEARER = b"bearer "

Headers = Sequence[tuple[bytes, bytes]]


def security(settings: Settings) -> TransportSecuritySettings:
    """Names of this machine, the address that is listened on, and mcp.allowedHosts; "*" there allows every name."""
    host = settings.server.host
    names = [*_LOOPBACK, f"[{host}]" if ":" in host else host, *settings.mcp.allowed_hosts]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection="*" not in names,
        allowed_hosts=[form for name in names for form in (name, f"{name}:*")],
        allowed_origins=[
            f"{scheme}://{form}" for scheme in ("http", "https") for name in names for form in (name, f"{name}:*")
        ],
    )


class Guard:
    """The ASGI application behind the checks."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._security = TransportSecurityMiddleware(security(settings))
        self._key = settings.mcp.api_key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it before anything of its body is read."""
        if scope["type"] != "http":
            raise RuntimeError(f"the adapters do not speak {scope['type']}")
        # Its words about content types are for MCP alone, and said there.
        refusal = await self._security.validate_request(Request(scope), is_post=False)
        if refusal is not None:
            told = "the request's Host or Origin is no name of this machine; mcp.allowedHosts adds names"
            await refuse(send, errors.PermissionDenied(told), status=refusal.status_code)
        elif self._key and not self._has_key(scope):
            error = errors.Unauthenticated("a key is wanted: send the header Authorization: Bearer <FLYTE_API_KEY>")
            await refuse(send, error, [(b"www-authenticate", b"Bearer")])
        else:
            await self._app(scope, receive, send)

    def _has_key(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        # Of two keys nobody can say which one counts.
        if len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER:
            return False
        return hmac.compare_digest(given[0][len(_BEARER) :].strip(), self._key)


async def refuse(send: Send, error: errors.FlyteError, headers: Headers = (), *, status: int | None = None) -> None:
    """Answer with an error as REST does; status: where another one than that of the error's code is right."""
    body = status_bytes(error, Encoding.PROTO_NAMES)
    about = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status or http_status(error.code), "headers": [*about, *headers]}
    )
    await send({"type": "http.response.body", "body": body})

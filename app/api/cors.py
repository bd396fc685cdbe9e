"""Cross-origin resource sharing (CORS): reply headers by which browsers let pages of allowed origins read replies.

app/api/http/origins.py refuses requests from all other origins before this module sees them.

Starlette's CORSMiddleware cannot replace it, because its replies differ from gorilla/handlers' in status and headers:
preflights of unknown origins are 200 there and 400 in Starlette; a wrong method is 405 and a wrong header 403; only
the headers that were requested are listed; Access-Control-Allow-Credentials comes with the origin "*".

Source: gorilla/handlers.CORS around newHTTPServer's mux in flyteadmin/pkg/server/service.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from starlette.types import ASGIApp, Message, Receive, Scope, Send

if TYPE_CHECKING:
    from app.settings import Settings

_METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH"})
# Browsers send these without a preflight, so no reply lists them.
_SIMPLE_METHODS = frozenset({"GET", "HEAD", "POST"})
_SIMPLE_HEADERS = frozenset({"Accept", "Accept-Language", "Content-Language", "Origin"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)

Headers = list[tuple[bytes, bytes]]


def wrapped(app: ASGIApp, settings: Settings) -> ASGIApp:
    """Return the application behind the CORS rules of `server.security`; the application itself without `allowCors`."""
    security = settings.server.security
    if not security.allow_cors:
        return app
    return Cors(app, origins=security.allowed_origins, headers=("Content-Type", *security.allowed_headers))


class Cors:
    """ASGI middleware.

    Args:
        origins: The allowed origins; "*" allows all.
        headers: The allowed request headers, beside those that browsers send without a preflight.
    """

    def __init__(self, app: ASGIApp, *, origins: tuple[str, ...], headers: tuple[str, ...]) -> None:
        self._app = app
        # Deviates: for gorilla/handlers an empty list allows every origin.
        self._any = "*" in origins
        self._origins = frozenset(origins)
        self._headers = frozenset(map(_canonical, headers))
        # Parity: a list with "*" counts as "*" alone, so replies vary only with a longer list of origins.
        self._vary = len(origins) > 1 and not self._any

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a preflight; add headers to the replies of other requests."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sent = {name: value.decode("latin-1") for name, value in reversed(scope["headers"]) if name in _REQUEST_HEADERS}
        origin = sent.get(b"origin", "")
        preflight = scope["method"] == "OPTIONS"
        if not origin or not (self._any or origin in self._origins):
            if preflight:
                await _answer(send, 200, [])
            else:
                await self._app(scope, receive, send)
            return
        granted = self._granted(origin)
        if preflight:
            await _answer(send, *self._preflight(sent, granted))
            return

        async def send_granted(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), *granted]}
            await send(message)

        await self._app(scope, receive, send_granted)

    def _granted(self, origin: str) -> Headers:
        allowed = b"*" if self._any else origin.encode("latin-1")
        headers = [(b"access-control-allow-credentials", b"true"), (b"access-control-allow-origin", allowed)]
        return [*headers, (b"vary", b"Origin")] if self._vary else headers

    def _preflight(self, sent: dict[bytes, str], granted: Headers) -> tuple[int, Headers]:
        method = sent.get(b"access-control-request-method")
        if method is None:
            return 400, []
        if method not in _METHODS:
            return 405, []
        names = [_canonical(name) for name in sent.get(b"access-control-request-headers", "").split(",")]
        special = [name for name in names if name and name not in _SIMPLE_HEADERS]
        if not self._headers.issuperset(special):
            return 403, []
        headers = list(granted)
        if special:
            headers.append((b"access-control-allow-headers", ",".join(special).encode("latin-1")))
        if method not in _SIMPLE_METHODS:
            headers.append((b"access-control-allow-methods", method.encode("latin-1")))
        return 200, headers


_REQUEST_HEADERS = frozenset({b"origin", b"access-control-request-method", b"access-control-request-headers"})


def _canonical(name: str) -> str:
    """Return content-type as Content-Type; a text that is no header name is returned unchanged."""
    name = name.strip()
    return "-".join(map(str.capitalize, name.split("-"))) if _TOKEN.fullmatch(name) else name


async def _answer(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})

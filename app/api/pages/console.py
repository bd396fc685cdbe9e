"""The console: `/console` and every path below it, its files at `/console/assets`, and redirects of older addresses.

    /console/...            index.html, whose script reads the rest of the path
    /console/assets/<file>  a built file; its name has the hash of its contents, so browsers keep it for ever
    /                       redirects to /console
    /projects/...           redirects to /console/projects/..., as the mail template of upstream's configuration needs

The files are built from console/ by `make console` into app/console/static.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app import errors, limited_log
from app.api.http.compression import accepts_gzip
from app.api.pages import html
from app.blobs import Blobs
from app.settings import Settings

STATIC = Path(__file__).parents[2] / "console" / "static"
PATH = "/console"
# The built index.html names its files relative to itself. Elements `meta` take the prefix of a proxy, and "off" where
# there is no authentication: that spares each page a call of /me, whose 501 browsers show as an error.
_ASSETS = '"./assets/'
_ROOT = '<meta name="flyte-root" content=""'
_SIGN_IN = '<meta name="flyte-sign-in" content=""'
_METHODS = ["GET", "HEAD"]
_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".woff2": "font/woff2"}
_FOR_EVER = "public, max-age=31536000, immutable"
_PREFIXES_MAX = 16
_SIGNED_SECONDS = 60
# Signing asks the cloud for credentials where the settings have none.
_SIGN_SECONDS_MAX = 2
_RETRY_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Index:
    """The start page for one prefix."""

    body: bytes
    tag: str


def routes(settings: Settings, blobs: Blobs) -> list[BaseRoute]:
    """Return the routes of this module; none where the console is disabled.

    Args:
        settings: The settings.
        blobs: The storage, whose address the pages may load from.
    """
    if not settings.console.enabled:
        return []
    pages = ConsolePages(settings, blobs, STATIC)
    return [
        Route(PATH, pages.index, methods=_METHODS),
        Route(f"{PATH}/assets/{{name:path}}", pages.asset, methods=_METHODS),
        Route(f"{PATH}/{{path:path}}", pages.index, methods=_METHODS),
        Route("/projects/{path:path}", _below_console, methods=_METHODS),
        Route("/", _to_console, methods=_METHODS),
    ]


class ConsolePages:
    """The handlers.

    Args:
        settings: The settings.
        blobs: The storage.
        static: The folder of the built files.
    """

    def __init__(self, settings: Settings, blobs: Blobs, static: Path) -> None:
        self._settings = settings
        self._blobs = blobs
        self._static = static
        self._origins: tuple[str, ...] = ()
        self._origins_until = -math.inf
        self._index_of = lru_cache(_PREFIXES_MAX)(self._read_index)

    async def index(self, request: Request) -> Response:
        """Serve the start page. Its script shows the page that the address names."""
        try:
            # The time makes a console that was built again show without a restart.
            changed = (self._static / "index.html").stat().st_mtime_ns
            index = self._index_of(quote(request.scope.get("root_path", "")), changed)
        except FileNotFoundError:
            text = "This installation has no built console. Build it from the sources: make console"
            return html.page("The console is not built", html.paragraph(text), status=404)
        headers = {
            "etag": index.tag,
            "cache-control": "no-cache",
            "content-security-policy": content_security(await self._content_origins()),
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "referrer-policy": "same-origin",
        }
        if index.tag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(index.body, headers=headers, media_type="text/html")

    async def asset(self, request: Request) -> Response:
        """Serve a built file, compressed where the client accepts gzip."""
        name = request.path_params["name"]
        media_type = _MEDIA_TYPES.get(Path(name).suffix)
        path = self._static / "assets" / name
        if "/" in name or media_type is None:
            return _no_such_file()
        headers = {"cache-control": _FOR_EVER, "x-content-type-options": "nosniff"}
        packed = path.with_name(f"{name}.gz")
        if packed.is_file():
            headers["vary"] = "Accept-Encoding"
            if accepts_gzip(request.scope["headers"]):
                path, headers["content-encoding"] = packed, "gzip"
        try:
            # Whole, since `make console` may remove the file at any moment.
            body = await asyncio.to_thread(path.read_bytes)
        except (FileNotFoundError, IsADirectoryError):
            return _no_such_file()
        headers["content-length"] = str(len(body))
        return Response(b"" if request.method == "HEAD" else body, headers=headers, media_type=media_type)

    def _read_index(self, root: str, changed: int) -> _Index:
        """Return the start page for a prefix, which is percent-encoded."""
        text = (self._static / "index.html").read_text()
        text = text.replace(_ASSETS, f'"{escape(root)}{PATH}/assets/')
        text = text.replace(_ROOT, f'{_ROOT[:-1]}{escape(root)}"')
        if not self._settings.server.security.use_auth:
            text = text.replace(_SIGN_IN, f'{_SIGN_IN[:-1]}off"')
        body = text.encode()
        return _Index(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')

    async def _content_origins(self) -> tuple[str, ...]:
        """Return the origins beside this server's own that signed addresses lead to."""
        if time.monotonic() >= self._origins_until:
            given = (*self._settings.console.content_origins, self._settings.server.public_url)
            self._origins, self._origins_until = _origins(given), time.monotonic() + _RETRY_SECONDS
            try:
                async with asyncio.timeout(_SIGN_SECONDS_MAX):
                    signed = await self._blobs.sign_get(self._blobs.uri("console"), ttl_seconds=_SIGNED_SECONDS)
            except (errors.FlyteError, TimeoutError) as error:
                # Decks and outputs stay blocked; every other part of the console works.
                limited_log.warning("storage_origin_unknown", reason=str(error))
            else:
                self._origins, self._origins_until = _origins((*given, signed)), math.inf
        return self._origins


def content_security(origins: tuple[str, ...]) -> str:
    """Return the header Content-Security-Policy of the start page.

    Args:
        origins: Where decks and outputs are loaded from, beside this server.
    """
    content = " ".join(("'self'", *origins))
    return (
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; worker-src 'self'; "
        f"img-src {content} data:; connect-src {content}; frame-src {content}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    )


def _origins(addresses: tuple[str, ...]) -> tuple[str, ...]:
    """Return the origins of web addresses, each once, and `*`; other schemes are left out."""
    found: dict[str, None] = {}
    for address in addresses:
        parts = urlsplit(address)
        if address == "*":
            found[address] = None
        elif parts.scheme in ("http", "https") and parts.netloc:
            found[f"{parts.scheme}://{parts.netloc}"] = None
    return tuple(found)


def _no_such_file() -> Response:
    return Response("there is no such file; the console may have been updated since\n", 404)


async def _to_console(request: Request) -> Response:
    """Redirect / to the console."""
    return RedirectResponse(quote(request.scope.get("root_path", "")) + PATH, 307)


async def _below_console(request: Request) -> Response:
    """Redirect an address without /console, as it was sent: versions hold encoded slashes."""
    root = quote(request.scope.get("root_path", ""))
    sent = (request.scope.get("raw_path") or quote(request.url.path).encode()).decode("latin-1")
    query = request.scope["query_string"].decode("latin-1")
    return RedirectResponse(f"{root}{PATH}{sent.removeprefix(root)}{'?' + query if query else ''}", 307)

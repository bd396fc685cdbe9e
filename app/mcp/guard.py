"""Authentication of the ports of the service for assistants: MCP and the REST adapter.

Without authentication, the key of `mcp.apiKey` opens both ports; without a key they are open. With authentication, both
ports accept the bearer tokens of REST and gRPC, and the key, whose callers are the subject `mcp.apiKeySubject`. Cookies
count on neither port, because a page of another port could use those of a signed-in browser.

MCP announces the authorization server as its specification asks: a refused request gets the address of a document
(RFC 9728) that names it. Host and Origin are checked before, by app/api/http/origins.py.
"""

from __future__ import annotations

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from app import errors
from app.api.http.refusals import refuse
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.identity import ALL, Identity, UserInfo
from app.mcp.api_key import ApiKey
from app.runtime.dispatch import IDENTITY_KEY, Server
from app.settings import Settings

METADATA_PATH = "/.well-known/oauth-protected-resource"
_JSON = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]


class Guard:
    """ASGI middleware that refuses requests without key or token, before their bodies are read.

    It stores the caller's identity in the scope, where authentication is on.

    Args:
        app: The application behind it.
        server: The objects of this process.
        resource: The path of the MCP endpoint, which has a document about its authorization server; "" for none.
    """

    def __init__(self, app: ASGIApp, server: Server, resource: str = "") -> None:
        self._app = app
        self._auth = server.auth
        self._settings = server.settings
        self._key = ApiKey(server.settings)
        self._resource = resource

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] != "http":
            raise RuntimeError(f"the adapters do not serve {scope['type']}")
        if self._auth is None:
            await self._by_key(scope, receive, send)
        elif self._resource and scope["path"] in (METADATA_PATH, METADATA_PATH + self._resource):
            await self._send_metadata(scope, send)
        else:
            await self._by_token(self._auth, scope, receive, send)

    async def _by_key(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._key.is_set and not self._key.is_in(scope["headers"]):
            error = errors.Unauthenticated(
                "this port requires the API key: send the header Authorization: Bearer <FLYTE_API_KEY>"
            )
            await refuse(send, error, [(b"www-authenticate", b"Bearer")])
        else:
            await self._app(scope, receive, send)

    async def _by_token(self, auth: Authentication, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            identity = await self._identity(auth, scope)
        except errors.Unauthenticated as error:
            await refuse(send, error, [(b"www-authenticate", self._challenge(scope).encode())])
            return
        await self._app({**scope, IDENTITY_KEY: identity}, receive, send)

    async def _identity(self, auth: Authentication, scope: Scope) -> Identity:
        """Return who sends a request. Raises Unauthenticated."""
        if self._key.is_in(scope["headers"]):
            subject = self._settings.mcp.api_key_subject
            return Identity(
                subject=subject,
                client_id=subject,
                scopes=frozenset({ALL}),
                user=UserInfo(subject=subject),
                method="api_key",
            )
        headers = tuple((name, value) for name, value in scope["headers"] if name != b"cookie")
        identity = await auth.identity(Credentials("http", headers, scope["scheme"], scope["method"]))
        if identity.anonymous and self._key.is_set:
            # auth.disableForHttp opens REST, not a port that has a key of its own.
            raise errors.Unauthenticated("this port requires a token or the API key (FLYTE_API_KEY)")
        return identity

    def _challenge(self, scope: Scope) -> str:
        """Return the value of WWW-Authenticate (RFC 6750, RFC 9728)."""
        parts = []
        if any(name == b"authorization" for name, _ in scope["headers"]):
            parts.append('error="invalid_token"')
        if self._resource:
            parts.append(f'resource_metadata="{_base(scope)}{METADATA_PATH}{self._resource}"')
        return f"Bearer {', '.join(parts)}".rstrip()

    async def _send_metadata(self, scope: Scope, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await refuse(send, errors.Unimplemented("GET this document"), [(b"allow", b"GET, HEAD")], status=405)
            return
        client = self._settings.auth.app_auth.third_party_config.flyte_client
        body = orjson.dumps(
            {
                "resource": _base(scope) + self._resource,
                "authorization_servers": [authorization_server(self._settings)],
                "scopes_supported": list(client.scopes),
                "bearer_methods_supported": ["header"],
                "resource_name": "Flyte Admin",
            }
        )
        headers = [*_JSON, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


def _base(scope: Scope) -> str:
    """Return the address of this port as the client wrote it; its Host is one of the allowed ones."""
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "localhost")
    return f"{scope['scheme']}://{host}"


def authorization_server(settings: Settings) -> str:
    """Return the issuer that signs the tokens of this server's clients: its own, or the external one."""
    app_auth, auth = settings.auth.app_auth, settings.auth
    if app_auth.auth_server_type == "External":
        return app_auth.external_auth_server.base_url or auth.user_auth.open_id.base_url
    own = app_auth.self_auth_server.issuer or next(iter(auth.authorized_uris), "")
    return own or settings.server.public_url or f"http://localhost:{settings.server.http_port}"

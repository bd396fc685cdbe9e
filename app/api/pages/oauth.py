"""The pages of the own authorization server: /oauth2/authorize, /oauth2/token, /oauth2/jwks and the device flow.

They exist only with `server.security.useAuth` and `auth.appAuth.authServerType: Self`.

An authorization request takes three steps: /oauth2/authorize stores it in a cookie and sends the browser to /login,
which sends it to /oauth2/authorize_callback, which checks the stored request again and issues the code. The cookie
needs no signature: whoever can plant one can send the browser to /oauth2/authorize as well.

Source: flyteadmin/auth/authzserver/authorize.go, token.go, metadata.go at v1.16.8.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.auth.identity import Identity
from app.auth.oauth.errors import OAuthError, RedirectError, invalid_request
from app.auth.oauth.parameters import Caller, Parameters, parse
from app.auth.oauth.server import AuthorizationServer, with_parameters
from app.settings import Settings

COOKIE = "flyte_auth_code"
COOKIE_CHARACTERS_MAX = 3500
COOKIE_SECONDS = 3600
FORM_BYTES_MAX = 64 * 1024
AUTHORIZE, CALLBACK, TOKEN = "/oauth2/authorize", "/oauth2/authorize_callback", "/oauth2/token"
JWKS, DEVICE_AUTHORIZATION = "/oauth2/jwks", "/oauth2/device_authorization"

NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_JSON = "application/json;charset=UTF-8"
_FORM = "application/x-www-form-urlencoded"
_ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Functions of other parts of the server that the pages call.

    Attributes:
        public_url: Returns the address of this server as the client of an ASGI scope wrote it.
        session_identity: Returns who is signed in with a browser, by the cookies of an ASGI scope; None for nobody.
        jwks: Returns the public signing keys, the current one first.
    """

    public_url: Callable[[Mapping[str, Any]], str]
    session_identity: Callable[[Mapping[str, Any]], Awaitable[Identity | None]]
    jwks: Callable[[], Mapping[str, Any]]


def routes(settings: Settings, server: AuthorizationServer, around: Surroundings) -> list[BaseRoute]:
    """Return the routes of this module."""
    pages = _Pages(settings, server, around)
    found: list[BaseRoute] = [
        Route(AUTHORIZE, _refusing(pages.authorize), methods=["GET", "POST"]),
        Route(CALLBACK, _refusing(pages.callback), methods=["GET", "POST"]),
        Route(TOKEN, _refusing(pages.token), methods=_ANY_METHOD),
        Route(JWKS, pages.jwks, methods=["GET"]),
    ]
    if server.devices.enabled:
        found.append(Route(DEVICE_AUTHORIZATION, _refusing(pages.device_authorization), methods=["POST"]))
    return found


class _Pages:
    def __init__(self, settings: Settings, server: AuthorizationServer, around: Surroundings) -> None:
        self._secure = not settings.server.security.insecure_cookie_header
        self._body_seconds = settings.limits.body_wait_seconds_max
        self._server = server
        self._around = around

    async def authorize(self, request: Request) -> Response:
        parameters = parse(request.url.query) if request.method != "POST" else await self._form(request)
        await self._server.authorization_request(parameters)
        stored = base64.urlsafe_b64encode(urlencode(parameters).encode()).decode()
        if len(stored) > COOKIE_CHARACTERS_MAX:
            raise invalid_request("The parameters are too long.")
        prefix = urlsplit(self._around.public_url(request.scope)).path.rstrip("/")
        response = RedirectResponse(f"{prefix}/login?redirect_url={prefix}{CALLBACK}", 307, headers=NO_STORE)
        self._set_cookie(response, stored, COOKIE_SECONDS)
        return response

    async def callback(self, request: Request) -> Response:
        stored = request.cookies.get(COOKIE, "")
        if not stored:
            raise invalid_request("This browser has no authorization request; start again.")
        try:
            text = base64.b64decode(stored, altchars=b"-_", validate=True).decode()
        except (binascii.Error, UnicodeDecodeError, ValueError) as error:
            raise invalid_request("The authorization request cannot be read; start again.") from error
        authorization_request = await self._server.authorization_request(parse(text))
        identity = await self._around.session_identity(request.scope)
        if identity is None:
            raise OAuthError("login_required", "Nobody is signed in; start again.", status=401)
        try:
            target = await self._server.authorize(authorization_request, identity)
        except RedirectError as error:
            response = _redirect(error)
        else:
            response = RedirectResponse(target, 303, headers=NO_STORE)
        self._set_cookie(response, "", 0)
        return response

    async def token(self, request: Request) -> Response:
        if request.method != "POST":
            raise invalid_request("The method must be POST.")
        return _json(await self._server.token(await self._form(request), self._caller(request)))

    async def jwks(self, request: Request) -> Response:
        return Response(orjson.dumps(self._around.jwks()), media_type="application/json")

    async def device_authorization(self, request: Request) -> Response:
        return _json(await self._server.devices.request(await self._form(request), self._caller(request)))

    def _caller(self, request: Request) -> Caller:
        return Caller(
            address=request.client.host if request.client is not None else "",
            public_url=self._around.public_url(request.scope),
            authorization=request.headers.get("authorization", ""),
        )

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        # Lax, because the identity provider sends the browser back from another site.
        response.set_cookie(
            COOKIE, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    async def _form(self, request: Request) -> Parameters:
        return parse((await form_bytes(request, self._body_seconds)).decode("latin-1"))


async def form_bytes(request: Request, seconds: float) -> bytes:
    """Return the body of a form, b"" for a body of another type.

    Args:
        request: The request.
        seconds: The time for the whole body.

    Raises:
        OAuthError: The body is too large, or it does not arrive in time.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return b""
    body = b""
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > FORM_BYTES_MAX:
                    raise OAuthError("invalid_request", f"The form has more than {FORM_BYTES_MAX} bytes.", status=413)
    except (TimeoutError, ClientDisconnect) as error:
        raise OAuthError("invalid_request", "The form did not arrive in time.", status=408) from error
    return body


def _refusing(handler: Handler) -> Handler:
    """Answer the errors of a handler: by a redirect to the client, or as JSON."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except RedirectError as error:
            return _redirect(error)
        except OAuthError as error:
            return refusal(error, basic=request.headers.get("authorization", "")[:5].lower() == "basic")

    return answered


def refusal(error: OAuthError, *, basic: bool = False) -> Response:
    """Return the JSON of an error.

    Args:
        error: The error.
        basic: Whether the client has authenticated by the header Authorization.
    """
    response = _json({"error": error.error, "error_description": error.description}, error.status)
    if error.retry_after_seconds is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if basic and error.status == 401:
        response.headers["www-authenticate"] = 'Basic realm="flyteadmin"'
    return response


def _redirect(error: RedirectError) -> Response:
    parameters = {"error": error.error, "error_description": error.description, "state": error.state}
    target = with_parameters(error.redirect_uri, parameters, fragment=error.fragment)
    return RedirectResponse(target, 303, headers=NO_STORE)


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, headers={**NO_STORE, "content-type": _JSON})

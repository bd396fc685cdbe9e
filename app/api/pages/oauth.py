"""The pages of the own authorization server: /oauth2/authorize, /oauth2/token, /oauth2/jwks and the device flow.

They exist only with `server.security.useAuth` and `auth.appAuth.authServerType: Self`.

An authorization request takes three steps: /oauth2/authorize stores it in a cookie and sends the browser to /login,
which sends it to /oauth2/authorize_callback, which checks the stored request again and issues the code. The cookie
needs no signature: whoever can plant one can send the browser to /oauth2/authorize as well.

Source: flyteadmin/auth/authzserver/authorize.go, token.go, metadata.go at v1.16.8.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import urlencode, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.api.pages import device
from app.api.pages.oauth_answers import NO_STORE, form_of, json_of, public_url, redirect, refusing
from app.auth import audit
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.oauth.build import OAuth
from app.auth.oauth.errors import OAuthError, RedirectError, invalid_request
from app.auth.oauth.parameters import Caller, Parameters, client_name, parse
from app.settings import Settings

COOKIE = "flyte_auth_code"
COOKIE_CHARACTERS_MAX = 3500
COOKIE_SECONDS = 3600
AUTHORIZE, CALLBACK, TOKEN = "/oauth2/authorize", "/oauth2/authorize_callback", "/oauth2/token"
JWKS, DEVICE_AUTHORIZATION = "/oauth2/jwks", "/oauth2/device_authorization"

_ANY_METHOD = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def routes(settings: Settings, auth: Authentication) -> list[BaseRoute]:
    """Return the routes of this module; none where another server issues the tokens."""
    if auth.oauth is None:
        return []
    pages = _Pages(settings, auth, auth.oauth)
    found: list[BaseRoute] = [
        Route(AUTHORIZE, refusing(pages.authorize), methods=["GET", "POST"]),
        Route(CALLBACK, refusing(pages.callback), methods=["GET", "POST"]),
        Route(TOKEN, refusing(pages.token), methods=_ANY_METHOD),
        Route(JWKS, pages.jwks, methods=["GET"]),
    ]
    if auth.oauth.server.devices.enabled:
        found.append(Route(DEVICE_AUTHORIZATION, refusing(pages.device_authorization), methods=["POST"]))
        found.extend(device.routes(settings, auth, auth.oauth.server))
    return found


class _Pages:
    def __init__(self, settings: Settings, auth: Authentication, oauth: OAuth) -> None:
        self._secure = not settings.server.security.insecure_cookie_header
        self._body_seconds = settings.limits.body_wait_seconds_max
        self._auth = auth
        self._server = oauth.server
        self._keys = oauth.keys

    async def authorize(self, request: Request) -> Response:
        parameters = parse(request.url.query) if request.method != "POST" else await self._form(request)
        await self._server.authorization_request(parameters)
        stored = base64.urlsafe_b64encode(urlencode(parameters).encode()).decode()
        if len(stored) > COOKIE_CHARACTERS_MAX:
            raise invalid_request("The parameters are too long.")
        prefix = urlsplit(public_url(self._auth, request)).path.rstrip("/")
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
        identity = await self._auth.session_identity(Credentials.of_scope(request.scope, "http"))
        if identity is None:
            raise OAuthError("login_required", "Nobody is signed in; start again.", status=401)
        try:
            target = await self._server.authorize(authorization_request, identity)
        except RedirectError as error:
            response = redirect(error)
        else:
            response = RedirectResponse(target, 303, headers=NO_STORE)
        self._set_cookie(response, "", 0)
        return response

    async def token(self, request: Request) -> Response:
        if request.method != "POST":
            raise invalid_request("The method must be POST.")
        form, caller = await self._form(request), self._caller(request)
        what, client = form.get("grant_type", "")[:100], client_name(form, caller)
        try:
            answer = await self._server.token(form, caller)
        except OAuthError as error:
            # A device asks again and again until its person decides.
            if error.error not in ("authorization_pending", "slow_down"):
                audit.record("token", what, who=client, outcome=audit.DENIED, reason=error.error, caller=caller.address)
            raise
        audit.record("token", what, who=client, caller=caller.address)
        return json_of(answer)

    async def jwks(self, request: Request) -> Response:
        return Response(orjson.dumps(self._keys.jwks()), media_type="application/json")

    async def device_authorization(self, request: Request) -> Response:
        return json_of(await self._server.devices.request(await self._form(request), self._caller(request)))

    def _caller(self, request: Request) -> Caller:
        return Caller(
            address=request.client.host if request.client is not None else "",
            public_url=public_url(self._auth, request),
            authorization=request.headers.get("authorization", ""),
        )

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        # Lax, because the identity provider sends the browser back from another site.
        response.set_cookie(
            COOKIE, value, max_age=seconds, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    async def _form(self, request: Request) -> Parameters:
        return await form_of(request, self._body_seconds)

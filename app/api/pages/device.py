"""The page on which a person approves a device: /oauth2/device (RFC 8628 3.3).

The person is signed in with this browser. A form of another site cannot approve a device: each form carries a secret
of which the browser has the other half in a cookie, and the headers Origin and Sec-Fetch-Site must name this site.
"""

from __future__ import annotations

import hmac
import secrets
from html import escape
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app.api.pages.oauth_answers import NO_STORE, form_of, public_url
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.identity import Identity
from app.auth.oauth.devices import PAGE
from app.auth.oauth.errors import OAuthError
from app.auth.oauth.grants import DeviceRow
from app.auth.oauth.server import AuthorizationServer
from app.settings import Settings

COOKIE = "flyte_device"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem}"
    "code{font-size:1.5rem;letter-spacing:.1em}button,input{font:inherit;padding:.4rem .8rem}"
)
_HEADERS = {
    **NO_STORE,
    # Other sites may not show the page in a frame and lead a click to the button.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}


def routes(settings: Settings, auth: Authentication, server: AuthorizationServer) -> list[BaseRoute]:
    """Return the route of the page."""
    page = _Page(settings, auth, server)
    return [Route(PAGE, page.serve, methods=["GET", "POST"])]


class _Page:
    def __init__(self, settings: Settings, auth: Authentication, server: AuthorizationServer) -> None:
        self._secure = not settings.server.security.insecure_cookie_header
        self._body_seconds = settings.limits.body_wait_seconds_max
        self._auth = auth
        self._server = server

    async def serve(self, request: Request) -> Response:
        identity = await self._auth.session_identity(Credentials.of_scope(request.scope, "http"))
        try:
            if identity is None:
                return self._to_login(request)
            if request.method == "POST":
                return await self._decide(request, identity)
            code = request.query_params.get("user_code", "")[:40]
            if not code:
                return _html("Sign in a device", _code_form())
            row = await self._server.devices.waiting(code, identity.subject)
            if row is None:
                return _html("Sign in a device", "<p>No device waits with this code.</p>" + _code_form(), 404)
            return self._ask(identity, row, code)
        except OAuthError as error:
            return _html("Sign in a device", f"<p>{escape(error.description)}</p>", error.status)

    def _to_login(self, request: Request) -> Response:
        prefix = urlsplit(public_url(self._auth, request)).path.rstrip("/")
        code = request.query_params.get("user_code", "")[:40]
        target = f"{prefix}{PAGE}" + (f"?user_code={quote(code, safe='')}" if code else "")
        return RedirectResponse(f"{prefix}/login?redirect_url={quote(target, safe='/')}", 303, headers=NO_STORE)

    def _ask(self, identity: Identity, row: DeviceRow, code: str) -> Response:
        half = secrets.token_urlsafe(32)
        who = identity.user.email or identity.user.name or identity.subject
        body = (
            f"<p>A device asks to act as <b>{escape(who)}</b>.</p><p><code>{escape(code)}</code></p>"
            f"<p>Client: {escape(row.grant.client_id)}<br>Scopes: {escape(' '.join(row.grant.scopes) or 'none')}<br>"
            f"Address: {escape(row.grant.address)}</p>"
            "<p>Approve only if you started this, and your device shows this code.</p>"
            f'<form method="post" action=""><input type="hidden" name="user_code" value="{escape(code)}">'
            f'<input type="hidden" name="token" value="{_token(half, identity, code)}">'
            # The Enter key presses the first button.
            '<button name="decision" value="deny">Deny</button> '
            '<button name="decision" value="approve">Approve</button></form>'
        )
        response = _html("Sign in a device", body)
        response.set_cookie(COOKIE, half, max_age=600, path="/", secure=self._secure, httponly=True, samesite="strict")
        return response

    async def _decide(self, request: Request, identity: Identity) -> Response:
        form = await form_of(request, self._body_seconds)
        code, half = form.get("user_code", ""), request.cookies.get(COOKIE, "")
        # The headers are those of browsers; Origins has compared Origin with the Host before.
        foreign = request.headers.get("sec-fetch-site", "same-origin") != "same-origin"
        if foreign or not half or not _is_token(form.get("token", ""), half, identity, code):
            raise OAuthError("invalid_request", "This form has expired or is of another site; start again.", status=403)
        approves = form.get("decision") == "approve"
        if approves:
            done = await self._server.approve_device(code, identity)
        else:
            row = await self._server.devices.waiting(code, identity.subject)
            done = row is not None and await self._server.devices.decide(row, None)
        if not done:
            return _html("Sign in a device", "<p>This device does not wait any more.</p>", 404)
        response = _html("Sign in a device", f"<p>The device was {'approved' if approves else 'refused'}.</p>")
        response.delete_cookie(COOKIE, path="/", secure=self._secure, httponly=True, samesite="strict")
        return response


def _token(half: str, identity: Identity, code: str) -> str:
    """Return the secret of a form for one person and one code."""
    return hmac.new(half.encode(), f"{identity.subject}\n{code}".encode(), "sha256").hexdigest()


def _is_token(given: str, half: str, identity: Identity, code: str) -> bool:
    # compare_digest refuses texts that are not ASCII.
    return given.isascii() and hmac.compare_digest(given, _token(half, identity, code))


def _code_form() -> str:
    return (
        '<form method="get" action=""><label>Code on the device: <input name="user_code" autocomplete="off" '
        'autofocus maxlength="20"></label> <button>Continue</button></form>'
    )


def _html(title: str, body: str, status: int = 200) -> HTMLResponse:
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>"
    )
    return HTMLResponse(page, status, headers=_HEADERS)

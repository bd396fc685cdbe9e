"""Sign-in of people in a browser: /login, /callback, /logout and /.well-known/openid-configuration.

    /login      a browser with a session is redirected to its target, any other one to the identity provider
    /callback   the provider redirects here with a code; the session begins
    /logout     the session ends here, and at the provider where it has an endpoint for that

A sign-in is bound to its browser by the cookie `flyte_csrf_state`: the parameter `state` is the cookie's hash, and the
PKCE verifier and the nonce are derived from the cookie with the server's key, so every worker can finish it. A
finished sign-in is marked as used.

Statuses are upstream's, and bodies empty. A browser (Accept has text/html) gets a page with the reason instead.

Source: flyteadmin/auth/handlers.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from app import errors, limited_log
from app.api.pages import html
from app.api.status import http_status
from app.auth import allow_lists, audit, cookies
from app.auth.credentials import Credentials
from app.auth.refusals import TokenRefused
from app.auth.sessions import ProviderRefused, ProviderUnavailable, Session
from app.auth.targets import allowed_target, has_path

if TYPE_CHECKING:
    from app.auth.sign_in import SignIn

log = structlog.get_logger(__name__)

# Parity: upstream's handlers look at no method.
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_VERIFIER, _NONCE = "pkce verifier", "nonce"
_FORM_FIELDS_MAX = 100

Handler = Callable[[Request], Awaitable[Response]]


class _Refused(Exception):
    """A sign-in ends with a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def routes(sign_in: SignIn) -> list[BaseRoute]:
    """Return the routes of this module."""
    pages = LoginPages(sign_in)
    handlers: dict[str, Handler] = {
        "/login": pages.login,
        "/callback": pages.callback,
        "/logout": pages.logout,
        "/.well-known/openid-configuration": pages.openid_configuration,
    }
    return [Route(path, pages.answered(handler), methods=METHODS) for path, handler in handlers.items()]


class LoginPages:
    """The handlers."""

    def __init__(self, sign_in: SignIn) -> None:
        self._sign_in = sign_in
        self._auth = sign_in.settings.auth

    def answered(self, handler: Handler) -> Handler:
        """Return a handler whose refusals are replies: a page for a browser, an empty body for others."""

        async def serve(request: Request) -> Response:
            try:
                reply = await handler(request)
            except _Refused as refused:
                limited_log.warning("sign_in_refused", key=refused.reason, path=request.url.path, reason=refused.reason)
                audit.record("sign_in", request.url.path, outcome=audit.DENIED, reason=refused.reason)
                reply = self._failed(request, refused.status, refused.reason)
            except ClientDisconnect:
                reply = Response(status_code=400)
            except errors.FlyteError as error:
                # The database does not answer, for example.
                limited_log.error("sign_in_failed", path=request.url.path, reason=error.message)
                reply = self._failed(request, http_status(error.code), "this server cannot sign anybody in now")
            reply.headers.update(html.NO_STORE)
            return reply

        return serve

    async def login(self, request: Request) -> Response:
        """Redirect to the target where there is a session, and to the identity provider otherwise."""
        credentials = Credentials.of_scope(request.scope, "http")
        given = request.query_params.get("redirect_url", "")
        target = self._checked(given)
        if target is None:
            # Deviates: upstream checks no target of a browser that is signed in.
            raise _Refused(403, _target_refused(given))
        if await self._session(credentials) is not None:
            return _redirect(request, target or self._target_of_cookie(credentials))
        state, writer = cookies.new_state(self._sign_in.keys), self._sign_in.writer
        try:
            url = await self._sign_in.flow.authorization_url(
                self._callback_url(credentials),
                state=cookies.state_of(state),
                nonce=self._sign_in.keys.mac(_NONCE, state),
                verifier=self._sign_in.keys.mac(_VERIFIER, state),
                query=request.query_params,
            )
        except ProviderUnavailable as error:
            raise _Refused(503, f"the identity provider does not answer: {error}") from error
        reply = _redirect(request, url)
        reply.headers.append("set-cookie", writer.of_login(cookies.STATE, state))
        if target and has_path(target):
            reply.headers.append("set-cookie", writer.of_login(cookies.TARGET, quote(target, safe=_COOKIE_SAFE)))
        return reply

    async def callback(self, request: Request) -> Response:
        """Finish a sign-in: redeem the code, check the user, begin the session."""
        answer = await self._answer(request)
        credentials = Credentials.of_scope(request.scope, "http")
        header = cookies.cookie_header(credentials.headers)
        state = self._state(answer.get("state", ""), header)
        if answer.get("error"):
            problem = f"{answer['error']} {answer.get('error_description', '')}".strip()[:300]
            raise _Refused(403, f"the identity provider refused: {problem}")
        if not answer.get("code"):
            raise _Refused(403, "the identity provider sent no code")
        session = await self._redeemed(answer, state, credentials)
        refusal = allow_lists.refusal(self._auth.user_auth.allow, session.all_claims)
        if refusal:
            log.warning("sign_in_not_allowed", subject=session.claims.get("sub"), reason=refusal)
            audit.record("sign_in", "login", who=_subject(session), outcome=audit.DENIED, reason=refusal)
            return self._not_allowed(request, refusal)
        if not await self._sign_in.sessions.spend(state):
            raise _Refused(401, "this sign-in was finished before")
        value = await self._sign_in.sessions.sign_in(session, header)
        log.info("signed_in", subject=session.claims.get("sub"))
        audit.record("sign_in", "login", who=_subject(session))
        return self._signed_in(request, self._target_of_cookie(credentials), value)

    async def logout(self, request: Request) -> Response:
        """End the session, here and at the provider."""
        credentials = Credentials.of_scope(request.scope, "http")
        header = cookies.cookie_header(credentials.headers)
        site = request.headers.get("sec-fetch-site", "none")
        if site not in ("none", "same-origin") and cookies.values(header, cookies.SESSION):
            # A link or a form on a page of another site: only the user may end the session.
            if html.wants_html(request):
                ask = html.paragraph("Another site asks to sign you out of Flyte.")
                # A form would not do: browsers apply form-action to the redirect to the provider too.
                return html.page("Sign out?", ask, html.link(f"{self._public_url(credentials)}/logout", "Sign out"))
            raise _Refused(403, f"a page of another site (Sec-Fetch-Site {site}) asks to end a session")
        target = self._checked(request.query_params.get("redirect_url", ""))
        ended = await self._sign_in.sessions.sign_out(header)
        reply = await self._signed_out(request, ended, target, credentials)
        for name in (cookies.SESSION, cookies.STATE, cookies.TARGET, *cookies.OF_UPSTREAM):
            if name == cookies.SESSION or cookies.values(header, name):
                reply.headers.append("set-cookie", self._sign_in.writer.expired(name))
        if ended is not None:
            log.info("signed_out", subject=ended.claims.get("sub"))
            audit.record("sign_out", "logout", who=_subject(ended))
        return reply

    async def openid_configuration(self, request: Request) -> Response:
        """Redirect to the identity provider's document."""
        base = self._auth.user_auth.open_id.base_url
        return RedirectResponse(f"{base.rstrip('/')}/.well-known/openid-configuration", 303)

    async def _session(self, credentials: Credentials) -> Session | None:
        """Return the session of a browser; None also for one that has expired, which a new sign-in replaces."""
        try:
            return await self._sign_in.sessions.session(cookies.cookie_header(credentials.headers))
        except TokenRefused:
            return None

    async def _redeemed(self, answer: Mapping[str, str], state: str, credentials: Credentials) -> Session:
        keys, flow = self._sign_in.keys, self._sign_in.flow
        try:
            reply = await flow.redeem(
                answer["code"],
                self._callback_url(credentials),
                verifier=keys.mac(_VERIFIER, state),
                nonce=keys.mac(_NONCE, state),
                issuer=answer.get("iss", ""),
            )
            assert reply.claims is not None
            user = await flow.user_info(reply.access_token, str(reply.claims.get("sub", "")))
        except ProviderRefused as error:
            raise _Refused(403, str(error)) from error
        except ProviderUnavailable as error:
            # Parity: upstream has the same status for every failure of the exchange.
            raise _Refused(403, f"the identity provider does not answer: {error}") from error
        return Session.of_reply(reply, user)

    async def _answer(self, request: Request) -> dict[str, str]:
        """Return the provider's answer: the query, and the fields of a form."""
        answer = dict(request.query_params)
        if request.method != "POST":
            return answer
        body, most = bytearray(), self._auth.user_auth.callback_bytes_max
        async for chunk in request.stream():
            body += chunk
            if len(body) > most:
                raise _Refused(413, f"the form is larger than {most} bytes (auth.userAuth.callbackBytesMax)")
        try:
            fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FORM_FIELDS_MAX)
        except ValueError as error:
            raise _Refused(401, "the form cannot be read") from error
        return {**answer, **dict(fields)}

    def _state(self, given: str, header: str) -> str:
        """Return the cookie of the sign-in to which a parameter `state` belongs."""
        seconds = self._auth.user_auth.login_seconds_max
        for value in cookies.values(header, cookies.STATE):
            if given == cookies.state_of(value):
                if cookies.is_state(self._sign_in.keys, value, seconds):
                    return value
                raise _Refused(401, f"the sign-in took longer than {seconds:g} seconds")
        raise _Refused(
            401,
            "this browser did not start this sign-in, or has started or finished another one since"
            if given
            else "the request has no parameter state",
        )

    def _target_of_cookie(self, credentials: Credentials) -> str:
        for value in cookies.values(cookies.cookie_header(credentials.headers), cookies.TARGET):
            # A sibling domain can plant a cookie, so the target is checked again.
            target = self._checked(unquote(value))
            if target:
                return target
        return self._auth.user_auth.redirect_url

    def _checked(self, target: str) -> str | None:
        """Return a target for the Location header, "" without one; None for one that is refused."""
        return allowed_target(target, self._auth.authorized_uris) if target else ""

    def _public_url(self, credentials: Credentials) -> str:
        return self._sign_in.public_urls.of(credentials, forwarded=False).rstrip("/")

    def _callback_url(self, credentials: Credentials) -> str:
        return f"{self._public_url(credentials)}/callback"

    def _signed_in(self, request: Request, target: str, value: str) -> Response:
        writer = self._sign_in.writer
        if writer.strict and html.wants_html(request):
            # Browsers keep a Strict cookie back from a redirect that began at the provider, not from this page's own.
            refresh = html.refresh(target)
            reply: Response = html.page("Signed in", html.link(target, "Continue"), head=refresh)
        else:
            reply = _redirect(request, target)
        reply.headers.append("set-cookie", writer.session(value))
        for name in (cookies.STATE, cookies.TARGET):
            reply.headers.append("set-cookie", writer.expired(name))
        return reply

    async def _signed_out(
        self, request: Request, ended: Session | None, target: str | None, credentials: Credentials
    ) -> Response:
        """Return the reply to a logout: at the provider for a browser, else at the target."""
        browser = html.wants_html(request)
        if ended is not None:
            await self._sign_in.flow.revoke(ended.refresh_token)
            url = await self._sign_in.flow.logout_url(ended.id_token) if browser else None
            if url is not None:
                return RedirectResponse(url, 303)
        if target:
            return _redirect(request, target)
        if browser:
            again = html.link(f"{self._public_url(credentials)}/login", "Sign in again")
            return html.page("Signed out", html.paragraph("Your session has ended."), again)
        return Response(status_code=200)

    def _failed(self, request: Request, status: int, reason: str) -> Response:
        if not html.wants_html(request):
            return Response(status_code=status)
        again = html.link("login", "Start a new sign-in")
        return html.page("Sign-in failed", html.paragraph(reason[:1].upper() + reason[1:] + "."), again, status=status)

    def _not_allowed(self, request: Request, reason: str) -> Response:
        """Return the reply for a user whom the provider accepts and the allow-lists do not."""
        reply = Response(status_code=403)
        if html.wants_html(request):
            first = html.paragraph("Your identity provider signed you in, but this server does not admit you.")
            why = html.paragraph(reason[:1].upper() + reason[1:] + ".", reason=True)
            reply = html.page("Sign-in not allowed", first, why, html.link("login", "Try again"), status=403)
        for name in (cookies.STATE, cookies.TARGET):
            reply.headers.append("set-cookie", self._sign_in.writer.expired(name))
        return reply


# Characters that may stand in a cookie's value; the rest is escaped and unescaped once more.
_COOKIE_SAFE = "/?#[]@!$&'()*+:=-._~"


def _subject(session: Session) -> str:
    return str(session.claims.get("sub", ""))


def _redirect(request: Request, target: str) -> Response:
    """Redirect with 307 as upstream does; with 303 after a form, so that the browser does not send it again."""
    status = 307 if request.method in ("GET", "HEAD") else 303
    reply = Response(status_code=status)
    reply.headers["location"] = target
    return reply


def _target_refused(target: str) -> str:
    return (
        f"redirect_url={target[:200]!r} is no page of this server; allowed are relative addresses, and those that "
        "begin with an entry of auth.authorizedUris"
    )

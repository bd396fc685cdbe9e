"""Credentials -> identity. `app.runtime.dispatch` calls it for every RPC, and the pages call it by themselves.

A token is taken from the first of these that is there, and no other one is tried:

    gRPC    authorization; the key `auth.grpcAuthorizationHeader`
    HTTP    Authorization; Grpc-Metadata-Authorization; the session's cookie; the header `auth.httpAuthorizationHeader`

Source: flyteadmin/auth/interceptor.go, GetAuthenticationInterceptor and GetHTTPRequestCookieToMetadataHandler of
flyteadmin/auth/handlers.go, BlanketAuthorization of flyteadmin/auth/handlers.go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app import errors
from app.auth.credentials import Credentials
from app.auth.csrf import Csrf
from app.auth.identity import ANONYMOUS, Identity
from app.auth.oauth.build import OAuth
from app.auth.public_url import PublicUrls
from app.auth.refusals import TokenRefused, log_refusal
from app.auth.sign_in import SignIn
from app.settings import Settings

if TYPE_CHECKING:
    from app.auth.provider import ExternalServer, OpenIdProvider
    from app.auth.provider_service import ProviderService

BEARER = "Bearer"
ID_TOKEN = "IDToken"  # nosec B105 # the name of a scheme
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SCHEMES = {BEARER.lower(): BEARER, ID_TOKEN.lower(): ID_TOKEN}
_MISSING = {
    BEARER: "[JWT_VERIFICATION_FAILED] Could not retrieve bearer token from metadata, caused by: ",
    ID_TOKEN: "[JWT_VERIFICATION_FAILED] Could not retrieve id token from metadata, caused by: ",
}


class Verifier(Protocol):
    """Recognises one kind of token."""

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves. The verifier caches it where it may (app/auth/verified.py).

        Args:
            token: The token.
            public_url: The address of this server as the client wrote it, one of `auth.authorizedUris`.

        Raises:
            Unauthenticated: The token proves none; the message names the reason, without the token. It has been logged.
        """

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""


class SessionReader(Protocol):
    """The sessions of people who signed in with a browser."""

    async def identity(self, credentials: Credentials, public_url: str) -> Identity | None:
        """Return the identity of the session in the cookies; None where they name no session.

        Raises:
            Unauthenticated: The session has ended. It has been logged.
        """


class NoSessions:
    """No cookie is a session."""

    async def identity(self, credentials: Credentials, public_url: str) -> Identity | None:
        """Return None."""
        return None


# Parsed headers of callers with a valid token, for each transport; longer headers are parsed for each request.
PARSED_MAX = 1000
PARSED_BYTES_MAX = 8192

# Where a token is verified, the token, and the address of this server.
_Parsed = tuple[Verifier, str, str]
_Headers = tuple[tuple[bytes, bytes], ...]


class Authentication:
    """Finds out who sends a request. One object per process.

    Attributes:
        public_urls: Chooses the address of this server for a request.
        sign_in: The browser login.
        oauth: The own authorization server; None where another one issues the tokens.
        provider: The OpenID provider; None in tests that have none.
        external_server: The authorization server; None where this server is its own one.
        provider_service: Reads the documents of both early, and closes their connections.
    """

    provider: OpenIdProvider | None = None
    external_server: ExternalServer | None = None
    provider_service: ProviderService | None = None

    def __init__(
        self,
        settings: Settings,
        access_tokens: Verifier,
        id_tokens: Verifier,
        sessions: SessionReader | None = None,
        oauth: OAuth | None = None,
    ) -> None:
        auth = settings.auth
        self.public_urls = PublicUrls(settings)
        self._csrf = Csrf(settings)
        self._verifiers = {BEARER: access_tokens, ID_TOKEN: id_tokens}
        self._sessions = sessions or NoSessions()
        self.oauth = oauth
        self.sign_in: SignIn | None = None
        self._scope = auth.required_scope
        self._anonymous = {"http": auth.disable_for_http, "grpc": auth.disable_for_grpc}
        self._own_header = {
            "http": auth.http_authorization_header.lower().encode(),
            "grpc": auth.grpc_authorization_header.lower().encode(),
        }
        common = {b"host", b"x-forwarded-host", b"authorization"}
        self._read = {
            "http": frozenset({*common, b"grpc-metadata-authorization", b"cookie", self._own_header["http"]}),
            "grpc": frozenset({*common, self._own_header["grpc"]}),
        }
        self._parsed: dict[str, dict[_Headers, _Parsed]] = {"http": {}, "grpc": {}}

    def recent(self, credentials: Credentials) -> Identity | None:
        """Return who sends a request with a token that was verified lately; None otherwise, and for sessions.

        It takes 4 µs of CPU, where parsing the headers takes 15 µs.
        """
        parsed = self._parsed[credentials.transport].get(self._key(credentials))
        if parsed is None:
            return None
        verifier, token, public_url = parsed
        identity = verifier.recent(token, public_url)
        if identity is None or self._is_revoked(identity):
            return None
        return identity if self._has_scope(identity) else None

    def _key(self, credentials: Credentials) -> _Headers:
        """Return the headers that decide about the caller."""
        read = self._read[credentials.transport]
        return tuple([pair for pair in credentials.headers if pair[0] in read])

    async def identity(self, credentials: Credentials) -> Identity:
        """Return who sends a request; an anonymous identity where `auth.disableForHttp` or `disableForGrpc` allows it.

        Raises:
            Unauthenticated: No acceptable token, or one without the scope in `auth.requiredScope`.
        """
        try:
            identity = await self._identity(credentials)
        except errors.Unauthenticated:
            if self._anonymous[credentials.transport]:
                return ANONYMOUS
            raise
        if self._is_revoked(identity):
            problem = "the client of this token was revoked"
            refusal = TokenRefused(
                problem, claim="client_id", found=identity.client_id, wanted="a client that is valid"
            )
            log_refusal(identity.method, refusal, signed=True)
            raise refusal
        if not self._has_scope(identity):
            # Parity: upstream answers UNAUTHENTICATED, not PERMISSION_DENIED.
            refusal = TokenRefused(
                "authenticated user doesn't have required scope",
                claim="scp",
                found=sorted(identity.scopes),
                wanted=self._scope,
            )
            log_refusal(identity.method, refusal, signed=True)
            raise refusal
        return identity

    async def session_identity(self, credentials: Credentials) -> Identity | None:
        """Return who is signed in with the browser that sends a request, whatever token it sends; None for nobody."""
        try:
            return await self._sessions.identity(credentials, self.public_urls.of(credentials, forwarded=False))
        except errors.Unauthenticated:
            # The session has ended; `SessionReader.identity` has logged that.
            return None

    def check_origin(self, identity: Identity, credentials: Credentials | None, *, writes: bool = False) -> None:
        """Judge a request that may change something: one that a cookie authenticates must come from an own page.

        Args:
            identity: The caller.
            credentials: The headers of the request.
            writes: Whether the request changes something whatever its HTTP method.

        Raises:
            PermissionDenied: A page of another site sent the request (app/auth/csrf.py).
        """
        if identity.method != "session" or credentials is None:
            return
        if writes or credentials.method not in _SAFE_METHODS:
            self._csrf.check(credentials.headers, credentials.scheme)

    async def _identity(self, credentials: Credentials) -> Identity:
        public_url = self.public_urls.of(credentials)
        value = self._authorization(credentials)
        if value is None:
            session = await self._sessions.identity(credentials, public_url)
            if session is not None:
                return session
            # A foreign scheme, which nothing follows, gets upstream's message too.
            value = self._own_value(credentials) or credentials.first(b"authorization").strip()
        scheme, token = _split(value)
        if scheme not in self._verifiers:
            raise _no_token(value, self._anonymous[credentials.transport])
        verifier = self._verifiers[scheme]
        try:
            identity = await verifier.verify(token, public_url)
        except errors.Unauthenticated as refusal:
            raise errors.Unauthenticated(_joined({**_missing(), scheme: refusal.message})) from refusal
        key = self._key(credentials)
        if sum(len(header) for _, header in key) <= PARSED_BYTES_MAX:
            parsed = self._parsed[credentials.transport]
            if len(parsed) >= PARSED_MAX:
                parsed.clear()
            parsed[key] = verifier, token, public_url
        return identity

    def _authorization(self, credentials: Credentials) -> str | None:
        """Return the value that takes precedence over sessions; None where there is none.

        Deviates: upstream refuses a request whose header Authorization has a foreign scheme, such as Basic. Proxies and
        browsers send such headers for their own purposes, so the next source counts here.
        """
        value = credentials.first(b"authorization")
        if not value and credentials.transport == "http":
            value = credentials.first(b"grpc-metadata-authorization")
        value = value.strip()
        if value and (" " not in value or _split(value)[0] in self._verifiers):
            return value
        if credentials.transport == "grpc":
            return self._own_value(credentials) or value
        return None

    def _own_value(self, credentials: Credentials) -> str:
        return credentials.first(self._own_header[credentials.transport]).strip()

    def _is_revoked(self, identity: Identity) -> bool:
        return self.oauth is not None and identity.client_id in self.oauth.revoked

    def _has_scope(self, identity: Identity) -> bool:
        return not self._scope or self._scope in identity.scopes


def _split(value: str) -> tuple[str, str]:
    """Return scheme and token of an authorization value; "" and "" where there is no blank between them."""
    scheme, blank, token = value.partition(" ")
    return (_SCHEMES.get(scheme.lower(), scheme), token) if blank else ("", "")


def _no_token(value: str, served: bool) -> errors.Unauthenticated:
    """Return the error for a request without a token of a known scheme.

    Args:
        value: The authorization value, "" without one.
        served: Whether the request is served all the same, so that there is no refusal to log.
    """
    scheme = _split(value)[0]
    problem = "Bad authorization string" if value and not scheme else ""
    refusal = TokenRefused(
        _joined(_missing(problem)),
        claim="scheme",
        found=scheme or ("a value without a blank" if value else "no token"),
        wanted=f"{BEARER} or {ID_TOKEN}",
    )
    if not served:
        log_refusal("authorization", refusal, signed=False)
    return refusal


def _missing(problem: str = "") -> dict[str, str]:
    """Return upstream's problem of each scheme of which a request has no token."""
    return {
        scheme: f"{text}rpc error: code = Unauthenticated desc = {problem or f'Request unauthenticated with {scheme}'}"
        for scheme, text in _MISSING.items()
    }


def _joined(problems: dict[str, str]) -> str:
    """Return upstream's message. Parity: its labels are misleading."""
    return (
        f"token parse error id token err: access token err: {problems[BEARER]}, access token err: {problems[ID_TOKEN]}"
    )

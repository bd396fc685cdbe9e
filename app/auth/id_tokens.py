"""Id tokens of the OpenID provider.

Source: flyteadmin/auth/token.go ParseIDTokenAndValidate, go-oidc v3 IDTokenVerifier.Verify.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from app import errors
from app.auth import allow_lists, claims, jwts
from app.auth.identity import Identity
from app.auth.provider import OpenIdProvider
from app.auth.refusals import TokenRefused, log_refusal
from app.auth.verified import VerifiedTokens
from app.settings import Settings
from app.wire.go.goparse import go_quote

NBF_LEEWAY_SECONDS = 300.0
_KIND = "id token"
_GOOGLE = "https://accounts.google.com"


class IdTokens:
    """Verifies id tokens.

    Args:
        settings: The settings.
        provider: The provider that issues them.
    """

    def __init__(self, settings: Settings, provider: OpenIdProvider) -> None:
        auth = settings.auth
        self._bytes_max = auth.token_bytes_max
        self._client_id = auth.user_auth.open_id.client_id
        self._provider = provider
        self._verified = VerifiedTokens(auth.verified_tokens_bytes_max, auth.verified_token_seconds)
        provider.keys.on_change(self._verified.clear)

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves.

        Args:
            token: The token.
            public_url: Has no meaning here: the audience of an id token is `auth.userAuth.openId.clientId`.

        Raises:
            TokenRefused: The token proves none.
        """
        known = self._verified.get(token, "")
        if known is not None:
            return known
        try:
            identity = await self._identity(token)
        except TokenRefused as refusal:
            log_refusal(_KIND, refusal, signed=False)
            raise _as_upstream(refusal) from refusal
        self._verified.put(token, "", identity)
        return identity

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""
        return self._verified.get(token, "")

    async def _identity(self, token: str) -> Identity:
        if not self._client_id:
            # Deviates: upstream then skips the checks of audience, issuer and expiry.
            problem = "oidc: this server accepts no id tokens, because auth.userAuth.openId.clientId is empty"
            raise TokenRefused(problem, claim="aud", found="any", wanted="none")
        read = jwts.parsed(token, self._bytes_max, prefix="oidc: malformed jwt: ")
        try:
            issuer, algorithms = await self._provider.issuer(), await self._provider.algorithms()
        except errors.FlyteError as error:
            raise jwts.without_provider(error) from error
        # Parity: the claims before the signature; so a token of another issuer causes no request to the provider.
        _check_issuer(read.claims, issuer)
        _check_audience(read.claims, self._client_id)
        expires_at = _check_times(read.claims, time.time())
        jwts.check_announced_algorithm(read, algorithms)
        await self._provider.keys.check_signature(read)
        return claims.of_id_token(read.claims, expires_at)


class AdmittedIdTokens:
    """Verifies id tokens that callers send: whom the allow-lists do not admit is refused, as at the sign-in.

    A caller can receive an id token past /callback, from providers that have the implicit flow.

    Args:
        settings: The settings.
        id_tokens: Verifies the tokens.
    """

    def __init__(self, settings: Settings, id_tokens: IdTokens) -> None:
        self._allow = settings.auth.user_auth.allow
        self._id_tokens = id_tokens

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves. Raises TokenRefused for any other token and for other people."""
        identity = await self._id_tokens.verify(token, public_url)
        reason = self._reason(identity)
        if reason:
            problem = f"oidc: this server does not admit the person: {reason}"
            refusal = TokenRefused(
                problem, claim=self._allow.claim or "email", found=reason, wanted="a person in the lists"
            )
            log_refusal(_KIND, refusal, signed=True)
            raise _as_upstream(refusal)
        return identity

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""
        identity = self._id_tokens.recent(token, public_url)
        return None if identity is None or self._reason(identity) else identity

    def _reason(self, identity: Identity) -> str:
        return allow_lists.refusal(self._allow, identity.claims or {})


def _check_issuer(found: Mapping[str, Any], wanted: str) -> None:
    issuer = found.get("iss", "")
    # Google's tokens have an issuer without a scheme.
    if issuer != wanted and not (wanted == _GOOGLE and issuer == "accounts.google.com"):
        problem = f"expected {go_quote(wanted)} got {go_quote(issuer if isinstance(issuer, str) else '')}"
        text = f"oidc: id token issued by a different provider, {problem}"
        raise TokenRefused(text, claim="iss", found=issuer, wanted=wanted)


def _check_audience(found: Mapping[str, Any], wanted: str) -> None:
    audiences = jwts.audiences_of(found)
    if wanted not in audiences:
        shown = " ".join(map(go_quote, audiences))
        problem = f"oidc: expected audience {go_quote(wanted)} got [{shown}]"
        raise TokenRefused(problem, claim="aud", found=found.get("aud"), wanted=wanted)


def _check_times(found: Mapping[str, Any], now: float) -> float:
    """Return the expiry. Raises TokenRefused where the token is not valid now; a missing `exp` counts as expired."""
    expiry = jwts.time_of(found, "exp", "oidc: malformed jwt: claim exp is no number") or 0.0
    if now > expiry:
        problem = f"oidc: token is expired (Token Expiry: {jwts.go_moment(expiry)})"
        raise TokenRefused(problem, claim="exp", found=jwts.moment(expiry), wanted=f"after {jwts.moment(now)} (now)")
    start = jwts.time_of(found, "nbf", "oidc: malformed jwt: claim nbf is no number")
    if start is not None and now + NBF_LEEWAY_SECONDS < start:
        times = f"current time {jwts.go_moment(now)} before the nbf (not before) time: {jwts.go_moment(start)}"
        limit = f"at most {jwts.moment(now + NBF_LEEWAY_SECONDS)}"
        raise TokenRefused(f"oidc: {times}", claim="nbf", found=jwts.moment(start), wanted=limit)
    return expiry


def _as_upstream(refusal: TokenRefused) -> TokenRefused:
    """Return the refusal with upstream's codes before its text."""
    text = f"[JWT_VERIFICATION_FAILED] jwt parse with claims failed, caused by: {refusal.message}"
    if "token is expired" in refusal.message:
        text = f"[JWT_EXPIRED] token is expired, caused by: {text}"
    return TokenRefused(text, claim=refusal.claim, found=refusal.found, wanted=refusal.wanted)

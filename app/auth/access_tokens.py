"""Access tokens: those of the own authorization server, and those of an external one.

Source: flyteadmin/auth/authzserver/provider.go and resource_server.go, ValidateAccessToken.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from app import errors
from app.auth import claims, jwts
from app.auth.identity import Identity
from app.auth.keys import SigningKeys
from app.auth.provider import ExternalServer
from app.auth.refusals import TokenRefused, log_refusal
from app.auth.verified import VerifiedTokens
from app.settings import Settings

_KIND = "access token"


class OwnAccessTokens:
    """Verifies the tokens that this server issued: `auth.appAuth.authServerType` is `Self`.

    Args:
        settings: The settings.
        keys: The keys of the tokens.
    """

    def __init__(self, settings: Settings, keys: SigningKeys) -> None:
        auth = settings.auth
        self._bytes_max = auth.token_bytes_max
        # The address that this server has without a configured one: two servers of a deployment may differ in it.
        local = f"{'https' if settings.server.security.secure else 'http'}://localhost:{settings.server.http_port}"
        self._issuers = frozenset({auth.app_auth.self_auth_server.issuer, *auth.authorized_uris, local} - {""})
        self._keys = keys
        self._verified = VerifiedTokens(auth.verified_tokens_bytes_max, auth.verified_token_seconds)

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves.

        Args:
            token: The token.
            public_url: The address of this server as the client wrote it, which is the wanted audience.

        Raises:
            TokenRefused: The token proves none.
        """
        known = self._verified.get(token, public_url)
        if known is not None:
            return known
        signed = False
        try:
            read = jwts.parsed(token, self._bytes_max)
            # Upstream looks for the algorithm first, and at `key_id` before it checks the signature.
            jwts.check_algorithm(read, jwts.RSA_ALGORITHMS)
            key_id = read.header_text("key_id") or read.header_text("kid")
            if not jwts.is_signed_by(read, self._keys.public(key_id)):
                problem = "crypto/rsa: verification error"
                raise TokenRefused(problem, claim="signature", found="another key's", wanted=f"one of key {key_id}")
            signed = True
            expires_at = jwts.check_times(read.claims, time.time())
            jwts.check_audience(read.claims, {public_url})
            self._check_issuer(read.claims, public_url)
            identity = claims.of_access_token(read.claims, expires_at)
        except TokenRefused as refusal:
            log_refusal(_KIND, refusal, signed=signed)
            raise
        self._verified.put(token, public_url, identity)
        return identity

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""
        return self._verified.get(token, public_url)

    def _check_issuer(self, found: Mapping[str, Any], public_url: str) -> None:
        """Raise TokenRefused for the token of a server at another host, which has the same key.

        The port is not compared, as it is not for the public URL. Parity: tokens that upstream issues to services have
        no `iss`.
        """
        issuers = self._issuers | {public_url}
        if (host := _host(found.get("iss"))) and host in map(_host, issuers):
            return
        jwts.check_issuer(found, issuers, required=False)


class ExternalAccessTokens:
    """Verifies the tokens of an external authorization server: `auth.appAuth.authServerType` is `External`.

    Args:
        settings: The settings.
        server: The authorization server.
    """

    def __init__(self, settings: Settings, server: ExternalServer) -> None:
        auth = settings.auth
        self._bytes_max = auth.token_bytes_max
        self._audiences = frozenset(auth.app_auth.external_auth_server.allowed_audience)
        self._server = server
        self._verified = VerifiedTokens(auth.verified_tokens_bytes_max, auth.verified_token_seconds)
        # A key that is no longer published must not count for another minute.
        server.keys.on_change(self._verified.clear)

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves.

        Args:
            token: The token.
            public_url: The address of this server as the client wrote it, which is an accepted audience.

        Raises:
            TokenRefused: The token proves none.
        """
        known = self._verified.get(token, public_url)
        if known is not None:
            return known
        signed = False
        try:
            read = jwts.parsed(token, self._bytes_max, prefix="oidc: malformed jwt: ")
            try:
                algorithms, issuers = await self._server.algorithms(), await self._server.issuers()
            except errors.FlyteError as error:
                raise jwts.without_provider(error) from error
            # Deviates: upstream accepts any algorithm of the key's kind.
            jwts.check_announced_algorithm(read, algorithms)
            await self._server.keys.check_signature(read)
            signed = True
            expires_at = jwts.check_times(read.claims, time.time(), prefix="failed to validate token: ")
            jwts.check_audience(read.claims, self._audiences | {public_url})
            jwts.check_issuer(read.claims, issuers)
            identity = claims.of_access_token(read.claims, expires_at)
        except TokenRefused as refusal:
            log_refusal(_KIND, refusal, signed=signed)
            raise
        self._verified.put(token, public_url, identity)
        return identity

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""
        return self._verified.get(token, public_url)


def _host(url: Any) -> str:
    """Return the name of the host in an address, "" where it has none."""
    try:
        return (urlsplit(url).hostname or "") if isinstance(url, str) else ""
    except ValueError:
        return ""

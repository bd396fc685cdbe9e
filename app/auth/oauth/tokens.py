"""Access tokens that this server issues, and refresh tokens that upstream issued.

Access tokens are JWTs with the claims of upstream's, so either server verifies the other's. Their header has the type
`at+jwt` (RFC 9068), which upstream's have not. Refresh tokens of upstream are JWTs, too; they differ from its access
tokens by their scopes, which have the prefix `f.`.

Source: flyteadmin/auth/authzserver/provider.go, claims_verifier.go.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime

from jwt.utils import base64url_decode, base64url_encode

from app.auth import jwts
from app.auth.claims import of_access_token
from app.auth.identity import Identity
from app.auth.keys import SigningKeys
from app.auth.oauth.errors import invalid_grant
from app.auth.oauth.grants import Grant
from app.auth.refusals import TokenRefused

# The type of this server's access tokens.
TYPE = "at+jwt"
OFFLINE = "offline"
# Upstream writes it into every code and token.
ACCESS_TOKEN = "access_token"
PREFIX = "f."
TOKEN_BYTES_MAX = 32_000


def granted_scopes(scopes: tuple[str, ...]) -> str:
    """Return the scopes that a code or a token answer names, for the scopes of the request.

    # Parity: upstream marks every scope but `offline` with a prefix, also in its answers.
    """
    return " ".join([*(_marked(scope) for scope in scopes), ACCESS_TOKEN])


def access_token(
    keys: SigningKeys, grant: Grant, *, issuer: str, audience: str, lifespan_seconds: float, refreshed: bool = False
) -> tuple[str, int]:
    """Return an access token and the seconds until it expires.

    Args:
        keys: The signing keys.
        grant: The client, its scopes and the person.
        issuer: The claim iss.
        audience: The claim aud: the address of this server.
        lifespan_seconds: The time until the token expires.
        refreshed: Whether a refresh token was exchanged for it.
    """
    now = time.time()
    expires_at = int(now + lifespan_seconds)
    # Parity: the marked scopes are in the first token of a sign-in only.
    marked = () if refreshed else tuple(_marked(scope) for scope in grant.scopes)
    claims = {
        **grant.claims,
        "aud": [audience],
        "client_id": grant.client_id,
        "exp": expires_at,
        "iat": int(now),
        "iss": issuer,
        "jti": uuid.uuid4().hex,
        "scp": list(dict.fromkeys([*grant.scopes, *marked, ACCESS_TOKEN])),
        "sub": grant.subject,
        "user_info": grant.user,
    }
    return keys.issue(claims, TYPE), max(0, int(expires_at - now))


def client_token(
    keys: SigningKeys, client_id: str, scopes: tuple[str, ...], *, issuer: str, audience: str, lifespan_seconds: float
) -> tuple[str, int]:
    """Return an access token of a client that acts for itself, and the seconds until it expires."""
    now = time.time()
    expires_at = int(now + lifespan_seconds)
    claims = {
        "aud": [audience],
        "client_id": client_id,
        "exp": expires_at,
        "iat": int(now),
        "iss": issuer,
        "jti": uuid.uuid4().hex,
        "scp": list(scopes),
        # Deviates: upstream leaves sub, iss and client_id empty, so executions of services have no principal.
        "sub": client_id,
        "user_info": {},
    }
    return keys.issue(claims, TYPE), max(0, int(expires_at - now))


def upstream_refresh_token(keys: SigningKeys, token: str, audiences: Collection[str]) -> tuple[Grant, datetime]:
    """Return the grant of a refresh token that upstream issued with a key of this server, and the end of its validity.

    Args:
        keys: The signing keys.
        token: The text that a client sent.
        audiences: The addresses and issuers of this server.

    Raises:
        OAuthError: invalid_grant for any other text.
    """
    try:
        read = jwts.parsed(token, TOKEN_BYTES_MAX)
        if not _is_canonical(token):
            raise invalid_grant("The refresh token is unknown, has expired, or was revoked.")
        jwts.check_algorithm(read, jwts.RSA_ALGORITHMS)
        if not jwts.is_signed_by(read, keys.public(read.header_text("key_id"))):
            raise invalid_grant("The refresh token is unknown, has expired, or was revoked.")
        expires_at = jwts.check_times(read.claims, time.time())
        jwts.check_audience(read.claims, audiences)
        identity = of_access_token(read.claims, expires_at)
    except TokenRefused as error:
        raise invalid_grant("The refresh token is unknown, has expired, or was revoked.") from error
    asked = tuple(scope.removeprefix(PREFIX) for scope in sorted(identity.scopes) if scope.startswith(PREFIX))
    # An access token has the scopes without the prefix, too. A code has no audience.
    plain = {scope for scope in identity.scopes if not scope.startswith(PREFIX)} - {OFFLINE, ACCESS_TOKEN}
    if read.header.get("typ") == TYPE or OFFLINE not in identity.scopes or not asked or plain:
        raise invalid_grant("The token is no refresh token.")
    if not identity.subject or not identity.client_id:
        raise invalid_grant("The refresh token names no person or no client.")
    grant = Grant(
        client_id=identity.client_id,
        scopes=(*asked, OFFLINE),
        subject=identity.subject,
        user=user_info(identity),
    )
    return grant, datetime.fromtimestamp(expires_at, UTC)


def user_info(identity: Identity) -> dict[str, str]:
    """Return the claim `user_info` for a person."""
    found = {name: value for name, value in asdict(identity.user).items() if value}
    return {**found, "subject": identity.user.subject or identity.subject}


def _is_canonical(token: str) -> bool:
    """Return whether no other text is the same token: decoders ignore padding and the last bits of a segment.

    A refresh token is known by the hash of its text, so another text of a spent one would count as a new one.
    """
    parts = token.encode().split(b".")
    return all(base64url_encode(base64url_decode(part)) == part for part in parts)


def _marked(scope: str) -> str:
    return scope if scope == OFFLINE else PREFIX + scope

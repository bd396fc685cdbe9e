"""The claims of a verified token -> the identity that they describe.

Source: flyteadmin/auth/authzserver/claims_verifier.go, flyteadmin/auth/identity_context.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from app.auth.identity import ALL, Identity, Method, UserInfo
from app.auth.refusals import TokenRefused
from app.wire.go.gotext import type_text, value_text

_USER_FIELDS = tuple(field.name for field in fields(UserInfo))


def of_access_token(claims: dict[str, Any], expires_at: float) -> Identity:
    """Return the identity of an access token.

    Args:
        claims: The verified claims.
        expires_at: The end of the token's validity, in seconds since 1970.

    Raises:
        TokenRefused: A claim has the wrong type.
    """
    subject = _text(claims, "sub")
    # Deviates: upstream panics where `client_id`, `user_info`, `email` or a scope has another type.
    client_id = "" if "client_id" not in claims else _text(claims, "client_id", null=False)
    scopes = _scp(claims)
    if not client_id and not scopes:
        # Parity: such a token counts like the session of a signed-in user, whatever its claim `scope` holds.
        scopes = frozenset({ALL})
    # Deviates: upstream does not read the claim `scope` of RFC 9068, which Keycloak writes.
    scopes |= frozenset(_text(claims, "scope").split())
    return Identity(
        subject=subject,
        client_id=client_id,
        scopes=scopes,
        user=_user(claims, subject),
        claims=claims,
        method="access_token",
        expires_at=expires_at,
    )


def of_id_token(claims: dict[str, Any], expires_at: float, method: Method = "id_token") -> Identity:
    """Return the identity of an id token. It has the scope `all`, as identity providers issue no scopes in id tokens.

    Args:
        claims: The verified claims.
        expires_at: The end of the token's validity, in seconds since 1970.
        method: How the identity was proved.

    Raises:
        TokenRefused: A claim has the wrong type.
    """
    subject = _text(claims, "sub")
    # Deviates: upstream takes the user's description from a header that any caller may send.
    user = _user({**claims, "user_info": None}, subject)
    return Identity(
        subject=subject, scopes=frozenset({ALL}), user=user, claims=claims, method=method, expires_at=expires_at
    )


def _text(claims: Mapping[str, Any], name: str, *, null: bool = True) -> str:
    """Return a claim that is a string, "" where it is absent or, with `null`, null. Raises TokenRefused for others."""
    value = claims.get(name)
    if isinstance(value, str):
        return value
    if value is None and null:
        return ""
    problem = f"claim {name} has type {type_text(value)}, wanted string"
    raise TokenRefused(problem, claim=name, found=value, wanted="a string")


def _scp(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of the claim `scp`, which is a list or a text."""
    if "scp" not in claims:
        return frozenset()
    found = claims["scp"]
    if isinstance(found, str):
        # Deviates: upstream takes a text of several scopes for one scope.
        return frozenset(found.split())
    if not isinstance(found, list):
        problem = f"failed getting scope claims due to  unknown type {type_text(found)} with value {value_text(found)}"
        raise TokenRefused(problem, claim="scp", found=found, wanted="a string or a list of strings")
    if not all(isinstance(one, str) for one in found):
        raise TokenRefused("claim scp holds a scope that is no string", claim="scp", found=found, wanted="strings")
    return frozenset(found)


def _user(claims: Mapping[str, Any], subject: str) -> UserInfo:
    """Return the person: of the claim `user_info`, which own tokens have, else of OpenID's standard claims."""
    described = claims.get("user_info")
    if described is None:
        # Deviates: upstream reads no name of such tokens, so `/me` and logs show the subject only.
        described = {name: value for name in _USER_FIELDS if isinstance(value := claims.get(name), str)}
    if not isinstance(described, dict):
        problem = f"claim user_info has type {type_text(described)}, wanted map[string]interface {{}}"
        raise TokenRefused(problem, claim="user_info", found=described, wanted="an object")
    user = {name: _user_field(described, name) for name in _USER_FIELDS}
    if email := _text(claims, "email"):
        user["email"] = email
    user["subject"] = user["subject"] or subject
    return UserInfo(**user)


def _user_field(described: Mapping[str, Any], name: str) -> str:
    value = described.get(name)
    if value is None or isinstance(value, str):
        return value or ""
    problem = f"failed to unmarshal user info claim into UserInfo type. Error: {name} is {type_text(value)}, not string"
    raise TokenRefused(problem, claim=f"user_info.{name}", found=value, wanted="a string")

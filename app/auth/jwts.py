"""JSON Web Tokens: parse them and check their rules, with the error texts of upstream's libraries.

PyJWT checks forms and signatures. The claims are checked here, because upstream's rules have no leeway and texts of
their own.

Source: golang-jwt v4 Parser.ParseWithClaims and MapClaims.Valid, flyteadmin/auth/authzserver/claims_verifier.go.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import orjson
from jwt import PyJWS
from jwt.exceptions import InvalidSignatureError, PyJWTError

from app.auth.refusals import TokenRefused
from app.errors import FlyteError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

RSA_ALGORITHMS = ("RS256", "RS384", "RS512")
# Algorithms that upstream's library has; it names another one "unavailable".
_KNOWN_ALGORITHMS = frozenset(f"{family}{bits}" for family in ("HS", "RS", "PS", "ES") for bits in (256, 384, 512)) | {
    "none",
    "EdDSA",
}
_DEPTH_MAX = 32

_jws = PyJWS()


@dataclass(frozen=True, slots=True)
class Token:
    """A token whose form is correct. Nothing is verified yet.

    Attributes:
        text: The token.
        header: The fields of its header.
        claims: Its claims.
    """

    text: str
    header: Mapping[str, Any]
    claims: dict[str, Any]

    @property
    def algorithm(self) -> str:
        """Return the algorithm of the signature as the token names it."""
        name = self.header.get("alg")
        return name if isinstance(name, str) else ""

    def header_text(self, name: str) -> str:
        """Return a field of the header, "" where it is absent.

        Raises:
            TokenRefused: The field is no string.
        """
        value = self.header.get(name, "")
        if not isinstance(value, str):
            raise TokenRefused(f"header {name} of the token is no string", claim=name, found=value, wanted="a string")
        return value


def parsed(text: str, bytes_max: int, *, prefix: str = "") -> Token:
    """Return a token's parts.

    Args:
        text: The token.
        bytes_max: The longest token that is parsed, in bytes.
        prefix: Precedes the text of a refusal.

    Raises:
        TokenRefused: The token is too long, or malformed.
    """
    if len(text) > bytes_max:
        found, wanted = f"{len(text)} bytes", f"at most {bytes_max} bytes (auth.tokenBytesMax)"
        raise TokenRefused(
            f"{prefix}token has {found}, allowed is {wanted}", claim="length", found=found, wanted=wanted
        )
    if (points := text.count(".")) != 2:
        problem = f"{prefix}token contains an invalid number of segments"
        raise TokenRefused(problem, claim="segments", found=points + 1, wanted=3)
    try:
        parts = _jws.decode_complete(text, options={"verify_signature": False})
        # orjson refuses numbers, texts and depths that Go's parser refuses too.
        claims = orjson.loads(parts["payload"])
        _check_depth(claims)
    except (PyJWTError, ValueError) as error:
        raise _malformed(error, prefix) from error
    if not isinstance(claims, dict):
        raise _malformed("the claims are no JSON object", prefix)
    return Token(text, parts["header"], claims)


def check_algorithm(token: Token, allowed: Collection[str]) -> None:
    """Raise TokenRefused where the token's algorithm is not one of these, such as `none` or HS256."""
    name = token.algorithm
    if name in allowed:
        return
    if not name:
        problem = "signing method (alg) is unspecified."
    elif name in _KNOWN_ALGORITHMS:
        problem = f"unexpected signing method: {name}"
    else:
        problem = "signing method (alg) is unavailable."
    raise TokenRefused(problem, claim="alg", found=token.header.get("alg"), wanted=sorted(allowed))


def check_announced_algorithm(token: Token, announced: Collection[str]) -> None:
    """Raise TokenRefused where the token's algorithm is not among those that its issuer announces."""
    if token.algorithm not in announced:
        wanted = " ".join(f'"{name}"' for name in sorted(announced))
        problem = f'unexpected signature algorithm "{token.algorithm}"; expected [{wanted}]'
        raise TokenRefused(
            f"oidc: malformed jwt: {problem}", claim="alg", found=token.header.get("alg"), wanted=sorted(announced)
        )


def without_provider(error: FlyteError) -> TokenRefused:
    """Return the refusal of a token whose issuer does not answer."""
    problem = f"failed to verify signature: {error.message}"
    return TokenRefused(problem, claim="issuer's document", found=error.message, wanted="an answer")


def is_signed_by(token: Token, key: PublicKey) -> bool:
    """Return whether a key made the token's signature with the token's algorithm, which the caller has checked.

    Raises:
        TokenRefused: The key is not of the algorithm's kind, or the header has a field that is not understood.
    """
    try:
        _jws.decode_complete(token.text, key, algorithms=[token.algorithm])
    except InvalidSignatureError:
        return False
    except (PyJWTError, TypeError, ValueError) as error:
        raise _malformed(error) from error
    return True


def check_times(claims: Mapping[str, Any], now: float, *, prefix: str = "") -> float:
    """Check `nbf`, `iat` and `exp` without leeway, and return the expiry.

    Args:
        claims: The claims.
        now: Seconds since 1970.
        prefix: Precedes the text of a refusal.

    Raises:
        TokenRefused: The token is not valid now, never expires, or a time is no number.
    """
    for name, text in (("nbf", "Token is not valid yet"), ("iat", "Token used before issued")):
        start = time_of(claims, name, prefix + text)
        if start is not None and now < start:
            raise TokenRefused(prefix + text, claim=name, found=moment(start), wanted=f"at most {moment(now)} (now)")
    expired = f"{prefix}Token is expired"
    expiry = time_of(claims, "exp", expired)
    if expiry is None:
        # Deviates: without `exp`, or with 0, a token of upstream never expires.
        raise TokenRefused(
            f"{prefix}token has no expiry (claim exp)", claim="exp", found=claims.get("exp"), wanted="a time"
        )
    if now >= expiry:
        raise TokenRefused(expired, claim="exp", found=moment(expiry), wanted=f"after {moment(now)} (now)")
    return expiry


def audiences_of(claims: Mapping[str, Any]) -> list[str]:
    """Return the audiences of a token: its claim `aud` is a string or a list."""
    value = claims.get("aud")
    found = value if isinstance(value, list) else [value]
    return [one for one in found if isinstance(one, str)]


def set_text(values: Collection[str]) -> str:
    """Return a set of strings as Go's %v prints one."""
    return f"map[{' '.join(f'{one}:{{}}' for one in sorted(values))}]"


def check_audience(claims: Mapping[str, Any], wanted: Collection[str]) -> None:
    """Raise TokenRefused where a token has none of the wanted audiences."""
    found = audiences_of(claims)
    if not any(one in wanted for one in found):
        subject, issuer = (value if isinstance(value := claims.get(name), str) else "" for name in ("sub", "iss"))
        times = " ".join(go_moment(claims.get(name)) for name in ("exp", "iat", "nbf"))
        shown = f"&{{[{' '.join(found)}] {issuer} {subject} {times}}}"
        problem = f"invalid audience [{shown}], wanted [{set_text(wanted)}]"
        raise TokenRefused(problem, claim="aud", found=claims.get("aud"), wanted=sorted(wanted))


def check_issuer(claims: Mapping[str, Any], wanted: Collection[str], *, required: bool = True) -> None:
    """Raise TokenRefused where another server issued a token.

    Args:
        claims: The claims.
        wanted: The issuers that are accepted.
        required: Whether a token without `iss` is refused too.
    """
    # Deviates: upstream does not compare `iss` of access tokens.
    found = claims.get("iss", "")
    if found == "" and not required:
        return
    if not isinstance(found, str) or found not in wanted:
        shown = found if isinstance(found, str) else "no string"
        problem = f"invalid issuer [{shown}], wanted [{set_text(wanted)}]"
        raise TokenRefused(problem, claim="iss", found=found, wanted=sorted(wanted))


def _malformed(reason: object, prefix: str = "") -> TokenRefused:
    problem = f"{prefix}token is malformed: {str(reason) or type(reason).__name__}"
    return TokenRefused(problem, claim="form", found=str(reason), wanted="a JSON Web Token")


def time_of(claims: Mapping[str, Any], name: str, problem: str) -> float | None:
    """Return a time claim, None where it is absent or 0. Raises TokenRefused for a value that is no number."""
    value = claims.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TokenRefused(problem, claim=name, found=value, wanted="a number of seconds since 1970")
    return float(value) or None


def moment(seconds: float) -> str:
    """Return a time as ISO 8601 writes it, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
    except (OverflowError, OSError, ValueError):
        return f"{seconds:g} s after 1970"


def go_moment(value: Any) -> str:
    """Return a time claim as Go prints a time; the zero time for a claim that has none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value:
        return "0001-01-01 00:00:00 +0000 UTC"
    return moment(value).replace("T", " ").replace("+00:00", " +0000 UTC")


def _check_depth(value: Any, left: int = _DEPTH_MAX) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner and not left:
        raise ValueError(f"the claims are nested more than {_DEPTH_MAX} deep")
    for one in inner:
        _check_depth(one, left - 1)

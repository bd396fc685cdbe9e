"""The keys with which another server signs tokens: its JSON Web Key Set, fetched anew for a key that is unknown.

Source: go-oidc v3 RemoteKeySet.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from app import errors, limited_log
from app.auth import jwts
from app.auth.provider_client import ProviderClient, json_object
from app.auth.refusals import TokenRefused
from app.auth.remote_value import RemoteValue
from app.settings.auth import Auth

if TYPE_CHECKING:
    from app.auth.jwts import PublicKey

KEYS_MAX = 100
_RSA_BITS = range(2048, 8192 + 1)
_RSA = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
# Algorithms with a public key; one with a shared secret or without a signature is never accepted.
ASYMMETRIC = _RSA | frozenset(_CURVES.values()) | {"EdDSA"}


@dataclass(frozen=True, slots=True)
class RemoteKey:
    """A published key.

    Attributes:
        algorithms: Those for which the key may be used.
    """

    key_id: str
    key: PublicKey
    algorithms: frozenset[str]


class FetchBudget:
    """Limits fetches that clients cause, because anybody can send a token with an unknown key id.

    Args:
        per_minute: So many fetches may follow each other at once; the budget refills within a minute.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._at = time.monotonic()

    def take(self) -> bool:
        """Return whether a fetch may start now, and count it."""
        now = time.monotonic()
        self._left = min(float(self._per_minute), self._left + (now - self._at) * self._per_minute / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


class RemoteKeys:
    """The public keys of another server, which are fetched and cached.

    Args:
        auth: The section of settings with the limits.
        client: Sends the requests.
        address: Returns the address of the key set.
    """

    def __init__(self, auth: Auth, client: ProviderClient, address: Callable[[], Awaitable[str]]) -> None:
        self._client = client
        self._address = address
        self._budget = FetchBudget(auth.key_fetches_per_minute_max)
        self._keys = RemoteValue("keys", self._fetch, auth.provider_document_seconds)
        self._published: Any = None
        self._on_change: list[Callable[[], None]] = []

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call a function whenever the server publishes other keys than before."""
        self._on_change.append(callback)

    @property
    def problem(self) -> str:
        """Return why the last fetch failed, "" where it did not."""
        return self._keys.problem

    async def load(self) -> None:
        """Fetch the keys unless they are there.

        Raises:
            FlyteError: The keys cannot be fetched.
        """
        await self._keys.get()

    async def check_signature(self, token: jwts.Token) -> None:
        """Raise TokenRefused unless a published key signed the token. The caller has checked the algorithm.

        A token without `kid` may be signed by any of the keys.
        """
        key_id = token.header_text("kid")
        try:
            if _is_signed(token, key_id, await self._keys.get()):
                return
            if self._budget.take():
                if _is_signed(token, key_id, await self._keys.renew()):
                    return
            else:
                limited_log.warning("keys_not_fetched", reason="more unknown keys than auth.keyFetchesPerMinuteMax")
        except errors.FlyteError as error:
            if isinstance(error, TokenRefused):
                raise
            problem = f"failed to verify signature: fetching keys {error.message}"
            raise TokenRefused(
                problem, claim="signature", found=error.message, wanted="keys of the provider"
            ) from error
        problem = "failed to verify signature: failed to verify id token signature"
        raise TokenRefused(problem, claim="signature", found=f"kid {key_id}", wanted="a published key") from None

    async def close(self) -> None:
        """End a fetch that still runs."""
        await self._keys.close()

    async def _fetch(self) -> tuple[RemoteKey, ...]:
        url = await self._address()
        reply = await self._client.get(url)
        if reply.status != 200:
            raise errors.Unavailable(f'Get "{url}": {reply.status} {reply.reason} {reply.text()}')
        document = json_object(reply)
        keys = keys_of(document)
        if document["keys"] != self._published:
            self._published = document["keys"]
            for callback in self._on_change:
                callback()
        return keys


def keys_of(document: Mapping[str, Any]) -> tuple[RemoteKey, ...]:
    """Return the keys of a key set that can verify signatures. Other keys are left out."""
    found = document.get("keys")
    if not isinstance(found, list):
        raise errors.Unknown("the key set has no list `keys`")
    return tuple(key for one in found[:KEYS_MAX] if (key := _key_of(one)) is not None)


def _key_of(jwk: Any) -> RemoteKey | None:
    if not isinstance(jwk, dict) or jwk.get("use", "sig") != "sig" or jwk.get("kty") not in ("RSA", "EC", "OKP"):
        return None
    key_id = jwk.get("kid", "")
    try:
        # PyJWK refuses algorithms that it does not have; which one is used is decided here.
        key = PyJWK.from_dict({name: value for name, value in jwk.items() if name != "alg"}).key
    except (PyJWTError, TypeError, ValueError, KeyError):
        return None
    if isinstance(key, RSAPublicKey):
        algorithms = _RSA if key.key_size in _RSA_BITS else frozenset[str]()
    elif isinstance(key, EllipticCurvePublicKey):
        algorithms = frozenset({_CURVES.get(key.curve.name, "")})
    elif isinstance(key, Ed25519PublicKey):
        algorithms = frozenset({"EdDSA"})
    else:
        return None
    if "alg" in jwk:
        algorithms &= {jwk["alg"]} if isinstance(jwk["alg"], str) else frozenset[str]()
    return RemoteKey(key_id, key, algorithms) if isinstance(key_id, str) and algorithms else None


def _is_signed(token: jwts.Token, key_id: str, keys: tuple[RemoteKey, ...]) -> bool:
    return any(
        jwts.is_signed_by(token, one.key)
        for one in keys
        if token.algorithm in one.algorithms and (not key_id or one.key_id == key_id)
    )

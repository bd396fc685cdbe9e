"""The keys of the own authorization server: one RSA key signs tokens, an earlier one still verifies them.

To replace the key, `token_rsa_key.pem` becomes `token_rsa_key_old.pem`, a new key takes its place, and the servers are
started again. Once all tokens of the earlier key have expired, its file is removed.

Source: flyteadmin/auth/authzserver/provider.go NewProvider, metadata.go newJSONWebKeySet.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.auth.secrets_store import SecretNotFound, SecretsStore
from app.settings import BadSetting, Settings

BITS_MIN = 2048
ALGORITHM = "RS256"


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """The public half of a signing key.

    Attributes:
        key_id: The key's RFC 7638 thumbprint, which tokens name as `key_id` and `kid`.
        jwk: The key as clients read it.
    """

    public: RSAPublicKey
    key_id: str
    jwk: Mapping[str, str]


class SigningKeys:
    """Signs the tokens of this server, and has the keys that verify them.

    Args:
        private: The current key.
        old: The key before it.
    """

    def __init__(self, private: RSAPrivateKey, old: RSAPrivateKey | None = None) -> None:
        self._private = private
        keys = [private] if old is None else [private, old]
        self._verification = tuple(verification_key(key.public_key()) for key in keys)
        self._by_id = {key.key_id: key.public for key in reversed(self._verification)}

    @classmethod
    def load(cls, settings: Settings, secrets: SecretsStore) -> SigningKeys:
        """Read the keys. The old key may be absent.

        Raises:
            BadSetting: The key is absent, or one of the two cannot be used.
        """
        server = settings.auth.app_auth.self_auth_server
        private = _private_key(secrets, server.token_signing_rsa_key_secret_name)
        try:
            old = _private_key(secrets, server.old_token_signing_rsa_key_secret_name)
        except SecretNotFound:
            return cls(private)
        return cls(private, old)

    @property
    def key_id(self) -> str:
        """Return the id of the key that signs."""
        return self._verification[0].key_id

    def jwks(self) -> dict[str, Any]:
        """Return the JSON Web Key Set of RFC 7517: the current key first."""
        return {"keys": [dict(key.jwk) for key in self._verification]}

    def issue(self, claims: Mapping[str, Any], type: str = "JWT") -> str:
        """Return a signed token. It takes about 1 ms of CPU with a key of 2048 bits.

        Args:
            claims: All claims, with their times.
            type: The field `typ` of the header.
        """
        # Parity: `key_id` is the field that upstream reads; `kid` is the standard one.
        headers = {"key_id": self.key_id, "kid": self.key_id, "typ": type}
        return jwt.encode(dict(claims), self._private, algorithm=ALGORITHM, headers=headers)

    def public(self, key_id: str) -> RSAPublicKey:
        """Return the key of an id; the current key where the id is unknown or ""."""
        return self._by_id.get(key_id, self._verification[0].public)


def _private_key(secrets: SecretsStore, name: str) -> RSAPrivateKey:
    try:
        text = secrets.text(name)
    except SecretNotFound as error:
        raise SecretNotFound(f"failed to read token signing RSA Key. Error: {error}") from error
    if not text.strip():
        raise BadSetting(f"failed to read token signing RSA Key. Error: empty value (secret {name})")
    if "-----BEGIN" not in text:
        raise BadSetting(f"failed to decode token signing RSA Key. Error: no PEM data found (secret {name})")
    try:
        # Deviates: upstream accepts PKCS#1 only; PKCS#8, which openssl writes by default, is accepted too.
        key = load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError) as error:
        problem = f"failed to parse PKCS1PrivateKey. Error: secret {name} is no unencrypted RSA private key"
        raise BadSetting(f"{problem}; `openssl genrsa -traditional {BITS_MIN}` makes one") from error
    if not isinstance(key, RSAPrivateKey):
        raise BadSetting(f"failed to parse PKCS1PrivateKey. Error: secret {name} is a key of another kind than RSA")
    if key.key_size < BITS_MIN:
        raise BadSetting(f"secret {name} is an RSA key of {key.key_size} bits; wanted are at least {BITS_MIN}")
    return key


def verification_key(public: RSAPublicKey) -> VerificationKey:
    """Return a public key with its id."""
    numbers = public.public_numbers()
    jwk = {"e": _unpadded(_bytes_of(numbers.e)), "kty": "RSA", "n": _unpadded(_bytes_of(numbers.n))}
    # RFC 7638: the required members in lexical order, without blanks.
    thumbprint = hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest()
    key_id = _unpadded(thumbprint)
    return VerificationKey(public, key_id, {"e": jwk["e"], "kid": key_id, "kty": "RSA", "n": jwk["n"]})


def _bytes_of(number: int) -> bytes:
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def _unpadded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

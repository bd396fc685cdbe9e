"""Keys and tokens, good and forged."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from app.auth.identity import Identity
from app.auth.refusals import TokenRefused
from app.settings import Settings

URL = "http://localhost:30080"


@cache
def rsa_key(name: str = "own", bits: int = 2048) -> rsa.RSAPrivateKey:
    """Return the same key for the same name."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key(name: str = "own") -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, *, pkcs8: bool = False) -> str:
    form = serialization.PrivateFormat.PKCS8 if pkcs8 else serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def public_pem(key: rsa.RSAPrivateKey) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form)


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def auth_settings(**auth: Any) -> Settings:
    """Return settings of a server at URL that has these keys of section `auth`."""
    return Settings.model_validate({"auth": {"authorized_uris": (URL,), **auth}})


def a_claim_set(**claims: Any) -> dict[str, Any]:
    """Return the claims of a good access token; a value of ... leaves one out."""
    now = int(time.time())
    made = {
        "aud": [URL],
        "client_id": "flytectl",
        "exp": now + 600,
        "iat": now,
        "iss": URL,
        "jti": "1",
        "scp": ["all"],
        "sub": "ann",
        "user_info": {"subject": "ann", "name": "Ann", "email": "ann@example.com"},
        **claims,
    }
    return {name: value for name, value in made.items() if value is not ...}


def signed(claims: Any, key: Any = None, algorithm: str = "RS256", header: dict[str, Any] | None = None) -> str:
    """Return a token; claims and header may be anything, even bytes that are no JSON."""
    head = {"typ": "JWT", "alg": algorithm, **(header or {})}
    signing = f"{part(head)}.{part(claims)}"
    by = jwt.get_algorithm_by_name(algorithm)
    return f"{signing}.{part(by.sign(signing.encode(), by.prepare_key(key or rsa_key())))}"


def unsigned(claims: Any, algorithm: Any = "none", **header: Any) -> str:
    return f"{part({'alg': algorithm, 'typ': 'JWT', **header})}.{part(claims)}."


def hmac_signed(claims: Any, secret: bytes, **header: Any) -> str:
    """Sign with a public key as if it were a shared secret. PyJWT refuses to do that."""
    signing = f"{part({'alg': 'HS256', 'typ': 'JWT', **header})}.{part(claims)}"
    return f"{signing}.{part(hmac.new(secret, signing.encode(), hashlib.sha256).digest())}"


class NoTokens:
    """A verifier that refuses every token."""

    async def verify(self, token: str, public_url: str) -> Identity:
        raise TokenRefused("no token is accepted", claim="scheme", found="a token", wanted="none")

    def recent(self, token: str, public_url: str) -> Identity | None:
        return None

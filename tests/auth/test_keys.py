"""Signing keys: their forms, ids, rotation, and the errors of unusable ones."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from app.auth.keys import SigningKeys, verification_key
from app.auth.secrets_store import SecretsStore
from app.settings import BadSetting, Settings
from tests.support.tokens import ec_key, pem, rsa_key


def store(tmp_path: Path, **secrets: str) -> tuple[Settings, SecretsStore]:
    settings = Settings.model_validate({"secrets": {"secrets_prefix": str(tmp_path)}})
    environ = {f"FLYTE_SECRET_{name.replace('__', '.')}": text for name, text in secrets.items()}
    return settings, SecretsStore(settings, environ)


def test_the_key_set_holds_the_public_half() -> None:
    keys = SigningKeys(rsa_key())
    (jwk,) = keys.jwks()["keys"]
    assert set(jwk) == {"e", "kid", "kty", "n"}
    assert (jwk["kid"], jwk["kty"], jwk["e"]) == (keys.key_id, "RSA", "AQAB")


def test_the_thumbprint_is_that_of_the_example_of_rfc_7638() -> None:
    modulus = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-"
        "kEgU8awapJzKnqDKgw"
    )
    public = jwt.algorithms.RSAAlgorithm.from_jwk({"kty": "RSA", "n": modulus, "e": "AQAB"})
    assert verification_key(public).key_id == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"  # type: ignore[arg-type]


def test_a_token_names_its_key_twice_and_verifies() -> None:
    keys = SigningKeys(rsa_key())
    token = keys.issue({"sub": "ann"})
    assert jwt.get_unverified_header(token) == {
        "alg": "RS256",
        "typ": "JWT",
        "key_id": keys.key_id,
        "kid": keys.key_id,
    }
    key = jwt.PyJWK.from_dict({**keys.jwks()["keys"][0], "alg": "RS256"})
    assert jwt.decode(token, key, algorithms=["RS256"]) == {"sub": "ann"}


@pytest.mark.parametrize("pkcs8", [False, True])
def test_keys_are_read_from_secrets(tmp_path: Path, *, pkcs8: bool) -> None:
    settings, secrets = store(
        tmp_path,
        token_rsa_key__pem=pem(rsa_key(), pkcs8=pkcs8),
        token_rsa_key_old__pem=pem(rsa_key("before"), pkcs8=pkcs8),
    )
    keys, before = SigningKeys.load(settings, secrets), SigningKeys(rsa_key("before"))
    current = SigningKeys(rsa_key())
    assert keys.key_id == current.key_id
    assert [jwk["kid"] for jwk in keys.jwks()["keys"]] == [current.key_id, before.key_id]
    assert keys.public(before.key_id).public_numbers() == rsa_key("before").public_key().public_numbers()
    assert keys.public("unknown").public_numbers() == rsa_key().public_key().public_numbers()


def test_the_old_key_may_be_absent(tmp_path: Path) -> None:
    settings, secrets = store(tmp_path, token_rsa_key__pem=pem(rsa_key()))
    assert len(SigningKeys.load(settings, secrets).jwks()["keys"]) == 1


BEGIN = "-----BEGIN RSA PRIVATE KEY-----"


def encrypted() -> str:
    return (
        rsa_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.BestAvailableEncryption(b"secret-password"),
        )
        .decode()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (lambda: "", "failed to read token signing RSA Key. Error: empty value"),
        (lambda: "junk", "failed to decode token signing RSA Key. Error: no PEM data found"),
        (lambda: f"{BEGIN}\nAAAA\n{BEGIN.replace('BEGIN', 'END')}\n", "failed to parse PKCS1PrivateKey."),
        (encrypted, "failed to parse PKCS1PrivateKey."),
        (lambda: pem(ec_key()), "failed to parse PKCS1PrivateKey."),
        (lambda: pem(rsa_key("short", 1024)), "is an RSA key of 1024 bits; wanted are at least 2048"),
    ],
)
@pytest.mark.parametrize("name", ["token_rsa_key__pem", "token_rsa_key_old__pem"])
def test_an_unusable_key_is_refused_with_its_name(
    tmp_path: Path, name: str, text: Callable[[], str], problem: str
) -> None:
    settings, secrets = store(tmp_path, **{"token_rsa_key__pem": pem(rsa_key()), name: text()})
    with pytest.raises(BadSetting) as raised:
        SigningKeys.load(settings, secrets)
    assert problem in str(raised.value)
    assert name.replace("__", ".") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    problem = "failed to read token signing RSA Key. Error: secrets not found - file ["
    with pytest.raises(BadSetting, match=re.escape(problem)):
        SigningKeys.load(*store(tmp_path))

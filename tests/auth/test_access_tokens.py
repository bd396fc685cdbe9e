"""Access tokens of the own authorization server: good ones, and every way to forge one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from app import errors, limited_log
from app.auth.access_tokens import OwnAccessTokens
from app.auth.identity import Identity
from app.auth.keys import SigningKeys
from app.auth.refusals import TokenRefused
from app.settings import Settings
from tests.support.tokens import (
    URL,
    a_claim_set,
    auth_settings,
    ec_key,
    hmac_signed,
    part,
    public_pem,
    rsa_key,
    signed,
    unsigned,
)

KEYS = SigningKeys(rsa_key(), rsa_key("before"))
KEY_ID = KEYS.key_id
OLD_ID = SigningKeys(rsa_key("before")).key_id
NAMED = {"key_id": KEY_ID, "kid": KEY_ID}


@pytest.fixture(autouse=True)
def _log_each_line() -> None:
    limited_log.clear()


def verifier(**auth: Any) -> OwnAccessTokens:
    return OwnAccessTokens(auth_settings(**auth), KEYS)


def verify(tokens: OwnAccessTokens, text: str, url: str = URL) -> Identity:
    return asyncio.run(tokens.verify(text, url))


def token(key: Any = None, algorithm: str = "RS256", header: dict[str, Any] | None = None, **claims: Any) -> str:
    return signed(a_claim_set(**claims), key, algorithm, NAMED if header is None else header)


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


def changed_payload() -> str:
    head, _, signature = token().split(".")
    return f"{head}.{part(a_claim_set(sub='root'))}.{signature}"


GOOD: dict[str, Callable[[], str]] = {
    "as it is issued": lambda: KEYS.issue(a_claim_set()),
    "RS384": lambda: token(algorithm="RS384"),
    "RS512": lambda: token(algorithm="RS512"),
    "audience as text": lambda: token(aud=URL),
    "audience among others": lambda: token(aud=["x", URL]),
    "without a key's name": lambda: token(header={}),
    "unknown key_id": lambda: token(header={"key_id": "unknown"}),
    "kid alone": lambda: token(rsa_key("before"), header={"kid": OLD_ID}),
    "old key": lambda: token(rsa_key("before"), header={"key_id": OLD_ID}),
    "key_id wins over kid": lambda: token(header={"key_id": KEY_ID, "kid": OLD_ID}),
    "expiry with a fraction": lambda: token(exp=int(time.time()) + 60.5),
    "iat and nbf now": lambda: token(iat=time.time(), nbf=time.time()),
    "nbf and iat 0": lambda: token(iat=0, nbf=0),
    "no subject": lambda: token(sub=...),
    "no issuer, as upstream's tokens of services": lambda: token(iss=...),
    "issuer at another port": lambda: token(iss="http://localhost:1"),
    "empty issuer": lambda: token(iss=""),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_good_token_is_accepted(name: str) -> None:
    identity = verify(verifier(), GOOD[name]())
    assert identity.method == "access_token"
    assert identity.scopes == {"all"}
    assert identity.client_id == "flytectl"
    assert identity.subject == ("" if name == "no subject" else "ann")


HUGE = "9" * 5000
BAD: dict[str, tuple[Callable[[], str], str]] = {
    "empty": (lambda: "", "token contains an invalid number of segments"),
    "junk": (lambda: "junk", "token contains an invalid number of segments"),
    "two parts": (lambda: "a.b", "token contains an invalid number of segments"),
    "four parts": (lambda: token() + ".x", "token contains an invalid number of segments"),
    "empty parts": (lambda: "..", "token is malformed"),
    "header no base64": (lambda: "!!!.e30.", "token is malformed"),
    "header no object": (lambda: f"{part([1])}.{part({})}.", "token is malformed"),
    "claims no JSON": (lambda: signed(b"{", header=NAMED), "token is malformed"),
    "claims a list": (lambda: signed([1], header=NAMED), "token is malformed"),
    "claims a number": (lambda: signed(1, header=NAMED), "token is malformed"),
    "claims no UTF-8": (lambda: signed(b'{"sub": "\xff"}', header=NAMED), "token is malformed"),
    "header too deep": (lambda: f"{part(b'[' * 20_000)}.{part({})}.", "token is malformed"),
    "claims too deep": (lambda: signed(b"[" * 20_000, header=NAMED), "token is malformed"),
    "a claim too deep": (
        lambda: token(x=nested(34)),
        "nested",
    ),
    "a huge number": (lambda: signed(f'{{"exp": {HUGE}}}'.encode(), header=NAMED), "token is malformed"),
    "an infinite number": (lambda: signed(b'{"exp": 1e999}', header=NAMED), "token is malformed"),
    "half a surrogate pair": (lambda: signed(b'{"sub": "\\ud800"}', header=NAMED), "token is malformed"),
    "no number": (lambda: signed(b'{"exp": NaN}', header=NAMED), "token is malformed"),
    "too long": (lambda: token(x="x" * 100_000), "allowed is at most 32768 bytes (auth.tokenBytesMax)"),
    "a stranger's key": (lambda: token(rsa_key("stranger")), "crypto/rsa: verification error"),
    "old key under the new name": (lambda: token(rsa_key("before")), "crypto/rsa: verification error"),
    "signature cut": (lambda: token()[:-2], "crypto/rsa: verification error"),
    "no signature": (lambda: token().rpartition(".")[0] + ".", "crypto/rsa: verification error"),
    "payload changed": (changed_payload, "crypto/rsa: verification error"),
    "none": (lambda: unsigned(a_claim_set()), "unexpected signing method: none"),
    "None": (lambda: unsigned(a_claim_set(), "None"), "signing method (alg) is unavailable."),
    "no alg": (lambda: unsigned(a_claim_set(), None), "signing method (alg) is unspecified."),
    "alg a list": (lambda: unsigned(a_claim_set(), ["RS256"]), "signing method (alg) is unspecified."),
    "HS256 of the public key": (
        lambda: hmac_signed(a_claim_set(), public_pem(rsa_key()), **NAMED),
        "unexpected signing method: HS256",
    ),
    "PS256": (lambda: token(algorithm="PS256"), "unexpected signing method: PS256"),
    "ES256": (lambda: token(ec_key(), "ES256"), "unexpected signing method: ES256"),
    "key_id a number": (lambda: token(header={"key_id": 5}), "header key_id of the token is no string"),
    "key_id null": (lambda: token(header={"key_id": None}), "header key_id of the token is no string"),
    "key_id an object": (lambda: unsigned(a_claim_set(), "RS256", key_id={}), "header key_id of the token"),
    "kid a number": (lambda: unsigned(a_claim_set(), "RS256", kid=5), "token is malformed"),
    "crit": (lambda: token(header={"crit": ["exp"], **NAMED}), "token is malformed"),
    "payload not encoded": (lambda: token(header={"b64": False, "crit": ["b64"]}), "token is malformed"),
    "expired": (lambda: token(exp=time.time() - 1), "Token is expired"),
    "expires now": (lambda: token(exp=int(time.time())), "Token is expired"),
    "expiry a text": (lambda: token(exp=str(time.time() + 60)), "Token is expired"),
    "expiry true": (lambda: token(exp=True), "Token is expired"),
    "expiry null": (lambda: token(exp=None), "Token is expired"),
    "no expiry": (lambda: token(exp=...), "token has no expiry (claim exp)"),
    "expiry 0": (lambda: token(exp=0), "token has no expiry (claim exp)"),
    "not valid yet": (lambda: token(nbf=time.time() + 60), "Token is not valid yet"),
    "nbf a text": (lambda: token(nbf="1"), "Token is not valid yet"),
    "issued in the future": (lambda: token(iat=time.time() + 2), "Token used before issued"),
    "issued far in the future": (lambda: token(iat=10**200), "Token used before issued"),
    "another audience": (
        lambda: token(aud=["x"], exp=1e10),
        "invalid audience [&{[x] http://localhost:30080 ann 2286",
    ),
    "no audience": (lambda: token(aud=...), f"wanted [map[{URL}:{{}}]]"),
    "audience null": (lambda: token(aud=None), "invalid audience ["),
    "audience an object": (lambda: token(aud={URL: 1}), "invalid audience ["),
    "audience with a slash": (lambda: token(aud=URL + "/"), "invalid audience ["),
    "another issuer": (
        lambda: token(iss="http://evil.example.com"),
        f"invalid issuer [http://evil.example.com], wanted [map[{URL}:{{}}]]",
    ),
    "issuer without a host": (lambda: token(iss="localhost"), "invalid issuer [localhost], wanted"),
    "issuer no address": (lambda: token(iss="http://[::1"), "invalid issuer [http://[::1], wanted"),
    "issuer a list": (lambda: token(iss=[URL]), "invalid issuer [no string]"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_token_is_refused_with_its_reason(name: str) -> None:
    make, problem = BAD[name]
    text = make()
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unauthenticated) as raised:
        verify(verifier(), text)
    assert problem in raised.value.message
    (line,) = lines
    assert line["event"] == "token_refused"
    assert line["kind"] == "access token"
    assert {"claim", "found", "wanted"} <= set(line)
    assert [one for one in text.split(".") if len(one) > 20 and one in str(lines)] == []


def test_a_token_is_refused_again_after_its_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens, made, now = verifier(), token(), time.time()
    assert tokens.recent(made, URL) is None
    identity = verify(tokens, made)
    assert tokens.recent(made, URL) is identity is verify(tokens, made)
    monkeypatch.setattr(time, "time", lambda: now + 700)
    assert tokens.recent(made, URL) is None
    with pytest.raises(TokenRefused, match="Token is expired"):
        verify(tokens, made)


def test_a_verified_token_does_not_count_for_another_address() -> None:
    tokens, made = verifier(), token()
    verify(tokens, made)
    assert tokens.recent(made, "http://other.example.com") is None
    with pytest.raises(TokenRefused, match="invalid audience"):
        verify(tokens, made, "http://other.example.com")


def test_a_configured_issuer_and_each_own_address_are_issuers() -> None:
    tokens = verifier(
        authorized_uris=(URL, "https://flyte.example.com"),
        app_auth={"self_auth_server": {"issuer": "http://issuer.example.com"}},
    )
    for issuer in ("http://issuer.example.com", URL, "https://flyte.example.com"):
        assert verify(tokens, token(iss=issuer)).subject == "ann"
    with pytest.raises(TokenRefused, match="invalid issuer"):
        verify(tokens, token(iss="http://other.example.com"))


def test_a_signed_token_is_logged_for_each_value_and_a_forged_one_once() -> None:
    tokens = verifier()
    with structlog.testing.capture_logs() as lines:
        for made in [token(iss=f"http://{n}") for n in range(3)] + [unsigned(a_claim_set(), f"A{n}") for n in range(9)]:
            with pytest.raises(TokenRefused):
                verify(tokens, made)
    assert [line["claim"] for line in lines] == ["iss", "iss", "iss", "alg"]


def test_the_own_address_is_an_issuer_beside_the_configured_ones() -> None:
    settings = Settings.model_validate({"auth": {"authorized_uris": (URL,)}, "server": {"http_port": 23092}})
    verifier = OwnAccessTokens(settings, SigningKeys(rsa_key()))
    identity = asyncio.run(verifier.verify(signed(a_claim_set(iss="http://localhost:23092")), URL))
    assert identity.subject == "ann"

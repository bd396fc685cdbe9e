"""Id tokens, and access tokens of an external server: forged ones, rotated keys, issuers that do not answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric import ed25519
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from app import errors, limited_log
from app.auth import remote_value
from app.auth.access_tokens import ExternalAccessTokens
from app.auth.id_tokens import AdmittedIdTokens, IdTokens
from app.auth.identity import Identity
from app.auth.provider import ExternalServer, OpenIdProvider
from app.auth.remote_keys import FetchBudget, keys_of
from tests.support.issuer import Issuer, public_jwk, running_issuer
from tests.support.tokens import URL, auth_settings, ec_key, hmac_signed, public_pem, rsa_key, signed, unsigned

Result = TypeVar("Result")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    limited_log.clear()
    with running_issuer() as running:
        yield running


def with_id_tokens(
    issuer: Issuer, use: Callable[[IdTokens], Awaitable[Result]], client_id: str = "flyteadmin", **auth: Any
) -> Result:
    async def scenario() -> Result:
        open_id = {"base_url": issuer.url, "client_id": client_id, **auth.pop("open_id", {})}
        settings = auth_settings(user_auth={"open_id": open_id}, **auth)
        provider = OpenIdProvider(settings)
        try:
            return await use(IdTokens(settings, provider))
        finally:
            await provider.close()

    return asyncio.run(scenario())


def with_access_tokens(
    issuer: Issuer, use: Callable[[ExternalAccessTokens], Awaitable[Result]], **external: Any
) -> Result:
    async def scenario() -> Result:
        server_settings = {"base_url": issuer.url, "allowed_audience": ("extra",), **external}
        settings = auth_settings(app_auth={"external_auth_server": server_settings})
        server = ExternalServer(settings)
        try:
            return await use(ExternalAccessTokens(settings, server))
        finally:
            await server.close()

    return asyncio.run(scenario())


def id_token_identity(issuer: Issuer, token: str, **more: Any) -> Identity:
    return with_id_tokens(issuer, lambda tokens: tokens.verify(token, URL), **more)


def access_token_identity(issuer: Issuer, token: str, **more: Any) -> Identity:
    return with_access_tokens(issuer, lambda tokens: tokens.verify(token, URL), **more)


def access_token(issuer: Issuer, **more: Any) -> str:
    return issuer.token(**{"aud": [URL], "client_id": "flytectl", "scp": ["all"], **more})


GOOD_ID_TOKENS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "no kid": {"header": {}},
    "several audiences": {"aud": ["x", "flyteadmin"]},
    "nbf a little later": {"nbf": time.time() + 200},
    "another azp": {"azp": "x"},
}


@pytest.mark.parametrize("name", GOOD_ID_TOKENS)
def test_a_good_id_token_is_accepted(issuer: Issuer, name: str) -> None:
    more = {"name": "Ida", "email": "ida@example.com", "user_info": {"name": "Root"}, **GOOD_ID_TOKENS[name]}
    identity = id_token_identity(issuer, issuer.token(**more))
    assert (identity.subject, identity.scopes, identity.method) == ("ida", {"all"}, "id_token")
    # A claim `user_info` has no meaning in an id token.
    assert (identity.user.name, identity.user.email, identity.user.subject) == ("Ida", "ida@example.com", "ida")
    assert identity.claims["iss"] == issuer.url


EXPIRED = (
    "[JWT_EXPIRED] token is expired, caused by: [JWT_VERIFICATION_FAILED] jwt parse with claims failed, caused by: "
    "oidc: token is expired (Token Expiry: "
)
FAILED = "[JWT_VERIFICATION_FAILED] jwt parse with claims failed, caused by: "
BAD_ID_TOKENS: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "another client": (
        lambda issuer: issuer.token(aud="other"),
        f'{FAILED}oidc: expected audience "flyteadmin" got ["other"]',
    ),
    "no audience": (lambda issuer: issuer.token(aud=...), f'{FAILED}oidc: expected audience "flyteadmin" got []'),
    "another issuer": (
        lambda issuer: issuer.token(iss="http://evil"),
        f'{FAILED}oidc: id token issued by a different provider, expected "http://127.0.0.1:',
    ),
    "issuer a number": (lambda issuer: issuer.token(iss=5), f"{FAILED}oidc: id token issued by a different provider"),
    "expired": (lambda issuer: issuer.token(exp=time.time() - 5), EXPIRED),
    "no expiry": (lambda issuer: issuer.token(exp=...), EXPIRED + "0001-01-01 00:00:00 +0000 UTC)"),
    "expiry a text": (lambda issuer: issuer.token(exp="x"), f"{FAILED}oidc: malformed jwt: claim exp is no number"),
    "not valid for some time": (
        lambda issuer: issuer.token(nbf=time.time() + 1000),
        f"{FAILED}oidc: current time ",
    ),
    "a stranger's key": (
        lambda issuer: issuer.token("stranger", header={"kid": "a"}),
        f"{FAILED}failed to verify signature: failed to verify id token signature",
    ),
    "an unknown key": (lambda issuer: issuer.token("stranger"), f"{FAILED}failed to verify signature: failed to"),
    "none": (
        lambda issuer: unsigned(claims_of(issuer)),
        f'{FAILED}oidc: malformed jwt: unexpected signature algorithm "none"',
    ),
    "no alg": (lambda issuer: unsigned(claims_of(issuer), None), f"{FAILED}oidc: malformed jwt: unexpected signature"),
    "HS256 of the public key": (
        lambda issuer: hmac_signed(claims_of(issuer), public_pem(rsa_key("a")), kid="a"),
        f'{FAILED}oidc: malformed jwt: unexpected signature algorithm "HS256"; expected ["RS256"]',
    ),
    "not announced": (
        lambda issuer: issuer.token(algorithm="RS512"),
        f'{FAILED}oidc: malformed jwt: unexpected signature algorithm "RS512"; expected ["RS256"]',
    ),
    "PS256": (lambda issuer: issuer.token(algorithm="PS256"), f"{FAILED}oidc: malformed jwt: unexpected signature"),
    "kid a number": (lambda issuer: unsigned(claims_of(issuer), "RS256", kid=5), f"{FAILED}oidc: malformed jwt: "),
    "subject a number": (lambda issuer: issuer.token(sub=5), f"{FAILED}claim sub has type float64, wanted string"),
    "email a number": (lambda issuer: issuer.token(email=5), f"{FAILED}claim email has type float64, wanted string"),
    "junk": (lambda issuer: "junk", f"{FAILED}oidc: malformed jwt: token contains an invalid number of segments"),
    "100 kB": (lambda issuer: issuer.token(x="x" * 100_000), f"{FAILED}oidc: malformed jwt: token has "),
}


def claims_of(issuer: Issuer) -> dict[str, Any]:
    return {"iss": issuer.url, "aud": "flyteadmin", "sub": "ida", "exp": time.time() + 600}


@pytest.mark.parametrize("name", BAD_ID_TOKENS)
def test_a_bad_id_token_is_refused_with_its_reason(issuer: Issuer, name: str) -> None:
    make, problem = BAD_ID_TOKENS[name]
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unauthenticated) as raised:
        id_token_identity(issuer, make(issuer))
    assert raised.value.message.startswith(problem)
    assert [(line["event"], line["kind"]) for line in lines] == [("token_refused", "id token")]


def test_tokens_of_another_issuer_cause_no_fetch_of_keys(issuer: Issuer) -> None:
    for token in (issuer.token(iss="http://evil", header={"kid": "x"}), issuer.token(aud="x", header={"kid": "y"})):
        with pytest.raises(errors.Unauthenticated):
            id_token_identity(issuer, token)
    assert issuer.requests["/jwks"] == 0


def test_without_a_client_id_no_id_token_is_accepted(issuer: Issuer) -> None:
    for token in (issuer.token(), issuer.token(aud=""), issuer.token(aud="another-application")):
        with pytest.raises(errors.Unauthenticated, match=r"auth\.userAuth\.openId\.clientId is empty"):
            id_token_identity(issuer, token, client_id="")


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"email": "ida@example.com", "email_verified": True}, ""),
        ({"email": "ida@example.com", "email_verified": False}, "does not call the e-mail address"),
        ({"email": "ida@other.org", "email_verified": True}, "is of the domain other.org"),
        ({}, "sent no e-mail address"),
    ],
    ids=["admitted", "unverified", "other domain", "no address"],
)
def test_an_id_token_of_a_person_who_may_not_sign_in_is_refused(
    issuer: Issuer, claims: dict[str, Any], reason: str
) -> None:
    allow = {"email_domains": ["example.com"]}
    settings = auth_settings(user_auth={"allow": allow})
    token = issuer.token(**claims)

    async def scenario(tokens: IdTokens) -> None:
        admitted = AdmittedIdTokens(settings, tokens)
        # The login verifies the token by itself, and asks for the user info before it decides.
        assert (await tokens.verify(token, URL)).subject
        if not reason:
            assert await admitted.verify(token, URL) == admitted.recent(token, URL)
            return
        # It is in the cache of verified tokens.
        assert admitted.recent(token, URL) is None
        with pytest.raises(errors.Unauthenticated, match=reason):
            await admitted.verify(token, URL)

    with_id_tokens(issuer, scenario)


def test_google_names_its_issuer_without_a_scheme(issuer: Issuer) -> None:
    issuer.document["issuer"] = "https://accounts.google.com"
    google = {"open_id": {"issuer_url": "https://accounts.google.com"}}
    assert id_token_identity(issuer, issuer.token(iss="accounts.google.com"), **google).subject == "ida"


GOOD_ACCESS_TOKENS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "allowed audience": {"aud": ["extra"]},
    "no kid": {"header": {}},
    "key_id has no meaning": {"header": {"kid": "a", "key_id": "unknown"}},
    "RFC 9068": {"scp": ..., "scope": "all offline", "header": {"kid": "a", "typ": "at+jwt"}},
}


@pytest.mark.parametrize("name", GOOD_ACCESS_TOKENS)
def test_a_good_external_token_is_accepted(issuer: Issuer, name: str) -> None:
    identity = access_token_identity(issuer, access_token(issuer, **GOOD_ACCESS_TOKENS[name]))
    assert (identity.subject, identity.client_id, identity.method) == ("ida", "flytectl", "access_token")
    assert "all" in identity.scopes


NOT_SIGNED = "failed to verify signature: failed to verify id token signature"
BAD_ACCESS_TOKENS: dict[str, tuple[Callable[[Issuer], str], str]] = {
    "junk": (lambda issuer: "junk", "oidc: malformed jwt: token contains an invalid number of segments"),
    "another audience": (lambda issuer: access_token(issuer, aud="x"), f"wanted [map[extra:{{}} {URL}:{{}}]]"),
    "another issuer": (lambda issuer: access_token(issuer, iss="http://evil"), "invalid issuer [http://evil], wanted"),
    "no issuer": (lambda issuer: access_token(issuer, iss=...), "invalid issuer [], wanted [map[http://127.0.0.1:"),
    "expired": (lambda issuer: access_token(issuer, exp=1), "failed to validate token: Token is expired"),
    "no expiry": (lambda issuer: access_token(issuer, exp=...), "failed to validate token: token has no expiry"),
    "not valid yet": (
        lambda issuer: access_token(issuer, nbf=1e10),
        "failed to validate token: Token is not valid yet",
    ),
    "issued later": (
        lambda issuer: access_token(issuer, iat=1e10),
        "failed to validate token: Token used before issued",
    ),
    "own key": (lambda issuer: access_token(issuer, key="own", header={"kid": "a"}), NOT_SIGNED),
    "unknown key": (lambda issuer: access_token(issuer, key="own"), NOT_SIGNED),
    "no kid, unknown key": (lambda issuer: access_token(issuer, key="own", header={}), NOT_SIGNED),
    "RS512": (lambda issuer: access_token(issuer, algorithm="RS512"), 'unexpected signature algorithm "RS512"'),
    "PS256": (lambda issuer: access_token(issuer, algorithm="PS256"), 'unexpected signature algorithm "PS256"'),
    "none": (lambda issuer: unsigned(claims_of(issuer)), 'unexpected signature algorithm "none"'),
    "HS256": (
        lambda issuer: hmac_signed(claims_of(issuer), json.dumps(public_jwk("a")).encode(), kid="a"),
        'unexpected signature algorithm "HS256"; expected ["RS256"]',
    ),
    "id token": (lambda issuer: issuer.token(), "invalid audience [&{[flyteadmin] "),
    "client_id a number": (lambda issuer: access_token(issuer, client_id=5), "claim client_id has type float64"),
}


@pytest.mark.parametrize("name", BAD_ACCESS_TOKENS)
def test_a_bad_external_token_is_refused_with_its_reason(issuer: Issuer, name: str) -> None:
    make, problem = BAD_ACCESS_TOKENS[name]
    with structlog.testing.capture_logs() as lines, pytest.raises(errors.Unauthenticated) as raised:
        access_token_identity(issuer, make(issuer))
    assert problem in raised.value.message
    assert [(line["event"], line["kind"]) for line in lines] == [("token_refused", "access token")]


def test_issuers_of_the_settings_are_accepted(issuer: Issuer) -> None:
    token = access_token(issuer, iss="https://sts.windows.net/1/")
    assert access_token_identity(issuer, token, allowed_issuers=("https://sts.windows.net/1/",)).subject == "ida"


def test_a_new_key_counts_at_once_and_a_removed_one_no_longer(issuer: Issuer) -> None:
    async def scenario(tokens: ExternalAccessTokens) -> None:
        old = access_token(issuer)
        await tokens.verify(old, URL)
        assert tokens.recent(old, URL) is not None
        issuer.keys = ["b"]
        # Nobody has used the new key yet, so its publication is not known here.
        await tokens.verify(old, URL)
        new = access_token(issuer, key="b")
        assert (await tokens.verify(new, URL)).subject == "ida"
        assert tokens.recent(old, URL) is None
        with pytest.raises(errors.Unauthenticated, match="failed to verify id token signature"):
            await tokens.verify(old, URL)
        await tokens.verify(new, URL)

    with_access_tokens(issuer, scenario)


def test_a_removed_key_ends_after_a_while_without_any_new_one(issuer: Issuer) -> None:
    async def scenario(tokens: IdTokens) -> None:
        token = issuer.token()
        await tokens.verify(token, URL)
        issuer.keys = ["b"]
        for _ in range(100):
            # Each of these tokens is new here, so each is looked up among the keys.
            try:
                await tokens.verify(issuer.token(jti=time.monotonic()), URL)
            except errors.Unauthenticated:
                break
            await asyncio.sleep(0.05)
        with pytest.raises(errors.Unauthenticated):
            await tokens.verify(token, URL)

    with_id_tokens(issuer, scenario, provider_document_seconds=0.1)


def test_many_tokens_of_a_new_key_cause_one_fetch(issuer: Issuer) -> None:
    async def scenario(tokens: IdTokens) -> None:
        await tokens.verify(issuer.token(), URL)
        issuer.keys, issuer.slow_seconds = ["b", "a"], 0.2
        await asyncio.gather(*(tokens.verify(issuer.token("b", jti=n), URL) for n in range(30)))

    with_id_tokens(issuer, scenario)
    assert issuer.requests["/jwks"] == 2


def test_unknown_keys_cause_a_limited_number_of_fetches(issuer: Issuer) -> None:
    async def scenario(tokens: IdTokens) -> None:
        for n in range(20):
            with pytest.raises(errors.Unauthenticated, match="failed to verify id token signature"):
                await tokens.verify(issuer.token("stranger", header={"kid": f"k{n}"}), URL)

    with_id_tokens(issuer, scenario, key_fetches_per_minute_max=5)
    assert issuer.requests["/jwks"] == 6


def test_the_budget_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    budget = FetchBudget(6)
    assert [budget.take() for _ in range(7)] == [True] * 6 + [False]
    monkeypatch.setattr(time, "monotonic", lambda: now + 11)
    assert [budget.take() for _ in range(2)] == [True, False]


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ((500, {}, b"down"), "fetching keys Get "),
        ((200, {}, b"{}"), "fetching keys the key set has no list `keys`"),
        ((200, {}, b"<html>"), "fetching keys expected Content-Type = application/json"),
        ((200, {"content-type": "application/json"}, b'{"keys": []}'), "failed to verify id token signature"),
    ],
)
def test_without_keys_tokens_are_refused_and_accepted_later(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch, reply: Any, problem: str
) -> None:
    monkeypatch.setattr(remote_value, "FAILURE_SECONDS", 0)
    issuer.replies["/jwks"] = reply

    async def scenario(tokens: IdTokens) -> Identity:
        with pytest.raises(errors.Unauthenticated) as raised:
            await tokens.verify(issuer.token(), URL)
        assert problem in raised.value.message
        del issuer.replies["/jwks"]
        return await tokens.verify(issuer.token(), URL)

    assert with_id_tokens(issuer, scenario).subject == "ida"


def test_a_provider_that_is_down_refuses_unknown_tokens_only(issuer: Issuer) -> None:
    async def scenario(tokens: IdTokens) -> None:
        await tokens.verify(issuer.token(), URL)
        issuer.replies = {"/jwks": (503, {}, b""), "/.well-known/openid-configuration": (503, {}, b"")}
        await tokens.verify(issuer.token(jti=2), URL)
        with pytest.raises(errors.Unauthenticated, match="fetching keys"):
            await tokens.verify(issuer.token("b"), URL)
        await tokens.verify(issuer.token(jti=3), URL)

    with_id_tokens(issuer, scenario, provider_document_seconds=0.001)


def test_without_the_document_tokens_are_refused(issuer: Issuer) -> None:
    issuer.replies["/.well-known/openid-configuration"] = (503, {}, b"")
    with pytest.raises(errors.Unauthenticated, match="failed to verify signature: 503 Service Unavailable"):
        id_token_identity(issuer, issuer.token())
    issuer.replies["/.well-known/oauth-authorization-server"] = (400, {}, b"")
    with pytest.raises(errors.Unauthenticated, match="failed to get oauth metadata with status code 400"):
        access_token_identity(issuer, access_token(issuer))


def test_elliptic_curves_are_accepted_where_they_are_announced(issuer: Issuer) -> None:
    curve, edwards = ec_key("c"), ed25519.Ed25519PrivateKey.generate()
    issuer.document["id_token_signing_alg_values_supported"] = ["ES256", "EdDSA"]
    issuer.more_keys = [
        {**json.loads(ECAlgorithm.to_jwk(curve.public_key())), "kid": "c", "alg": "ES256"},
        {**json.loads(OKPAlgorithm.to_jwk(edwards.public_key())), "kid": "e"},
    ]
    for key, algorithm, key_id in ((curve, "ES256", "c"), (edwards, "EdDSA", "e")):
        assert id_token_identity(issuer, signed(claims_of(issuer), key, algorithm, {"kid": key_id})).subject == "ida"


RSA_JWK = public_jwk("a")


@pytest.mark.parametrize(
    ("jwk", "algorithms"),
    [
        (RSA_JWK, {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}),
        ({**RSA_JWK, "alg": "RS384"}, {"RS384"}),
        ({**RSA_JWK, "alg": "ES256"}, None),
        ({**RSA_JWK, "alg": "RSA-OAEP"}, None),
        ({**RSA_JWK, "alg": 5}, None),
        ({**RSA_JWK, "use": "enc"}, None),
        ({**RSA_JWK, "kid": 5}, None),
        ({**RSA_JWK, "n": "AQAB"}, None),
        ({**RSA_JWK, "n": 5}, None),
        ({**RSA_JWK, "kty": "XX"}, None),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "a"}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_which_published_keys_are_used(jwk: Any, algorithms: set[str] | None) -> None:
    assert [set(key.algorithms) for key in keys_of({"keys": [jwk]})] == ([algorithms] if algorithms else [])

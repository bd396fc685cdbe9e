"""The endpoints /oauth2/authorize and /oauth2/token: results and errors, as spec-executions.md 15.5 lists them."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import jwt
import pytest

from app.auth.identity import Identity
from app.auth.keys import verification_key
from tests.auth.oauth.desk import CALLBACK, PROPELLER, Desk, claims, refused, request
from tests.support.tokens import URL, a_claim_set, hmac_signed, public_pem, rsa_key, signed, unsigned

Oauth = Callable[..., Any]


def test_an_unknown_client_or_redirect_uri_is_never_redirected(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        async def go(**over: Any) -> httpx.Response:
            return await desk.http.get("/oauth2/authorize", params=request(**over)[0])

        for client_id in ("nobody", None, "nobody\x00"):
            refused(await go(client_id=client_id), 401, "invalid_client")
        for uri in ("http://evil.example.com/callback", None, CALLBACK + "/x", CALLBACK + "?a=b", CALLBACK.upper()):
            refused(await go(redirect_uri=uri), 400, "invalid_request")
        twice = [*request()[0].items(), ("client_id", "flyte-cli")]
        refused(await desk.http.get("/oauth2/authorize", params=twice), 400, "invalid_request")
        # The only registered address may be left out.
        assert (await go(client_id="confidential", redirect_uri=None)).status_code == 307

    oauth(scenario)


@pytest.mark.parametrize(
    ("over", "error"),
    [
        ({"response_type": None}, "unsupported_response_type"),
        ({"response_type": "code token"}, "unsupported_response_type"),
        ({"state": "short"}, "invalid_state"),
        ({"state": None}, "invalid_state"),
        ({"scope": "all admin"}, "invalid_scope"),
        ({"scope": "openid"}, "invalid_scope"),
        ({"audience": "http://x"}, "invalid_request"),
        (
            {"client_id": "flytepropeller", "redirect_uri": "http://localhost:3846/callback"},
            "unsupported_response_type",
        ),
    ],
)
def test_other_errors_go_to_the_client_with_its_state(oauth: Oauth, over: dict[str, Any], error: str) -> None:
    async def scenario(desk: Desk) -> None:
        query, _ = request(**over)
        answer = await desk.http.get("/oauth2/authorize", params=query)
        got = dict(parse_qsl(urlsplit(answer.headers["location"]).query, keep_blank_values=True))
        assert (answer.status_code, got["error"], got["state"]) == (303, error, query.get("state", ""))

    oauth(scenario)


def test_a_valid_request_is_kept_in_a_cookie_until_the_sign_in(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        for answer in (
            await desk.http.get("/oauth2/authorize", params=request()[0]),
            await desk.http.post("/oauth2/authorize", data=request()[0]),
        ):
            assert answer.status_code == 307
            assert answer.headers["location"] == "/login?redirect_url=/oauth2/authorize_callback"
            assert answer.headers["cache-control"] == "no-store"
            cookie = answer.headers["set-cookie"]
            assert cookie.startswith("flyte_auth_code=")
            assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
            assert "omain" not in cookie
        desk.url = URL + "/flyte"
        answer = await desk.http.get("/oauth2/authorize", params=request()[0])
        assert answer.headers["location"] == "/flyte/login?redirect_url=/flyte/oauth2/authorize_callback"
        refused(await desk.http.get("/oauth2/authorize", params=request(state="x" * 4000)[0]), 400, "invalid_request")

    oauth(scenario)


@pytest.mark.parametrize(
    ("over", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge": None, "code_challenge_method": None}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"client_id": "confidential", "code_challenge_method": "plain"}, "invalid_request"),
    ],
)
def test_a_request_without_s256_ends_at_the_client_without_a_code(
    oauth: Oauth, over: dict[str, Any], error: str
) -> None:
    async def scenario(desk: Desk) -> None:
        got, _ = await desk.authorize(**over)
        assert (got["error"], "code" in got, "state" in got) == (error, False, True)

    oauth(scenario)


def test_the_callback_needs_a_request_and_a_person(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        refused(await desk.http.get("/oauth2/authorize_callback"), 400, "invalid_request")
        for junk in ("junk", "%%%", "eA", "AAAA" * 10):
            desk.http.cookies.set("flyte_auth_code", junk)
            assert (await desk.http.get("/oauth2/authorize_callback")).status_code in (400, 401)
        desk.http.cookies.clear()
        desk.person = None
        await desk.http.get("/oauth2/authorize", params=request()[0])
        refused(await desk.http.get("/oauth2/authorize_callback"), 401, "login_required")

    oauth(scenario)


def test_the_callback_uses_a_request_once_and_checks_it_again(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.authorize()
        refused(await desk.http.get("/oauth2/authorize_callback"), 400, "invalid_request")
        # A planted cookie can ask for no more than the address itself.
        forged = urlencode(request(redirect_uri="http://evil.example.com")[0])
        desk.http.cookies.set("flyte_auth_code", urlsafe_b64encode(forged.encode()).decode())
        refused(await desk.http.get("/oauth2/authorize_callback"), 400, "invalid_request")

    oauth(scenario)


def test_the_flow_of_a_public_client(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        got, verifier = await desk.authorize()
        assert got["scope"] == "f.all offline access_token"
        answer = await desk.redeem(got["code"], verifier)
        tokens = answer.json()
        assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
        assert (tokens["token_type"], tokens["scope"]) == ("bearer", "f.all offline access_token")
        assert 1795 <= tokens["expires_in"] <= 1800
        found = claims(tokens["access_token"])
        assert found["aud"] == [URL]
        assert (found["iss"], found["sub"], found["client_id"]) == (URL, "alice", "flytectl")
        assert found["scp"] == ["all", "offline", "f.all", "access_token"]
        assert found["user_info"] == {"subject": "alice", "name": "Alice Doe", "email": "alice@example.com"}
        assert found["groups"] == ["ml"]
        assert found["exp"] - found["iat"] == 1800
        assert jwt.get_unverified_header(tokens["access_token"])["typ"] == "at+jwt"
        refused(await desk.redeem(got["code"], verifier), 400, "invalid_grant")
        # The code came twice: its refresh token has ended.
        refused(await desk.refresh(tokens["refresh_token"]), 400, "invalid_grant")

    oauth(scenario)


def test_of_two_requests_with_one_code_at_once_one_succeeds(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code()
        answers = await asyncio.gather(*(desk.redeem(code, verifier) for _ in range(5)))
        assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400, 400]

    oauth(scenario)


@pytest.mark.parametrize(
    ("over", "status", "error"),
    [
        ({"code_verifier": None}, 400, "invalid_grant"),
        ({"code_verifier": "x" * 42}, 400, "invalid_grant"),
        ({"code_verifier": "x" * 50}, 400, "invalid_grant"),
        ({"code_verifier": "x" * 129}, 400, "invalid_grant"),
        ({"code_verifier": "ä" * 50}, 400, "invalid_grant"),
        ({"client_id": "flyte-cli"}, 400, "invalid_grant"),
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"client_id": None}, 400, "invalid_request"),
        ({"redirect_uri": "http://localhost:12345/callback"}, 400, "invalid_grant"),
        ({"redirect_uri": None}, 400, "invalid_grant"),
        ({"code": "junk"}, 400, "invalid_grant"),
        ({"code": "a.b.c"}, 400, "invalid_grant"),
        ({"code": None}, 400, "invalid_request"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": None}, 400, "invalid_request"),
        ({"audience": "http://x"}, 400, "invalid_request"),
    ],
)
def test_a_code_is_bound_and_survives_wrong_attempts(
    oauth: Oauth, over: dict[str, str | None], status: int, error: str
) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code()
        refused(await desk.redeem(code, verifier, **over), status, error)
        assert (await desk.redeem(code, verifier, audience=URL)).status_code == 200

    oauth(scenario)


def test_verifier_errors_say_the_reason(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, _ = await desk.code()
        for verifier, text in (
            (None, "The PKCE code verifier must be at least 43 characters."),
            ("x" * 50, "The PKCE code challenge did not match the code verifier."),
        ):
            assert refused(await desk.redeem(code, verifier), 400, "invalid_grant") == text

    oauth(scenario)


def test_the_token_endpoint_takes_forms_by_post_only(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        for answer in (
            await desk.http.get("/oauth2/token"),
            await desk.http.put("/oauth2/token", data={"grant_type": "client_credentials"}),
            await desk.http.post("/oauth2/token"),
            await desk.http.post("/oauth2/token", json={"grant_type": "client_credentials"}),
            await desk.http.post("/oauth2/token?grant_type=client_credentials&client_id=flytectl"),
            await desk.ask(client_id="flytectl", code="x"),
        ):
            refused(answer, 400, "invalid_request")

    oauth(scenario)


FORM = {"content-type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "error"),
    [
        (b"grant_type=password&grant_type=password&client_id=flytectl", {}, 400, "invalid_request"),
        (b"&".join(b"p%d=1" % n for n in range(100)), {}, 400, "invalid_request"),
        (b"grant_type=%ff%fe&client_id=flytectl", {}, 400, "invalid_request"),
        (b"grant_type=client_credentials&client_id=%00", {}, 401, "invalid_client"),
        (b"x" * 70_000, {}, 413, "invalid_request"),
        (b"grant_type=client_credentials", {"authorization": "Basic %%%"}, 400, "invalid_request"),
        (b"grant_type=client_credentials", {"authorization": "Basic " + "YQ=="}, 400, "invalid_request"),
        (b"grant_type=client_credentials", {"authorization": "Basic Og=="}, 400, "invalid_request"),
        (b"grant_type=client_credentials", {"authorization": "Basic " + "/" * 60_000}, 400, "invalid_request"),
        (b"grant_type=client_credentials", {"authorization": "Bearer x"}, 400, "invalid_request"),
        (b"grant_type=client_credentials&client_id=b", {"authorization": "Basic YTpi"}, 400, "invalid_request"),
        (b"grant_type=refresh_token&client_id=flytectl&refresh_token=" + b"e" * 40_000, {}, 400, "invalid_grant"),
        (b"grant_type=refresh_token&client_id=flytectl&refresh_token=a.b.c", {}, 400, "invalid_grant"),
        (b"grant_type=refresh_token&client_id=flytectl", {}, 400, "invalid_request"),
    ],
)
def test_hostile_forms_are_refused_with_an_error_of_oauth(
    oauth: Oauth, body: bytes, headers: dict[str, str], status: int, error: str
) -> None:
    async def scenario(desk: Desk) -> None:
        answer = await desk.http.post("/oauth2/token", content=body, headers={**FORM, **headers})
        refused(answer, status, error)

    oauth(scenario)


def test_no_refresh_token_without_offline_and_no_scope_without_request(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code(scope="all")
        assert "refresh_token" not in (await desk.redeem(code, verifier)).json()
        code, verifier = await desk.code(scope=None)
        assert claims((await desk.redeem(code, verifier)).json()["access_token"])["scp"] == ["access_token"]

    oauth(scenario)


def test_a_refresh_returns_tokens_of_the_same_person(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code()
        first = (await desk.redeem(code, verifier)).json()
        second = (await desk.refresh(first["refresh_token"])).json()
        old, new = claims(first["access_token"]), claims(second["access_token"])
        assert new["jti"] != old["jti"]
        assert {k: new[k] for k in ("sub", "user_info", "groups", "client_id")} == {
            k: old[k] for k in ("sub", "user_info", "groups", "client_id")
        }
        assert new["scp"] == ["all", "offline", "access_token"]
        refused(await desk.refresh(second["refresh_token"], "flyte-cli"), 400, "invalid_grant")
        third = (await desk.refresh(second["refresh_token"])).json()
        refused(await desk.refresh(first["refresh_token"]), 400, "invalid_grant")
        refused(await desk.refresh(third["refresh_token"]), 400, "invalid_grant")

    oauth(scenario)


def test_tokens_of_one_kind_are_no_tokens_of_another(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code()
        tokens = (await desk.redeem(code, verifier)).json()
        other, _ = await desk.code()
        for token in (tokens["access_token"], other):
            refused(await desk.refresh(token), 400, "invalid_grant")
        for token in (tokens["access_token"], tokens["refresh_token"]):
            refused(await desk.redeem(token, verifier), 400, "invalid_grant")

    oauth(scenario)


UPSTREAM: dict[str, Any] = {"scp": ["f.all", "offline", "access_token"], "sub": "alice", "form": {}}
"""The claims of upstream's refresh tokens that differ from those of its access tokens."""


def from_upstream(key: str = "own", **over: Any) -> str:
    """Return a refresh token of upstream."""
    key_id = verification_key(rsa_key(key).public_key()).key_id
    return signed(a_claim_set(**{**UPSTREAM, **over}), rsa_key(key), header={"key_id": key_id})


@pytest.mark.parametrize("key", ["own", "old"])
def test_a_refresh_token_of_upstream_is_accepted_and_rotates(oauth: Oauth, key: str) -> None:
    async def scenario(desk: Desk) -> None:
        token = from_upstream(key)
        first = await desk.refresh(token)
        assert first.status_code == 200, first.text
        found = claims(first.json()["access_token"])
        assert (found["sub"], found["user_info"]["email"]) == ("alice", "ann@example.com")
        assert found["scp"] == ["all", "offline", "access_token"]
        assert jwt.get_unverified_header(first.json()["access_token"])["kid"] == desk.keys.key_id
        second = await desk.refresh(first.json()["refresh_token"])
        assert second.status_code == 200
        refused(await desk.refresh(token), 400, "invalid_grant")
        refused(await desk.refresh(second.json()["refresh_token"]), 400, "invalid_grant")

    oauth(scenario)


def test_another_text_of_a_spent_refresh_token_of_upstream_is_refused(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        token = from_upstream()
        first = await desk.refresh(token)
        assert (await desk.refresh(first.json()["refresh_token"])).status_code == 200
        # The last letter of 256 bytes in base64url has four bits that decoders ignore.
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        last = letters[letters.index(token[-1]) ^ 1]
        for other in (token + "=", token + "==", token[:-1] + last, token + "\n", token.replace(".", "=.", 1)):
            refused(await desk.refresh(other), 400, "invalid_grant")
        refused(await desk.refresh(token), 400, "invalid_grant")

    oauth(scenario)


@pytest.mark.parametrize(
    "over",
    [
        {"aud": []},
        {"aud": ...},
        {"aud": {"x": 1}},
        {"aud": ["http://other.example.com"]},
        {"scp": ["all", "offline", "f.all", "access_token"]},
        {"scp": ["all", "offline", "access_token"]},
        {"scp": ["f.all", "access_token"]},
        {"scp": ["f.all", "offline", 5]},
        {"scp": ...},
        {"exp": 1},
        {"exp": ...},
        {"exp": True},
        {"sub": ...},
        {"sub": 5},
        {"client_id": "flyte-cli"},
        {"client_id": 5},
        {"client_id": ...},
        {"user_info": "x"},
    ],
    ids=str,
)
def test_other_jwts_of_the_key_are_no_refresh_tokens(oauth: Oauth, over: dict[str, Any]) -> None:
    async def scenario(desk: Desk) -> None:
        refused(await desk.refresh(from_upstream(**over)), 400, "invalid_grant")

    oauth(scenario)


def test_forged_jwts_are_no_refresh_tokens(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        body, key_id = a_claim_set(**UPSTREAM), desk.keys.key_id
        for token in (
            from_upstream("stranger"),
            signed(body, rsa_key("stranger"), header={"key_id": key_id}),
            unsigned(body, key_id=key_id),
            hmac_signed(body, public_pem(rsa_key("own")), key_id=key_id),
            signed(body, header={"key_id": 5}),
            signed(body, header={"typ": "at+jwt"}),
        ):
            refused(await desk.refresh(token), 400, "invalid_grant")

    oauth(scenario)


def test_client_credentials_by_header_and_by_form(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        form = {"client_id": PROPELLER[0], "client_secret": PROPELLER[1]}
        for answer in (
            await desk.ask(PROPELLER, grant_type="client_credentials", scope="all offline"),
            await desk.ask(grant_type="client_credentials", scope="all offline", **form),
        ):
            got = answer.json()
            assert (answer.status_code, got["scope"], "refresh_token" in got) == (200, "all offline", False)
            found = claims(got["access_token"])
            assert (found["sub"], found["client_id"], found["iss"]) == ("flytepropeller", "flytepropeller", URL)
            assert (found["scp"], found["aud"]) == (["all", "offline"], [URL])
        got = (await desk.ask(PROPELLER, grant_type="client_credentials")).json()
        assert claims(got["access_token"])["scp"] == []

    oauth(scenario)


def test_client_credentials_that_are_refused(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        async def ask(auth: tuple[str, str] | None = None, **form: str) -> httpx.Response:
            return await desk.ask(auth, grant_type="client_credentials", **form)

        wrong = await ask((PROPELLER[0], "wrong"), scope="all")
        refused(wrong, 401, "invalid_client")
        assert wrong.headers["www-authenticate"].startswith("Basic ")
        refused(await ask(client_id=PROPELLER[0], scope="all"), 401, "invalid_client")
        refused(await ask(("nobody", "x"), scope="all"), 401, "invalid_client")
        refused(await ask(client_id="flytectl", scope="all"), 400, "invalid_grant")
        refused(await ask(PROPELLER, scope="admin"), 400, "invalid_scope")
        refused(await ask(("limited", "limited-secret"), scope="all"), 400, "invalid_scope")
        refused(await ask(("confidential", "confidential-secret"), scope="all"), 400, "unauthorized_client")

    oauth(scenario)


def test_a_confidential_client_needs_its_secret_for_a_code(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code(client_id="confidential")
        refused(await desk.redeem(code, verifier, client_id="confidential"), 401, "invalid_client")
        wrong = await desk.redeem(code, verifier, client_id="confidential", client_secret="wrong")
        refused(wrong, 401, "invalid_client")
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": verifier}
        assert (await desk.ask(("confidential", "confidential-secret"), **form)).status_code == 200

    oauth(scenario)


def test_a_code_without_a_challenge_takes_no_verifier(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        over = {"client_id": "confidential", "code_challenge": None, "code_challenge_method": None}
        code, verifier = await desk.code(**over)
        who = {"client_id": "confidential", "client_secret": "confidential-secret"}
        refused(await desk.redeem(code, verifier, **who), 400, "invalid_grant")
        assert (await desk.redeem(code, None, **who)).status_code == 200

    oauth(scenario)


@pytest.mark.slow
def test_lifespans_and_the_issuer_come_from_settings(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        code, verifier = await desk.code()
        got = (await desk.redeem(code, verifier)).json()
        found = claims(got["access_token"])
        assert (found["iss"], found["aud"], found["exp"] - found["iat"]) == ("http://issuer.example.com", [URL], 3)
        assert got["expires_in"] in (2, 3)
        later, verifier = await desk.code()
        await asyncio.sleep(1.1)
        refused(await desk.redeem(later, verifier), 400, "invalid_grant")
        refused(await desk.refresh(got["refresh_token"]), 400, "invalid_grant")

    oauth(
        scenario,
        issuer="http://issuer.example.com",
        access_token_lifespan_seconds=3,
        authorization_code_lifespan_seconds=1,
        refresh_token_lifespan_seconds=1,
    )


def test_a_person_without_a_name_gets_tokens_too(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        desk.person = Identity(subject="bare", method="session")
        code, verifier = await desk.code()
        found = claims((await desk.redeem(code, verifier)).json()["access_token"])
        assert (found["sub"], found["user_info"], "groups" in found) == ("bare", {"subject": "bare"}, False)

    oauth(scenario)

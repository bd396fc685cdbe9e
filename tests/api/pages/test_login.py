"""/login, /callback and /logout in process, on both databases, with a provider in a thread."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import httpx
import jwt
import pytest
from starlette.applications import Starlette
from structlog.testing import capture_logs

from app.api.pages import login
from app.auth import audit, cookies
from app.auth.id_tokens import IdTokens
from app.auth.provider import OpenIdProvider
from app.auth.secrets_store import SecretsStore
from app.auth.sign_in import SignIn, sign_in_of
from app.settings import Settings
from tests.conftest import Bench
from tests.support.provider import CLIENT, SECRET, Provider

pytestmark = pytest.mark.heavy

OWN = "http://localhost:30080"
SECRETS = {
    "FLYTE_SECRET_cookie_hash_key": base64.b64encode(secrets.token_bytes(64)).decode(),
    "FLYTE_SECRET_cookie_block_key": base64.b64encode(secrets.token_bytes(32)).decode(),
    "FLYTE_SECRET_oidc_client_secret": SECRET,
}
HTML = {"accept": "text/html,application/xhtml+xml"}


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


class Site:
    """The pages, and browsers that visit them."""

    def __init__(self, sign_in: SignIn, provider: Provider) -> None:
        self.sign_in = sign_in
        self.sessions = sign_in.sessions
        self.provider = provider
        self._app = Starlette(routes=login.routes(sign_in))

    def browser(self, **headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url=OWN, headers=headers)

    def at_provider(self, reply: httpx.Response) -> str:
        """Sign in at the provider to which /login redirects; the address of the callback."""
        assert reply.status_code == 307, reply.text
        return self.provider.authorize(parameters(reply))

    async def signed_in(self, browser: httpx.AsyncClient, **query: str) -> httpx.Response:
        return await browser.get(self.at_provider(await browser.get("/login", params=query)))


Scenario = Callable[[Site], Awaitable[None]]


@pytest.fixture
def visit(bench: Callable[..., Any], provider: Provider) -> Callable[..., None]:
    """Runs a scenario at a site with settings of auth.userAuth: `visit(scenario, session_seconds_max=1)`."""

    def run(scenario: Scenario, *, insecure: bool = True, **user_auth: Any) -> None:
        async def main(desk: Bench) -> None:
            async with site_of(desk, provider) as site:
                await scenario(site)

        open_id = {"client_id": CLIENT, "base_url": provider.url, "scopes": ["openid", "email"]}
        auth = {"authorized_uris": [OWN], "user_auth": {"open_id": open_id, **user_auth}}
        bench(main, auth=auth, server={"security": {"insecure_cookie_header": insecure}})

    return run


@asynccontextmanager
async def site_of(desk: Bench, provider: Provider) -> AsyncIterator[Site]:
    openid = OpenIdProvider(desk.settings)
    store = SecretsStore(desk.settings, SECRETS)
    try:
        id_tokens = IdTokens(desk.settings, openid)
        yield Site(sign_in_of(desk.settings, desk.database, store, openid, id_tokens), provider)
    finally:
        await openid.close()


def parameters(reply: httpx.Response) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(reply.headers["location"]).query))


def set_cookies(reply: httpx.Response) -> dict[str, str]:
    """Name to attributes."""
    return {one.split("=", 1)[0]: one.partition(";")[2] for one in reply.headers.get_list("set-cookie")}


async def is_signed_in(site: Site, browser: httpx.AsyncClient) -> bool:
    header = "; ".join(f"{one.name}={one.value}" for one in browser.cookies.jar)
    return await site.sessions.session(header) is not None


def test_login_sends_a_browser_to_the_provider(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            reply = await browser.get("/login?idp=okta&x=y")
            assert reply.status_code == 307
            assert reply.text == ""
            given = parameters(reply)
            assert reply.headers["location"].startswith(f"{site.provider.url}/authorize?")
            state = browser.cookies[cookies.STATE]
            assert given["state"] == cookies.state_of(state)
            assert given["code_challenge_method"] == "S256"
            assert len(given["code_challenge"]) == 43
            assert len(given["nonce"]) == 43
            expected = {"client_id": CLIENT, "redirect_uri": f"{OWN}/callback", "response_type": "code"}
            assert expected.items() <= given.items()
            assert given["scope"] == "openid email"
            assert given["idp"] == "okta"
            assert "x" not in given
            again = parameters(await browser.get("/login"))
            for name in ("state", "nonce", "code_challenge"):
                assert again[name] != given[name]

    visit(scenario, idp_query_parameter="idp")


def test_a_sign_in_ends_at_its_target(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        for query, target in (
            ({}, "/console"),
            ({"redirect_url": "/a?b=c&d=e; f=ü"}, "/a?b=c&d=e;%20f=%C3%BC"),
            ({"redirect_url": f"{OWN}/x"}, f"{OWN}/x"),
            ({"redirect_url": "?a=b"}, "/console"),
        ):
            async with site.browser() as browser:
                reply = await site.signed_in(browser, **query)
                assert reply.status_code == 307, reply.text
                assert reply.headers["location"] == target
                assert reply.text == ""
                assert await is_signed_in(site, browser)
                # The cookies of the sign-in are gone.
                assert {one.name for one in browser.cookies.jar} == {cookies.SESSION}
                # A browser with a session is not sent to the provider.
                reply = await browser.get("/login", params={"redirect_url": "/again"})
                assert (reply.status_code, reply.headers["location"]) == (307, "/again")
                reply = await browser.get("/login", params={"redirect_url": "//evil.example.com"})
                assert reply.status_code == 403

    visit(scenario)


def test_attributes_of_cookies(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            first = await browser.get("/login?redirect_url=/x")
            # httpx drops Secure cookies of a site without TLS; browsers keep those of localhost.
            sent = "; ".join(one.partition(";")[0] for one in first.headers.get_list("set-cookie"))
            reply = await browser.get(site.at_provider(first), headers={"cookie": sent})
            assert reply.status_code == 307
            common = " Path=/; Domain=localhost; HttpOnly; Secure; SameSite="
            assert set_cookies(first) == dict.fromkeys((cookies.STATE, cookies.TARGET), f"{common}Lax")
            assert set_cookies(reply)[cookies.SESSION] == f"{common}Strict"
            for name in (cookies.STATE, cookies.TARGET):
                assert "Max-Age=0" in set_cookies(reply)[name]
            for one in (first, reply):
                assert one.headers["cache-control"] == "no-store"
                assert all(len(line) < cookies.COOKIE_BYTES_MAX for line in one.headers.get_list("set-cookie"))

    visit(scenario, insecure=False, cookie_setting={"same_site_policy": "StrictMode", "domain": "localhost"})


def test_a_strict_cookie_is_followed_by_a_page_of_this_site(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser(**HTML) as browser:
            reply = await site.signed_in(browser, redirect_url='/x?a="b')
            assert reply.status_code == 200
            assert 'http-equiv="refresh" content="0;url=/x?a=%22b"' in reply.text

    visit(scenario, cookie_setting={"same_site_policy": "StrictMode"})


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example.com/x",
        "//evil.example.com",
        "/\\evil.example.com",
        "javascript:alert(1)",
        "http:///evil.example.com",
        "/x\r\nset-cookie: a=b",
        f"{OWN}@evil.example.com/",
    ],
)
def test_no_step_redirects_to_another_site(visit: Callable[..., None], target: str) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            reply = await browser.get("/login", params={"redirect_url": target})
            assert (reply.status_code, reply.text) == (403, "")
            assert cookies.TARGET not in set_cookies(reply)
            # A cookie that somebody planted.
            callback = site.at_provider(await browser.get("/login"))
            browser.cookies.set(cookies.TARGET, quote(target, safe=""), domain="localhost.local")
            planted = f"{cookies.STATE}={browser.cookies[cookies.STATE]}; {cookies.TARGET}={quote(target, safe='')}"
            reply = await browser.get(callback, headers={"cookie": planted})
            assert (reply.status_code, reply.headers["location"]) == (307, "/console")
            reply = await browser.get("/login", params={"redirect_url": target})
            assert reply.status_code == 403
            reply = await browser.get("/logout", params={"redirect_url": target})
            assert reply.status_code == 200
            assert "location" not in reply.headers

    visit(scenario)


def test_callbacks_that_are_refused(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser, site.browser() as other:
            state = parameters(await browser.get("/login"))["state"]
            await other.get("/login")
            for client, query, status in (
                (browser, {}, 401),
                (browser, {"code": "x"}, 401),
                (browser, {"code": "x", "state": "y"}, 401),
                (browser, {"code": "x", "state": ""}, 401),
                (other, {"code": "x", "state": state}, 401),
                (browser, {"code": "x", "state": state}, 403),
                (browser, {"state": state}, 403),
                (browser, {"error": "access_denied", "state": state}, 403),
                (browser, {"code": "x", "state": state, "iss": "http://evil.example.com"}, 403),
            ):
                reply = await client.get("/callback", params=query)
                assert (reply.status_code, reply.text) == (status, ""), query
                assert not await is_signed_in(site, client)
                page = await client.get("/callback", params=query, headers=HTML)
                assert page.status_code == status
                assert "<h1>Sign-in failed</h1>" in page.text
            page = await browser.get("/callback", params={"error": "<script>", "state": state}, headers=HTML)
            assert "&lt;script&gt;" in page.text
            assert "<script" not in page.text

    visit(scenario)


def test_a_sign_in_belongs_to_one_browser_and_works_once(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as mine, site.browser() as theirs:
            await theirs.get("/login")
            first = await mine.get("/login")
            callback, sent = site.at_provider(first), {"cookie": f"{cookies.STATE}={mine.cookies[cookies.STATE]}"}
            assert (await theirs.get(callback)).status_code == 401
            assert (await mine.get(callback)).status_code == 307
            # The provider's code works once, and the state works once even with another code.
            again = site.at_provider(first)
            assert (await theirs.get(again, headers=sent)).status_code == 401
            assert not await is_signed_in(site, theirs)

    visit(scenario)


def test_a_sign_in_has_a_time_limit(visit: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            callback = site.at_provider(await browser.get("/login"))
            later = time.time() + 62
            monkeypatch.setattr(cookies.time, "time", lambda: later)
            reply = await browser.get(callback, headers=HTML)
            assert reply.status_code == 401
            assert "longer than 60 seconds" in reply.text

    visit(scenario, login_seconds_max=60)


def test_a_form_is_an_answer_too(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            callback = urlsplit(site.at_provider(await browser.get("/login")))
            reply = await browser.post("/callback", data=dict(parse_qsl(callback.query)))
            # With 307 the browser would send the form to the target.
            assert (reply.status_code, reply.headers["location"]) == (303, "/console")
            assert await is_signed_in(site, browser)
            assert (await browser.post("/callback", content=b"a=" + b"x" * 500)).status_code == 413
            assert (await browser.post("/callback", content=b"\xff")).status_code == 401
            assert (await browser.post("/callback", content=b"&".join([b"a=b"] * 101))).status_code == 401

    visit(scenario, callback_bytes_max=500)


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "another"},
        {"iss": "http://evil.example.com"},
        {"exp": 1},
        {"sub": None},
        {"sub": ""},
        {"id_token": None},
    ],
)
def test_id_tokens_that_sign_nobody_in(visit: Callable[..., None], change: dict[str, Any]) -> None:
    async def scenario(site: Site) -> None:
        site.provider.change = change
        async with site.browser() as browser:
            reply = await site.signed_in(browser)
            assert (reply.status_code, reply.text) == (403, "")
            assert not await is_signed_in(site, browser)

    visit(scenario)


def test_a_provider_that_is_down_or_mixes_users_up(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            site.provider.user_info_subject = "mallory"
            assert (await site.signed_in(browser)).status_code == 403
            site.provider.down = True
            reply = await browser.get(site.at_provider(await browser.get("/login")), headers=HTML)
            assert reply.status_code == 403
            assert "does not answer" in reply.text
            site.provider.down, site.provider.user_info_subject = False, ""
            assert (await site.signed_in(browser)).status_code == 307

    visit(scenario)


def test_who_is_not_allowed_reads_why(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        site.provider.people["alice"]["groups"] = ["<b>other"]
        async with site.browser() as browser:
            reply = await site.signed_in(browser)
            assert (reply.status_code, reply.text) == (403, "")
        async with site.browser(**HTML) as browser:
            reply = await site.signed_in(browser)
            assert reply.status_code == 403
            assert "The claim groups is &lt;b&gt;other; wanted is ml or ops" in reply.text
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert not browser.cookies.jar.__len__()
            site.provider.people["alice"]["groups"] = ["ops"]
            assert (await site.signed_in(browser)).status_code == 307

    visit(scenario, allow={"claim": "groups", "claim_values": ["ml", "ops"], "email_domains": ["example.com"]})


def test_logout_ends_the_session_everywhere(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser, site.browser() as thief:
            await site.signed_in(browser)
            thief.cookies.set(cookies.SESSION, browser.cookies[cookies.SESSION], domain="localhost.local")
            browser.cookies.set("flyte_idt", "x", domain="localhost.local")
            assert await is_signed_in(site, thief)
            reply = await browser.get("/logout")
            assert (reply.status_code, reply.text) == (200, "")
            assert not list(browser.cookies.jar)
            assert not await is_signed_in(site, thief)
            assert len(site.provider.revoked) == 1
            reply = await browser.get("/logout", params={"redirect_url": "/bye"})
            assert (reply.status_code, reply.headers["location"]) == (307, "/bye")
            assert (await browser.post("/logout", params={"redirect_url": "/bye"})).status_code == 303

    visit(scenario)


def test_a_browser_is_signed_out_at_the_provider_too(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser(**HTML) as browser:
            await site.signed_in(browser)
            reply = await browser.get("/logout")
            assert reply.status_code == 303
            assert reply.headers["location"].startswith(f"{site.provider.url}/end?")
            given = parameters(reply)
            assert given["post_logout_redirect_uri"] == f"{OWN}/bye"
            assert jwt.decode(given["id_token_hint"], options={"verify_signature": False})["sub"] == "alice"
            reply = await browser.get("/logout")
            assert reply.status_code == 200
            assert "Sign in again" in reply.text

    visit(scenario, logout={"redirect_url": f"{OWN}/bye"})


def test_another_site_cannot_sign_a_user_out(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            await site.signed_in(browser)
            for where in ("cross-site", "same-site"):
                for headers in ({}, HTML):
                    reply = await browser.get("/logout", headers={"sec-fetch-site": where, **headers})
                    assert reply.status_code == (200 if headers else 403)
                    assert await is_signed_in(site, browser)
            assert re.search(rf'<a href="{OWN}/logout">', reply.text)
            reply = await browser.get("/logout", headers={"sec-fetch-site": "same-origin"})
            assert reply.status_code == 200
            assert not await is_signed_in(site, browser)

    visit(scenario)


def test_a_session_that_expired_is_refreshed_by_login(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        site.provider.id_token_seconds = 1.1
        async with site.browser() as browser:
            await site.signed_in(browser)
            await asyncio.sleep(0.3)
            site.provider.id_token_seconds = 60
            reply = await browser.get("/login?redirect_url=/me")
            assert (reply.status_code, reply.headers["location"]) == (307, "/me")
            assert site.provider.refreshes == 1
            # A refresh token that the provider revoked starts a new sign-in.
            site.provider.id_token_seconds = 1.1
        async with site.browser() as browser:
            await site.signed_in(browser)
            site.provider._refresh_tokens.clear()
            await asyncio.sleep(0.3)
            reply = await browser.get("/login?redirect_url=/me")
            assert reply.headers["location"].startswith(site.provider.url)

    visit(scenario)


def test_users_with_large_tokens_sign_in(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        site.provider.people["alice"]["groups"] = [f"organisation-unit-{number}" for number in range(500)]
        async with site.browser(**HTML) as browser:
            reply = await site.signed_in(browser)
            assert reply.status_code == 307
            assert await is_signed_in(site, browser)
            # The hint would make an address that servers refuse.
            location = (await browser.get("/logout")).headers["location"]
            assert "id_token_hint" not in location
            assert len(location) < 6000

    visit(scenario)


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_the_provider_s_document(visit: Callable[..., None], verb: str) -> None:
    async def scenario(site: Site) -> None:
        async with site.browser() as browser:
            reply = await browser.request(verb, "/.well-known/openid-configuration")
            assert reply.status_code == 303
            assert reply.headers["location"] == f"{site.provider.url}/.well-known/openid-configuration"

    visit(scenario)


def test_sign_ins_are_in_the_audit_log(visit: Callable[..., None]) -> None:
    async def scenario(site: Site) -> None:
        audit.set_up(Settings(auth={"audit": {"level": "writes"}}))
        try:
            with capture_logs() as lines:
                async with site.browser() as browser:
                    await browser.get("/callback?state=none&code=x")
                    await site.signed_in(browser)
                    await browser.get("/logout")
        finally:
            audit.set_up(Settings())
        found = [line for line in lines if line["event"] == "audit"]
        assert [(line["kind"], line["outcome"]) for line in found] == [
            ("sign_in", "denied"),
            ("sign_in", "ok"),
            ("sign_out", "ok"),
        ]
        assert found[1]["who"] == found[2]["who"] != "anonymous"

    visit(scenario)

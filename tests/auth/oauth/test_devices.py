"""The device flow: requests, polls, the page on which a person decides, and flytekit's own client code."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.auth.identity import Identity
from app.auth.oauth.grants import Grants
from tests.auth.oauth.desk import PROPELLER, Desk, claims, refused
from tests.support.tokens import URL

Oauth = Callable[..., Any]
GRANT = "urn:ietf:params:oauth:grant-type:device_code"


async def start(desk: Desk, **over: str) -> httpx.Response:
    return await desk.http.post(
        "/oauth2/device_authorization", data={"client_id": "flytectl", "scope": "all offline", **over}
    )


async def poll(desk: Desk, code: str, client_id: str = "flytectl") -> httpx.Response:
    return await desk.ask(grant_type=GRANT, device_code=code, client_id=client_id)


async def decide(desk: Desk, code: str, decision: str, **over: str) -> httpx.Response:
    """Open the page with a code and press a button."""
    page = await desk.http.get("/oauth2/device", params={"user_code": code})
    assert page.status_code == 200, page.text
    token = re.search(r'name="token" value="([0-9a-f]+)"', page.text)
    assert token is not None
    form = {"user_code": code, "token": token[1], "decision": decision, **over}
    return await desk.http.post("/oauth2/device", data=form)


def test_a_person_approves_a_device(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        asked = (await start(desk)).json()
        assert asked["interval"] == 5
        assert asked["expires_in"] == 600
        assert asked["verification_uri"] == f"{URL}/oauth2/device"
        assert asked["verification_uri_complete"] == f"{URL}/oauth2/device?user_code={asked['user_code']}"
        refused(await poll(desk, asked["device_code"]), 400, "authorization_pending")
        refused(await poll(desk, asked["device_code"]), 400, "slow_down")
        refused(await poll(desk, asked["device_code"], "flyte-cli"), 400, "invalid_grant")
        # Typed by hand: in lower case and without the dash.
        page = await decide(desk, asked["user_code"].lower().replace("-", ""), "approve")
        assert page.status_code == 200
        assert "approved" in page.text
        answer = await poll(desk, asked["device_code"])
        found = claims(answer.json()["access_token"])
        assert (found["sub"], found["client_id"], found["groups"]) == ("alice", "flytectl", ["ml"])
        assert (await desk.refresh(answer.json()["refresh_token"])).status_code == 200
        refused(await poll(desk, asked["device_code"]), 400, "invalid_grant")

    oauth(scenario)


def test_a_person_denies_a_device(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        asked = (await start(desk)).json()
        assert "refused" in (await decide(desk, asked["user_code"], "deny")).text
        refused(await poll(desk, asked["device_code"]), 400, "access_denied")
        assert (await desk.http.get("/oauth2/device", params={"user_code": asked["user_code"]})).status_code == 404

    oauth(scenario)


def test_forms_of_other_sites_decide_nothing(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        asked = (await start(desk)).json()
        code = asked["user_code"]
        form = {"user_code": code, "decision": "approve"}
        assert (await desk.http.post("/oauth2/device", data=form)).status_code == 403
        for forged in ("0" * 64, "", "é", "\0"):
            assert (await decide(desk, code, "approve", token=forged)).status_code == 403
        other = (await start(desk)).json()["user_code"]
        assert (await decide(desk, code, "approve", user_code=other)).status_code == 403
        page = await desk.http.get("/oauth2/device", params={"user_code": code})
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert "SameSite=strict" in page.headers["set-cookie"]
        token = re.search(r'name="token" value="([0-9a-f]+)"', page.text)
        assert token is not None
        cross = await desk.http.post(
            "/oauth2/device", data={**form, "token": token[1]}, headers={"sec-fetch-site": "cross-site"}
        )
        assert cross.status_code == 403
        # A form that was made for another person.
        desk.person = Identity(subject="bob", method="session")
        assert (await desk.http.post("/oauth2/device", data={**form, "token": token[1]})).status_code == 403
        refused(await poll(desk, asked["device_code"]), 400, "authorization_pending")

    oauth(scenario)


def test_the_page_escapes_and_sends_to_the_sign_in(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        assert "Code on the device" in (await desk.http.get("/oauth2/device")).text
        desk.person = Identity(subject="<script>", method="session")
        asked = (await start(desk)).json()
        page = await desk.http.get("/oauth2/device", params={"user_code": asked["user_code"]})
        assert "<script>" not in page.text
        page = await desk.http.get("/oauth2/device", params={"user_code": asked["user_code"] + '"><script>'})
        assert "<script>" not in page.text
        desk.person = None
        answer = await desk.http.get("/oauth2/device", params={"user_code": "A B&redirect_url=http://evil"})
        assert answer.headers["location"] == (
            "/login?redirect_url=/oauth2/device%3Fuser_code%3DA%2520B%2526redirect_url%253Dhttp%253A%252F%252Fevil"
        )

    oauth(scenario)


def test_codes_cannot_be_guessed_at_speed(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        for _ in range(10):
            assert (await desk.http.get("/oauth2/device", params={"user_code": "BBBB-BBBB"})).status_code == 404
        assert (await desk.http.get("/oauth2/device", params={"user_code": "BBBB-BBBB"})).status_code == 429
        statuses = [(await start(desk)).status_code for _ in range(32)]
        assert statuses == [200] * 30 + [429] * 2

    oauth(scenario)


def test_guesses_that_are_sent_at_once_count_each(oauth: Oauth, monkeypatch: pytest.MonkeyPatch) -> None:
    find = Grants.find_user_code

    async def find_later(grants: Grants, user_code: str) -> Any:
        await asyncio.sleep(0.05)
        return await find(grants, user_code)

    monkeypatch.setattr(Grants, "find_user_code", find_later)

    async def scenario(desk: Desk) -> None:
        code = (await start(desk)).json()["user_code"]
        # Right codes count no guess, whatever their number.
        for _ in range(12):
            assert (await desk.http.get("/oauth2/device", params={"user_code": code})).status_code == 200
        wrong = [desk.http.get("/oauth2/device", params={"user_code": "BBBB-BBBB"}) for _ in range(30)]
        statuses = [page.status_code for page in await asyncio.gather(*wrong)]
        assert sorted(statuses) == [404] * 10 + [429] * 20

    oauth(scenario)


def test_devices_that_wait_are_limited(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await start(desk)).status_code == 200
        refused(await start(desk), 503, "temporarily_unavailable")

    oauth(scenario, device_codes_max=1)


def test_requests_that_are_refused(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        refused(await start(desk, client_id="nobody"), 401, "invalid_client")
        refused(await start(desk, scope="admin"), 400, "invalid_scope")
        form = {"client_id": PROPELLER[0], "client_secret": PROPELLER[1]}
        refused(await start(desk, **form), 400, "unauthorized_client")
        refused(await desk.http.post("/oauth2/device_authorization"), 400, "invalid_request")
        refused(await poll(desk, "junk"), 400, "expired_token")
        refused(await desk.ask(grant_type=GRANT, client_id="flytectl"), 400, "invalid_request")

    oauth(scenario)


def test_an_expired_code_is_refused(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        asked = (await start(desk)).json()
        refused(await poll(desk, asked["device_code"]), 400, "expired_token")
        assert (await desk.http.get("/oauth2/device", params={"user_code": asked["user_code"]})).status_code == 404

    oauth(scenario, device_code_lifespan_seconds=0)


def test_the_flow_is_off_by_default(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        assert (await start(desk)).status_code == 404
        assert (await desk.http.get("/oauth2/device")).status_code == 404
        refused(await poll(desk, "x"), 400, "unsupported_grant_type")

    oauth(scenario, device_flow=False)

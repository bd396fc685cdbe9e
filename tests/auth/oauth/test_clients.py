"""Clients: hashes of the settings, rate of wrong secrets, clients and personal tokens of the table, revocation."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app import errors
from app.auth.credentials import Credentials
from app.auth.oauth import personal
from app.auth.oauth.clients import static_clients
from app.auth.oauth.limits import MinuteLimit, network_of
from app.database.auth_tables import AuthClient
from app.settings import BadSetting
from app.settings.auth import STATIC_CLIENTS, StaticClient
from tests.auth.oauth.desk import PROPELLER, Desk, hashed, refused
from tests.support.tokens import URL

pytestmark = pytest.mark.heavy

Oauth = Callable[..., Any]
FOREVER = datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.parametrize(
    "secret",
    [
        "foobar",
        base64.b64encode(b"foobar").decode(),
        base64.b64encode(b"$5$salt$0123456789").decode(),
        base64.b64encode(b"$2b$06$short").decode(),
        base64.b64encode(b"$2b$31$" + b"a" * 53).decode(),
        base64.b64encode(b"$2b$03$" + b"a" * 53).decode(),
        "é",
    ],
)
def test_a_secret_that_is_no_bcrypt_hash_is_refused(secret: str) -> None:
    with pytest.raises(BadSetting, match=r"staticClients\.x\.client_secret"):
        static_clients({"x": StaticClient.model_validate({"id": "x", "client_secret": secret})})


def test_a_hash_may_lack_its_padding() -> None:
    hash = hashed("a-secret").rstrip("=")
    (client,) = static_clients({"x": StaticClient.model_validate({"client_secret": hash})}).values()
    assert (client.id, client.secret_hash[:4]) == ("x", b"$2b$")


def test_the_default_propeller_has_no_secret(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        for secret in ("foobar", "", "flytepropeller"):
            answer = await desk.ask(("flytepropeller", secret), grant_type="client_credentials", scope="all")
            refused(answer, 401, "invalid_client")

    oauth(scenario, static_clients=STATIC_CLIENTS)


def test_wrong_secrets_are_limited_per_client_and_address(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        async def ask(client_id: str, secret: str) -> Any:
            return await desk.ask((client_id, secret), grant_type="client_credentials", scope="read")

        answers = await asyncio.gather(*(ask("limited", f"wrong{n}") for n in range(8)))
        assert sorted(answer.status_code for answer in answers) == [401] * 3 + [429] * 5
        limited = await ask("limited", "limited-secret")
        refused(limited, 429, "invalid_client")
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        # Other clients are not affected, and unknown ones share one limit.
        assert (await ask(*PROPELLER)).status_code == 400
        for n in range(4):
            last = await ask(f"nobody{n}", "x")
        refused(last, 429, "invalid_client")

    oauth(scenario, secret_failures_per_minute_max=3, secret_checks_max=1)


def test_a_window_ends_and_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("app.auth.oauth.limits.time.monotonic", lambda: now)
    limit = MinuteLimit(2)
    for _ in range(2):
        assert limit.seconds_left(("a", "b")) == 0
        limit.add(("a", "b"))
    assert limit.seconds_left(("a", "b")) == 60
    now += 60
    assert limit.seconds_left(("a", "b")) == 0
    for n in range(10_050):
        limit.add(("", str(n)))
    assert len(limit._windows) == 10_000


def test_addresses_of_one_ipv6_host_count_together() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1") != network_of("2001:db8:0:1::1")
    assert (network_of("192.0.2.1"), network_of("testclient")) == ("192.0.2.1", "testclient")


def test_a_client_of_the_table_gets_tokens_until_it_is_revoked(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        made = await personal.create_client(desk.database, "ci", ["all"], description="pipeline")

        async def ask() -> Any:
            return await desk.ask(("ci", made.secret), grant_type="client_credentials", scope="all")

        answer = await ask()
        assert answer.status_code == 200, answer.text
        (row,) = await personal.list_rows(desk.database, "client")
        assert row.used_at is not None
        assert made.secret not in str(row)
        credentials = Credentials("http", ((b"authorization", b"Bearer " + answer.json()["access_token"].encode()),))
        await desk.oauth.revoked.read()
        assert (await desk.auth.identity(credentials)).subject == "ci"
        assert desk.auth.recent(credentials) is not None
        await personal.revoke(desk.database, "ci", "client")
        refused(await ask(), 401, "invalid_client")
        await desk.oauth.revoked.read()
        assert desk.auth.recent(credentials) is None
        with pytest.raises(errors.Unauthenticated, match="revoked"):
            await desk.auth.identity(credentials)
        with pytest.raises(errors.AlreadyExists):
            await personal.create_client(desk.database, "ci", ["all"])

    oauth(scenario)


def test_an_expired_client_gets_no_tokens(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        made = await personal.create_client(
            desk.database, "ci", ["all"], valid_until=datetime.now(UTC) - timedelta(seconds=1)
        )
        answer = await desk.ask(("ci", made.secret), grant_type="client_credentials", scope="all")
        refused(answer, 401, "invalid_client")

    oauth(scenario)


def test_the_api_key_is_json_in_base64() -> None:
    key = personal.Created("ci", "s3cret").api_key("flyte.example.com")
    assert json.loads(base64.b64decode(key)) == {
        "client_id": "ci",
        "client_secret": "s3cret",
        "url": "flyte.example.com",
    }


def bearer(token: str) -> Credentials:
    return Credentials("http", ((b"authorization", b"Bearer " + token.encode()),))


def test_a_personal_token_acts_as_its_user_until_it_is_revoked(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        verifier = personal.PersonalTokens(desk.database)
        made = await personal.create_token(desk.database, "laptop_2", "alice", ["all"], valid_until=FOREVER)
        assert made.secret.startswith("flyte_pat_laptop_2_")
        identity = await verifier.verify(made.secret, URL)
        assert (identity.subject, identity.method, identity.scopes) == ("alice", "personal_token", {"all"})
        (first,) = await personal.list_rows(desk.database, "personal")
        await verifier.verify(made.secret, URL)
        (second,) = await personal.list_rows(desk.database, "personal")
        assert first.used_at == second.used_at is not None
        assert made.secret.rpartition("_")[2] not in str(first)
        await personal.revoke(desk.database, "laptop_2", "personal")
        with pytest.raises(errors.Unauthenticated, match="revoked"):
            await verifier.verify(made.secret, URL)

    oauth(scenario)


def test_other_personal_tokens_are_refused(oauth: Oauth) -> None:
    async def scenario(desk: Desk) -> None:
        verifier = personal.PersonalTokens(desk.database)
        old = await personal.create_token(
            desk.database, "old", "alice", ["all"], valid_until=datetime.now(UTC) - timedelta(seconds=1)
        )
        client = await personal.create_client(desk.database, "ci", ["all"])
        for token in (
            old.secret,
            f"flyte_pat_old_{'0' * 64}",
            f"flyte_pat_nobody_{'0' * 64}",
            f"flyte_pat_ci_{client.secret}",
            f"flyte_pat_ci_{'0' * 64}",
            "flyte_pat_",
            "flyte_pat_old_",
            "flyte_pat_\x00_" + "0" * 64,
            "flyte_pat_" + "x" * 100_000,
        ):
            with pytest.raises(errors.Unauthenticated) as caught:
                await verifier.verify(token, URL)
            assert token.rpartition("_")[2] == "" or token.rpartition("_")[2] not in caught.value.message
        # A personal token is no secret of a client.
        answer = await desk.ask(("old", old.secret), grant_type="client_credentials", scope="all")
        refused(answer, 401, "invalid_client")

    oauth(scenario)


@pytest.mark.parametrize("name", ["", "a b", "-x", "x" * 64, "a/b", "ä", "a_", "x\n"])
def test_names_that_are_not_allowed(oauth: Oauth, name: str) -> None:
    async def scenario(desk: Desk) -> None:
        with pytest.raises(errors.InvalidArgument):
            await personal.create_token(desk.database, name, "alice", ["all"], valid_until=FOREVER)
        async with desk.database.unit_of_work() as unit:
            assert await unit.count(AuthClient) == 0

    oauth(scenario)

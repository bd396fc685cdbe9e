"""Codes, refresh tokens and device codes on both databases: single use, rotation, families, expiry."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.auth.oauth import grants
from app.auth.oauth.errors import OAuthError
from app.auth.oauth.grants import Grant, Grants
from app.database.auth_tables import AuthGrant
from app.database.connect import database_at
from tests.conftest import Bench

GRANT = Grant(
    client_id="flytectl",
    scopes=("all", "offline"),
    subject="alice",
    user={"subject": "alice", "email": "alice@example.com"},
    claims={"groups": ["ml"]},
    redirect_uri="http://localhost:53593/callback",
    challenge="c" * 43,
)


async def signed_in(store: Grants, grant: Grant = GRANT, lifespan_seconds: float = 60) -> str:
    """Return the refresh token of a new sign-in."""
    token = await store.redeem(await store.add_code(grant, 60), grant, lifespan_seconds)
    assert token is not None
    return token


async def refused(work: Any, error: str = "invalid_grant") -> None:
    with pytest.raises(OAuthError) as caught:
        await work
    assert caught.value.error == error


def test_a_code_returns_its_grant_and_is_redeemed_once(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        code = await store.add_code(GRANT, 60)
        assert await store.find_code(code) == GRANT
        assert await store.redeem(code, GRANT, None) is None
        await refused(store.redeem(code, GRANT, None))
        assert await store.find_code("x" * 43) is None

    bench(scenario)


def test_of_many_processes_that_redeem_one_code_at_once_one_succeeds(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        others = [
            database_at(desk.url, connections_max=4, busy_timeout_seconds=20, statement_timeout_seconds=30)
            for _ in range(3)
        ]
        for other in others:
            await other.open()
        try:
            stores = [Grants(database) for database in (desk.database, *others)]
            code = await stores[0].add_code(GRANT, 60)
            tries = [store.redeem(code, GRANT, 60) for store in stores for _ in range(4)]
            outcomes = await asyncio.gather(*tries, return_exceptions=True)
            tokens = [token for token in outcomes if isinstance(token, str)]
            assert len(tokens) == 1
            assert [one for one in outcomes if not isinstance(one, OAuthError) and one not in tokens] == []
            # The code came more than once, so the tokens that were issued for it have ended (RFC 6749 4.1.2).
            await refused(stores[0].rotate(tokens[0], 60))
        finally:
            for other in others:
                await other.close()

    bench(scenario)


def test_a_refresh_token_is_good_until_its_successor_is_used(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        first = await signed_in(store)
        lost = await store.rotate(first, 60)
        second = await store.rotate(first, 60)
        assert await store.find_refresh_token(second) == GRANT
        third = await store.rotate(second, 60)
        # The first one comes again: the family ends, with the newest token in it.
        await refused(store.rotate(first, 60))
        for token in (lost, second, third):
            await refused(store.rotate(token, 60))

    bench(scenario)


def test_a_sibling_of_the_used_successor_is_spent(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        first = await signed_in(store)
        stolen, mine = await store.rotate(first, 60), await store.rotate(first, 60)
        newest = await store.rotate(stolen, 60)
        await refused(store.rotate(mine, 60))
        await refused(store.rotate(newest, 60))

    bench(scenario)


def test_siblings_that_are_used_at_once_do_not_both_live_on(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        first = await signed_in(store)
        siblings = [await store.rotate(first, 60) for _ in range(4)]
        outcomes = await asyncio.gather(*(store.rotate(one, 60) for one in siblings), return_exceptions=True)
        assert sum(isinstance(one, str) for one in outcomes) == 1
        for token in (one for one in outcomes if isinstance(one, str)):
            await refused(store.rotate(token, 60))

    bench(scenario)


def test_families_are_apart(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        other = await signed_in(store, Grant(client_id="flytectl", scopes=("all",), subject="bob"))
        first = await signed_in(store)
        await store.rotate(await store.rotate(first, 60), 60)
        await refused(store.rotate(first, 60))
        assert await store.rotate(other, 60)

    bench(scenario)


def test_a_family_has_a_limit(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "FAMILY_ROWS_MAX", 4)

    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        first = await signed_in(store)
        await store.rotate(first, 60)
        await store.rotate(first, 60)
        await refused(store.rotate(first, 60))

    bench(scenario)


def test_kinds_are_not_mixed_up(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        code = await store.add_code(GRANT, 60)
        token = await signed_in(store)
        device = await store.add_device_code(GRANT, "BBBBBBBB", 60, 10)
        assert device
        assert await store.find_code(token) is await store.find_code(device) is None
        assert await store.find_refresh_token(code) is await store.find_refresh_token(device) is None
        assert await store.find_device_code(code) is await store.find_device_code(token) is None
        await refused(store.rotate(code, 60))

    bench(scenario)


def test_expired_grants_are_unknown_and_deleted(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grants, "DELETED_AT_ONCE", 2)

    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        old = [await store.add_code(GRANT, -1) for _ in range(3)]
        assert await store.find_code(old[0]) is None
        token = await signed_in(store, lifespan_seconds=-1)
        assert await store.find_refresh_token(token) is None
        await refused(store.rotate(token, 60))
        good = await store.add_code(GRANT, 60)
        assert await store.delete_expired() == 4
        async with desk.context() as ctx:
            rows = await ctx.db.find_all(AuthGrant)
        assert grants.hash_of(good) in {row.grant_id for row in rows}
        assert len(rows) == 2

    bench(scenario)


def test_the_table_has_no_code_or_token(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        secrets = [await store.add_code(GRANT, 60), await signed_in(store)]
        async with desk.context() as ctx:
            rows = await ctx.db.find_all(AuthGrant)
        assert not any(secret in str(row) for secret in secrets for row in rows)

    bench(scenario)


def test_a_device_waits_until_a_person_decides_once(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        asked = Grant(client_id="flytectl", scopes=("all",), address="192.0.2.1")
        code = await store.add_device_code(asked, "WDJBMJHT", 60, 10)
        assert code
        row = await store.find_user_code("WDJBMJHT")
        assert row is not None
        assert row.grant == asked
        approved = Grant(client_id="flytectl", scopes=("all",), subject="alice", family=asked.family)
        assert await store.decide(row.grant_id, grants.APPROVED, approved)
        assert not await store.decide(row.grant_id, grants.DENIED, asked)
        assert await store.find_user_code("WDJBMJHT") is None
        found = await store.find_device_code(code)
        assert found is not None
        assert (found.status, found.grant) == (grants.APPROVED, approved)

    bench(scenario)


def test_devices_that_wait_are_limited_and_have_different_codes(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store = Grants(desk.database)
        asked = Grant(client_id="flytectl", scopes=())
        assert await store.add_device_code(asked, "BBBBBBBB", -1, 2)
        assert await store.add_device_code(asked, "BBBBBBBB", 60, 2)
        assert await store.add_device_code(asked, "BBBBBBBB", 60, 2) is None
        assert await store.add_device_code(asked, "CCCCCCCC", 60, 2)
        assert await store.add_device_code(asked, "DDDDDDDD", 60, 2) is None

    bench(scenario)


def test_an_adopted_refresh_token_is_stored_once_and_rotates(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        store, until = Grants(desk.database), datetime.now(UTC) + timedelta(seconds=60)
        await store.adopt_refresh_token("a.b.c", GRANT, until)
        second = await store.rotate("a.b.c", 60)
        await store.adopt_refresh_token("a.b.c", GRANT, until)
        await store.rotate(second, 60)
        await refused(store.rotate("a.b.c", 60))

    bench(scenario)

"""Sessions on both databases, with a provider whose refresh tokens work once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.auth import cookies, sessions
from app.auth.cookies import CookieKeys
from app.auth.credentials import Credentials
from app.auth.refusals import TokenRefused
from app.auth.sessions import ProviderRefused, ProviderUnavailable, Session, Sessions, TokenReply
from app.database.auth_tables import AuthSession
from app.settings import BadSetting
from tests.conftest import Bench

KEYS = CookieKeys(secrets.token_bytes(64), secrets.token_bytes(32))


class Provider:
    """A provider that revokes a session when a refresh token is used twice."""

    def __init__(self) -> None:
        self.number = 0
        self.valid: set[str] = {"refresh-0"}
        self.claims: dict[str, Any] | None = {"sub": "alice", "email": "alice@example.com"}
        self.seconds = 3600.0
        self.fails: Exception | None = None
        self.wait_seconds = 0.05
        self.expires_in: float | None = None
        self.asked = asyncio.Event()

    async def refresh(self, refresh_token: str) -> TokenReply:
        self.asked.set()
        await asyncio.sleep(self.wait_seconds)
        if self.fails is not None:
            raise self.fails
        if refresh_token not in self.valid:
            self.valid.clear()
            raise ProviderRefused("invalid_grant")
        self.valid.remove(refresh_token)
        self.number += 1
        self.valid.add(f"refresh-{self.number}")
        claims = None if self.claims is None else {**self.claims, "exp": time.time() + self.seconds}
        return TokenReply("access", "id-token", f"refresh-{self.number}", claims, self.expires_in)

    async def user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        return {"sub": subject, "name": f"Alice {self.number}"}


def made(desk: Bench, provider: Provider, keys: CookieKeys = KEYS) -> Sessions:
    return Sessions(desk.settings, desk.database, keys, provider)


def session(seconds: float, *, refresh_token: str = "refresh-0", **more: Any) -> Session:
    claims = {"sub": "alice", "exp": time.time() + seconds}
    return Session.of_reply(TokenReply("access", "id-token-text", refresh_token, claims | more), {"name": "Alice"})


def header(value: str) -> str:
    return f"other=1; {cookies.SESSION}={value}; last=2"


def test_a_session_is_an_identity(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        value = await one.sign_in(session(60, email="alice@example.com"), "")
        credentials = Credentials("http", ((b"cookie", b"a=b"), (b"cookie", header(value).encode())))
        found = await one.identity(credentials, "http://localhost")
        assert found is not None
        assert (found.subject, found.method, found.scopes) == ("alice", "session", {"all"})
        assert (found.user.name, found.user.email, found.user.subject) == ("Alice", "alice@example.com", "alice")
        # Another process with the same keys accepts it, one with other keys does not.
        assert await made(desk, Provider()).session(header(value)) is not None
        other = CookieKeys(KEYS.hash_key, secrets.token_bytes(32))
        assert await made(desk, Provider(), other).session(header(value)) is None

    bench(scenario)


def test_the_row_shows_neither_the_cookie_nor_a_token(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        value = await made(desk, Provider()).sign_in(session(60), "")
        async with desk.context() as ctx:
            (row,) = await ctx.db.find_all(AuthSession)
        text = repr(tuple(row))
        for secret in (value, value.partition(".")[0], "refresh-0", "id-token-text", "Alice"):
            assert secret not in text
        # A row that is copied under another id does not open.
        copied = KEYS.signed(cookies.SESSION, "another")
        async with desk.context() as ctx:
            values = {"subject": "alice", "data": row.data, "valid_until": row.valid_until}
            await ctx.db.insert(AuthSession, session_id=sessions._hash(copied), **values)
        assert await made(desk, Provider()).session(header(copied)) is None

    bench(scenario)


@pytest.mark.parametrize("change", ["", "x", "flip", "cut", "unsigned", "purpose", "non-ascii", "long"])
def test_a_forged_cookie_is_no_session(bench: Callable[..., Any], change: str) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        value = await one.sign_in(session(60), "")
        text = value.partition(".")[0]
        forged = {
            "flip": ("B" if value[0] == "A" else "A") + value[1:],
            "cut": value[:-8],
            "unsigned": text,
            "purpose": KEYS.signed(cookies.STATE, text),
            "non-ascii": value + "é",
            "long": value + "x" * 100_000,
        }.get(change, change)
        assert await one.session(header(forged)) is None
        assert await one.sign_out(header(forged)) is None
        assert await one.session(header(value)) is not None

    bench(scenario)


def test_many_cookies_of_ended_sessions_cost_few_statements(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(desk: Bench) -> None:
        one, read = made(desk, Provider()), list[str]()
        values = [await one.sign_in(session(60), "") for _ in range(10)]
        for value in values:
            await one.sign_out(header(value))
        row = one._row

        async def counted(session_id: str) -> Any:
            read.append(session_id)
            return await row(session_id)

        monkeypatch.setattr(one, "_row", counted)
        assert await one.session("; ".join(header(values[0]) for _ in range(100))) is None
        assert len(read) == 1
        assert await one.session("; ".join(map(header, values))) is None
        assert len(read) == 1 + 4
        # Cookies of a sibling domain, which nobody signed, do not displace a session.
        value = await one.sign_in(session(60), "")
        planted = "; ".join(header(f"planted{number}.x") for number in range(50))
        assert await one.session(f"{planted}; {header(value)}") is not None

    bench(scenario)


def test_a_session_of_another_person_that_a_sibling_domain_plants_is_not_used(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        own = await one.sign_in(session(60), "")
        planted = await one.sign_in(session(60, sub="mallory"), "")
        for cookie_header in (f"{header(planted)}; {header(own)}", f"{header(own)}; {header(planted)}"):
            with pytest.raises(TokenRefused, match="two people"):
                await one.session(cookie_header)
        # Two sessions of one person are usual after a change of the attribute Domain.
        second = await one.sign_in(session(60), "")
        assert await one.session(f"{header(second)}; {header(own)}") is not None
        # A new sign-in ends both.
        new = await one.sign_in(session(60), f"{header(planted)}; {header(own)}")
        found = await one.session(f"{header(planted)}; {header(own)}; {header(new)}")
        assert found is not None
        assert found.claims["sub"] == "alice"

    bench(scenario)


def test_a_sign_in_has_a_new_id_and_ends_the_earlier_session(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        first = await one.sign_in(session(60), "")
        second = await one.sign_in(session(60), header(first))
        assert first != second
        assert await one.session(header(first)) is None
        assert await one.session(header(second)) is not None

    bench(scenario)


def test_a_logout_counts_at_once_in_every_process(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one, other = made(desk, Provider()), made(desk, Provider())
        value = await one.sign_in(session(60), "")
        assert await other.session(header(value)) is not None
        ended = await one.sign_out(header(value))
        assert ended is not None
        assert ended.refresh_token == "refresh-0"
        assert await other.session(header(value)) is None
        assert await one.sign_out(header(value)) is None

    bench(scenario)


def test_many_requests_of_many_processes_spend_a_refresh_token_once(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        workers = [made(desk, provider) for _ in range(4)]
        value = await workers[0].sign_in(session(0), "")
        found = await asyncio.gather(*(worker.session(header(value)) for worker in workers * 5))
        assert provider.number == 1
        assert all(one is not None and one.current and one.refresh_token == "refresh-1" for one in found)
        assert found[0] is not None
        assert found[0].identity().user.name == "Alice 1"
        async with desk.context() as ctx:
            (row,) = await ctx.db.find_all(AuthSession)
        assert row.refreshing_until is None

    bench(scenario)


def test_a_cancelled_request_does_not_lose_the_new_refresh_token(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        one = made(desk, provider)
        value = await one.sign_in(session(0), "")
        request = asyncio.create_task(one.session(header(value)))
        await provider.asked.wait()
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request
        await one.finish()
        assert provider.number == 1
        found = await made(desk, provider).session(header(value))
        assert found is not None
        assert (found.refresh_token, provider.number) == ("refresh-1", 1)

    bench(scenario)


def test_a_provider_that_is_down_keeps_the_session(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        one = made(desk, provider)
        value = await one.sign_in(session(0), "")
        provider.fails = ProviderUnavailable("connection refused")
        for _ in range(2):
            with pytest.raises(TokenRefused, match=r"expired.*does not answer"):
                await one.session(header(value))
        provider.fails = None
        # The pause is that of this process.
        with pytest.raises(TokenRefused, match="does not answer"):
            await one.session(header(value))
        monkeypatch.setattr(one, "_paused_until", 0.0)
        found = await one.session(header(value))
        assert found is not None
        assert found.current

    bench(scenario)


def test_a_refused_refresh_ends_the_session(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        one = made(desk, provider)
        value = await one.sign_in(session(0, refresh_token="spent"), "")
        with pytest.raises(TokenRefused, match="does not renew it"):
            await one.session(header(value))
        assert await one.session(header(value)) is None

    bench(scenario)


@pytest.mark.parametrize(
    ("claims", "expires_in", "renewed"),
    [
        ({"sub": "mallory"}, None, False),
        ({}, None, False),
        (None, 60.0, True),
        (None, None, False),
        ({"sub": "alice"}, None, True),
    ],
)
def test_replies_to_a_refresh(
    bench: Callable[..., Any], claims: dict[str, Any] | None, expires_in: float | None, renewed: bool
) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        provider.claims, provider.expires_in = claims, expires_in
        one = made(desk, provider)
        value = await one.sign_in(session(0), "")
        if renewed:
            found = await one.session(header(value))
            assert found is not None
            assert found.identity().subject == "alice"
        else:
            with pytest.raises(TokenRefused, match="does not renew"):
                await one.session(header(value))
            assert await one.session(header(value)) is None

    bench(scenario)


def test_a_refresh_checks_the_allow_lists_again(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        provider.claims = {"sub": "alice", "groups": ["other"]}
        one = made(desk, provider)
        value = await one.sign_in(session(0, groups=["ml"]), "")
        with pytest.raises(TokenRefused, match="does not renew"):
            await one.session(header(value))

    bench(scenario, auth={"user_auth": {"allow": {"claim": "groups", "claim_values": ["ml"]}}})


def test_a_session_without_refresh_token_ends_with_its_id_token(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        value = await one.sign_in(session(0, refresh_token=""), "")
        with pytest.raises(TokenRefused, match="sent no refresh token"):
            await one.session(header(value))

    bench(scenario)


def test_a_lease_of_a_process_that_ended_runs_out(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        one = made(desk, provider)
        value = await one.sign_in(session(0), "")
        async with desk.context() as ctx:
            until = datetime.now(UTC) + timedelta(seconds=0.3)
            await ctx.db.update(AuthSession, {"session_id": sessions._hash(value)}, refreshing_until=until)
        assert await one.session(header(value)) is not None
        assert datetime.now(UTC) >= until
        assert provider.number == 1

    bench(scenario)


def test_a_logout_during_a_refresh_wins(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        provider = Provider()
        one = made(desk, provider)
        value = await one.sign_in(session(0), "")
        refreshing = asyncio.create_task(one.session(header(value)))
        await asyncio.sleep(0.02)
        await one.sign_out(header(value))
        with pytest.raises(TokenRefused, match="signed out"):
            await refreshing
        assert await one.session(header(value)) is None

    bench(scenario)


@pytest.mark.slow
def test_a_session_ends_at_its_limit_whatever_its_tokens_allow(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        value = await one.sign_in(session(3600), "")
        assert await one.session(header(value)) is not None
        await asyncio.sleep(1.1)
        assert await one.session(header(value)) is None

    bench(scenario, auth={"user_auth": {"session_seconds_max": 1}})


def test_expired_rows_are_deleted_in_steps(bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "DELETED_AT_ONCE", 2)

    async def scenario(desk: Bench) -> None:
        one = made(desk, Provider())
        value = await one.sign_in(session(60), "")
        past = datetime.now(UTC) - timedelta(seconds=1)
        async with desk.context() as ctx:
            for number in range(5):
                values = {"subject": "x", "data": b"x", "valid_until": past}
                await ctx.db.insert(AuthSession, session_id=str(number), **values)
        assert [await one.delete_expired() for _ in range(2)] == [5, 0]
        assert await one.session(header(value)) is not None

    bench(scenario)


def test_the_service_goes_on_after_any_failure_and_ends_with_the_refreshes(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "CLEANING_SECONDS", 0.01)

    async def scenario(desk: Bench) -> None:
        provider = Provider()
        provider.wait_seconds = 0.2
        one = made(desk, provider)
        value = await one.sign_in(session(-5), "")
        failures, plain = [ValueError("x")], one.delete_expired
        health: list[str] = []

        async def delete() -> int:
            health.append(service.health())
            if failures:
                raise failures.pop()
            return await plain()

        monkeypatch.setattr(one, "delete_expired", delete)
        service = one.cleaning()
        await service.start()
        async with asyncio.timeout(10):
            while len(health) < 3:  # noqa: ASYNC110 - the service has no event that only tests would need
                await asyncio.sleep(0.01)
        assert health[:3] == ["", "the last step failed (ValueError)", ""]
        request = asyncio.create_task(one.session(header(value)))
        async with asyncio.timeout(10):
            while not one._refreshes:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await service.stop()
        assert not one._refreshes
        assert await request is not None

    bench(scenario)


def test_a_state_is_spent_once(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        workers = [made(desk, Provider()) for _ in range(5)]
        assert sum(await asyncio.gather(*(one.spend("state") for one in workers))) == 1
        assert await workers[0].spend("another")

    bench(scenario)


def test_values_without_a_claim_are_refused(bench: Callable[..., Any]) -> None:
    async def scenario(desk: Bench) -> None:
        with pytest.raises(BadSetting, match="claimValues needs"):
            made(desk, Provider())

    bench(scenario, auth={"user_auth": {"allow": {"claim_values": ["ml"]}}})

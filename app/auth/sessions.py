"""Sessions of people who signed in with a browser: rows of the table auth_sessions.

The cookie holds a random, signed id. The row has the hash of the cookie as its key, so a copy of the table opens no
session, and the tokens of the identity provider are encrypted, so a copy of the table shows no token either. Every
request reads its row: a logout counts at once in every process.

When the id token has expired, the next request refreshes it at the provider. Providers that rotate refresh tokens
revoke the session when one is used twice, so one process at a time refreshes a session: it takes a lease on the row
(`refreshing_until`), reads the row again, asks the provider, and stores the new tokens together with the end of the
lease. Other processes wait for that, and other requests of the same process wait for the same task. The task also ends
its work when its client disconnects, because the provider may have spent the refresh token already.

When the provider does not answer, the request is refused and the session stays: a later request refreshes it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson
from sqlalchemy import bindparam, delete, or_, select, update

from app import limited_log
from app.auth import allow_lists, cookies
from app.auth.cookies import CookieKeys
from app.auth.credentials import Credentials
from app.auth.identity import ALL, Identity, UserInfo
from app.auth.periodic import Periodic, delete_expired
from app.auth.refusals import TokenRefused, log_refusal
from app.database import schema
from app.database.auth_tables import AuthSession
from app.database.base import Database, Row
from app.database.clock import DatabaseTime
from app.database.statements import Statement
from app.settings import BadSetting, Settings

EXPIRED = "[JWT_EXPIRED] token is expired, caused by: the session has ended"
# A process that ends during a refresh leaves its lease, which must be longer than any request to the provider.
LEASE_SECONDS = 30.0
# Time between two looks at a row that another process refreshes.
_WAIT_SECONDS = 0.1
# After a failure to reach the provider no request asks it for so long.
PAUSE_SECONDS = 5.0
# A token that ends within this time is refreshed already, because the clocks of two machines differ.
_EARLY_SECONDS = 1.0
DELETED_AT_ONCE = 500
CLEANING_SECONDS = 60.0
_ID_BYTES = 32
# Sessions that one request may name, by cookies of different Path and Domain: each costs a statement.
_COOKIES_MAX = 4
_USER_FIELDS = ("name", "preferred_username", "given_name", "family_name", "email", "picture")

_TABLE = schema.table(AuthSession)
_TAKE = Statement(
    update(_TABLE)
    .values(refreshing_until=DatabaseTime(LEASE_SECONDS))
    .where(_TABLE.c.session_id == bindparam("id"))
    .where(or_(_TABLE.c.refreshing_until.is_(None), _TABLE.c.refreshing_until < DatabaseTime()))
    .returning(_TABLE.c.refreshing_until)
)
_STORE = Statement(
    update(_TABLE)
    .values(
        data=bindparam("new_data"),
        used_at=bindparam("now"),
        updated_at=bindparam("now"),
        valid_until=bindparam("ends"),
        refreshing_until=None,
    )
    .where(_TABLE.c.session_id == bindparam("id"), _TABLE.c.refreshing_until == bindparam("until"))
)
_RELEASE = Statement(
    update(_TABLE)
    .values(refreshing_until=None)
    .where(_TABLE.c.session_id == bindparam("id"), _TABLE.c.refreshing_until == bindparam("until"))
)
_EXPIRED = (
    select(_TABLE.c.session_id)
    .where(_TABLE.c.valid_until < bindparam("now"))
    .order_by(_TABLE.c.valid_until)
    .limit(bindparam("most"))
)
_DELETE_EXPIRED = Statement(delete(_TABLE).where(_TABLE.c.session_id.in_(_EXPIRED)))


class ProviderRefused(Exception):
    """The identity provider refuses a code or a refresh token; the message has its error code."""


class ProviderUnavailable(Exception):
    """The identity provider does not answer, or answers with a failure of its own."""


@dataclass(frozen=True, slots=True)
class TokenReply:
    """The tokens that a provider issued, verified.

    Attributes:
        claims: Claims of the id token; None where a refresh brought no id token.
        expires_in: The validity of the access token, in seconds; None where the provider names none.
    """

    access_token: str = field(repr=False)
    id_token: str = field(default="", repr=False)
    refresh_token: str = field(default="", repr=False)
    claims: Mapping[str, Any] | None = None
    expires_in: float | None = None


class Refresher(Protocol):
    """Redeems refresh tokens at the identity provider, and asks for user info."""

    async def refresh(self, refresh_token: str) -> TokenReply:
        """Return new tokens. An id token among them is verified, but for the subject, which the caller compares.

        Raises:
            ProviderRefused: The refresh token is spent, expired or revoked.
            ProviderUnavailable: The provider does not answer.
        """

    async def user_info(self, access_token: str, subject: str) -> Mapping[str, Any]:
        """Return the user info of this subject; nothing where the provider has no such endpoint.

        Raises:
            ProviderRefused: The provider refuses the token, or names another subject.
            ProviderUnavailable: The provider does not answer.
        """


@dataclass(frozen=True, slots=True)
class Session:
    """The content of one session.

    Attributes:
        claims: Claims of the id token.
        user: The provider's user info.
        expires_at: The time until which the provider vouches for the user, in seconds since 1970.
        signed_in_at: The time of the sign-in, in seconds since 1970.
    """

    claims: Mapping[str, Any]
    user: Mapping[str, Any]
    expires_at: float
    signed_in_at: float
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @classmethod
    def of_reply(cls, reply: TokenReply, user: Mapping[str, Any]) -> Session:
        """Return the session of a sign-in."""
        assert reply.claims is not None
        ends = float(reply.claims["exp"])
        return cls(dict(reply.claims), dict(user), ends, time.time(), reply.id_token, reply.refresh_token)

    def refreshed(self, reply: TokenReply) -> Session:
        """Return the session with new tokens.

        Raises:
            ProviderRefused: The id token is that of another user, or nothing names the end of its validity.
        """
        refresh_token = reply.refresh_token or self.refresh_token
        if reply.claims is None:
            # OpenID Connect Core 12.2 allows a reply without an id token.
            if reply.expires_in is None:
                raise ProviderRefused("the reply to a refresh has neither id_token nor expires_in")
            return replace(self, expires_at=time.time() + reply.expires_in, refresh_token=refresh_token)
        if reply.claims.get("sub") != self.claims.get("sub"):
            raise ProviderRefused("the id token of a refresh names another subject")
        return replace(
            self,
            claims=dict(reply.claims),
            expires_at=float(reply.claims["exp"]),
            id_token=reply.id_token,
            refresh_token=refresh_token,
        )

    @property
    def all_claims(self) -> dict[str, Any]:
        """Return the claims of the id token, completed by the user info."""
        return {**self.user, **self.claims}

    @property
    def current(self) -> bool:
        """Return whether the provider's word still counts."""
        return time.time() < self.expires_at - _EARLY_SECONDS

    def identity(self, scopes: frozenset[str] = frozenset({ALL})) -> Identity:
        """Return who is signed in. The provider's user info comes before the claims of the id token."""
        subject = str(self.claims["sub"])
        texts = {name: _text(self.user, name) or _text(self.claims, name) for name in _USER_FIELDS}
        user = UserInfo(subject=_text(self.user, "sub") or subject, **texts)
        return Identity(
            subject=subject,
            scopes=scopes,
            user=user,
            claims=self.claims,
            method="session",
            expires_at=self.expires_at,
        )


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    return value if isinstance(value, str) else ""


class Sessions:
    """The sessions of all processes, as one process sees them.

    Args:
        settings: The settings.
        database: Has the table auth_sessions.
        keys: Sign the cookie and encrypt the rows.
        provider: The identity provider.
    """

    def __init__(self, settings: Settings, database: Database, keys: CookieKeys, provider: Refresher) -> None:
        auth = settings.auth.user_auth
        if auth.allow.claim_values and not auth.allow.claim:
            raise BadSetting("auth.userAuth.allow.claimValues needs auth.userAuth.allow.claim, the name of a claim")
        self._database = database
        self._keys = keys
        self._provider = provider
        # Parity: a person who is signed in has every scope.
        self._scopes = frozenset({ALL, settings.auth.required_scope}) - {""}
        self._allow = auth.allow
        self._seconds_max = auth.session_seconds_max
        self._login_seconds_max = auth.login_seconds_max
        # Sessions of another provider or client end with the change of the settings.
        openid = auth.open_id
        self._realm = f"{openid.issuer_url or openid.base_url} {openid.client_id}"
        self._refreshes: dict[str, asyncio.Task[Session]] = {}
        self._paused_until = 0.0

    async def identity(self, credentials: Credentials, public_url: str) -> Identity | None:
        """Return who is signed in with the cookies of a request; None where they name no session.

        Args:
            credentials: The headers of the request.
            public_url: The address of this server as the client wrote it; sessions are valid at all of them.

        Raises:
            TokenRefused: The session has expired, and the provider does not renew it.
        """
        session = await self.session(cookies.cookie_header(credentials.headers))
        return session.identity(self._scopes) if session is not None else None

    async def session(self, cookie_header: str) -> Session | None:
        """Return the session that cookies name, refreshed where its id token has expired; None without one.

        Raises:
            TokenRefused: The session has expired, and the provider does not renew it; or the cookies name two people.
        """
        found: list[tuple[str, Session]] = []
        for session_id in self._ids(cookie_header):
            row = await self._row(session_id)
            content = self._content(row) if row is not None else None
            if content is not None:
                found.append((session_id, content))
        if not found:
            return None
        if len({one.claims.get("sub") for _, one in found}) > 1:
            # A sibling domain can plant a cookie of its own session, and its Path decides which one comes first.
            raise _ended("the cookies name sessions of two people")
        session_id, first = found[0]
        return first if first.current else await self._refreshed(session_id, first)

    async def sign_in(self, session: Session, cookie_header: str) -> str:
        """Store a new session and return the value of its cookie. The browser's earlier session ends.

        A sign-in always makes a new id, so a cookie that somebody planted in the browser never becomes a session.
        """
        value = self._keys.signed(cookies.SESSION, secrets.token_urlsafe(_ID_BYTES))
        session_id = _hash(value)
        async with self._database.unit_of_work() as unit:
            for earlier in self._ids(cookie_header):
                await unit.delete(AuthSession, session_id=earlier)
            await unit.insert(
                AuthSession,
                session_id=session_id,
                subject=str(session.claims["sub"]),
                data=self._sealed(session_id, session),
                used_at=datetime.now(UTC),
                valid_until=self._end(session),
            )
        return value

    async def spend(self, state: str) -> bool:
        """Mark the state of a finished sign-in as used, and return whether this is its first use."""
        until = datetime.now(UTC) + timedelta(seconds=self._login_seconds_max)
        async with self._database.unit_of_work() as unit:
            values = {"subject": "", "data": b"", "valid_until": until}
            return await unit.insert_if_absent(AuthSession, session_id=f"state:{_hash(state)}", **values) is not None

    async def sign_out(self, cookie_header: str) -> Session | None:
        """Delete the session that cookies name and return it; None without one."""
        ended = None
        for session_id in self._ids(cookie_header):
            row = await self._row(session_id)
            if row is not None:
                ended = self._content(row) or ended
                async with self._database.unit_of_work() as unit:
                    await unit.delete(AuthSession, session_id=session_id)
        return ended

    def cleaning(self) -> Periodic:
        """Return the service that deletes expired rows and, when it stops, waits for the refreshes that run."""
        return Periodic("session_expiry", self.delete_expired, CLEANING_SECONDS, at_end=self.finish)

    async def delete_expired(self) -> int:
        """Delete rows that have expired, at most DELETED_AT_ONCE in a transaction, and return how many."""
        return await delete_expired(self._database, _DELETE_EXPIRED, most=DELETED_AT_ONCE)

    async def finish(self) -> None:
        """Wait for the refreshes that run, so that their new tokens are stored before the process ends."""
        if self._refreshes:
            await asyncio.wait(list(self._refreshes.values()), timeout=LEASE_SECONDS)

    def _ids(self, cookie_header: str) -> list[str]:
        """Return the keys of the rows that cookies name, at most _COOKIES_MAX. Forged cookies cost no statement."""
        found: list[str] = []
        for value in dict.fromkeys(cookies.values(cookie_header, cookies.SESSION)):
            if self._keys.verified(cookies.SESSION, value) is not None:
                found.append(_hash(value))
            if len(found) == _COOKIES_MAX:
                break
        return found

    async def _row(self, session_id: str) -> Row | None:
        async with self._database.unit_of_work() as unit:
            row = await unit.find(AuthSession, session_id=session_id)
        if row is None or (row.valid_until is not None and row.valid_until < datetime.now(UTC)):
            return None
        return row

    def _sealed(self, session_id: str, session: Session) -> bytes:
        content = {name: getattr(session, name) for name in Session.__slots__}
        return self._keys.seal(orjson.dumps(content), self._context(session_id))

    def _content(self, row: Row) -> Session | None:
        """Return the session in a row; None where the keys, the provider or the client were changed since."""
        plain = self._keys.unseal(bytes(row.data), self._context(row.session_id))
        return Session(**orjson.loads(plain)) if plain is not None else None

    def _context(self, session_id: str) -> str:
        return f"{session_id} {self._realm}"

    def _end(self, session: Session) -> datetime:
        """Return when the row is no longer needed: a session without a refresh token ends with its id token."""
        ends = session.signed_in_at + self._seconds_max
        if not session.refresh_token:
            ends = min(ends, session.expires_at + _EARLY_SECONDS)
        return datetime.fromtimestamp(ends, UTC)

    async def _refreshed(self, session_id: str, found: Session) -> Session:
        """Return an expired session with new tokens.

        Raises:
            TokenRefused: There are none.
        """
        if not found.refresh_token:
            raise _ended("the provider sent no refresh token")
        task = self._refreshes.get(session_id)
        if task is None:
            task = self._refreshes[session_id] = asyncio.create_task(self._refresh(session_id))
            task.add_done_callback(lambda done: self._forget(session_id, done))
        # A request that is cancelled must not stop the task: the refresh token may be spent already.
        return await asyncio.shield(task)

    def _forget(self, session_id: str, done: asyncio.Task[Session]) -> None:
        self._refreshes.pop(session_id, None)
        if not done.cancelled():
            # Without this, asyncio logs the error where every request that waited was cancelled.
            done.exception()

    async def _refresh(self, session_id: str) -> Session:
        deadline = time.monotonic() + LEASE_SECONDS
        while True:
            async with self._database.unit_of_work() as unit:
                await unit.begin()
                taken = await unit.one(_TAKE, id=session_id)
            row = await self._row(session_id)
            found = self._content(row) if row is not None else None
            if found is None:
                raise _ended("it was signed out")
            if found.current:
                if taken is not None:
                    await self._release(session_id, taken.refreshing_until)
                return found
            if taken is not None:
                return await self._ask_provider(session_id, found, taken.refreshing_until)
            if time.monotonic() > deadline:
                raise _ended("another process refreshes it and does not finish")
            await asyncio.sleep(_WAIT_SECONDS)

    async def _ask_provider(self, session_id: str, found: Session, until: datetime) -> Session:
        """Redeem the refresh token and store the new tokens. The row is leased until `until`."""
        if time.monotonic() < self._paused_until:
            await self._release(session_id, until)
            raise _ended("the identity provider does not answer")
        try:
            async with asyncio.timeout(LEASE_SECONDS / 2):
                renewed = await self._renewed(found)
        except (ProviderUnavailable, TimeoutError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            await self._release(session_id, until)
            limited_log.warning("session_not_refreshed", reason=f"the provider does not answer: {error}")
            raise _ended("the identity provider does not answer") from error
        except ProviderRefused as error:
            limited_log.warning("session_ended", subject=found.claims.get("sub"), reason=str(error))
            async with self._database.unit_of_work() as unit:
                await unit.delete(AuthSession, session_id=session_id)
            raise _ended("the identity provider does not renew it") from error
        values = {"new_data": self._sealed(session_id, renewed), "ends": self._end(renewed)}
        async with self._database.unit_of_work() as unit:
            stored = await unit.run(_STORE, id=session_id, until=until, now=datetime.now(UTC), **values)
        if not stored:
            raise _ended("it was signed out")
        return renewed

    async def _renewed(self, found: Session) -> Session:
        """Return the session with new tokens and, where the provider answers, new user info.

        Raises:
            ProviderRefused: The provider does not renew it, or the user may not sign in any more.
            ProviderUnavailable: The provider does not answer.
        """
        reply = await self._provider.refresh(found.refresh_token)
        renewed = found.refreshed(reply)
        try:
            renewed = replace(
                renewed, user=await self._provider.user_info(reply.access_token, str(found.claims["sub"]))
            )
        except (ProviderRefused, ProviderUnavailable) as error:
            # The refresh token is spent, so the new tokens must be stored.
            limited_log.warning("user_info_not_refreshed", reason=str(error))
        refusal = allow_lists.refusal(self._allow, renewed.all_claims)
        if refusal:
            raise ProviderRefused(refusal)
        return renewed

    async def _release(self, session_id: str, until: datetime) -> None:
        async with self._database.unit_of_work() as unit:
            await unit.run(_RELEASE, id=session_id, until=until)


def _ended(reason: str) -> TokenRefused:
    refusal = TokenRefused(f"{EXPIRED}: {reason}", claim="exp", found=reason, wanted="a new sign-in")
    log_refusal("session", refusal, signed=False)
    return refusal


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()

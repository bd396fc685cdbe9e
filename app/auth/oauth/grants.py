"""Authorization codes, refresh tokens and device codes: rows of the table auth_grants, shared by all processes.

The table has only hashes. A row is redeemed by one statement whose condition is that nobody has redeemed it, so of two
processes that receive the same code at once, one succeeds.

Refresh tokens rotate (RFC 9700 4.14.2). All tokens of one sign-in are a family. A refresh returns a successor, and the
old token stays good until a successor is used: its answer may have been lost. The use of a successor spends all other
tokens of the family. A spent token that comes again was stolen, or its successor was, so the whole family ends.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import bindparam, delete, select, update

from app import limited_log
from app.auth.oauth.errors import invalid_grant
from app.auth.periodic import Periodic, delete_expired
from app.database import schema
from app.database.auth_tables import AuthGrant
from app.database.base import Database, UnitOfWork
from app.database.statements import Statement, columns_of

CODE, REFRESH, DEVICE = "code", "refresh", "device"
ACTIVE, SPENT, REVOKED = "active", "spent", "revoked"
PENDING, APPROVED, DENIED = "pending", "approved", "denied"
# A client that refreshes more often in one lifespan must sign in again.
FAMILY_ROWS_MAX = 500
DELETED_AT_ONCE = 1000
CLEANING_SECONDS = 60.0

_table = schema.table(AuthGrant)
_column = _table.c
_REDEEM = Statement(
    update(_table)
    .values(used_at=bindparam("now"))
    .where(_column.grant_id == bindparam("key_grant_id"), _column.used_at.is_(None))
)
# One row stands for the family: a process that locked all rows could wait for one that locked some of them.
_LOCK_FAMILY = Statement(
    select(_column.grant_id)
    .where(_column.family == bindparam("family"))
    .order_by(_column.id)
    .limit(1)
    .with_for_update()
)
_SPEND_OTHERS = Statement(
    update(_table)
    .values(status=SPENT)
    .where(
        _column.family == bindparam("key_family"),
        _column.kind == REFRESH,
        _column.status == ACTIVE,
        _column.grant_id != bindparam("key_grant_id"),
    )
)
_REVOKE = Statement(
    update(_table).values(status=REVOKED).where(_column.family == bindparam("key_family"), _column.kind == REFRESH)
)
_DECIDE = Statement(
    update(_table)
    .values(status=bindparam("status"), subject=bindparam("subject"), data=bindparam("data"))
    .where(
        _column.grant_id == bindparam("key_grant_id"), _column.status == PENDING, _column.valid_until > bindparam("now")
    )
)
_PENDING = Statement(
    select(_column.grant_id)
    .where(_column.kind == DEVICE, _column.status == PENDING, _column.valid_until > bindparam("now"))
    .limit(bindparam("most"))
)
_BY_USER_CODE = Statement(
    select(*columns_of(_table, None)).where(
        _column.kind == DEVICE,
        _column.user_code == bindparam("user_code"),
        _column.status == PENDING,
        _column.valid_until > bindparam("now"),
    )
)
# Rows that another process deletes or revokes are skipped: SQLAlchemy omits that on SQLite, which has one writer.
_EXPIRED = (
    select(_column.grant_id)
    .where(_column.valid_until < bindparam("now"))
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
_DELETE_EXPIRED = Statement(delete(_table).where(_column.grant_id.in_(_EXPIRED)))


@dataclass(frozen=True, slots=True)
class Grant:
    """The grant of a person to a client.

    Attributes:
        subject: The person's user id; "" for a device code that nobody has approved yet.
        user: The person, as claim `user_info` of access tokens.
        claims: Further claims of access tokens.
        redirect_uri: The redirect URI of the authorization request; "" where it had none.
        challenge: The PKCE challenge; "" where there is none.
        address: The network address of the device that asked for a device code.
        family: The sign-in from which the grant comes.
    """

    client_id: str
    scopes: tuple[str, ...]
    subject: str = ""
    user: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, Any] = field(default_factory=dict)
    redirect_uri: str = ""
    challenge: str = ""
    address: str = ""
    family: str = field(default_factory=lambda: uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """The row of a device code."""

    grant_id: str
    status: str
    grant: Grant


class Grants:
    """The grants of all processes on one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_code(self, grant: Grant, lifespan_seconds: float) -> str:
        """Store a grant and return its authorization code."""
        code = secrets.token_urlsafe(32)
        async with self._database.unit_of_work() as unit:
            await _insert(unit, code, CODE, grant, lifespan_seconds)
        return code

    async def find_code(self, code: str) -> Grant | None:
        """Return the grant of an authorization code, also of one that was redeemed; None for an unknown or old one."""
        async with self._database.unit_of_work() as unit:
            row = await _find(unit, code, CODE)
        return None if row is None else _grant(row)

    async def redeem(self, code: str, grant: Grant, refresh_lifespan_seconds: float | None) -> str | None:
        """Redeem an authorization code or a device code, and return a refresh token.

        The refresh tokens of a code that comes a second time end (RFC 6749 4.1.2).

        Args:
            code: The code.
            grant: The grant of the refresh token.
            refresh_lifespan_seconds: The lifespan of the refresh token; None for no token.

        Raises:
            OAuthError: invalid_grant for a code that was redeemed, or that expired meanwhile.
        """
        async with self._database.unit_of_work() as unit:
            if await unit.run(_REDEEM, key_grant_id=hash_of(code), now=datetime.now(UTC)) == 1:
                if refresh_lifespan_seconds is None:
                    return None
                token = secrets.token_urlsafe(32)
                await _insert(unit, token, REFRESH, grant, refresh_lifespan_seconds, status=ACTIVE)
                return token
            await unit.all(_LOCK_FAMILY, family=grant.family)
            await _revoke(unit, grant, "a code that was redeemed before")
        raise invalid_grant("The code has expired, or was redeemed before.")

    async def find_refresh_token(self, token: str) -> Grant | None:
        """Return the grant of a refresh token, also of a spent one; None for an unknown or expired one."""
        async with self._database.unit_of_work() as unit:
            row = await _find(unit, token, REFRESH)
        return None if row is None else _grant(row)

    async def adopt_refresh_token(self, token: str, grant: Grant, valid_until: datetime) -> None:
        """Store a refresh token that another server issued; nothing where it is stored."""
        async with self._database.unit_of_work() as unit:
            await unit.insert_if_absent(AuthGrant, **_values(token, REFRESH, grant, valid_until, status=ACTIVE))

    async def rotate(self, token: str, lifespan_seconds: float) -> str:
        """Return the successor of a refresh token, and spend the other tokens of its family.

        Raises:
            OAuthError: invalid_grant for a token that is unknown, spent or revoked.
        """
        refusal = None
        async with self._database.unit_of_work() as unit:
            row = await _find(unit, token, REFRESH)
            if row is not None:
                await unit.begin()
                await unit.all(_LOCK_FAMILY, family=row.family)
                # Again, because another process may have spent it meanwhile.
                row = await _find(unit, token, REFRESH)
            if row is None or row.status == REVOKED:
                refusal = "The refresh token is unknown, has expired, or was revoked."
            elif row.status == SPENT:
                await _revoke(unit, _grant(row), "a refresh token whose successor was used")
                refusal = "The refresh token was used before; sign in again."
            elif await unit.count(AuthGrant, family=row.family) >= FAMILY_ROWS_MAX:
                refusal = "The refresh token was used too often; sign in again."
            else:
                if row.used_at is None:
                    await unit.run(_SPEND_OTHERS, key_family=row.family, key_grant_id=row.grant_id)
                    await unit.update(AuthGrant, {"grant_id": row.grant_id}, used_at=datetime.now(UTC))
                successor = secrets.token_urlsafe(32)
                await _insert(unit, successor, REFRESH, _grant(row), lifespan_seconds, status=ACTIVE)
        if refusal is not None:
            # Only now: an exception inside the block would roll back the revocation.
            raise invalid_grant(refusal)
        return successor

    async def add_device_code(self, grant: Grant, user_code: str, lifespan_seconds: float, most: int) -> str | None:
        """Store the request of a device and return its device code; None where `most` wait, or the user code does."""
        code, now = secrets.token_urlsafe(32), datetime.now(UTC)
        async with self._database.unit_of_work() as unit:
            await unit.begin()
            if len(await unit.all(_PENDING, now=now, most=most)) >= most:
                return None
            if await unit.one(_BY_USER_CODE, user_code=user_code, now=now) is not None:
                return None
            await _insert(unit, code, DEVICE, grant, lifespan_seconds, status=PENDING, user_code=user_code)
        return code

    async def find_user_code(self, user_code: str) -> DeviceRow | None:
        """Return the device that shows a user code and waits for a decision; None where there is none."""
        async with self._database.unit_of_work() as unit:
            row = await unit.one(_BY_USER_CODE, user_code=user_code, now=datetime.now(UTC))
        return None if row is None else DeviceRow(row.grant_id, row.status, _grant(row))

    async def decide(self, grant_id: str, status: str, grant: Grant) -> bool:
        """Approve or deny a device. Return False where it does not wait any more."""
        async with self._database.unit_of_work() as unit:
            return bool(
                await unit.run(
                    _DECIDE,
                    key_grant_id=grant_id,
                    now=datetime.now(UTC),
                    status=status,
                    subject=grant.subject,
                    data=_data(grant),
                )
            )

    async def find_device_code(self, code: str) -> DeviceRow | None:
        """Return the row of a device code; None for an unknown or expired one."""
        async with self._database.unit_of_work() as unit:
            row = await _find(unit, code, DEVICE)
        return None if row is None else DeviceRow(row.grant_id, row.status, _grant(row))

    def cleaning(self) -> Periodic:
        """Return the service that deletes expired rows."""
        return Periodic("grant_cleaning", self.delete_expired, CLEANING_SECONDS)

    async def delete_expired(self) -> int:
        """Delete rows that have expired, at most DELETED_AT_ONCE in a transaction, and return how many."""
        return await delete_expired(self._database, _DELETE_EXPIRED, most=DELETED_AT_ONCE)


def hash_of(secret: str) -> str:
    """Return the hash of a random text, in hex. It needs no salt: nobody can guess 256 random bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


async def _find(unit: UnitOfWork, secret: str, kind: str) -> Any:
    row = await unit.find(AuthGrant, grant_id=hash_of(secret))
    return row if row is not None and row.kind == kind and row.valid_until > datetime.now(UTC) else None


async def _revoke(unit: UnitOfWork, grant: Grant, found: str) -> None:
    count = await unit.run(_REVOKE, key_family=grant.family)
    limited_log.warning(
        "oauth_grant_reused",
        key=grant.family,
        client=grant.client_id,
        subject=grant.subject,
        found=found,
        revoked=count,
    )


async def _insert(
    unit: UnitOfWork,
    secret: str,
    kind: str,
    grant: Grant,
    lifespan_seconds: float,
    *,
    status: str | None = None,
    user_code: str | None = None,
) -> None:
    until = datetime.now(UTC) + timedelta(seconds=lifespan_seconds)
    await unit.insert(AuthGrant, **_values(secret, kind, grant, until, status=status, user_code=user_code))


def _values(
    secret: str,
    kind: str,
    grant: Grant,
    until: datetime,
    *,
    status: str | None = None,
    user_code: str | None = None,
) -> dict[str, Any]:
    return {
        "grant_id": hash_of(secret),
        "kind": kind,
        "family": grant.family,
        "client_id": grant.client_id,
        "subject": grant.subject or None,
        "user_code": user_code,
        "status": status,
        "data": _data(grant),
        "valid_until": until,
    }


def _data(grant: Grant) -> bytes:
    return orjson.dumps(
        {
            "scopes": grant.scopes,
            "user": grant.user,
            "claims": grant.claims,
            "redirect_uri": grant.redirect_uri,
            "challenge": grant.challenge,
            "address": grant.address,
        }
    )


def _grant(row: Any) -> Grant:
    data = orjson.loads(row.data)
    return Grant(
        client_id=row.client_id,
        scopes=tuple(data["scopes"]),
        subject=row.subject or "",
        user=data["user"],
        claims=data["claims"],
        redirect_uri=data["redirect_uri"],
        challenge=data["challenge"],
        address=data["address"],
        family=row.family,
    )

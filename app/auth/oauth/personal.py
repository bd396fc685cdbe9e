"""Personal tokens, and the rows of clients and personal tokens that commands make.

A personal token is `flyte_pat_<name>_<secret>`: the name finds the row, and the secret is compared by its hash. Each
request reads the row, so that a revoked token ends at once.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import bcrypt
import orjson

from app import errors
from app.auth.identity import Identity, UserInfo
from app.auth.oauth.clients import BCRYPT_COST, KIND_CLIENT, KIND_PERSONAL, NAME, note_use
from app.auth.oauth.grants import hash_of
from app.auth.refusals import TokenRefused, log_refusal
from app.database.auth_tables import AuthClient
from app.database.base import Database

PREFIX = "flyte_pat_"
ROWS_MAX = 1000
_TOKEN = re.compile(rf"{PREFIX}([A-Za-z0-9._-]{{1,63}})_([0-9a-f]{{64}})")


class PersonalTokens:
    """Verifies personal tokens: a `Verifier` of app/auth/authentication.py."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @staticmethod
    def recognises(token: str) -> bool:
        """Return whether a text has the form of a personal token."""
        return token.startswith(PREFIX)

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity of a personal token. Raises Unauthenticated for any other text."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            raise _refused("the personal token has an unknown form", "form", "another text", "flyte_pat_NAME_SECRET")
        name, secret = match.groups()
        async with self._database.unit_of_work() as unit:
            row = await unit.find(AuthClient, name=name)
        known = row is not None and row.kind == KIND_PERSONAL
        if row is None or not known or not hmac.compare_digest(row.secret_hash, hash_of(secret)):
            raise _refused("the personal token is unknown", "secret", f"another one than {name} has", "its secret")
        now = datetime.now(UTC)
        if row.revoked_at is not None:
            found = f"{name}, revoked at {row.revoked_at:%Y-%m-%dT%H:%M:%SZ}"
            raise _refused(f"the personal token {name} was revoked", "name", found, "a token that is valid")
        if row.valid_until is None or row.valid_until <= now:
            raise _refused(f"the personal token {name} has expired", "name", name, "a token that is valid")
        await note_use(self._database, name, row.used_at)
        return Identity(
            subject=row.subject,
            scopes=frozenset(row.scopes.split()),
            user=UserInfo(subject=row.subject),
            claims={"sub": row.subject, "personal_token": name},
            method="personal_token",
            expires_at=row.valid_until.timestamp(),
        )

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return None: a cached identity would outlive the revocation of its token."""
        return None


def _refused(problem: str, claim: str, found: str, wanted: str) -> TokenRefused:
    refusal = TokenRefused(problem, claim=claim, found=found, wanted=wanted)
    log_refusal("personal token", refusal, signed=False)
    return refusal


@dataclass(frozen=True, slots=True)
class Created:
    """A client or token that was made. Its secret is in no other place.

    Attributes:
        secret: The client's secret, or the whole token.
    """

    name: str
    secret: str

    def api_key(self, endpoint: str) -> str:
        """Return id and secret of a client in one text: base64 of JSON, as in flytekit's proposal of API keys.

        Source: https://github.com/flyteorg/flytekit/pull/1569 and 1570.
        """
        parts = {"client_id": self.name, "client_secret": self.secret, "url": endpoint}
        return base64.b64encode(orjson.dumps({name: text for name, text in parts.items() if text})).decode()


async def create_client(
    database: Database,
    name: str,
    scopes: Sequence[str],
    *,
    description: str = "",
    valid_until: datetime | None = None,
    created_by: str = "",
) -> Created:
    """Make a client that may use client_credentials.

    Raises:
        InvalidArgument: The name is not allowed.
        AlreadyExists: A client or token of this name exists or existed.
    """
    secret = secrets.token_urlsafe(32)
    hash = await asyncio.to_thread(bcrypt.hashpw, secret.encode(), bcrypt.gensalt(BCRYPT_COST))
    about = {"description": description, "created_by": created_by, "valid_until": valid_until}
    await _insert(database, name, kind=KIND_CLIENT, subject=name, secret_hash=hash.decode(), scopes=scopes, **about)
    return Created(name, secret)


async def create_token(
    database: Database,
    name: str,
    subject: str,
    scopes: Sequence[str],
    *,
    valid_until: datetime,
    description: str = "",
    created_by: str = "",
) -> Created:
    """Make a personal token with which its bearer is the user `subject`. Raises like `create_client`."""
    secret = secrets.token_hex(32)
    about = {"description": description, "created_by": created_by, "valid_until": valid_until}
    hash = hash_of(secret)
    await _insert(database, name, kind=KIND_PERSONAL, subject=subject, secret_hash=hash, scopes=scopes, **about)
    return Created(name, f"{PREFIX}{name}_{secret}")


async def list_rows(database: Database, kind: str) -> Sequence[Any]:
    """Return the clients or tokens, also the revoked ones, at most ROWS_MAX, by name."""
    async with database.unit_of_work() as unit:
        return sorted(await unit.find_all(AuthClient, kind=kind, most=ROWS_MAX), key=lambda row: str(row.name))


async def revoke(database: Database, name: str, kind: str) -> None:
    """Revoke a client or a token.

    Raises:
        NotFound: There is none of this name.
    """
    async with database.unit_of_work() as unit:
        row = await unit.find(AuthClient, for_update=True, name=name)
        if row is None or row.kind != kind:
            raise errors.NotFound(f"there is no {'client' if kind == KIND_CLIENT else 'personal token'} {name}")
        if row.revoked_at is None:
            await unit.update(AuthClient, {"name": name}, revoked_at=datetime.now(UTC))


async def _insert(database: Database, name: str, *, scopes: Sequence[str], **values: Any) -> None:
    if not NAME.fullmatch(name):
        raise errors.InvalidArgument(
            f"{name!r} is no name of a client or token; allowed: up to 63 letters, digits, dots, dashes and underscores"
        )
    async with database.unit_of_work() as unit:
        given = {column: value or None for column, value in values.items()}
        row_id = await unit.insert_if_absent(AuthClient, name=name, scopes=" ".join(scopes), **given)
    if row_id is None:
        raise errors.AlreadyExists(f"a client or token named {name} exists, or was revoked; choose another name")

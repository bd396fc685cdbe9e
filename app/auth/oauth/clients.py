"""OAuth clients: those of the settings (`staticClients`), and those of the table auth_clients.

A secret is compared by bcrypt, in a thread. Unknown clients cost as much time as known ones. Failures are limited for
each client and address, because bcrypt alone does not stop a patient guesser.
"""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import bcrypt
import structlog

from app import limited_log
from app.auth.oauth.errors import OAuthError
from app.auth.oauth.limits import Key, MinuteLimit, network_of
from app.auth.oauth.parameters import ClientCredentials
from app.database.auth_tables import AuthClient
from app.database.base import Database
from app.settings import BadSetting
from app.settings.auth import STATIC_CLIENTS, SelfAuthServer, StaticClient

AUTHORIZATION_CODE, REFRESH_TOKEN, CLIENT_CREDENTIALS = "authorization_code", "refresh_token", "client_credentials"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"

# The cost of new secrets, and of the comparison for a client that does not exist.
BCRYPT_COST = 12
# A secret of a larger cost takes seconds of CPU.
BCRYPT_COST_MAX = 16
# bcrypt ignores further bytes.
BCRYPT_BYTES = 72
KIND_CLIENT, KIND_PERSONAL = "client", "personal"
USED_SECONDS = 60.0
# Requests that wait for a comparison, in multiples of those that run.
_WAITING_PER_CHECK = 16
# The name of a client or personal token in the table.
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HASH = re.compile(rb"\$2[abxy]\$([0-9]{2})\$[./A-Za-z0-9]{53}")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client.

    Attributes:
        secret_hash: bcrypt hash; b"" for a client without a secret.
        stored: Whether the client is a row of the table auth_clients.
        used_at: The last use of a stored client's secret.
    """

    id: str
    public: bool
    secret_hash: bytes
    redirect_uris: tuple[str, ...]
    grant_types: frozenset[str]
    response_types: frozenset[str]
    scopes: frozenset[str]
    audience: tuple[str, ...] = ()
    stored: bool = False
    used_at: datetime | None = None

    def may_use_devices(self) -> bool:
        """Return whether the client may use the device flow."""
        return DEVICE_CODE in self.grant_types or (self.public and AUTHORIZATION_CODE in self.grant_types)


class Clients:
    """Finds and authenticates clients. One object per process.

    Raises:
        BadSetting: A secret in the settings is no bcrypt hash.
    """

    def __init__(self, settings: SelfAuthServer, database: Database) -> None:
        self._database = database
        self._static = static_clients(settings.static_clients)
        costs = [int(client.secret_hash[4:6]) for client in self._static.values() if client.secret_hash]
        # A hash that no secret matches.
        self._nobody = b"$2b$%02d$%b" % (max(costs, default=BCRYPT_COST), b"." * 53)
        self._failures = MinuteLimit(settings.secret_failures_per_minute_max)
        self._checks = asyncio.Semaphore(settings.secret_checks_max)
        self._waiting, self._waiting_max = 0, settings.secret_checks_max * (1 + _WAITING_PER_CHECK)

    @property
    def static_ids(self) -> frozenset[str]:
        """Return the ids of the clients in the settings."""
        return frozenset(self._static)

    async def find(self, client_id: str) -> Client | None:
        """Return a client; None for an unknown, expired or revoked one."""
        if client_id in self._static:
            return self._static[client_id]
        if not NAME.fullmatch(client_id):
            return None
        async with self._database.unit_of_work() as unit:
            row = await unit.find(AuthClient, name=client_id)
        if row is None or row.kind != KIND_CLIENT or row.revoked_at is not None:
            return None
        if row.valid_until is not None and row.valid_until <= datetime.now(UTC):
            return None
        return Client(
            id=client_id,
            public=False,
            secret_hash=row.secret_hash.encode(),
            redirect_uris=(),
            grant_types=frozenset({CLIENT_CREDENTIALS}),
            response_types=frozenset(),
            scopes=frozenset(row.scopes.split()),
            stored=True,
            used_at=row.used_at,
        )

    async def authenticate(self, given: ClientCredentials, address: str) -> Client:
        """Return the client that a request comes from.

        Args:
            given: The credentials in the request.
            address: The network address of the client.

        Raises:
            OAuthError: invalid_client; with status 429 after too many wrong secrets.
        """
        client = await self.find(given.client_id)
        if client is not None and client.public:
            return client
        if given.secret is None:
            raise OAuthError("invalid_client", "Client authentication failed: the request has no client_secret.")
        key = (client.id if client is not None else "", network_of(address))
        known = client is not None and client.secret_hash
        hash = client.secret_hash if client is not None and known else self._nobody
        right = await self._matches(given.secret, hash, key)
        if client is None or not known or not right:
            self._failures.add(key)
            limited_log.warning(
                "oauth_client_refused",
                key=key,
                client=_shown(given.client_id),
                address=address,
                found="a wrong secret" if known else "a client without a secret" if client else "an unknown client",
                wanted="the secret of a client",
            )
            raise OAuthError("invalid_client", "Client authentication failed: unknown client or wrong secret.")
        if client.stored:
            await note_use(self._database, client.id, client.used_at)
        return client

    async def _matches(self, secret: str, hash: bytes, key: Key) -> bool:
        if self._waiting >= self._waiting_max:
            raise OAuthError("temporarily_unavailable", "Too many clients authenticate at once.", retry_after_seconds=1)
        self._waiting += 1
        try:
            async with self._checks:
                # Here, and not before the wait: otherwise requests sent at once would all pass.
                wait = self._failures.seconds_left(key)
                if wait > 0:
                    limited_log.warning("oauth_client_limited", key=key, client=key[0], address=key[1])
                    raise OAuthError(
                        "invalid_client",
                        "There were too many wrong secrets from this address.",
                        status=429,
                        retry_after_seconds=wait,
                    )
                return await asyncio.to_thread(bcrypt.checkpw, secret.encode()[:BCRYPT_BYTES], hash)
        finally:
            self._waiting -= 1


def static_clients(given: Mapping[str, StaticClient]) -> dict[str, Client]:
    """Return the clients of the settings by their id.

    Raises:
        BadSetting: A secret is no base64 of a bcrypt hash.
    """
    return {client.id: client for client in (_static_client(name, one) for name, one in given.items())}


def _static_client(name: str, given: StaticClient) -> Client:
    client = Client(
        id=given.id or name,
        public=given.public,
        secret_hash=_secret_hash(name, given),
        redirect_uris=given.redirect_uris,
        grant_types=frozenset(given.grant_types),
        response_types=frozenset(given.response_types),
        scopes=frozenset(given.scopes),
        audience=given.audience,
    )
    if not client.public and not client.secret_hash and given != STATIC_CLIENTS.get(name):
        log.warning("oauth_client_without_secret", client=client.id, reason="it is not public and has no client_secret")
    return client


def _secret_hash(name: str, client: StaticClient) -> bytes:
    text = client.client_secret.get_secret_value().strip()
    if client.public or not text:
        return b""
    where = f"auth.appAuth.selfAuthServer.staticClients.{name}.client_secret"
    try:
        hash = base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except ValueError:
        hash = b""
    match = _HASH.fullmatch(hash.strip())
    if match is None:
        raise BadSetting(
            f"{where} is no bcrypt hash in base64; make one with `flyteadmin secret init`, or with "
            "`htpasswd -nbBC 12 x SECRET | cut -d: -f2 | tr -d '\\n' | base64 -w0`"
        )
    if not 4 <= int(match[1]) <= BCRYPT_COST_MAX:
        raise BadSetting(f"{where} is a bcrypt hash of cost {int(match[1])}; allowed: 4 to {BCRYPT_COST_MAX}")
    return hash.strip()


async def note_use(database: Database, name: str, used_at: datetime | None) -> None:
    """Store that a client or a personal token was used now, at most once in USED_SECONDS.

    Args:
        database: The database.
        name: The client or token.
        used_at: The last use, as it was read just now.
    """
    now = datetime.now(UTC)
    if used_at is None or used_at < now - timedelta(seconds=USED_SECONDS):
        async with database.unit_of_work() as unit:
            await unit.update(AuthClient, {"name": name}, used_at=now)


def _shown(client_id: str) -> str:
    """Return the id of a client for a log line."""
    return client_id if len(client_id) <= 100 else client_id[:100] + "..."

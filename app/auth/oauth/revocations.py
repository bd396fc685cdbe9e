"""Access tokens of clients that were revoked.

An access token is verified without the database, so it would outlive its client. Each process therefore reads the
names of revoked clients every `auth.revocationDelay`, and refuses their tokens from then on.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import bindparam, or_, select

from app.auth.oauth.clients import KIND_CLIENT
from app.auth.periodic import Periodic
from app.database import schema
from app.database.auth_tables import AuthClient
from app.database.base import Database
from app.database.statements import Statement

ROWS_MAX = 100_000

_columns = schema.table(AuthClient).c
_ENDED = Statement(
    select(_columns.name)
    .where(
        _columns.kind == KIND_CLIENT,
        or_(_columns.revoked_at.is_not(None), _columns.valid_until <= bindparam("now")),
    )
    .limit(ROWS_MAX)
)


class RevokedClients:
    """The names of clients that were revoked or have expired; `name in revoked` costs no wait.

    Args:
        database: The database.
        static: The ids of clients in the settings, which no row concerns.
    """

    def __init__(self, database: Database, static: frozenset[str] = frozenset()) -> None:
        self._database = database
        self._static = static
        self._ended: frozenset[str] = frozenset()

    def __contains__(self, client_id: str) -> bool:
        return client_id in self._ended

    def service(self, interval_seconds: float) -> Periodic:
        """Return the service that reads the names again and again."""
        return Periodic("revoked_clients", self.read, interval_seconds, at_start=True)

    async def read(self) -> None:
        """Read the names of revoked clients."""
        async with self._database.unit_of_work() as unit:
            rows = await unit.all(_ENDED, now=datetime.now(UTC))
        self._ended = frozenset(row.name for row in rows) - self._static

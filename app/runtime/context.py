"""The objects that a service function may use. They are passed to it, and nothing is global.

Each request has its own Context. Its `now` is the only clock of the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from app.auth.identity import Identity
from app.engine.port import Engine
from app.runtime.changes import Changes
from app.runtime.outgoing import Outgoing

if TYPE_CHECKING:
    from app.auth.authentication import Authentication
    from app.auth.caller_access import Access
    from app.auth.credentials import Credentials
    from app.blobs import Blobs
    from app.database.base import UnitOfWork
    from app.settings import Settings

AfterCommit = Callable[[], Awaitable[None] | None]


@dataclass(slots=True)
class Context:
    """The context of one request.

    Attributes:
        identity: The caller.
        now: The time of the request, aware, in UTC.
        db: The unit of work. The edge commits it.
        access: The roles and limits of the caller; None where everything is allowed.
        caller: The caller's network address, "" where the edge has none.
        endpoint: scheme://host[:port] as the client wrote it.
        auth: Authentication; None where it is off.
        credentials: The headers of the request; None where authentication is off, and for engines and services.
        outgoing: The writers of messages about events, and the way to the outbox.
        changes: The subscribers to changed rows.
        callbacks: The after-commit callbacks.
    """

    identity: Identity
    now: datetime
    settings: Settings
    db: UnitOfWork
    blobs: Blobs
    engine: Engine
    request_id: str = ""
    caller: str = ""
    endpoint: str = ""
    auth: Authentication | None = None
    credentials: Credentials | None = None
    access: Access | None = None
    outgoing: Outgoing = field(default_factory=Outgoing)
    changes: Changes = field(default_factory=Changes)
    callbacks: list[AfterCommit] = field(default_factory=list)

    @property
    def principal(self) -> str:
        """Return the caller's user id, "" for an anonymous caller."""
        return self.identity.subject

    def after_commit(self, callback: AfterCommit) -> None:
        """Run the callback after the transaction is committed. It does not run after a rollback."""
        self.callbacks.append(callback)

    async def announce(self, topic: str) -> None:
        """Notify the subscribers of a topic after the commit: here, and on PostgreSQL in other processes."""
        await self.db.notify(topic)
        self.after_commit(partial(self.changes.notify, topic))

"""Everything a service function may touch, handed to it explicitly: nothing is global.

One Context lives for one request. Its `now` is the only clock of the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from app.engine.port import Engine

if TYPE_CHECKING:
    from app.blobs import Blobs
    from app.database.base import UnitOfWork
    from app.settings import Settings

AfterCommit = Callable[[], Awaitable[None] | None]


@dataclass(slots=True)
class Context:
    """principal: "" when anonymous. now: aware, UTC. endpoint: scheme://host[:port] as the client wrote it."""

    principal: str
    now: datetime
    settings: Settings
    db: UnitOfWork
    blobs: Blobs
    engine: Engine
    request_id: str = ""
    caller: str = ""
    endpoint: str = ""
    callbacks: list[AfterCommit] = field(default_factory=list)

    def after_commit(self, callback: AfterCommit) -> None:
        """Run callback once the transaction is committed; never when it is rolled back."""
        self.callbacks.append(callback)

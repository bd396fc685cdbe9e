"""Watch for the deck of a running attempt, so that clients see it as soon as the task has published it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app import errors
from app.blobs import Blobs
from app.engine.local.graph.failures import ExecutionEnded
from app.engine.local.processes import decks
from app.runtime.cancellation import cancel_and_wait
from app.settings import Settings

log = structlog.get_logger(__name__)

_BACKOFF = 2.0


class DeckWatch:
    """Polls the store for the deck of one running attempt at a time."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._blobs = blobs
        local = settings.engine.local
        self._seconds_min = local.deck_interval_seconds
        # A look into a local folder costs one system call, and needs no backoff.
        self._seconds_max = self._seconds_min if blobs.local else local.deck_interval_seconds_max
        self._polling: asyncio.Task[None] | None = None

    def start(self, uri: str, show: Callable[[], Awaitable[None]]) -> None:
        """Call `show` once, when the deck is in the store. An earlier watch must have been stopped."""
        self._polling = asyncio.create_task(self._poll(uri, show))

    async def stop(self) -> None:
        """End the watch. A call of `show` that has begun is cancelled, and has ended when this returns."""
        if self._polling is not None:
            polling, self._polling = self._polling, None
            await cancel_and_wait((polling,))

    async def _poll(self, uri: str, show: Callable[[], Awaitable[None]]) -> None:
        seconds, logged = self._seconds_min, False
        while True:
            await asyncio.sleep(seconds)
            try:
                if await decks.first_of(self._blobs, uri):
                    return await show()
            except ExecutionEnded:
                # The execution was ended by a client or another server, which its next event reports.
                return None
            except errors.FlyteError as error:
                # The store or the database does not answer. The attempt continues, and so does the watch.
                if not logged:
                    log.warning("deck_not_shown", uri=uri, reason=error.message)
                logged = True
            except Exception:
                log.exception("deck_not_shown", uri=uri)
                return None
            seconds = min(seconds * _BACKOFF, max(self._seconds_max, self._seconds_min))

"""Decks: pages of HTML that a task leaves beside its outputs, at its end or, with `Deck.publish()`, while it runs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app import errors
from app.blobs import BlobOutside, Blobs, BlobUnreadable
from app.engine.local.graph.coroutines import let_go
from app.engine.local.graph.failures import Stopped
from app.settings import Settings

log = structlog.get_logger(__name__)

_BACKOFF = 2.0


def uri_of(output_dir: str) -> str:
    """Return where an attempt with this output folder leaves its deck."""
    return f"{output_dir}/deck.html"


async def first_of(blobs: Blobs, *uris: str) -> str:
    """Return the first of the decks that is in the store; "" when none is.

    Raises:
        BlobError: The store does not answer, or refuses to.
    """
    for uri in dict.fromkeys(uris):
        try:
            if uri and await blobs.exists(uri):
                return uri
        except (BlobUnreadable, BlobOutside):
            # A task may have left a pipe, a device or a link there, which cannot be shown.
            if not blobs.in_own_folder(uri):
                raise
    return ""


class Watch:
    """Looks for the deck of one running attempt at a time, so that its address is shown as soon as the deck exists."""

    def __init__(self, settings: Settings, blobs: Blobs) -> None:
        self._blobs = blobs
        local = settings.engine.local
        self._seconds_min = local.deck_interval_seconds
        # A look into a local folder costs one system call, and needs no backoff.
        self._seconds_max = self._seconds_min if blobs.local else local.deck_interval_seconds_max
        self._looking: asyncio.Task[None] | None = None

    def start(self, uri: str, show: Callable[[], Awaitable[None]]) -> None:
        """Call `show` once the deck is in the store. An earlier watch must have been stopped."""
        self._looking = asyncio.create_task(self._look(uri, show))

    async def stop(self) -> None:
        """End the watch. A call of `show` that has begun is cancelled, and has ended when this returns."""
        if self._looking is not None:
            looking, self._looking = self._looking, None
            await let_go((looking,))

    async def _look(self, uri: str, show: Callable[[], Awaitable[None]]) -> None:
        seconds, told = self._seconds_min, False
        while True:
            await asyncio.sleep(seconds)
            try:
                if await first_of(self._blobs, uri):
                    return await show()
            except Stopped:
                # The execution was ended by others, which its next event reports.
                return None
            except errors.FlyteError as error:
                # The store or the database is away: the attempt runs on, and so does the watch.
                if not told:
                    log.warning("deck_not_shown", uri=uri, reason=error.message)
                told = True
            except Exception:
                log.exception("deck_not_shown", uri=uri)
                return None
            seconds = min(seconds * _BACKOFF, max(self._seconds_max, self._seconds_min))

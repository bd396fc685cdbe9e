"""Background service: deletes expired sessions in steps, so that no statement locks many rows at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from app import errors
from app.auth.sessions import Sessions

log = structlog.get_logger(__name__)

ROWS_PER_STEP = 500
SECONDS_BETWEEN_STEPS = 0.5
SECONDS_BETWEEN_ROUNDS = 600.0


class SessionExpiry:
    """Deletes expired sessions while the process runs, and lets refreshes end when it stops.

    Every process does that: a statement that finds no expired row costs one look at an index.
    """

    name = "session_expiry"

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._task: asyncio.Task[None] | None = None
        self._problem = ""

    async def start(self) -> None:
        """Begin to delete."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop deleting; wait for refreshes that have spent a token already."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        await self._sessions.finish()

    def health(self) -> str:
        """Return why the last step failed, "" where it did not."""
        return self._problem

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}

    async def _run(self) -> None:
        while True:
            try:
                deleted = await self._sessions.delete_expired(ROWS_PER_STEP)
                self._problem = ""
            except errors.FlyteError as error:
                # The rows are refused by their time whether they are deleted or not.
                deleted = 0
                self._problem = f"expired sessions are not deleted: {error.message}"
                log.warning("sessions_not_deleted", reason=error.message)
            await asyncio.sleep(SECONDS_BETWEEN_STEPS if deleted == ROWS_PER_STEP else SECONDS_BETWEEN_ROUNDS)

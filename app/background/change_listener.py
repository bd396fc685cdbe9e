"""Receives the notices of other processes about changed rows (app/runtime/changes.py), on PostgreSQL.

One connection of the process listens. Behind some connection poolers a connection can listen and receives nothing, so
the service sends a notice to itself, at first and every CHECK_SECONDS. Only while such notices arrive does `Changes`
count as listening. Notices that were sent while no connection listened are lost; all subscribers are called after it.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import structlog

from app import errors, limited_log
from app.runtime.dispatch import Server

if TYPE_CHECKING:
    from app.database.listening import Listener

# Times between two attempts to connect: doubled from the first up to the second.
PAUSE_SECONDS, PAUSE_SECONDS_MAX = 0.5, 60.0
# Time between two notices that the service sends to itself, and for their arrival.
CHECK_SECONDS, ARRIVAL_SECONDS = 60.0, 5.0
# The beginning of the topic of such a notice.
_OWN = "check/"

log = structlog.get_logger(__name__)


class ChangeListener:
    """Background service that listens to other processes.

    Args:
        server: The objects of this process.
    """

    name = "change_listener"

    def __init__(self, server: Server) -> None:
        self._server = server
        self._changes = server.changes
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen in the background, where the database has notifications."""
        listener = self._server.database.listener()
        if listener is not None:
            self._task = asyncio.create_task(self._run(listener))

    async def stop(self) -> None:
        """Close the connection."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def health(self) -> str:
        """Return "", which means healthy, always: without notices, changes are found by polling."""
        return ""

    def metrics(self) -> Mapping[str, float]:
        """Return whether notices of other processes arrive."""
        return {"listening": float(self._changes.listening)}

    async def _run(self, listener: Listener) -> None:
        pause = PAUSE_SECONDS
        while True:
            try:
                await self._listen(listener)
            except errors.FlyteError as error:
                limited_log.warning("changes_of_other_processes_do_not_arrive", reason=error.message)
            except Exception:
                # The task must not end; the loop tries again.
                log.exception("change_listener_failed")
            finally:
                pause = PAUSE_SECONDS if self._changes.listening else min(PAUSE_SECONDS_MAX, pause * 2)
                self._changes.listening = False
                await listener.close()
            await asyncio.sleep(pause)

    async def _listen(self, listener: Listener) -> None:
        """Pass notices on until the connection is lost. Raises FlyteError then."""
        await listener.open()
        while True:
            await self._check(listener)
            if not self._changes.listening:
                self._changes.listening = True
                self._changes.notify_all()
            end = asyncio.get_running_loop().time() + CHECK_SECONDS
            while (left := end - asyncio.get_running_loop().time()) > 0:
                self._pass_on(await listener.received(left))

    async def _check(self, listener: Listener) -> None:
        """Send a notice and wait for it. Raises UNAVAILABLE where it does not arrive in time."""
        topic = f"{_OWN}{secrets.token_hex(8)}"
        async with self._server.database.unit_of_work() as unit:
            await unit.notify(topic)
        end = asyncio.get_running_loop().time() + ARRIVAL_SECONDS
        while (left := end - asyncio.get_running_loop().time()) > 0:
            topics = await listener.received(left)
            self._pass_on(topics)
            if topic in topics:
                return
        raise errors.Unavailable("the database passes no notifications on; does a pooler of connections drop them?")

    def _pass_on(self, topics: Sequence[str]) -> None:
        for topic in dict.fromkeys(topics):
            self._changes.notify(topic)

"""Send the log of an attempt as it grows: `/logs/…?follow`.

A reply ends when the attempt has ended and all of its log is sent, or when the server stops. One piece of the log is in
memory for each follower. The number of followers is limited (`engine.local.logFollowersMax`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app import errors
from app.engine.local.processes.forkserver.layout import EXIT_RECORD, PROCESS_RECORD
from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.engine.local.processes.pool.process_pool import read_record
from app.runtime.cancellation import cancel_and_wait
from app.runtime.dispatch import Server

MEDIA_TYPE = "text/plain; charset=utf-8"
_LIVE = {"x-accel-buffering": "no", "cache-control": "no-cache, no-transform"}
_PIECE_BYTES = 64 * 1024


class Followers:
    """The clients of this process that follow logs.

    Args:
        server: The objects of this process.
    """

    def __init__(self, server: Server) -> None:
        self._health = server.health
        self._settings = server.settings.engine.local
        self._count = 0

    def respond(self, descriptor: int, folder: Path, first: int, headers: Mapping[str, str]) -> Response:
        """Return the reply that follows a log. It closes the descriptor.

        Args:
            descriptor: The log.
            folder: The folder of the attempt.
            first: The first byte to send.
            headers: The headers of the reply.

        Raises:
            ResourceExhausted: Too many clients follow logs; the descriptor stays open.
        """
        most = self._settings.log_followers_max
        if self._count >= most:
            raise errors.ResourceExhausted(
                f"{self._count} clients follow logs, which is the limit of this server "
                f"(engine.local.logFollowersMax={most}); read the log without ?follow"
            )
        self._count += 1
        # Proxies that collect replies, and compression, would hold back the lines of a task that prints little.
        shown = {name: value for name, value in headers.items() if name != "accept-ranges"} | _LIVE
        return _FollowResponse(self._pieces(descriptor, folder, first), self._left, descriptor, shown)

    def _left(self) -> None:
        self._count -= 1

    async def _pieces(self, descriptor: int, folder: Path, position: int) -> AsyncIterator[bytes]:
        while True:
            # Asked before the log is read: what an attempt prints before its end is then in the log.
            ended = await asyncio.to_thread(_has_ended, folder) or self._health.draining.is_set()
            while piece := await asyncio.to_thread(os.pread, descriptor, _PIECE_BYTES, position):
                yield piece
                position += len(piece)
            if ended:
                return
            await asyncio.sleep(self._settings.log_interval_seconds)


class _FollowResponse(StreamingResponse):
    """A reply that releases its descriptor and its place however it ends, also where no byte of it was sent.

    Args:
        pieces: The log.
        left: Called at the end.
        descriptor: The log.
        headers: The headers.
    """

    def __init__(
        self, pieces: AsyncIterator[bytes], left: Callable[[], None], descriptor: int, headers: Mapping[str, str]
    ) -> None:
        super().__init__(pieces, headers=dict(headers), media_type=MEDIA_TYPE)
        self._left = left
        self._descriptor = descriptor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the attempt has ended or the client disconnects, also while the task prints nothing."""
        sending = asyncio.ensure_future(self.stream_response(send))
        watching = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
            if sending.done():
                sending.result()
        except OSError as error:
            raise ClientDisconnect from error
        finally:
            await cancel_and_wait((sending, watching))
            os.close(self._descriptor)
            self._left()


def _has_ended(folder: Path) -> bool:
    """Return whether an attempt has ended: its supervisor has recorded the end, or runs no more."""
    if (folder / EXIT_RECORD).exists():
        return True
    record = read_record(folder / PROCESS_RECORD)
    if not record:
        # The process is about to start, or the machine stopped before the record was written.
        return False
    return not ForeignProcess(int(record["pid"]), str(record["stamp"])).is_running()

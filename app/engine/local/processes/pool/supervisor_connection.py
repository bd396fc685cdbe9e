"""The connection to one supervisor of tasks (forkserver/supervisor.py), whose messages it describes."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

_LENGTH = struct.Struct(">I")

Message: TypeAlias = dict[str, Any]
ExitRecord: TypeAlias = Mapping[str, Any]


class SupervisorEnded(Exception):
    """The supervisor ended before it answered."""


@dataclass(frozen=True, slots=True)
class StartedTask:
    """The answer to the request for a task.

    Attributes:
        answer: The record of the started process, or `error` with a reason.
        end: The record of its end; None where the connection closes before, and for a task that has not ended well.
            The private folder of the task then has the record.
    """

    answer: Message
    end: asyncio.Future[ExitRecord | None]


class SupervisorConnection(asyncio.Protocol):
    """Sends requests to a supervisor, and receives its answers and the ends of its tasks."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answers: deque[asyncio.Future[Message]] = deque()
        self._ends: dict[str, asyncio.Future[ExitRecord | None]] = {}

    @classmethod
    async def open(cls, own_end: socket.socket) -> SupervisorConnection:
        """Return the connection on a connected socket."""
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, sock=own_end)
        return connection

    async def request(self, request: Message, passed: socket.socket | None = None) -> Message:
        """Send a request, with a socket if need be, and return the answer.

        Raises:
            SupervisorEnded: There is no answer any more.
            OSError: The socket cannot be passed.
        """
        transport, body = self._open_transport(), json.dumps(request).encode()
        if passed is None:
            transport.write(_LENGTH.pack(len(body)) + body)
        else:
            # Nothing waits in the buffer of the transport: each request waits for its answer.
            with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as same:
                socket.send_fds(same, [_LENGTH.pack(len(body))], [passed.fileno()])
            transport.write(body)
        return await self.answer()

    async def answer(self) -> Message:
        """Return the next message that is not about the end of a task.

        Raises:
            SupervisorEnded: There is none any more.
        """
        self._open_transport()
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers.append(answer)
        return await answer

    async def start(self, request: Message) -> StartedTask:
        """Send the request for a task.

        Raises:
            SupervisorEnded: There is no answer any more.
        """
        directory = request["directory"]
        # Before the request: the end of a short task may be received together with the answer.
        is_running, end = directory in self._ends, self._end_of(directory)
        answer = await self.request(request)
        if not is_running and ("error" in answer or "stale" in answer):
            self._ends.pop(directory, None)
        return StartedTask(answer, end)

    def _end_of(self, directory: str) -> asyncio.Future[ExitRecord | None]:
        return self._ends.setdefault(directory, asyncio.get_running_loop().create_future())

    def finish(self) -> None:
        """Send no more requests. The supervisor answers with the number of tasks that it still has.

        Raises:
            SupervisorEnded: The connection is closed.
        """
        self._open_transport().write_eof()

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()

    def _open_transport(self) -> asyncio.Transport:
        if self._transport is None or self._transport.is_closing():
            raise SupervisorEnded
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # Those of uvloop have the same methods, but not this base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._received += data
        while len(self._received) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
            if len(self._received) < end:
                return
            message: Message = json.loads(self._received[_LENGTH.size : end])
            del self._received[:end]
            if "ended" in message:
                waiting: asyncio.Future[Any] | None = self._ends.pop(message["ended"], None)
                result = message["exit"]
            else:
                waiting = self._answers.popleft() if self._answers else None
                result = message
            if waiting is not None and not waiting.done():
                waiting.set_result(result)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(SupervisorEnded())
        for ended in self._ends.values():
            if not ended.done():
                ended.set_result(None)
        self._answers.clear()
        self._ends.clear()

"""Where RPCs are called: in this process, with the functions that REST and gRPC call, or on another server."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Protocol

import structlog
from flyteidl.core import identifier_pb2
from google.protobuf.message import Message

from app import errors
from app.engine.local.processes import folders
from app.runtime import dispatch
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from app.wire.page import message_of

log = structlog.get_logger(__name__)


class Caller(Protocol):
    """One of the two ways. web: http://host:port of the server's REST, "" where nobody knows it."""

    web: str

    async def call(self, rpc: Rpc, request: Message) -> Message:
        """The response. errors: every FlyteError; INTERNAL for what nobody foresaw"""

    async def log_end(self, id: identifier_pb2.TaskExecutionIdentifier, bytes_max: int) -> str | None:
        """The end of what an attempt printed; None where its machine is another one or it has printed nowhere."""


class InProcess:
    """The service functions of this process, in units of work of their own."""

    def __init__(self, server: Server) -> None:
        self._server = server
        settings = server.settings
        self.web = settings.server.public_url or f"http://localhost:{settings.server.http_port}"

    async def call(self, rpc: Rpc, request: Message) -> Message:
        request_id = f"m-{random.getrandbits(80):020x}"  # nosec B311 # no secret
        call = Call(rpc, request_id=request_id, endpoint=self.web)
        try:
            return message_of(await dispatch.call(self._server, call, request))
        except errors.Internal as error:
            if error.message:
                raise
            raise errors.Internal(f"internal error; the server's log has more under {request_id}") from error

    async def log_end(self, id: identifier_pb2.TaskExecutionIdentifier, bytes_max: int) -> str | None:
        node = id.node_execution_id
        execution = folders.execution_folder(self._server.settings.home_path, node.execution_id)
        attempt = folders.attempt_folder(folders.node_folder(execution, node.node_id), id.retry_attempt)
        return await asyncio.to_thread(_end_of, attempt / folders.LOG, bytes_max)


def _end_of(path: Path, bytes_max: int) -> str | None:
    try:
        descriptor = folders.open_log(path)
    except OSError:
        # The attempt ran on another machine, or its folder was cleaned away.
        return None
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, bytes_max, max(0, size - bytes_max)).decode("utf-8", "replace")
    finally:
        os.close(descriptor)

"""Clients that tools call RPCs with: the protocol, and the client for RPCs of this process.

The client for another server is in remote.py.
"""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any, Protocol

import structlog
from flyteidl.core import identifier_pb2
from google.protobuf.message import Message

from app import errors
from app.auth.credentials import Credentials
from app.auth.roles import Need, Role
from app.engine.local.processes import folders
from app.runtime import dispatch
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from app.wire.page import message_of

log = structlog.get_logger(__name__)


class RpcClient(Protocol):
    """Calls RPCs and reads logs of attempts.

    Attributes:
        web: Address of the server's REST as scheme://host[:port].
    """

    web: str

    def of_request(self, request: Any) -> RpcClient:
        """Return the client for the tools of one request, which acts with the identity of its caller.

        Args:
            request: The HTTP request that the SDK received; None over stdin and stdout.
        """

    async def call(self, rpc: Rpc, request: Message) -> Message:
        """Return the response of an RPC. Raises FlyteError; INTERNAL for an unexpected exception."""

    async def read_log_end(self, id: identifier_pb2.TaskExecutionIdentifier, bytes_max: int) -> str | None:
        """Return the last `bytes_max` bytes of an attempt's log; None where this machine does not have the log."""


class InProcessClient:
    """Calls service functions of this process through `dispatch.call`.

    Args:
        server: The objects of this process.
        credentials: The caller, whom the port has authenticated; None where authentication is off.
    """

    def __init__(self, server: Server, credentials: Credentials | None = None) -> None:
        self._server = server
        self._credentials = credentials
        settings = server.settings
        self.web = settings.own_url

    def of_request(self, request: Any) -> InProcessClient:
        """Return the client that acts with the identity in the scope of a request."""
        if request is None:
            return self
        return InProcessClient(self._server, dispatch.credentials(self._server, request.scope, "http"))

    async def call(self, rpc: Rpc, request: Message) -> Message:
        """Run the RPC in a unit of work of its own, under a new request id."""
        request_id = f"m-{random.getrandbits(80):020x}"  # nosec B311 # no secret
        call = Call(rpc, credentials=self._credentials, request_id=request_id, endpoint=self.web)
        try:
            return message_of(await dispatch.call(self._server, call, request))
        except errors.Internal as error:
            if error.message:
                raise
            raise errors.Internal(f"internal error; the server's log has more under {request_id}") from error

    async def read_log_end(self, id: identifier_pb2.TaskExecutionIdentifier, bytes_max: int) -> str | None:
        """Read the log in the home folder of the local engine, where the caller may see the execution."""
        node = id.node_execution_id
        if not await self._may_view(node.execution_id):
            return None
        execution = folders.execution_folder(self._server.settings.home_path, node.execution_id)
        attempt = folders.attempt_folder(folders.node_folder(execution, node.node_id), id.retry_attempt)
        return await asyncio.to_thread(_end_of, attempt / folders.LOG, bytes_max)

    async def _may_view(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        server = self._server
        if server.access is None or server.auth is None:
            return server.access is None
        caller = await dispatch.identity(server.auth, self._credentials)
        access = await server.access.access(caller)
        return access is None or access.allows(Need(Role.VIEW, id.project, id.domain))


def _end_of(path: Path, bytes_max: int) -> str | None:
    try:
        descriptor = folders.open_log(path)
    except OSError:
        # The attempt ran on another machine, or its folder has been deleted.
        return None
    try:
        size = os.fstat(descriptor).st_size
        return os.pread(descriptor, bytes_max, max(0, size - bytes_max)).decode("utf-8", "replace")
    finally:
        os.close(descriptor)

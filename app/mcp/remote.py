"""The client for another server, of `flyteadmin mcp --endpoint`: RPCs by gRPC, logs by HTTP at the same address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, urlsplit

import grpc
import grpc.aio
import httpx
from flyteidl.core import identifier_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from app import errors
from app.runtime.rows import Rpc
from app.settings import BadSetting
from app.wire.text import unpacked

_CLASSES = {one.code: one for one in errors.FlyteError.__subclasses__()}
_DETAILS = "grpc-status-details-bin"
# A page of large executions exceeds the default limit of grpc.
RESPONSE_BYTES_MAX = 64 * 1024 * 1024


class RemoteClient:
    """An `RpcClient` for another server; `connect` makes it."""

    def __init__(
        self, web: str, channel: grpc.aio.Channel, http: httpx.AsyncClient, headers: dict[str, str], seconds_max: float
    ) -> None:
        self.web = web
        self._channel = channel
        self._http = http
        self._metadata = tuple(headers.items())
        self._seconds_max = seconds_max

    def of_request(self, request: Any) -> RemoteClient:
        """Return this client: the assistant that started this process is the only caller."""
        return self

    async def call(self, rpc: Rpc, request: Message) -> Message:
        """Call the RPC by gRPC. Raises the FlyteError of its status code."""
        method = self._channel.unary_unary(
            rpc.path, request_serializer=_serialized, response_deserializer=rpc.response.FromString
        )
        try:
            reply: Message = await method(request, timeout=self._seconds_max, metadata=self._metadata)
        except grpc.aio.AioRpcError as error:
            raise self._flyte_error(error) from error
        return reply

    def _flyte_error(self, error: grpc.aio.AioRpcError) -> errors.FlyteError:
        code, message = error.code().value[0], error.details() or ""
        if code == errors.Unavailable.code:
            message = f"{self.web} cannot be reached: {message}"
        return _CLASSES.get(code, errors.Unknown)(message, details=_details(error))

    async def read_log_end(self, id: identifier_pb2.TaskExecutionIdentifier, bytes_max: int) -> str | None:
        """Read the log by HTTP; None for a server without a page for logs, such as upstream."""
        node = id.node_execution_id
        execution = node.execution_id
        parts = (execution.project, execution.domain, execution.name, node.node_id, str(id.retry_attempt))
        address = f"{self.web}/logs/{'/'.join(quote(part, safe='') for part in parts)}"
        try:
            async with self._http.stream("GET", address, headers={"range": f"bytes=-{bytes_max}"}) as answer:
                if answer.status_code not in (200, 206):
                    return None
                # A server that ignores the Range header would send the whole log.
                return (await _at_most(answer, bytes_max)).decode("utf-8", "replace")
        except httpx.HTTPError:
            # The result holds a link to the log too, so that it is useful without the log.
            return None


async def _at_most(answer: httpx.Response, bytes_max: int) -> bytes:
    found = bytearray()
    async for piece in answer.aiter_bytes():
        found += piece
        if len(found) >= bytes_max:
            break
    return bytes(found[:bytes_max])


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()


def _details(error: grpc.aio.AioRpcError) -> tuple[Message, ...]:
    """Return the details of an error; those of unknown types are dropped."""
    metadata: Any = error.trailing_metadata() or ()
    found = [value for key, value in metadata if key == _DETAILS]
    if not found or not isinstance(found[0], bytes):
        return ()
    try:
        return tuple(filter(None, map(unpacked, status_pb2.Status.FromString(found[0]).details)))
    except DecodeError:
        return ()


@asynccontextmanager
async def connect(endpoint: str, key: str, seconds_max: float) -> AsyncIterator[RemoteClient]:
    """Open a client for a server. It connects with the first call, so that the server may start later.

    Args:
        endpoint: The address, in a form of `endpoint_of`.
        key: The bearer token; "" sends none.
        seconds_max: The timeout of each call.
    """
    secure, address = endpoint_of(endpoint)
    options = [("grpc.max_receive_message_length", RESPONSE_BYTES_MAX)]
    channel = (
        grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(), options)
        if secure
        else grpc.aio.insecure_channel(address, options)
    )
    web = f"{'https' if secure else 'http'}://{address}"
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with channel, httpx.AsyncClient(timeout=seconds_max, headers=headers) as http:
        yield RemoteClient(web, channel, http, headers, seconds_max)


def endpoint_of(endpoint: str) -> tuple[bool, str]:
    """Return whether an address asks for TLS, and its host:port.

    https:// asks for TLS; http://, dns:/// (the form of flytekit's configuration) and an address without scheme do not.

    Raises:
        BadSetting: The address has another form.
    """
    text = endpoint.removeprefix("dns:///")
    parts = urlsplit(text if "://" in text else f"http://{text}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    whole = parts.path in ("", "/") and not parts.query and not parts.fragment and parts.username is None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1 or not whole:
        raise BadSetting(
            f"--endpoint={endpoint} is no address; allowed: http://host:port, https://host, dns:///host:port"
        )
    secure = parts.scheme == "https"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return secure, f"{host}:{port or (443 if secure else 80)}"

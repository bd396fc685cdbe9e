"""The calls to one service: deadlines, limits, credentials, and errors in the form of Go's gRPC."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# This process starts others by exec alone, so grpcio need not prepare for forks, which it logs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from app.engine.local.connectors.deployments import ConnectorTarget, is_loopback
from app.settings.connectors import Deployment

_Code = grpc.StatusCode
# Errors after which the same call may succeed later.
_PASSING = frozenset({_Code.UNAVAILABLE, _Code.DEADLINE_EXCEEDED, _Code.ABORTED, _Code.RESOURCE_EXHAUSTED})
# Words of grpcio for a message that its own limit refuses, and for a connection that was never made.
_TOO_LARGE = "larger than max"
_NOT_CONNECTED = ("failed to connect", "resolution failed", "name resolution", "connection refused")
# flytekit puts tracebacks into the status, which travels as metadata. Go takes 16 MiB of it.
_METADATA_BYTES_MAX = 16 * 1024 * 1024
_RECONNECT_MS = 5000
# Replies of services that lack a part, which are no failed calls: of old ones without ListAgents, and of agents without
# logs. flytekit's service raises NotImplementedError there.
_NO_AGENTS = frozenset({_Code.UNIMPLEMENTED})
NO_LOGS = frozenset({_Code.UNIMPLEMENTED, _Code.UNKNOWN, _Code.NOT_FOUND})
_TOKEN_BYTES_MAX = 64 * 1024


class CallFailed(Exception):
    """A call to a service failed.

    Attributes:
        code: The code of gRPC.
        detail: The message of the service or of gRPC.
        passing: Whether the same call may succeed later.
        not_sent: Whether the service has certainly not received the call.
    """

    def __init__(self, code: grpc.StatusCode, detail: str, *, not_sent: bool = False, note: str = "") -> None:
        self.code = code
        self.detail = detail
        self.passing = code in _PASSING and _TOO_LARGE not in detail
        lower = detail.lower()
        self.not_sent = not_sent or (code is _Code.UNAVAILABLE and any(words in lower for words in _NOT_CONNECTED))
        # Parity: the text of an error of Go's gRPC.
        super().__init__(f"rpc error: code = {_go_name(code)} desc = {detail}{note}")


class ConnectorConnection:
    """A connection to one service.

    Args:
        target: The service.
        message_bytes_max: The size limit of a reply.
    """

    def __init__(self, target: ConnectorTarget, *, message_bytes_max: int) -> None:
        self.target = target
        self._message_bytes_max = message_bytes_max
        self._channel: grpc.aio.Channel | None = None
        self._gets = asyncio.Semaphore(target.calls_max)
        self._pace = _Pace(target.calls_a_second, target.burst)
        self._token = _TokenFile(target)
        self.calls = 0
        self.failures = 0

    async def list_agents(self) -> agent_pb2.ListAgentsResponse:
        """Return the agents of the service. Raises CallFailed."""
        request = agent_pb2.ListAgentsRequest()
        return await self._call(_metadata_stub, "ListAgents", request, "ListConnectors", replies=_NO_AGENTS)

    async def create(self, request: agent_pb2.CreateTaskRequest) -> agent_pb2.CreateTaskResponse:
        """Create a task. Raises CallFailed."""
        return await self._call(_tasks_stub, "CreateTask", request)

    async def get(self, request: agent_pb2.GetTaskRequest) -> agent_pb2.GetTaskResponse:
        """Return the state of a task, within the limits on polls. Raises CallFailed."""
        await self._pace.wait()
        async with self._gets:
            return await self._call(_tasks_stub, "GetTask", request)

    async def delete(self, request: agent_pb2.DeleteTaskRequest) -> None:
        """Delete a task. Raises CallFailed."""
        await self._call(_tasks_stub, "DeleteTask", request)

    async def execute(
        self, header: agent_pb2.CreateRequestHeader, inputs: Any, *, seconds_max: float | None
    ) -> agent_pb2.ExecuteTaskSyncResponse | None:
        """Run a task of a synchronous agent; return the first message of the reply, None without one.

        Args:
            header: The description of the task.
            inputs: Its inputs.
            seconds_max: The time that is left for the attempt; None without a limit.

        Raises:
            CallFailed: The call failed.
        """

        async def messages() -> AsyncIterator[agent_pb2.ExecuteTaskSyncRequest]:
            yield agent_pb2.ExecuteTaskSyncRequest(header=header)
            yield agent_pb2.ExecuteTaskSyncRequest(inputs=inputs)

        seconds = self.target.deployment.timeout_seconds("ExecuteTaskSync")
        seconds = seconds if seconds_max is None else min(seconds, max(seconds_max, 0.1))
        with self._errors("ExecuteTaskSync", seconds):
            channel, metadata = await self._ready()
            stub = agent_pb2_grpc.SyncAgentServiceStub(channel)
            call = stub.ExecuteTaskSync(messages(), timeout=seconds, metadata=metadata)
            try:
                async for message in call:
                    return message
                return None
            finally:
                call.cancel()

    async def logs(self, request: agent_pb2.GetTaskLogsRequest) -> AsyncIterator[agent_pb2.GetTaskLogsResponse]:
        """Yield the messages of one page of a task's log. Raises CallFailed."""
        seconds = self.target.deployment.timeout_seconds("GetTaskLogs")
        with self._errors("GetTaskLogs", seconds, replies=NO_LOGS):
            channel, metadata = await self._ready()
            call = _tasks_stub(channel).GetTaskLogs(request, timeout=seconds, metadata=metadata)
            try:
                async for message in call:
                    if message is None:
                        raise CallFailed(_Code.INTERNAL, "the log cannot be read: it is no message of this call")
                    yield message
            finally:
                call.cancel()

    async def close(self) -> None:
        """Close the connection. Calls that run fail."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    async def _call(
        self,
        stub: Callable[[grpc.aio.Channel], Any],
        rpc: str,
        request: Any,
        *names: str,
        replies: Collection[grpc.StatusCode] = (),
    ) -> Any:
        """Call an RPC.

        Args:
            stub: Returns the stub of its service.
            rpc: Its name.
            request: The request.
            *names: Names of its deadline in the settings that precede its own.
            replies: Codes that do not count as failures.
        """
        seconds = self.target.deployment.timeout_seconds(*names, rpc)
        with self._errors((*names, rpc)[0], seconds, replies=replies):
            channel, metadata = await self._ready()
            reply = await getattr(stub(channel), rpc)(request, timeout=seconds, metadata=metadata)
        if reply is None:
            # grpcio returns None for bytes that are no message.
            self.failures += 1
            raise CallFailed(_Code.INTERNAL, f"the reply to {rpc} cannot be read: it is no message of this call")
        return reply

    @contextmanager
    def _errors(self, rpc: str, seconds: float, *, replies: Collection[grpc.StatusCode] = ()) -> Iterator[None]:
        """Count a call, and replace errors of grpcio by CallFailed."""
        self.calls += 1
        try:
            yield
        except grpc.aio.AioRpcError as error:
            code = error.code()
            self.failures += code not in replies
            note = (
                f" (deadline of {seconds:g}s, {self.target.name}.timeouts.{rpc})"
                if code is _Code.DEADLINE_EXCEEDED
                else ""
            )
            raise CallFailed(code, error.details() or "", note=note) from error
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # The channel was closed during the call, because the process of the service has ended.
            self.failures += 1
            raise CallFailed(_Code.UNAVAILABLE, "the connection was closed during the call") from error
        except grpc.aio.UsageError as error:
            # The channel was closed: this server stops, or its own service was replaced.
            self.failures += 1
            raise CallFailed(_Code.UNAVAILABLE, str(error), not_sent=True) from error
        except (OSError, ValueError) as error:
            # A file of the credentials cannot be read or used.
            self.failures += 1
            reason = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) else str(error)
            message = f"the credentials of {self.target.name}: {reason}"
            raise CallFailed(_Code.UNAUTHENTICATED, message, not_sent=True) from error

    async def _ready(self) -> tuple[grpc.aio.Channel, list[tuple[str, str]]]:
        """Return the channel and the metadata of a call. Raises OSError and ValueError for bad credentials."""
        token = await self._token.read()
        metadata = [("authorization", f"Bearer {token}")] if token else []
        return await self._opened(), metadata

    async def _opened(self) -> grpc.aio.Channel:
        deployment: Deployment = self.target.deployment
        if self._channel is None:
            credentials = None if self.target.insecure else await asyncio.to_thread(_credentials, deployment)
        # Another call may have opened the channel meanwhile.
        if self._channel is None:
            options: list[tuple[str, str | int]] = [
                ("grpc.max_receive_message_length", self._message_bytes_max),
                ("grpc.max_send_message_length", -1),
                ("grpc.max_metadata_size", _METADATA_BYTES_MAX),
                ("grpc.absolute_max_metadata_size", _METADATA_BYTES_MAX),
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", _RECONNECT_MS),
            ]
            if deployment.default_service_config:
                options.append(("grpc.service_config", deployment.default_service_config))
            if credentials is None:
                self._channel = grpc.aio.insecure_channel(deployment.endpoint, options=options)
            else:
                self._channel = grpc.aio.secure_channel(deployment.endpoint, credentials, options=options)
        return self._channel


class _TokenFile:
    """The token of a service, read in a thread when the file has changed."""

    def __init__(self, target: ConnectorTarget) -> None:
        self._target = target
        self._seen: tuple[int, int, int] | None = None
        self._token = target.token

    async def read(self) -> str:
        """Return the token, "" for none. Raises OSError and ValueError for a file that cannot be used."""
        if not self._target.deployment.token_file:
            return self._token
        if self._target.insecure and not is_loopback(self._target.deployment.endpoint):
            raise ValueError("tokenFile needs TLS or an address of this machine")
        return await asyncio.to_thread(self._read)

    def _read(self) -> str:
        path = Path(self._target.deployment.token_file).expanduser()
        found = path.stat()
        seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        if seen != self._seen:
            with path.open("rb") as file:
                token = file.read(_TOKEN_BYTES_MAX + 1).decode(errors="replace").strip()
            if not token or len(token) > _TOKEN_BYTES_MAX or not (token.isascii() and token.isprintable()):
                raise ValueError(f"{path} holds no token: allowed is one line of at most {_TOKEN_BYTES_MAX} characters")
            self._seen, self._token = seen, token
        return self._token


class _Pace:
    """Limits the rate of calls: a bucket of `burst` tokens that fills with `rate` tokens a second."""

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        # The time at which the bucket is full again.
        self._full_at = 0.0

    async def wait(self) -> None:
        """Wait for a token. Callers are served in order."""
        now = time.monotonic()
        self._full_at = max(self._full_at, now) + 1 / self._rate
        await asyncio.sleep(max(0.0, self._full_at - now - self._burst / self._rate))


def _tasks_stub(channel: grpc.aio.Channel) -> Any:
    return agent_pb2_grpc.AsyncAgentServiceStub(channel)


def _metadata_stub(channel: grpc.aio.Channel) -> Any:
    return agent_pb2_grpc.AgentMetadataServiceStub(channel)


def _credentials(deployment: Deployment) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_content(deployment.ca_certificate_file) or _system_roots(),
        private_key=_content(deployment.key_file),
        certificate_chain=_content(deployment.certificate_file),
    )


def _content(file: str) -> bytes | None:
    return Path(file).expanduser().read_bytes() if file else None


def _system_roots() -> bytes | None:
    """Return the certificates of authorities that the system trusts; None for those that come with grpcio."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file and Path(file).exists() else None


def _go_name(code: grpc.StatusCode) -> str:
    return "Canceled" if code is _Code.CANCELLED else "".join(part.title() for part in code.name.split("_"))

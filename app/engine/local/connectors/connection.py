"""The calls to one service: deadlines, limits, credentials, and errors in the form of Go's gRPC."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# This process starts others by exec alone, so grpcio need not prepare for forks, which it logs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

from app.engine.local.connectors.deployments import Target, is_loopback
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


class Connection:
    """A connection to one service.

    Args:
        target: The service.
        message_bytes_max: The size limit of a reply.
    """

    def __init__(self, target: Target, *, message_bytes_max: int) -> None:
        self.target = target
        self._message_bytes_max = message_bytes_max
        self._channel: grpc.aio.Channel | None = None
        self._gets = asyncio.Semaphore(target.calls_max)
        self._pace = _Pace(target.calls_a_second, target.burst)
        self.calls = 0
        self.failures = 0

    async def list_agents(self) -> agent_pb2.ListAgentsResponse:
        """Return the agents of the service. Raises CallFailed."""
        stub = agent_pb2_grpc.AgentMetadataServiceStub(self._opened())
        return await self._call(stub.ListAgents, agent_pb2.ListAgentsRequest(), "ListConnectors", "ListAgents")

    async def create(self, request: agent_pb2.CreateTaskRequest) -> agent_pb2.CreateTaskResponse:
        """Create a task. Raises CallFailed."""
        return await self._call(self._tasks().CreateTask, request, "CreateTask")

    async def get(self, request: agent_pb2.GetTaskRequest) -> agent_pb2.GetTaskResponse:
        """Return the state of a task, within the limits on polls. Raises CallFailed."""
        await self._pace.wait()
        async with self._gets:
            return await self._call(self._tasks().GetTask, request, "GetTask")

    async def delete(self, request: agent_pb2.DeleteTaskRequest) -> None:
        """Delete a task. Raises CallFailed."""
        await self._call(self._tasks().DeleteTask, request, "DeleteTask")

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
        stub = agent_pb2_grpc.SyncAgentServiceStub(self._opened())

        async def messages() -> AsyncIterator[agent_pb2.ExecuteTaskSyncRequest]:
            yield agent_pb2.ExecuteTaskSyncRequest(header=header)
            yield agent_pb2.ExecuteTaskSyncRequest(inputs=inputs)

        seconds = self.target.deployment.timeout_seconds("ExecuteTaskSync")
        seconds = seconds if seconds_max is None else min(seconds, max(seconds_max, 0.1))
        with self._errors("ExecuteTaskSync", seconds):
            call = stub.ExecuteTaskSync(messages(), timeout=seconds, metadata=self._metadata())
            try:
                async for message in call:
                    return message
                return None
            finally:
                call.cancel()

    async def logs(self, request: agent_pb2.GetTaskLogsRequest) -> AsyncIterator[agent_pb2.GetTaskLogsResponse]:
        """Yield the messages of one page of a task's log. Raises CallFailed."""
        seconds = self.target.deployment.timeout_seconds("GetTaskLogs")
        with self._errors("GetTaskLogs", seconds):
            call = self._tasks().GetTaskLogs(request, timeout=seconds, metadata=self._metadata())
            try:
                async for message in call:
                    yield message
            finally:
                call.cancel()

    async def close(self) -> None:
        """Close the connection. Calls that run fail."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close(None)

    def _tasks(self) -> Any:
        return agent_pb2_grpc.AsyncAgentServiceStub(self._opened())

    async def _call(self, method: Any, request: Any, *names: str) -> Any:
        seconds = self.target.deployment.timeout_seconds(*names)
        with self._errors(names[0], seconds):
            return await method(request, timeout=seconds, metadata=self._metadata())

    @contextmanager
    def _errors(self, rpc: str, seconds: float) -> Iterator[None]:
        """Count a call, and replace errors of grpcio by CallFailed."""
        self.calls += 1
        try:
            yield
        except grpc.aio.AioRpcError as error:
            self.failures += 1
            code = error.code()
            note = (
                f" (deadline of {seconds:g}s, {self.target.name}.timeouts.{rpc})"
                if code is _Code.DEADLINE_EXCEEDED
                else ""
            )
            raise CallFailed(code, error.details() or "", note=note) from error
        except grpc.aio.UsageError as error:
            # The channel was closed: this server stops, or its own service was replaced.
            self.failures += 1
            raise CallFailed(_Code.UNAVAILABLE, str(error), not_sent=True) from error
        except OSError as error:
            # A file of the credentials cannot be read.
            self.failures += 1
            reason = f"{error.strerror}: {error.filename}"
            raise CallFailed(_Code.UNAUTHENTICATED, f"the credentials of {self.target.name}: {reason}") from error

    def _metadata(self) -> list[tuple[str, str]]:
        deployment: Deployment = self.target.deployment
        token = self.target.token
        if deployment.token_file:
            token = Path(deployment.token_file).expanduser().read_text(encoding="utf-8").strip()
            if self.target.insecure and not is_loopback(self.target.deployment.endpoint):
                reason = "tokenFile needs TLS or an address of this machine"
                raise CallFailed(_Code.UNAUTHENTICATED, f"{self.target.name}: {reason}", not_sent=True)
        return [("authorization", f"Bearer {token}")] if token else []

    def _opened(self) -> grpc.aio.Channel:
        if self._channel is None:
            deployment: Deployment = self.target.deployment
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
            if self.target.insecure:
                self._channel = grpc.aio.insecure_channel(deployment.endpoint, options=options)
            else:
                self._channel = grpc.aio.secure_channel(deployment.endpoint, self._credentials(), options=options)
        return self._channel

    def _credentials(self) -> grpc.ChannelCredentials:
        deployment: Deployment = self.target.deployment
        try:
            return grpc.ssl_channel_credentials(
                root_certificates=_content(deployment.ca_certificate_file) or _system_roots(),
                private_key=_content(deployment.key_file),
                certificate_chain=_content(deployment.certificate_file),
            )
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}"
            raise CallFailed(
                _Code.UNAUTHENTICATED, f"the certificates of {self.target.name}: {reason}", not_sent=True
            ) from error


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


def _content(file: str) -> bytes | None:
    return Path(file).expanduser().read_bytes() if file else None


def _system_roots() -> bytes | None:
    """Return the certificates of authorities that the system trusts; None for those that come with grpcio."""
    file = ssl.get_default_verify_paths().cafile
    return Path(file).read_bytes() if file and Path(file).exists() else None


def _go_name(code: grpc.StatusCode) -> str:
    return "Canceled" if code is _Code.CANCELLED else "".join(part.title() for part in code.name.split("_"))

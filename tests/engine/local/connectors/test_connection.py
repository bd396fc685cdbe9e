"""Calls to a real gRPC server: TLS, certificates of clients, token files, limits, and replies that are no messages."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2

from app.engine.local.connectors.connection import CallFailed, ConnectorConnection
from app.engine.local.connectors.deployments import ConnectorTarget
from app.settings.connectors import CONNECTOR_SERVICE, Deployment
from tests.engine.local.connectors.scripted import SUCCEEDED, Scripted
from tests.support.certificates import Authority, write_pair

GET = agent_pb2.GetTaskRequest(resource_meta=b"meta")


def a_connection(endpoint: str, *, limits: dict[str, Any] | None = None, **deployment: Any) -> ConnectorConnection:
    target = ConnectorTarget(
        plugin=CONNECTOR_SERVICE, id="lab", deployment=Deployment(endpoint=endpoint, **deployment), **(limits or {})
    )
    return ConnectorConnection(target, message_bytes_max=1024 * 1024)


def calling(
    use: Callable[[ConnectorConnection, Scripted], Awaitable[Any]],
    *,
    credentials: grpc.ServerCredentials | None = None,
    host: str = "127.0.0.1",
    limits: dict[str, Any] | None = None,
    **deployment: Any,
) -> Any:
    """Run a service, and `use` with a connection to it."""

    async def main() -> Any:
        service = Scripted(("t", 0, False))
        service.gets = [SUCCEEDED]
        async with service.running(credentials):
            connection = a_connection(f"{host}:{service.port}", limits=limits, **deployment)
            try:
                return await use(connection, service)
            finally:
                await connection.close()

    return asyncio.run(main())


async def get(connection: ConnectorConnection, _: Scripted) -> agent_pb2.GetTaskResponse:
    return await connection.get(GET)


async def failure(connection: ConnectorConnection, _: Scripted) -> CallFailed:
    with pytest.raises(CallFailed) as raised:
        await connection.get(GET)
    return raised.value


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def server_credentials(authority: Authority, *, clients: bool = False) -> grpc.ServerCredentials:
    certificate, key = authority.issue("localhost")
    return grpc.ssl_server_credentials(
        [(key, certificate)], root_certificates=authority.pem if clients else None, require_client_auth=clients
    )


def test_a_service_with_tls_is_called_with_its_authority_and_not_without(tmp_path: Path, authority: Authority) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(authority.pem)
    secure: dict[str, Any] = {"credentials": server_credentials(authority), "host": "localhost", "insecure": False}
    assert calling(get, **secure, ca_certificate_file=str(file)).resource.phase == SUCCEEDED.phase
    # The system does not trust this authority, and a client without TLS is refused.
    for settings in ({"insecure": False}, {"insecure": True}):
        failed = calling(failure, **{**secure, **settings}, timeouts={"GetTask": 2})
        assert failed.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    (tmp_path / "ca.pem").write_text("no certificate")
    failed = calling(failure, **secure, ca_certificate_file=str(file), timeouts={"GetTask": 2})
    assert failed.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED)
    failed = calling(failure, **secure, ca_certificate_file=str(tmp_path / "absent.pem"))
    assert failed.code is grpc.StatusCode.UNAUTHENTICATED
    assert "absent.pem" in failed.detail
    assert "plugins.connector-service.connectors.lab" in failed.detail


def test_a_service_that_asks_for_certificates_takes_that_of_the_settings(tmp_path: Path, authority: Authority) -> None:
    ca, other = tmp_path / "ca.pem", Authority()
    ca.write_bytes(authority.pem)
    credentials = server_credentials(authority, clients=True)

    def with_pair(pair: tuple[bytes, bytes], name: str) -> dict[str, Any]:
        certificate, key = write_pair(tmp_path, pair, name)
        files = {"ca_certificate_file": str(ca), "certificate_file": str(certificate), "key_file": str(key)}
        return {"credentials": credentials, "host": "localhost", "insecure": False, "timeouts": {"GetTask": 2}, **files}

    assert calling(get, **with_pair(authority.issue("client", client=True), "good")).resource.phase == SUCCEEDED.phase
    assert (
        calling(failure, **with_pair(other.issue("client", client=True), "other")).code is grpc.StatusCode.UNAVAILABLE
    )


def test_a_token_file_is_sent_read_again_when_it_changes_and_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("geheim-1\n")

    async def twice(connection: ConnectorConnection, service: Scripted) -> list[str]:
        for token in ("geheim-1", "geheim-1", "geheim-2"):
            file.write_text(f"{token}\n")
            os.utime(file, ns=(0, int(token[-1]) * 10**9))
            await connection.get(GET)
        return [one["authorization"] for one in service.metadata]

    assert calling(twice, token_file=str(file)) == ["Bearer geheim-1", "Bearer geheim-1", "Bearer geheim-2"]
    for content in (b"", b"two\nlines", b"\xff\xfe", b"x" * 100_000):
        file.write_bytes(content)
        failed = calling(failure, token_file=str(file))
        assert failed.code is grpc.StatusCode.UNAUTHENTICATED
        assert "holds no token" in failed.detail
        assert not content or content.decode(errors="replace") not in failed.detail
    file.unlink()
    assert "No such file or directory" in calling(failure, token_file=str(file)).detail


def test_a_token_is_not_sent_in_plain_text_over_the_network(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("geheim")
    failed = asyncio.run(
        failure(a_connection("connectors.example.com:80", insecure=True, token_file=str(file)), Scripted())
    )
    assert "tokenFile needs TLS or an address of this machine" in failed.detail


def test_polls_follow_the_rate_and_the_number_at_once(tmp_path: Path) -> None:
    async def ten(connection: ConnectorConnection, service: Scripted) -> tuple[float, int]:
        at_once = most = 0

        async def slow(_: Any) -> Any:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0.02)
            at_once -= 1
            return SUCCEEDED

        service.gets = [slow]
        began = time.monotonic()
        await asyncio.gather(*(connection.get(GET) for _ in range(10)))
        return time.monotonic() - began, most

    seconds, most = calling(ten, limits={"calls_a_second": 20.0, "burst": 2, "calls_max": 3})
    # Two at once, and the other eight at twenty a second.
    assert 0.35 < seconds < 5
    assert most <= 3


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\nhello", b"\x00" * 5000, b""])
def test_a_port_that_speaks_another_protocol_is_an_error_within_the_deadline(answer: bytes) -> None:
    async def main() -> CallFailed:
        async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(answer)
            writer.close()

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = a_connection(f"127.0.0.1:{port}", timeouts={"GetTask": 1})
        try:
            return await failure(connection, Scripted())
        finally:
            await connection.close()
            server.close()

    began = time.monotonic()
    failed = asyncio.run(main())
    assert failed.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
    assert failed.passing
    assert time.monotonic() - began < 5


def test_a_reply_that_is_no_message_is_an_error_of_the_call() -> None:
    async def main() -> CallFailed:
        async def nonsense(*_: Any) -> bytes:
            return b"\xff\xff\xff not protobuf"

        handler = grpc.unary_unary_rpc_method_handler(nonsense)
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("flyteidl.service.AsyncAgentService", {"GetTask": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        connection = a_connection(f"127.0.0.1:{port}")
        try:
            return await failure(connection, Scripted())
        finally:
            await connection.close()
            await server.stop(None)

    failed = asyncio.run(main())
    assert failed.code is grpc.StatusCode.INTERNAL
    assert not failed.passing


def test_a_call_fails_when_its_connection_is_closed_and_is_cancelled_with_its_task() -> None:
    async def closed(connection: ConnectorConnection, service: Scripted) -> None:
        asked, going = asyncio.Event(), asyncio.Event()

        async def slow(_: Any) -> Any:
            asked.set()
            await going.wait()
            return SUCCEEDED

        service.gets = [slow]
        call = asyncio.create_task(failure(connection, service))
        await asked.wait()
        await connection.close()
        assert (await call).code is grpc.StatusCode.UNAVAILABLE
        asked.clear()
        cancelled = asyncio.create_task(connection.get(GET))
        await asked.wait()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        going.set()

    calling(closed)


def test_a_service_that_is_gone_is_named_as_unreachable() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    failed = asyncio.run(failure(a_connection(f"127.0.0.1:{port}", timeouts={"GetTask": 2}), Scripted()))
    assert failed.passing
    assert failed.code is not grpc.StatusCode.OK

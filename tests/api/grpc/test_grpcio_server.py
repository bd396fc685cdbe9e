"""grpcio's own server, for machines without zttp: the same replies, errors and limits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import event_pb2, execution_pb2
from flyteidl.service import admin_pb2_grpc, identity_pb2, identity_pb2_grpc
from grpc import StatusCode, aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from app import errors
from app.api.grpc import grpcio_server
from app.runtime.dispatch import PRINCIPAL_KEY
from tests.api.edge import Functions, server_of

Scenario = Callable[[aio.Channel, Functions], Awaitable[None]]


def run(folder: Path, scenario: Scenario) -> None:
    """A scenario against a server on a free port."""

    async def main() -> None:
        server, functions = server_of(folder), Functions()
        await server.database.open()
        running, port = await grpcio_server.start(server, functions.rpcs(), "127.0.0.1:0")
        try:
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await scenario(channel, functions)
        finally:
            await running.stop(1)
            await server.database.close()

    asyncio.run(main())


def test_replies_and_request_ids(tmp_path: Path) -> None:
    async def scenario(channel: aio.Channel, functions: Functions) -> None:
        request = execution_pb2.WorkflowExecutionGetRequest()
        request.id.name = "n"
        call = admin_pb2_grpc.AdminServiceStub(channel).GetExecution
        reply = await call(request, metadata=(("x-request-id", "r-1"),))
        assert (reply.id.name, reply.spec.metadata.principal) == ("n", "r-1")
        reply = await call(request, metadata=(("x-request-id", "r" * 500),))
        assert reply.spec.metadata.principal == "r" * 128
        assert (await call(request)).spec.metadata.principal

    run(tmp_path, scenario)


def test_the_caller_is_an_address_without_port(tmp_path: Path) -> None:
    async def scenario(channel: aio.Channel, functions: Functions) -> None:
        await admin_pb2_grpc.AdminServiceStub(channel).GetExecution(execution_pb2.WorkflowExecutionGetRequest())
        assert functions.caller == "127.0.0.1"

    run(tmp_path, scenario)


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:10.0.0.1:5000", "10.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:[fe80::2]:1", "fe80::2"),
        ("unix:", ""),
    ],
)
def test_addresses_of_peers(peer: str, address: str) -> None:
    assert grpcio_server._address(peer) == address


def test_metadata_names_no_principal(tmp_path: Path) -> None:
    async def scenario(channel: aio.Channel, functions: Functions) -> None:
        request = execution_pb2.WorkflowExecutionGetRequest()
        await admin_pb2_grpc.AdminServiceStub(channel).GetExecution(request, metadata=((PRINCIPAL_KEY, "alice"),))
        assert functions.principal == ""

    run(tmp_path, scenario)


def test_errors_with_details(tmp_path: Path) -> None:
    async def scenario(channel: aio.Channel, functions: Functions) -> None:
        detail = event_pb2.EventFailureReason()
        detail.already_in_terminal_state.current_phase = "SUCCEEDED"
        functions.failures["known"] = errors.FailedPrecondition("ended: é", details=(detail,))
        functions.failures["bug"] = ZeroDivisionError("secret")
        expected = {"known": (StatusCode.FAILED_PRECONDITION, "ended: é"), "bug": (StatusCode.INTERNAL, "")}
        for name, (code, message) in expected.items():
            request = execution_pb2.WorkflowExecutionGetRequest()
            request.id.name = name
            with pytest.raises(aio.AioRpcError) as caught:
                await admin_pb2_grpc.AdminServiceStub(channel).GetExecution(request)
            assert (caught.value.code(), caught.value.details()) == (code, message)
            if name == "known":
                failed: Any = caught.value
                status = rpc_status.from_call(_Ended(failed))  # type: ignore[arg-type]
                unpacked = event_pb2.EventFailureReason()
                assert status is not None
                assert status.details[0].Unpack(unpacked)
                assert unpacked == detail

    run(tmp_path, scenario)


class _Ended:
    """An error of grpcio's asyncio client with the methods that from_call reads."""

    def __init__(self, error: aio.AioRpcError) -> None:
        self.code, self.details = error.code, error.details
        self.trailing_metadata = error.trailing_metadata


def test_health_and_services_of_authentication(tmp_path: Path) -> None:
    async def scenario(channel: aio.Channel, functions: Functions) -> None:
        for service in ("", "flyteadmin"):
            check = health_pb2_grpc.HealthStub(channel).Check
            reply = await check(health_pb2.HealthCheckRequest(service=service))
            assert reply.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(aio.AioRpcError) as caught:
            await identity_pb2_grpc.IdentityServiceStub(channel).UserInfo(identity_pb2.UserInfoRequest())
        assert caught.value.code() is StatusCode.UNIMPLEMENTED

    run(tmp_path, scenario)

"""gRPC over the ASGI application, through a real server: grpcio's clients and raw HTTP/2."""

from __future__ import annotations

import asyncio
import gzip
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from flyteidl.admin import event_pb2, execution_pb2, project_pb2
from flyteidl.service import admin_pb2_grpc, auth_pb2, auth_pb2_grpc, identity_pb2, identity_pb2_grpc
from google.protobuf.message import Message
from grpc import aio
from grpc_status import rpc_status

from app import errors
from app.api.grpc.protocol import frame
from tests.api.edge import ADMIN, GET_EXECUTION, Edge, raw, serving

MIB = 1 << 20


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A server for every test of this module."""
    with serving(tmp_path_factory.mktemp("edge"), limits={"body_wait_seconds_max": 1.0}) as edge:
        yield edge


@pytest.fixture(scope="module")
def admin(edge: Edge) -> Iterator[Any]:
    """A stub on a channel."""
    with grpc.insecure_channel(edge.target, options=[("grpc.max_receive_message_length", -1)]) as channel:
        yield admin_pb2_grpc.AdminServiceStub(channel)


def execution(name: str = "n", domain: str = "d", project: str = "p") -> execution_pb2.WorkflowExecutionGetRequest:
    """A request."""
    request = execution_pb2.WorkflowExecutionGetRequest()
    request.id.project, request.id.domain, request.id.name = project, domain, name
    return request


def failure(call: Callable[[], Any]) -> Any:
    """The error that a call ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


class TestUnary:
    def test_the_reply_is_the_functions(self, edge: Edge, admin: Any) -> None:
        reply = admin.GetExecution(execution("name", "domain", "project"))
        assert (reply.id.project, reply.id.domain, reply.id.name) == ("project", "domain", "name")
        assert reply.closure.abort_metadata.cause == f"http://{edge.target}"

    def test_an_empty_message_is_a_message(self, admin: Any) -> None:
        assert admin.GetExecution(execution_pb2.WorkflowExecutionGetRequest()).id.name == ""

    def test_the_request_id_is_the_clients_or_a_new_one(self, admin: Any) -> None:
        given = admin.GetExecution(execution(), metadata=[("x-request-id", "r-1")])
        first, second = admin.GetExecution(execution()), admin.GetExecution(execution())
        assert given.spec.metadata.principal == "r-1"
        assert first.spec.metadata.principal != second.spec.metadata.principal != ""

    def test_metadata_of_both_kinds_is_accepted(self, admin: Any) -> None:
        assert admin.GetExecution(execution(), metadata=[("some", "text"), ("some-bin", bytes(range(256)))]).id.name

    @pytest.mark.parametrize("size", [1, 16_384, 65_536, 3 * MIB, 10 * MIB])
    def test_a_reply_of_any_size_arrives(self, admin: Any, size: int) -> None:
        assert len(admin.GetExecution(execution("big", str(size))).spec.metadata.principal) == size

    def test_a_request_up_to_the_limit_arrives(self, admin: Any) -> None:
        assert admin.GetExecution(execution(project="p" * (4 * MIB - 20))).id.project == "p" * (4 * MIB - 20)

    def test_a_compressed_request_arrives(self, admin: Any) -> None:
        reply = admin.GetExecution(execution(project="p" * 100_000), compression=grpc.Compression.Gzip)
        assert len(reply.id.project) == 100_000

    def test_a_request_above_the_limit_is_refused_and_the_channel_lives(self, admin: Any) -> None:
        request = execution(project="p" * (5 * MIB))
        error = failure(lambda: admin.GetExecution(request))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        size = request.ByteSize()
        assert error.details() == f"grpc: received message larger than max ({size} vs. 4194304)"
        assert admin.GetExecution(execution()).id.name == "n"


class TestErrors:
    @pytest.mark.parametrize("kind", errors.FlyteError.__subclasses__())
    def test_every_code_arrives_as_itself(self, edge: Edge, admin: Any, kind: type[errors.FlyteError]) -> None:
        edge.functions.failures["kind"] = kind("what went wrong")
        error = failure(lambda: admin.GetExecution(execution("kind")))
        assert (error.code().value[0], error.details()) == (kind.code, "what went wrong")
        assert rpc_status.from_call(error) is None

    @pytest.mark.parametrize(
        "message", ["", " ends blank ", "a\nb", "100 % sûr", '"quoted" \\ ~', "日本語" * 100, "x" * 4096]
    )
    def test_messages_arrive_as_they_are(self, edge: Edge, admin: Any, message: str) -> None:
        edge.functions.failures["message"] = errors.NotFound(message)
        assert failure(lambda: admin.GetExecution(execution("message"))).details() == message

    def test_details_arrive_with_the_status(self, edge: Edge, admin: Any) -> None:
        detail = event_pb2.EventFailureReason()
        detail.already_in_terminal_state.current_phase = "SUCCEEDED"
        edge.functions.failures["details"] = errors.FailedPrecondition("ended: é", details=(detail,))
        status = rpc_status.from_call(failure(lambda: admin.GetExecution(execution("details"))))
        unpacked = event_pb2.EventFailureReason()
        assert status.details[0].Unpack(unpacked)
        assert (status.code, status.message, unpacked) == (9, "ended: é", detail)

    def test_the_longest_message_with_details_always_arrives(self, edge: Edge, admin: Any) -> None:
        detail = event_pb2.EventFailureReason()
        detail.incompatible_cluster.cluster = "c" * 500
        edge.functions.failures["long"] = errors.FailedPrecondition("é" * 4096, details=(detail,))
        for _ in range(30):
            error = failure(lambda: admin.GetExecution(execution("long")))
            assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
            assert set(error.details()) == {"é"}
            assert rpc_status.from_call(error).details

    def test_what_nobody_foresaw_is_internal_and_says_nothing(self, edge: Edge, admin: Any) -> None:
        edge.functions.failures["bug"] = ZeroDivisionError("secret")
        error = failure(lambda: admin.GetExecution(execution("bug")))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "")

    def test_services_of_authentication_are_unknown_without_it(self, edge: Edge) -> None:
        with grpc.insecure_channel(edge.target) as channel:
            identity = identity_pb2_grpc.IdentityServiceStub(channel)
            metadata = auth_pb2_grpc.AuthMetadataServiceStub(channel)
            calls: list[tuple[Any, Message, str]] = [
                (identity.UserInfo, identity_pb2.UserInfoRequest(), "IdentityService"),
                (metadata.GetOAuth2Metadata, auth_pb2.OAuth2MetadataRequest(), "AuthMetadataService"),
                (metadata.GetPublicClientConfig, auth_pb2.PublicClientAuthConfigRequest(), "AuthMetadataService"),
            ]
            for call, request, name in calls:
                error = failure(lambda call=call, request=request: call(request))  # type: ignore[misc]
                assert error.code() is grpc.StatusCode.UNIMPLEMENTED
                assert error.details() == f"unknown service flyteidl.service.{name}"

    def test_they_exist_with_it(self, tmp_path: Path) -> None:
        with serving(tmp_path, server={"security": {"use_auth": True}}) as edge, raw(edge.port) as connection:
            known = connection.answer(connection.send("/flyteidl.service.IdentityService/Nothing"))
            assert known.message == "unknown method Nothing for service flyteidl.service.IdentityService"


def _gzip(payload: bytes) -> bytes:
    return b"\1" + len(packed := gzip.compress(payload)).to_bytes(4, "big") + packed


TE = (b"te", b"trailers")
GZIP = (TE, (b"grpc-encoding", b"gzip"))

# Path, body, headers → code and message, as grpc-go 1.80 answered the same bytes.
CALLS: dict[str, tuple[str, bytes, tuple[tuple[bytes, bytes], ...], int, str]] = {
    "no message": (GET_EXECUTION, b"", (TE,), 2, "EOF"),
    "half a message": (GET_EXECUTION, b"\0\0\0\0\5ab", (TE,), 2, "unexpected EOF"),
    "flag without compression": (
        GET_EXECUTION,
        b"\1\0\0\0\0",
        (TE,),
        13,
        "grpc: compressed flag set with identity or empty encoding",
    ),
    "unknown flag": (GET_EXECUTION, b"\2\0\0\0\0", (TE,), 13, "grpc: received unexpected payload format 2"),
    "no protobuf": (
        GET_EXECUTION,
        frame(b"\xff\xff"),
        (TE,),
        13,
        "grpc: error unmarshalling request: proto: cannot parse invalid wire-format data",
    ),
    "no UTF-8": (
        GET_EXECUTION,
        frame(b"\x0a\x03\x0a\x01\xff"),
        (TE,),
        13,
        "grpc: error unmarshalling request: string field contains invalid UTF-8",
    ),
    "too large": (
        GET_EXECUTION,
        struct.pack(">BI", 0, 5 * MIB),
        (TE,),
        8,
        "grpc: received message larger than max (5242880 vs. 4194304)",
    ),
    "unknown compression": (
        GET_EXECUTION,
        frame(b""),
        (TE, (b"grpc-encoding", b"br")),
        12,
        'grpc: Decompressor is not installed for grpc-encoding "br"',
    ),
    "compressed": (GET_EXECUTION, _gzip(b""), GZIP, 0, ""),
    "not compressed after all": (GET_EXECUTION, frame(b""), GZIP, 0, ""),
    "no gzip": (
        GET_EXECUTION,
        b"\1\0\0\0\4abcd",
        GZIP,
        13,
        "grpc: failed to decompress the message: gzip: invalid header",
    ),
    "two messages": (GET_EXECUTION, frame(b"") * 2, (TE,), 0, ""),
    "no te header": (GET_EXECUTION, frame(b""), (), 0, ""),
    "unknown service": ("/x.Y/Z", frame(b""), (TE,), 12, "unknown service x.Y"),
    "unknown method": (f"/{ADMIN}/Zap", frame(b""), (TE,), 12, f"unknown method Zap for service {ADMIN}"),
    "no method": ("/zap", frame(b""), (TE,), 12, 'malformed method name: "/zap"'),
    "deadline over": (
        GET_EXECUTION,
        frame(b""),
        (TE, (b"grpc-timeout", b"0S")),
        4,
        "context deadline exceeded",
    ),
}


class TestRawCalls:
    @pytest.mark.parametrize("name", CALLS)
    def test_code_and_message(self, edge: Edge, name: str) -> None:
        path, body, headers, code, message = CALLS[name]
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send(path, body, headers=headers))
            assert (answer.status, answer.code, answer.message) == (200, code, message)
            assert answer.headers[b"content-type"] == b"application/grpc"
            # The connection goes on.
            assert connection.answer(connection.send(GET_EXECUTION, frame(b""))).code == 0

    @pytest.mark.parametrize(
        ("method", "headers", "status", "message"),
        [
            (b"GET", (TE,), 405, 'Received a HEADERS frame with :method "GET" which should be POST'),
            (b"DELETE", (TE,), 405, 'Received a HEADERS frame with :method "DELETE" which should be POST'),
            (
                b"POST",
                (TE, (b"grpc-timeout", b"5")),
                400,
                'malformed grpc-timeout: transport: timeout string is too short: "5"',
            ),
            (
                b"POST",
                (TE, (b"x-bin", b"*!*")),
                400,
                'malformed binary metadata "*!*" in header "x-bin": illegal base64 data',
            ),
        ],
    )
    def test_what_is_no_call_is_refused_without_its_body(
        self, edge: Edge, method: bytes, headers: tuple[tuple[bytes, bytes], ...], status: int, message: str
    ) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send(GET_EXECUTION, method=method, headers=headers, end=False))
            assert (answer.status, answer.code, answer.message) == (status, 13, message)

    @pytest.mark.parametrize("content_type", [b"application/grpc+proto", b"application/grpc;x=y", b"application/grpc+"])
    def test_the_family_of_content_types(self, edge: Edge, content_type: bytes) -> None:
        with raw(edge.port) as connection:
            stream = connection.send(GET_EXECUTION, frame(b""), content_type=content_type)
            assert connection.answer(stream).code == 0

    @pytest.mark.parametrize("content_type", [b"application/grpc-web", b"application/json", b""])
    def test_other_content_types_are_for_rest(self, edge: Edge, content_type: bytes) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send("/hello", b"abc", content_type=content_type))
            assert (answer.status, answer.body) == (200, b"POST 3")

    def test_grpc_over_http_1_is_refused(self, edge: Edge) -> None:
        reply = httpx.post(f"http://{edge.target}{GET_EXECUTION}", headers={"content-type": "application/grpc"})
        assert (reply.status_code, reply.headers["grpc-message"]) == (505, "gRPC requires HTTP/2")

    @pytest.mark.slow
    def test_a_message_that_does_not_come_is_waited_for_so_long(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            started = time.monotonic()
            answer = connection.answer(connection.send(GET_EXECUTION, b"\0\0\0\0\5ab", end=False))
            assert (answer.code, answer.message) == (4, "no message arrived within 1 seconds")
            assert 0.9 < time.monotonic() - started < 20


class TestDeadlines:
    def test_the_client_hears_and_the_function_is_cancelled(self, edge: Edge) -> None:
        before = edge.functions.cancelled
        with raw(edge.port) as connection:
            body = frame(execution("sleep", "30").SerializeToString())
            started = time.monotonic()
            answer = connection.answer(connection.send(GET_EXECUTION, body, headers=(TE, (b"grpc-timeout", b"200m"))))
            assert (answer.code, answer.message) == (4, "context deadline exceeded")
            assert 0.2 <= time.monotonic() - started < 20
        assert edge.functions.cancelled == before + 1

    def test_a_write_that_comes_too_late_leaves_nothing(self, edge: Edge, admin: Any) -> None:
        for name, seconds in (("in-time", "0"), ("too-late", "30")):
            request = project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id=name, description=seconds))
            if seconds == "0":
                admin.RegisterProject(request, timeout=20)
            else:
                assert failure(lambda request=request: admin.RegisterProject(request, timeout=0.3)).code() is (  # type: ignore[misc]
                    grpc.StatusCode.DEADLINE_EXCEEDED
                )
        # The next write waits for the lock of the one before, so that has ended when this returns.
        admin.RegisterProject(project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id="after")), timeout=20)
        with sqlite3.connect(edge.database_path) as database:
            names = {name for (name,) in database.execute("SELECT identifier FROM projects")}
        database.close()
        assert {"in-time", "after"} <= names
        assert "too-late" not in names

    def test_a_long_deadline_changes_nothing(self, admin: Any) -> None:
        assert admin.GetExecution(execution(), timeout=100_000).id.name == "n"


class TestClientsThatLeave:
    def test_cancelled_calls_leave_the_channel_in_order(self, edge: Edge, admin: Any) -> None:
        calls = [admin.GetExecution.future(execution("sleep", "0.5")) for _ in range(20)]
        for call in calls[:10]:
            call.cancel()
        for call in calls[10:]:
            assert call.result(timeout=10).id.name == "sleep"
        assert admin.GetExecution(execution()).id.name == "n"

    def test_a_client_that_drops_its_connection_in_a_call_disturbs_nobody(self, edge: Edge, admin: Any) -> None:
        before = edge.functions.finished
        for _ in range(5):
            with raw(edge.port) as connection:
                connection.send(GET_EXECUTION, frame(execution("sleep", "0.2").SerializeToString()))
                connection.send(GET_EXECUTION, b"\0\0\0", end=False)
        assert admin.GetExecution(execution("sleep", "0.5")).id.name == "sleep"
        assert edge.functions.finished == before + 6


class TestManyCalls:
    @pytest.mark.slow
    def test_a_hundred_at_once_on_one_channel(self, edge: Edge) -> None:
        async def main() -> None:
            async with aio.insecure_channel(edge.target) as channel:
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                started = time.monotonic()
                replies = await asyncio.gather(*(stub.GetExecution(execution("sleep", "0.5")) for _ in range(100)))
                assert len(replies) == 100
                # One after the other they would take 50 seconds.
                assert time.monotonic() - started < 25
                names = [f"n{number}" for number in range(1000)]
                replies = await asyncio.gather(*(stub.GetExecution(execution(name)) for name in names))
                assert [reply.id.name for reply in replies] == names

        asyncio.run(main())

    @pytest.mark.slow
    def test_four_channels_and_rest_beside_them(self, edge: Edge) -> None:
        def rest() -> None:
            with httpx.Client(base_url=f"http://{edge.target}") as client:
                for _ in range(50):
                    assert client.get("/hello").text == "GET 0"
                    assert client.post("/hello", content=b"x" * 100_000).text == "POST 100000"

        def channel(number: int) -> None:
            options = [("grpc.use_local_subchannel_pool", 1)]
            with grpc.insecure_channel(edge.target, options=options) as channel:
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                for turn in range(100):
                    assert stub.GetExecution(execution(f"{number}-{turn}")).id.name == f"{number}-{turn}"

        with futures.ThreadPoolExecutor(5) as pool:
            beside = [pool.submit(rest), *(pool.submit(channel, number) for number in range(4))]
            for future in beside:
                future.result(timeout=60)

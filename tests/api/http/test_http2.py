"""HTTP/2 connections: how long they live, how they end, and bodies that never come."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from flyteidl.admin import execution_pb2
from flyteidl.service import admin_pb2_grpc
from grpc import aio

from app.api.grpc.protocol import frame as grpc_frame
from app.api.http import http2
from tests.api.edge import GET_EXECUTION, Edge, raw, serving

# RFC 9113 6.8: GOAWAY with NO_ERROR and the highest stream id ends a connection and none of its streams.
GOODBYE = (0, 2**31 - 1)
REQUEST = execution_pb2.WorkflowExecutionGetRequest()
SLEEP = execution_pb2.WorkflowExecutionGetRequest()
SLEEP.id.name, SLEEP.id.domain = "sleep", "1"


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A server for every test of this module."""
    with serving(tmp_path_factory.mktemp("edge")) as edge:
        yield edge


@pytest.mark.slow
class TestLongConnections:
    def test_no_call_fails_when_a_connection_has_served_its_share(self, edge: Edge) -> None:
        async def main() -> int:
            async with aio.insecure_channel(edge.target) as channel:
                stub, served = admin_pb2_grpc.AdminServiceStub(channel), 0

                async def caller() -> None:
                    nonlocal served
                    while served < http2.STREAMS_MAX + 1500:
                        served += 1
                        await stub.GetExecution(REQUEST)

                await asyncio.gather(*(caller() for _ in range(50)))
                return served

        assert asyncio.run(main()) > 4096

    def test_no_call_fails_when_many_before_it_were_cancelled(self, edge: Edge) -> None:
        with grpc.insecure_channel(edge.target) as channel:
            stub = admin_pb2_grpc.AdminServiceStub(channel)
            lasting = stub.GetExecution.future(SLEEP)
            for _ in range(600):
                stub.GetExecution.future(SLEEP).cancel()
                if _ % 20 == 0:
                    stub.GetExecution(REQUEST)
            assert lasting.result(timeout=20).id.name == "sleep"

    def test_the_client_is_asked_to_go_before_the_limit_and_served_until_then(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            for _ in range(http2.STREAMS_MAX // 50 + 1):
                streams = [connection.send(GET_EXECUTION, grpc_frame(b"")) for _ in range(50)]
                assert all(connection.answer(stream).code == 0 for stream in streams)
            assert connection.goodbyes == [GOODBYE]

    def test_a_client_of_http_is_asked_to_go_when_no_stream_is_open(self, edge: Edge) -> None:
        with raw(edge.port) as connection:

            def send() -> int:
                return connection.send("/hello", method=b"GET", content_type=b"")

            for _ in range(http2.STREAMS_MAX // 50):
                streams = [send() for _ in range(50)]
                assert all(connection.answer(stream).status == 200 for stream in streams)
            not_served = send()
            while not connection.goodbyes:
                connection.receive()
            assert connection.goodbyes == [(0, streams[-1])]
            assert connection.answers[not_served].status == 0

    def test_resets_are_counted_too(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            for _ in range(http2.RESETS_MAX):
                connection.reset(connection.send(GET_EXECUTION, end=False))
            while not connection.goodbyes:
                connection.receive()
            assert connection.goodbyes == [GOODBYE]
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0

    def test_pings_are_answered_however_many(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            for _ in range(1000):
                connection.ping()
            while connection.pongs < 1000:
                connection.receive()
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0
            assert connection.goodbyes == []

    def test_an_idle_client_keeps_its_connection_by_pings(self, tmp_path: Path) -> None:
        with serving(tmp_path, keep_alive_seconds=1) as edge, raw(edge.port) as connection:
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0
            for _ in range(8):
                time.sleep(0.25)
                connection.ping()
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0
            assert connection.goodbyes == []

    def test_an_idle_connection_is_given_notice_before_it_closes(self, tmp_path: Path) -> None:
        with serving(tmp_path, keep_alive_seconds=1) as edge, raw(edge.port) as connection:
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0
            while not connection.goodbyes:
                connection.receive()
            noticed = time.monotonic()
            # What was on its way when notice was given is served.
            assert connection.answer(connection.send(GET_EXECUTION, grpc_frame(b""))).code == 0
            while not connection.closed:
                connection.receive()
            assert connection.goodbyes[0] == GOODBYE
            # Otherwise it would end when nothing has come for 75 seconds.
            assert time.monotonic() - noticed < http2.GOODBYE_SECONDS + 20


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


OPEN = frame(1, 4, 1, b"\x83\x86\x04\x06/hello\x01\x09localhost")
FLOODS = {
    "PING": frame(6, 0, 0, bytes(8)),
    "SETTINGS": frame(4, 0, 0),
    "SETTINGS with values": frame(4, 0, 0, struct.pack(">HI", 4, 65535)),
    "SETTINGS ACK": frame(4, 1, 0),
    "WINDOW_UPDATE": frame(8, 0, 0, struct.pack(">I", 1)),
    "PRIORITY": frame(2, 0, 1, bytes(5)),
    "unknown": frame(0x42, 0, 0),
    "empty DATA": frame(0, 0, 1),
    "padded DATA": frame(0, 8, 1, b"\x64" + bytes(100)),
    "CONTINUATION": frame(1, 0, 3, b"\x83") + frame(9, 0, 3),
}


class TestFloods:
    @pytest.mark.parametrize("kind", FLOODS)
    def test_a_flood_of_frames_without_a_request_ends_the_connection(self, edge: Edge, kind: str) -> None:
        sent = 0
        with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0) + OPEN)
            try:
                while sent < 20_000_000:
                    sent += connection.send(FLOODS[kind] * 50)
                    time.sleep(0.001)
            except OSError:
                pass
        # What is under way when the server closes counts too.
        assert sent < 4_000_000

    @pytest.mark.heavy
    def test_rapid_resets_end_the_connection(self, edge: Edge) -> None:
        streams = 0
        with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0))
            try:
                while streams < 300_000:
                    id = 2 * streams + 1
                    block = b"\x82\x86\x04\x06/hello\x01\x09localhost"
                    connection.sendall(frame(1, 5, id, block) + frame(3, 0, id, struct.pack(">I", 8)))
                    streams += 1
            except OSError:
                pass
        assert streams < 300_000

    def test_an_upload_in_small_frames_is_no_flood(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            stream = connection.send("/hello", method=b"POST", content_type=b"", end=False)
            for _ in range(3000):
                connection.data(stream, b"x")
            connection.data(stream, b"x", end=True)
            answer = connection.answer(stream)
            assert (answer.status, answer.body) == (200, b"POST 3001")

    @pytest.mark.slow
    def test_a_frame_that_stays_incomplete_ends_an_idle_connection(self, tmp_path: Path) -> None:
        quick = serving(tmp_path, server={"read_header_timeout_seconds": 1})
        with quick as edge, socket.create_connection(("127.0.0.1", edge.port), timeout=0.2) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0))
            began = time.monotonic()
            # A byte that is sent after the server has closed the connection resets it.
            with suppress(ConnectionResetError, BrokenPipeError):
                for byte in frame(1, 5, 1, bytes(200)):
                    connection.send(bytes([byte]))
                    with suppress(TimeoutError):
                        if not connection.recv(4096):
                            break
            # To send all bytes takes 40 seconds.
            assert time.monotonic() - began < 20

    @pytest.mark.slow
    @pytest.mark.parametrize("start", [b"", b"PRI * HTTP", b"G"], ids=["nothing", "preface", "method"])
    def test_first_bytes_that_stay_incomplete_end_the_connection(self, tmp_path: Path, start: bytes) -> None:
        quick = serving(tmp_path, server={"read_header_timeout_seconds": 1})
        with quick as edge, socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
            connection.sendall(start)
            assert not connection.recv(4096)


def test_a_path_that_is_not_ascii_is_a_bad_request(edge: Edge) -> None:
    with socket.create_connection(("127.0.0.1", edge.port), timeout=5) as connection:
        connection.sendall(PREFACE + frame(4, 0, 0) + frame(1, 5, 1, b"\x82\x86\x04\x03/\xc3\xa9\x01\x09localhost"))
        received = b""
        while b"not ASCII" not in received:
            received += connection.recv(4096)
        assert b'"code":3' in received


class TestBodies:
    @pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
    def test_a_request_with_an_empty_body_is_served(self, edge: Edge, method: str) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send("/hello", method=method.encode(), content_type=b""))
            assert (answer.status, answer.body) == (200, f"{method} 0".encode())

    @pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
    def test_a_request_that_ends_with_its_headers_is_served(self, edge: Edge, method: str) -> None:
        with raw(edge.port) as connection:
            answer = connection.answer(connection.send_headers_only("/hello", method.encode()))
            assert (answer.status, answer.body) == (200, f"{method} 0".encode())


class TestStopping:
    @pytest.mark.heavy
    def test_what_is_under_way_is_finished_and_the_client_told(self, tmp_path: Path) -> None:
        with serving(tmp_path) as edge, raw(edge.port) as connection:
            stream = connection.send(GET_EXECUTION, grpc_frame(SLEEP.SerializeToString()))
            time.sleep(0.3)
            edge.uvicorn.should_exit = True
            assert connection.answer(stream).code == 0
            while not connection.closed:
                connection.receive()
            assert connection.goodbyes[0] == (0, stream)

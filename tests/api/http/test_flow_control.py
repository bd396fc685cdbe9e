"""Replies to readers that do not read: what waits is bounded, and well-behaved readers are served meanwhile."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from flyteidl.admin import execution_pb2
from flyteidl.service import admin_pb2_grpc
from grpc import aio

from tests.api.edge import Edge, raw, serving

pytestmark = pytest.mark.heavy

BIG_BYTES = 3_000_000
UNSENT_BYTES_MAX = 10_000_000
LIMITS = {
    "unsent_bytes_max": UNSENT_BYTES_MAX,
    "connection_unsent_bytes_max": 2_000_000,
    "send_wait_seconds_max": 2,
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def big(name: str = "big") -> execution_pb2.WorkflowExecutionGetRequest:
    """A request whose reply has BIG_BYTES."""
    request = execution_pb2.WorkflowExecutionGetRequest()
    request.id.name, request.id.domain = name, str(BIG_BYTES)
    return request


def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data


def get(stream: int, path: bytes) -> bytes:
    """A HEADERS frame of a GET request."""
    return frame(1, 5, stream, b"\x82\x86\x04" + bytes([len(path)]) + path + b"\x01\x09localhost")


@pytest.fixture(scope="module")
def edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A server with small limits."""
    with serving(tmp_path_factory.mktemp("edge"), limits=LIMITS) as edge:
        yield edge


def connected(edge: Edge) -> socket.socket:
    """A connection that receives little without reading."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(15)
    connection.connect(("127.0.0.1", edge.port))
    return connection


def waiting_bytes(edge: Edge) -> int:
    """Bytes of replies that wait in the server's tasks."""
    waiting: int = edge.process_flow.waiting_bytes
    return waiting


def read_nothing() -> None:
    """Let the time pass that a reader has."""
    time.sleep(LIMITS["send_wait_seconds_max"] + 1.5)


def is_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended the connection."""
    try:
        # What the systems of both sides had buffered is all that comes.
        return sum(1 for _ in iter(lambda: connection.recv(1 << 16), b"")) < 1000
    except TimeoutError:
        return False
    except OSError:
        return True


class TestReadersThatRead:
    def test_many_big_replies_at_once_reach_a_client_that_reads(self, edge: Edge) -> None:
        """60 MB over one connection, six times what may wait in the whole process."""

        async def main() -> list[int]:
            options = [("grpc.max_receive_message_length", -1)]
            async with aio.insecure_channel(edge.target, options=options) as channel:
                stub = admin_pb2_grpc.AdminServiceStub(channel)
                replies = await asyncio.gather(*(stub.GetExecution(big()) for _ in range(20)))
                return [len(reply.spec.metadata.principal) for reply in replies]

        assert asyncio.run(main()) == [BIG_BYTES] * 20
        assert waiting_bytes(edge) == 0

    def test_a_stream_that_is_not_read_does_not_hold_up_the_others(self, edge: Edge) -> None:
        with raw(edge.port) as connection:
            stalled = connection.send("/big/200000", method=b"GET", content_type=b"")
            # zttp's client grants windows as it reads, so the first stream is read along; reset it half way.
            others = [connection.send("/hello", method=b"GET", content_type=b"") for _ in range(20)]
            connection.reset(stalled)
            assert {connection.answer(stream).status for stream in others} == {200}

    @pytest.mark.slow
    def test_a_slow_reader_that_makes_progress_is_served_to_the_end(self, edge: Edge) -> None:
        with connected(edge) as connection:
            connection.sendall(b"GET /big/150000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received, began = 0, time.monotonic()
            while part := connection.recv(40_000):
                received += len(part)
                time.sleep(0.15)
            assert received > 150_000
            assert time.monotonic() - began > LIMITS["send_wait_seconds_max"]


@pytest.mark.slow
class TestReadersThatDoNotRead:
    def test_windows_of_zero_hold_no_more_than_the_limit(self, edge: Edge) -> None:
        streams = b"".join(get(1 + 2 * number, b"/big/%d" % BIG_BYTES) for number in range(50))
        with ExitStack() as stack:
            connections = [stack.enter_context(connected(edge)) for _ in range(5)]
            for connection in connections:
                connection.sendall(PREFACE + frame(4, 0, 0, struct.pack(">HI", 4, 0)) + streams)
            self.check_limits(edge, connections)

    def check_limits(self, edge: Edge, connections: list[socket.socket]) -> None:
        most, until = 0, time.monotonic() + 1.5
        while time.monotonic() < until:
            most = max(most, waiting_bytes(edge))
            time.sleep(0.01)
        # Rule 1: one reply more than the limit of a connection, on each of them.
        assert 0 < most <= 5 * (LIMITS["connection_unsent_bytes_max"] + BIG_BYTES)
        # Rule 2: connections are ended until the rest fits.
        assert waiting_bytes(edge) <= UNSENT_BYTES_MAX
        with grpc.insecure_channel(edge.target) as channel:
            admin_pb2_grpc.AdminServiceStub(channel).GetExecution(
                execution_pb2.WorkflowExecutionGetRequest(), timeout=20
            )
        # Rule 3: all of them are ended in the end.
        read_nothing()
        assert all(is_ended(connection) for connection in connections)
        assert waiting_bytes(edge) == 0

    @pytest.mark.parametrize("path", [b"/big/3000000", b"/hello"], ids=["big", "small"])
    def test_pipelined_requests_whose_replies_are_not_read_are_ended(self, edge: Edge, path: bytes) -> None:
        before = edge.functions.hellos
        with connected(edge) as connection:
            connection.settimeout(1)
            try:
                for _ in range(300):
                    connection.sendall(b"GET %b HTTP/1.1\r\nHost: a\r\n\r\n" % path * 100)
            except OSError:
                pass
            assert waiting_bytes(edge) <= BIG_BYTES
            assert edge.functions.hellos - before < 10_000
            read_nothing()
            assert is_ended(connection)

    def test_a_stream_of_pieces_waits_for_its_reader(self, edge: Edge) -> None:
        with connected(edge) as connection:
            connection.sendall(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            time.sleep(1)
            assert edge.functions.pieces < 200
            assert waiting_bytes(edge) < 1_000_000
            read_nothing()
            assert is_ended(connection)

    def test_an_idle_connection_is_no_slow_reader(self, edge: Edge) -> None:
        with connected(edge) as connection:
            for _ in range(2):
                connection.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")
                read_nothing()


def test_a_thousand_connections_that_vanish_leave_nothing_waiting(edge: Edge, tmp_path: Path) -> None:
    def vanish() -> None:
        for _ in range(100):
            connection = connected(edge)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"GET /big/3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.close()

    threads = [threading.Thread(target=vanish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until = time.monotonic() + 10
    while waiting_bytes(edge) and time.monotonic() < until:
        time.sleep(0.05)
    assert waiting_bytes(edge) == 0

"""HTTP/1.1 connections that do not behave: slow heads, heads that are no HTTP/1.1, TLS, resets."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.support.servers import Running, serving

pytestmark = pytest.mark.slow

HEAD_SECONDS = 1
VARIABLES = {"FLYTEADMIN__SERVER__READHEADERTIMEOUTSECONDS": str(HEAD_SECONDS)}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that waits for a head no longer than HEAD_SECONDS."""
    with serving(tmp_path_factory.mktemp("http1") / "home", variables=VARIABLES) as server:
        yield server


def connected(server: Running) -> socket.socket:
    """A connection whose reads fail when nothing comes for long."""
    host, _, port = server.web.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def seconds_until_closed(connection: socket.socket, *, dribble: bytes = b"") -> float:
    """Send a byte of dribble every 0.2 s until the other side closes; how long that took."""
    began = time.monotonic()
    connection.settimeout(0.2)
    for byte in (dribble[at : at + 1] for at in range(200)):
        try:
            if not connection.recv(4096):
                return time.monotonic() - began
        except TimeoutError:
            if byte:
                connection.send(byte)
        except ConnectionError:
            return time.monotonic() - began
    raise AssertionError("the connection is still open")


class TestSlowHeads:
    def test_a_head_that_never_ends_closes_the_connection(self, server: Running) -> None:
        with connected(server) as connection:
            connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n")
            assert HEAD_SECONDS - 0.5 < seconds_until_closed(connection) < HEAD_SECONDS + 2

    def test_bytes_that_dribble_buy_no_time(self, server: Running) -> None:
        with connected(server) as connection:
            connection.sendall(b"GET /healthcheck HTTP/1.1\r\n")
            assert seconds_until_closed(connection, dribble=b"X-Long: " + b"a" * 100) < HEAD_SECONDS + 2

    def test_the_next_head_of_a_connection_has_its_own_time(self, server: Running) -> None:
        with connected(server) as connection:
            for _ in range(4):
                connection.sendall(b"GET /healthcheck HTTP/1.1\r\n")
                time.sleep(HEAD_SECONDS * 0.6)
                connection.sendall(b"Host: localhost\r\n\r\n")
                assert connection.recv(4096).startswith(b"HTTP/1.1 200")


def test_bytes_that_are_not_ascii_are_a_bad_request(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall("GET /api/v1/projects/é HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")
    assert "Traceback" not in server.printed


def test_the_same_holds_behind_another_request(server: Running) -> None:
    with connected(server) as connection:
        first = b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n\r\n"
        connection.sendall(first + b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")
        received = b""
        while part := connection.recv(4096):
            received += part
        assert [received.count(b"HTTP/1.1 200"), received.count(b"HTTP/1.1 400")] == [1, 1]
    assert "Traceback" not in server.printed


def refused(server: Running, request: bytes) -> tuple[int, dict[str, object]]:
    """Status and JSON body of the one reply to a request that ends the connection."""
    with connected(server) as connection:
        connection.sendall(request)
        received = b""
        while part := connection.recv(4096):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.count(b"HTTP/1.1 ") == 1
    assert b"content-type: application/json" in head.lower()
    answer: dict[str, object] = json.loads(body)
    return int(head.split()[1]), answer


POST = b"POST /api/v1/projects HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, 12),
        (POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501, 12),
        (POST + b"Transfer-Encoding: gzip\r\n\r\n", 400, 3),
        (POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400, 3),
        (POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400, 3),
        (POST + b"Content-Length: +2\r\n\r\n{}", 400, 3),
        (POST + b"X: a\r\n b\r\n\r\n", 400, 3),
        (POST + b"X : a\r\n\r\n", 400, 3),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400, 3),
        (b"GET / HTTP/1.1\r\n\r\n", 400, 3),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 400, 3),
        (b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 3),
        (b"GET /?\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, 3),
        (CHUNKED + b"zz\r\n", 400, 3),
        (CHUNKED + b"FFFFFFFFFFFFFFFFFF\r\n", 400, 3),
        (CHUNKED + b"1;" + b"a" * 100_000, 400, 3),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431, 8),
        (b"GET /" + b"y" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 431, 8),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431, 8),
    ],
)
def test_what_cannot_be_served_is_answered_with_json(
    server: Running, request_bytes: bytes, status: int, code: int
) -> None:
    answered, body = refused(server, request_bytes)
    assert (answered, body["code"]) == (status, code)
    assert isinstance(body["message"], str)
    assert "Traceback" not in server.printed


def test_a_body_that_breaks_after_its_reply_ends_the_connection(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 404")
        connection.sendall(b"zz\r\n")
        assert connection.recv(4096)[:12] in (b"", b"HTTP/1.1 400")
    assert "Traceback" not in server.printed


def test_a_body_that_ends_after_its_reply_leaves_the_next_request_whole(server: Running) -> None:
    with connected(server) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 404")
        connection.sendall(b"GET /" + b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize(
    "extra", [b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk\r\n", b"Expect: x\r\n"]
)
def test_what_may_be_ignored_is_ignored(server: Running, extra: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(b"GET /healthcheck HTTP/1.1\r\nHost: localhost\r\n" + extra + b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    assert "Unsupported upgrade" not in server.printed


def test_tls_spoken_to_the_plain_port_ends_at_once(server: Running) -> None:
    hello = bytes.fromhex("16030100c8010000c40303") + bytes(194)
    seconds = []
    for _ in range(5):
        with connected(server) as connection:
            connection.sendall(hello)
            began = time.monotonic()
            # A fatal alert, which clients report as such.
            assert connection.recv(4096)[:1] == b"\x15"
            assert not connection.recv(4096)
            seconds.append(time.monotonic() - began)
    # Each would take this long if the server waited for the rest of a head.
    assert min(seconds) < HEAD_SECONDS
    assert server.printed.count("tls_on_plain_port") == 1
    assert "without TLS" in server.printed


def test_rapid_resets_over_http2_leave_no_traceback(server: Running) -> None:
    def frame(kind: int, flags: int, stream: int, data: bytes = b"") -> bytes:
        return struct.pack(">I", len(data))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + data

    opened = b"\x82\x86\x04\x0c/healthcheck\x01\x09localhost"
    for fault in (frame(3, 0, 0, struct.pack(">I", 8)), frame(8, 0, 0, bytes(4))):
        flood = bytearray(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0))
        for stream in range(1, 4001, 2):
            flood += frame(1, 5, stream, opened) + fault[:5] + struct.pack(">I", stream) + fault[9:]
        with connected(server) as connection, suppress(ConnectionError):
            connection.sendall(flood)
            while connection.recv(65536):
                pass
    assert "Traceback" not in server.printed


def test_a_flood_of_resets_leaves_no_traceback(server: Running) -> None:
    request = b"GET /api/v1/projects HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for number in range(1500):
        connection = connected(server)
        connection.sendall((b"", request[:20], request, request * 5, b"PRI * HTTP/2.0")[number % 5])
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    with connected(server) as connection:
        connection.sendall(request)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    for sign in ("Traceback", "Exception", "Fatal"):
        assert sign not in server.printed

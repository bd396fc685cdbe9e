"""HTTP/1.1 connections that do not behave: heads that come too slowly or are not ASCII."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.servers import Running, serving

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

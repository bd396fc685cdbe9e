"""Connections to an API server: which are used again, and what answers that are no good become."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from app.engine.kubernetes import http
from app.engine.kubernetes.http import Answer, Connections, NoAnswer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """A server that sends the given answers, one to each request; after b"" it closes the connection."""

    def __init__(self, answers: Sequence[bytes]) -> None:
        self._answers = iter(answers)
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    (int(line[15:]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length:")), 0
                )
                self.requests.append(head + await reader.readexactly(length))
                answer = next(self._answers)
                writer.write(answer.removesuffix(b"<end>"))
                if not answer or answer.endswith(b"<end>"):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def play(answers: Sequence[bytes], scenario: Callable[[Connections], Awaitable[Any]], path: str = "") -> Peer:
    """Run a scenario against a peer."""
    peer = Peer(answers)

    async def run() -> None:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        connections = Connections(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{path}")
        try:
            async with asyncio.timeout(20):
                await scenario(connections)
        finally:
            connections.close()
            server.close()

    asyncio.run(run())
    return peer


async def get(connections: Connections, body: bytes = b"") -> Answer:
    return await connections.send("POST" if body else "GET", "/x?y=1", {"Accept": "a/b"}, body, tls=None)


def test_a_connection_is_used_again() -> None:
    async def scenario(connections: Connections) -> None:
        for body in (b"", b"content"):
            answer = await get(connections, body)
            assert (answer.status, answer.content, answer.headers["content-length"]) == (200, b"ok", "2")

    peer = play([OK, OK], scenario, path="/clusters/c1/")
    assert peer.connections == 1
    assert peer.requests[0].startswith(b"GET /clusters/c1/x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert peer.requests[1].endswith(b"Content-Length: 7\r\n\r\ncontent")


def test_requests_at_once_have_connections_of_their_own() -> None:
    async def scenario(connections: Connections) -> None:
        await asyncio.gather(*(get(connections) for _ in range(3)))
        await get(connections)

    assert play([OK] * 4, scenario).connections == 3


@pytest.mark.parametrize(
    "first",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok<end>",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ],
)
def test_a_connection_that_the_server_closes_is_not_used_again(first: bytes) -> None:
    async def scenario(connections: Connections) -> None:
        assert (await get(connections)).content == b"ok"
        await asyncio.sleep(0.05)
        assert (await get(connections)).content == b"ok"

    assert play([first, OK], scenario).connections == 2


def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "IDLE_SECONDS_MAX", -1.0)

    async def scenario(connections: Connections) -> None:
        await get(connections)
        await get(connections)

    assert play([OK, OK], scenario).connections == 2


def test_chunks_are_joined() -> None:
    async def scenario(connections: Connections) -> None:
        assert (await get(connections)).content == b"abc"

    play([b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"], scenario)


def test_an_announcement_is_no_answer() -> None:
    async def scenario(connections: Connections) -> None:
        for _ in range(2):
            assert (await get(connections)).status == 200

    early = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    assert play([early + OK, early + early + OK], scenario).connections == 1


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok<end>", "EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n<end>", "EOF"),
        (b"hello\r\n\r\n", "malformed HTTP response"),
        (b"HTTP/1.1 101 OK\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc", "malformed HTTP response"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * 300_000, "more than 262144 bytes of headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b"a" * 99, "more than 50 bytes"),
    ],
)
def test_what_is_no_answer(monkeypatch: pytest.MonkeyPatch, answer: bytes, text: str) -> None:
    monkeypatch.setattr(http, "ANSWER_BYTES_MAX", 50)

    async def scenario(connections: Connections) -> None:
        with pytest.raises(NoAnswer, match=text):
            await get(connections)
        # The next request is not affected.
        assert (await get(connections)).content == b"ok"

    assert play([answer, OK], scenario).connections == 2


def test_a_late_answer_belongs_to_no_later_request() -> None:
    async def scenario(connections: Connections) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await get(connections)
        assert (await get(connections)).content == b"ok"

    assert play([b"HTTP/1.1 200 OK\r\n", OK], scenario).connections == 2


@pytest.mark.parametrize("rest", [b"", b"Content-Length: 5\r\n\r\nother", b"Content-Length: 5\r\n\r\not"])
def test_an_answer_to_no_request_changes_no_other(rest: bytes) -> None:
    more = b"HTTP/1.1 500 Bad\r\nRetry-After: 9\r\n" + rest

    async def scenario(connections: Connections) -> None:
        for _ in range(2):
            answer = await get(connections)
            assert (answer.status, answer.content, [*answer.headers]) == (200, b"ok", ["content-length"])

    assert play([OK + more, OK], scenario).connections == 2


@pytest.mark.parametrize("value", ["b\r\nC: d", "b\nC: d", "b\rC: d"])
def test_a_header_with_a_line_break_is_not_sent(value: str) -> None:
    async def scenario(connections: Connections) -> None:
        with pytest.raises(ValueError, match="line break"):
            await connections.send("GET", "/x", {"A": value}, b"", tls=None)

    assert play([], scenario).requests == []


def test_texts_of_connections_that_fail() -> None:
    async def fails(address: str, text: str) -> None:
        with pytest.raises(NoAnswer, match=text):
            await get(Connections(address))

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    asyncio.run(fails(f"http://127.0.0.1:{port}", f"^dial tcp 127.0.0.1:{port}: connect: connection refused$"))
    asyncio.run(fails(f"http://localhost:{port}", f"^dial tcp localhost:{port}: connect: connection refused$"))
    asyncio.run(fails("http://nowhere.invalid", "^dial tcp: lookup nowhere.invalid: "))


@pytest.mark.parametrize("address", ["", "ftp://x", "http://", "10.0.0.1:443", "http://x:y"])
def test_addresses_that_cannot_be_used(address: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - urllib has texts of its own
        Connections(address)

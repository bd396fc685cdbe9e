"""Messages of a supervisor to a server that does not read them."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from app.engine.local.processes.forkserver.server_connection import ServerConnection
from app.engine.local.processes.pool.supervisor_connection import SupervisorConnection

# More than the buffers of both sockets hold.
ENDS = [{"ended": f"/attempts/{number}", "exit": {"tail": "x" * 1000}} for number in range(2000)]


class Pair:
    """A supervisor's connection and the other end of it, which belongs to the server."""

    def __init__(self) -> None:
        one, self.server = socket.socketpair()
        self.poll = select.poll()
        self.connection = ServerConnection(one, self.poll)

    def events(self) -> int:
        return dict(self.poll.poll(0)).get(self.connection.fileno(), 0)

    def read(self, count: int) -> list[dict[str, Any]]:
        """Read so many messages, and let the supervisor send when its poll says so."""
        self.server.setblocking(False)
        received, messages = bytearray(), []
        while len(messages) < count:
            try:
                data = self.server.recv(65536)
                assert data
                received += data
            except BlockingIOError:
                assert self.events() & select.POLLOUT
                self.connection.flush()
            while len(received) >= 4 and len(received) >= (end := 4 + struct.unpack_from(">I", received)[0]):
                messages.append(json.loads(received[4:end]))
                del received[:end]
        assert not received
        return messages


@pytest.fixture
def pair() -> Iterator[Pair]:
    made = Pair()
    with made.server:
        yield made
        made.connection.close()


def test_messages_that_the_server_does_not_read_wait_and_arrive_in_order(pair: Pair) -> None:
    for end in ENDS:
        pair.connection.send(end)
    # The socket is full, so poll reports nothing, and the supervisor sleeps.
    assert pair.events() == 0
    assert pair.read(len(ENDS)) == ENDS
    assert pair.events() == 0


def test_requests_are_read_while_messages_wait(pair: Pair) -> None:
    for end in ENDS:
        pair.connection.send(end)
    body = json.dumps({"directory": "/a"}).encode()
    pair.server.sendall(struct.pack(">I", len(body)) + body)
    assert pair.events() == select.POLLIN
    assert pair.connection.receive() == [{"directory": "/a"}]


def test_a_connection_that_the_server_finishes_ends_after_the_last_message(pair: Pair) -> None:
    for end in ENDS:
        pair.connection.send(end)
    pair.server.shutdown(socket.SHUT_WR)
    assert pair.connection.receive() is None
    pair.connection.send({"running": 0})
    pair.connection.finish()
    assert pair.connection.is_open
    # The end of the requests is readable for ever, and must not wake the supervisor again.
    assert pair.events() == 0
    assert pair.connection.receive() == []
    assert pair.read(len(ENDS) + 1) == [*ENDS, {"running": 0}]
    assert not pair.connection.is_open
    assert pair.server.recv(1) == b""


def test_messages_for_a_server_that_was_killed_are_dropped(pair: Pair) -> None:
    for end in ENDS:
        pair.connection.send(end)
    pair.server.close()
    assert pair.events()
    pair.connection.flush()
    assert not pair.connection.is_open
    pair.connection.send({"running": 0})
    pair.connection.finish()
    assert not pair.connection.is_open


def test_a_server_that_goes_on_receives_each_end(pair: Pair) -> None:
    for end in ENDS:
        pair.connection.send(end)

    async def main() -> None:
        server = await SupervisorConnection.open(pair.server)
        ends = [server._end_of(str(end["ended"])) for end in ENDS]
        while not all(end.done() for end in ends):
            pair.connection.flush()
            await asyncio.sleep(0.001)
        assert [end.result() for end in ends] == [end["exit"] for end in ENDS]
        server.close()

    asyncio.run(main())

"""Messages between the server and a supervisor of tasks."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.engine.local.processes.pool.process_pool import RunningProcess
from app.engine.local.processes.pool.supervisor_connection import SupervisorConnection, SupervisorEnded

WELL = {"code": 0, "reason": ""}
STARTED = {"pid": 1}


def frames(*messages: object) -> bytes:
    bodies = [json.dumps(message).encode() for message in messages]
    return b"".join(struct.pack(">I", len(body)) + body for body in bodies)


def connected(main: Callable[[SupervisorConnection, socket.socket], Awaitable[None]]) -> None:
    """Call `main` with a connection and the supervisor's end of it."""

    async def run() -> None:
        own, other = socket.socketpair()
        with other:
            connection = await SupervisorConnection.open(own)
            await main(connection, other)
            connection.close()

    asyncio.run(run())


def test_an_end_that_arrives_together_with_the_answer_is_kept() -> None:
    async def main(connection: SupervisorConnection, supervisor: socket.socket) -> None:
        supervisor.sendall(frames(STARTED, {"ended": "/a", "exit": WELL}))
        started = await connection.start({"directory": "/a"})
        assert started.answer == STARTED
        assert await started.end == WELL
        supervisor.sendall(frames(STARTED))
        assert (await connection.start({"directory": "/b"})).answer == STARTED

    connected(main)


def test_a_message_may_arrive_in_pieces() -> None:
    async def main(connection: SupervisorConnection, supervisor: socket.socket) -> None:
        starting = asyncio.create_task(connection.start({"directory": "/a"}))
        for byte in frames(STARTED):
            assert not starting.done()
            supervisor.sendall(bytes((byte,)))
            await asyncio.sleep(0.001)
        assert (await starting).answer == STARTED

    connected(main)


def test_a_second_start_that_is_refused_leaves_the_end_of_the_first() -> None:
    async def main(connection: SupervisorConnection, supervisor: socket.socket) -> None:
        supervisor.sendall(frames(STARTED))
        first = await connection.start({"directory": "/a"})
        supervisor.sendall(frames({"error": "started before", "claimed": True}))
        await connection.start({"directory": "/a"})
        supervisor.sendall(frames({"ended": "/a", "exit": WELL}))
        assert await first.end == WELL

    connected(main)


def test_without_an_answer_the_request_fails_and_ends_are_unknown() -> None:
    async def main(connection: SupervisorConnection, supervisor: socket.socket) -> None:
        supervisor.sendall(frames(STARTED))
        started = await connection.start({"directory": "/a"})
        supervisor.shutdown(socket.SHUT_RDWR)
        with pytest.raises(SupervisorEnded):
            await connection.request({"directory": "/b"})
        assert await started.end is None
        with pytest.raises(SupervisorEnded):
            await connection.start({"directory": "/c"})

    connected(main)


@pytest.mark.parametrize("received", [None, WELL])
def test_a_process_without_a_received_end_is_looked_up_in_its_folder(
    tmp_path: Path, received: dict[str, object] | None
) -> None:
    recorded = {"code": 1, "reason": ""}
    (tmp_path / "exit.json").write_text(json.dumps(recorded))

    async def main() -> None:
        end: asyncio.Future[dict[str, object] | None] = asyncio.get_running_loop().create_future()
        gone = ForeignProcess(0, "lost")
        running = RunningProcess(tmp_path, gone, gone, 0.0, end=end)
        waiting = asyncio.create_task(running.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        end.set_result(received)
        assert await waiting == (received or recorded)

    asyncio.run(main())

"""A fork server that is busy when it is replaced keeps its tasks."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app.engine.local.processes.pool.fork_server_client import ForkServer
from app.engine.local.processes.pool.spec import NotStarted
from app.engine.local.processes.pool.supervisor_connection import SupervisorConnection


@pytest.mark.slow
def test_a_fork_server_that_does_not_answer_in_time_is_retired_and_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.local.processes.pool.fork_server_client._END_SECONDS_MAX", 0.1)
    fork_server = ForkServer(Path(sys.executable), warm=False, variables={}, directory=tmp_path)
    own, other = socket.socketpair()

    async def stop() -> None:
        fork_server._connection = await SupervisorConnection.open(own)
        await fork_server._stop()

    with other, subprocess.Popen(["sleep", "60"]) as process:
        try:
            fork_server._process = process
            asyncio.run(stop())
            assert process.poll() is None
            assert fork_server._retired == [process]
            assert fork_server._process is None
        finally:
            process.kill()


def test_a_late_answer_to_a_fork_is_not_taken_for_that_of_another_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.local.processes.pool.fork_server_client._ANSWER_SECONDS_MAX", 0.1)
    fork_server = ForkServer(Path(sys.executable), warm=False, variables={}, directory=tmp_path)
    own, other = socket.socketpair()
    process = Running()
    fork_server._process = process
    late = json.dumps({"pid": 1, "stamp": "late"}).encode()

    def answer_late() -> None:
        with suppress(BrokenPipeError):
            other.sendall(struct.pack(">I", len(late)) + late)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.2, answer_late)
        fork_server._connection = await SupervisorConnection.open(own)
        with pytest.raises(NotStarted, match="did not answer"):
            await fork_server.fork({"module": "user"}, other)
        assert fork_server._process is None
        assert fork_server._retired == [process]
        await asyncio.sleep(0.2)
        await fork_server.close()

    with other:
        asyncio.run(main())


class Running:
    """A process that does not end."""

    pid = 1
    returncode = None

    def poll(self) -> int | None:
        return None

    def wait(self, timeout: float | None = None) -> int:
        raise subprocess.TimeoutExpired("process", timeout or 0)

    def kill(self) -> None:
        raise AssertionError("its tasks would end with it")

"""A fork server that is busy when it is replaced keeps its tasks."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.engine.local.processes.fork_server_client import ForkServer


@pytest.mark.slow
def test_a_fork_server_that_does_not_answer_in_time_is_retired_and_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.local.processes.fork_server_client._END_SECONDS_MAX", 0.1)
    fork_server = ForkServer(Path(sys.executable), warm=False, variables={}, directory=tmp_path)
    own, other = socket.socketpair()

    async def stop() -> None:
        fork_server._reader, fork_server._writer = await asyncio.open_unix_connection(sock=own)
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

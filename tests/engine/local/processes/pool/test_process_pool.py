"""ProcessPool: processes from descriptions, their permits, and the folders of the fork servers that start them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.engine.local.processes.pool import locked_folder, supervisor_watch
from app.engine.local.processes.pool import process_pool as pool_module
from app.engine.local.processes.pool.fork_server_client import ForkServers
from app.engine.local.processes.pool.process_pool import ProcessPool
from app.engine.local.processes.pool.spec import Limits, NotExecutable, ProcessSpec
from app.runtime.fair_semaphore import FairSemaphore
from app.system import system

pytestmark = [pytest.mark.slow, pytest.mark.smoke]

LIMITS = Limits(grace_seconds=5, log_bytes_max=1024**2, printed_bytes_max=0, free_bytes_min=0, processes_max=0)


def spec(folder: Path, script: str, *, queue: str = "tasks", **more: Any) -> ProcessSpec:
    """Describe a shell script whose private folder is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {
        "folder": folder,
        "program": "/bin/sh",
        "argv": ("sh", "-c", script),
        "variables": {"PATH": os.defpath, "GREETING": "hello"},
        "files": {},
        "log": folder / "log",
        "data_folders": (),
        "limits": LIMITS,
        "queue": queue,
        "key": "execution",
        "preload": None,
        "image": "",
    }
    return ProcessSpec(**{**fields, **more})


def with_pool(folder: Path, main: Callable[[ProcessPool, FairSemaphore], Awaitable[None]]) -> None:
    """Run main with a pool that has one permit."""

    async def opened() -> None:
        semaphore = FairSemaphore(1)
        servers = ForkServers(folder / "forkservers", tasks_max=100)
        pool = ProcessPool(servers, preload=True, semaphores={"tasks": semaphore})
        try:
            await asyncio.wait_for(main(pool, semaphore), 60)
        finally:
            await pool.close()

    asyncio.run(opened())


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_the_pool_imports_no_flyte_messages() -> None:
    code = "import sys, app.engine.local.processes.pool; print([m for m in sys.modules if m.startswith('flyteidl')])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_a_process_has_the_arguments_variables_files_and_log_of_its_description(tmp_path: Path) -> None:
    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        private = tmp_path / "a" / "secrets" / "key"
        described = spec(
            tmp_path / "a",
            "",
            argv=("sh", "-c", 'echo "$GREETING $(cat "$0")"; exit 3', str(private)),
            files={private: b"secret"},
            log=tmp_path / "out",
        )
        ended = await pool.wait(await pool.start(described))
        assert ended is not None
        assert (ended["code"], ended["reason"]) == (3, "")
        assert (tmp_path / "out").read_text() == "hello secret\n"

    with_pool(tmp_path, main)


def test_a_process_holds_its_permit_until_it_has_ended(tmp_path: Path) -> None:
    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        first = await pool.start(spec(tmp_path / "a", "sleep 60"))
        waiting = asyncio.create_task(pool.start(spec(tmp_path / "b", "true")))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert not (tmp_path / "b" / "process.json").exists()
        # The limit does not apply to a process without a queue, such as an eager task.
        assert await pool.wait(await pool.start(spec(tmp_path / "c", "true", queue="")))
        await pool.kill(first, grace_seconds=0)
        assert await pool.wait(await waiting)
        await until(lambda: semaphore.held == 0)

    with_pool(tmp_path, main)


def test_a_start_that_fails_or_is_cancelled_returns_its_permit(tmp_path: Path) -> None:
    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        with pytest.raises(NotExecutable):
            await pool.start(spec(tmp_path / "a", "", program=str(tmp_path), argv=("x",)))
        assert semaphore.held == 0

        async def fail() -> None:
            raise ValueError("no inputs")

        with pytest.raises(ValueError, match="no inputs"):
            await pool.start(spec(tmp_path / "b", "true"), before=fail)
        assert semaphore.held == 0
        await semaphore.acquire("other")
        waiting = asyncio.create_task(pool.start(spec(tmp_path / "c", "true")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))
        semaphore.release()
        assert semaphore.held == 0

    with_pool(tmp_path, main)


def test_an_adopted_process_holds_one_permit_over_the_limit(tmp_path: Path) -> None:
    async def start(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        assert await pool.adopt(tmp_path / "a", queue="tasks", key="execution") is None
        await pool.start(spec(tmp_path / "a", "sleep 60"))

    async def adopt(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        await semaphore.acquire("other")
        running = await pool.adopt(tmp_path / "a", queue="tasks", key="execution")
        assert running is not None
        assert await pool.adopt(tmp_path / "a", queue="tasks", key="execution") == running
        assert semaphore.held == 2
        await pool.kill(running, grace_seconds=0)
        await until(lambda: semaphore.held == 1)
        # A process that has ended needs no permit.
        assert await pool.adopt(tmp_path / "a", queue="tasks", key="execution") == running
        assert semaphore.held == 1

    with_pool(tmp_path, start)
    with_pool(tmp_path, adopt)


def test_an_end_that_its_supervisor_cannot_record_counts_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_UNRECORDED_SECONDS_MAX", 0.1)
    with subprocess.Popen(["true"]) as ended:
        record = {"task_pid": ended.pid, "task_stamp": "boot:1", "started_at": 1.0}
    record |= {"pid": os.getpid(), "stamp": system.stamp(os.getpid())}
    (tmp_path / "process.json").write_text(json.dumps(record))

    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        running = await pool.adopt(tmp_path, queue="", key="execution")
        assert running is not None
        assert await pool.wait(running) is None

    with_pool(tmp_path / "home", main)


def test_a_process_that_writes_the_record_of_its_end_itself_can_be_killed(tmp_path: Path) -> None:
    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        folder = tmp_path / "a"
        running = await pool.start(spec(folder, f"echo '{{}}' > {folder}/exit.json; exec sleep 60"))
        await until((folder / "exit.json").exists)
        await pool.kill(running, grace_seconds=0)
        assert not running.first.is_running()
        ended = await pool.wait(running)
        assert ended is not None
        assert ended["reason"] == "terminated"
        await until(lambda: semaphore.held == 0)

    with_pool(tmp_path, main)


def test_folders_of_killed_servers_are_removed_and_those_of_live_ones_stay(tmp_path: Path) -> None:
    abandoned = tmp_path / "forkservers" / "4711-abandoned"
    (abandoned / "warm-1" / "tmp").mkdir(parents=True)

    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        assert await pool.wait(await pool.start(spec(tmp_path / "a", "true")))
        assert locked_folder.remove_abandoned(tmp_path / "forkservers") == 1
        assert not abandoned.exists()
        (own,) = (tmp_path / "forkservers").iterdir()
        assert (own / "plain" / "forkserver.log").exists()

    with_pool(tmp_path, main)
    assert list((tmp_path / "forkservers").iterdir()) == []
    assert locked_folder.remove_abandoned(tmp_path / "nothing") == 0


def test_a_stopped_supervisor_is_killed_and_its_processes_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_watch, "_CHECK_SECONDS", 0.3)

    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        # More than a pipe holds: while the supervisor is stopped, the process cannot end.
        running = await pool.start(spec(tmp_path / "a", "head -c 1000000 /dev/zero; sleep 600"))
        os.kill(running.supervisor.pid, signal.SIGSTOP)
        with capture_logs() as logs:
            assert await pool.wait(running) is None
        assert [(line["event"], line["pid"]) for line in logs] == [("supervisor_killed", running.supervisor.pid)]
        assert not running.supervisor.is_running()
        assert not running.first.is_running()
        await until(lambda: semaphore.held == 0)
        assert await pool.wait(await pool.start(spec(tmp_path / "b", "true")))

    with_pool(tmp_path, main)


@pytest.mark.parametrize("counts", [True, False])
def test_a_supervisor_with_a_quiet_task_is_not_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    if not counts:
        # For example in gVisor.
        monkeypatch.setattr(type(system), "switches", lambda system, pid: 0)
    # A supervisor wakes up every second.
    monkeypatch.setattr(supervisor_watch, "_CHECK_SECONDS", 1.2)
    monkeypatch.setattr(supervisor_watch, "_CHECKS_MAX", 1)

    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        ended = await pool.wait(await pool.start(spec(tmp_path / "a", "sleep 4")))
        assert ended is not None
        assert ended["code"] == 0

    with_pool(tmp_path, main)


def test_ends_that_a_stopped_server_does_not_read_keep_no_supervisor_waiting(tmp_path: Path) -> None:
    """The supervisor records all ends, and the server receives them when it goes on."""

    async def main(pool: ProcessPool, semaphore: FairSemaphore) -> None:
        # They end together, while this process does not read.
        folders = [tmp_path / f"n{number}" for number in range(300)]
        os.mkfifo(tmp_path / "go")
        script = f"read line < {tmp_path}/go; exit 0"
        started = [await pool.start(spec(folder, script, queue="")) for folder in folders]
        # A shell reads one byte at a time from a pipe, so each process takes one line, however late it opens the pipe.
        with (tmp_path / "go").open("wb") as go:
            go.write(b"\n" * len(folders))
            go.flush()
            deadline = time.monotonic() + 60
            while not all((folder / "exit.json").exists() for folder in folders):
                assert time.monotonic() < deadline
                time.sleep(0.1)  # noqa: ASYNC251 - the loop must not read meanwhile.
        for running in started:
            assert running.end is not None
            received = await running.end
            assert received is not None
            assert received["code"] == 0

    with_pool(tmp_path, main)

"""Ends of workers, as the supervisor records them and as far as the workers are used again."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine.local.processes.forkserver import layout, worker, workers
from app.engine.local.processes.forkserver.supervisor import TaskSupervisor
from app.engine.local.processes.forkserver.workers import Worker


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskSupervisor]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    one, other = socket.socketpair()
    with one, other:
        made = TaskSupervisor(one)
        monkeypatch.setattr(made, "_finish", lambda task: None)
        yield made
        for left in made._workers.all.values():
            left.channel.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def working(supervisor: TaskSupervisor, pid: int) -> tuple[Any, socket.socket]:
    """A task that a worker runs, and the worker's end of its channel."""
    channel, end = socket.socketpair()
    task: Any = SimpleNamespace(
        pid=pid,
        status=None,
        reason="",
        signal=lambda number: None,
        request={"worker_tasks_max": 10, "worker_idle_seconds": 60},
    )
    added = Worker(pid, "key", channel)
    supervisor._tasks[pid] = task
    supervisor._workers.add(added)
    supervisor._register(channel.fileno(), lambda event: supervisor._read_answer(added))
    return task, end


@pytest.mark.parametrize(("reason", "is_used_again"), [("", True), ("terminated", False)])
def test_a_worker_that_got_a_signal_runs_no_other_task(
    supervisor: TaskSupervisor, reason: str, is_used_again: bool
) -> None:
    task, end = working(supervisor, 1001)
    with end:
        task.reason = reason
        end.sendall(workers.ANSWER.pack(0, True))
        supervisor._read_answer(supervisor._workers.all[1001])
        assert task.status == 0
        assert (supervisor._workers.take("key") is not None) == is_used_again


@pytest.mark.slow
def test_an_end_that_is_seen_before_the_answer_has_the_code_of_the_task(
    supervisor: TaskSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / layout.WORK).mkdir()
    command = SimpleNamespace(run=lambda *arguments, **more: 3, end=lambda: None)
    monkeypatch.setattr(worker, "flytekit_command", command)
    channel, end = socket.socketpair()
    with channel, end:
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            worker.serve(end, [], None, lambda path: None)
        task, other = working(supervisor, pid)
        request = {"directory": str(tmp_path), "held": "", "argv": [], "env": {}, "image": ""}
        with other, open(os.devnull, "wb") as output:
            workers.send(channel, request, output.fileno())
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            supervisor._reap()
    assert os.waitstatus_to_exitcode(task.status) == 3


def test_a_task_that_writes_to_the_channel_does_not_block_the_supervisor() -> None:
    channel, end = socket.socketpair()
    with ThreadPoolExecutor(1) as threads, channel, end:
        end.sendall(b"x")
        assert threads.submit(workers.answer_of, channel).result(5) is None
        assert workers.answer_of(channel) is None


def test_a_worker_that_reads_nothing_gets_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_SEND_SECONDS_MAX", 0.1)
    channel, end = socket.socketpair()
    with ThreadPoolExecutor(1) as threads, channel, end, open(os.devnull, "wb") as output:
        sending = threads.submit(workers.send, channel, {"argv": ["x" * 2_000_000]}, output.fileno())
        with pytest.raises(OSError, match="timed out"):
            sending.result(5)


@pytest.mark.parametrize("dies_too", [False, True])
def test_a_task_whose_worker_died_while_it_waited_gets_another_one(
    supervisor: TaskSupervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dies_too: bool
) -> None:
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(supervisor, "send", answers.append)
    _, end = working(supervisor, 1001)
    del supervisor._tasks[1001]
    supervisor._workers.wait(supervisor._workers.all[1001], 60)
    end.close()
    channel, other_end = socket.socketpair()
    monkeypatch.setattr(supervisor, "_fork_worker", lambda request: Worker(1002, "key", channel))
    if dies_too:
        other_end.close()
    directory = tmp_path / "attempt"
    request = {"directory": str(directory), "log": str(tmp_path / "log"), "log_bytes_max": 1000, "worker": "key"}
    request |= {"notice": "", "temporary": str(tmp_path / "link")}
    supervisor._start(request)
    assert supervisor._workers.take("key") is None
    if not dies_too:
        (answer,) = answers
        assert answer["task_pid"] == 1002 == json.loads((directory / layout.PROCESS_RECORD).read_text())["task_pid"]
        assert [path.name for path in directory.glob(".exit-*")] == [".exit-1002"]
        (size,) = workers.LENGTH.unpack(other_end.recv(workers.LENGTH.size))
        assert json.loads(other_end.recv(size)) == request
        other_end.close()
        channel.close()
        task = supervisor._tasks.pop(1002)
        task.log.close()
        os.close(task.output)
        return
    # A dead worker never leaves the record of a start.
    assert answers == [{"error": "no worker can run the task: Broken pipe", "errno": errno.EPIPE}]
    assert not (directory / layout.PROCESS_RECORD).exists()
    assert not list(directory.glob(".exit-*"))
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.slow
def test_a_process_that_cannot_be_killed_delays_the_end_of_its_task_by_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    child = subprocess.Popen(["sleep", "10"])
    try:
        with monkeypatch.context() as patched:
            patched.setattr(worker.os, "kill", refuse)
            patched.setattr(worker, "_REAP_SECONDS_MAX", 0.1)
            worker._end_children()
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()

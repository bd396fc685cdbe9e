"""Processes and files that tasks leave behind, as the supervisor ends and removes them."""

from __future__ import annotations

import math
import os
import resource
import socket
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from app.engine.local.processes.forkserver import supervisor as module
from app.engine.local.processes.forkserver.supervisor import TaskSupervisor


@pytest.fixture
def supervisor() -> Iterator[TaskSupervisor]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    one, other = socket.socketpair()
    with one, other:
        yield TaskSupervisor(one)
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_process_that_cannot_be_killed_delays_the_end_of_its_own_task_only(
    supervisor: TaskSupervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[int] = []
    left: dict[int, int] = {}

    def refuse(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    def end(pid: int) -> None:
        supervisor._tasks[pid] = SimpleNamespace(pid=pid, request={"temporary": f"/tmp/{pid}"})  # type: ignore[assignment]
        supervisor._give_up[pid] = math.inf
        supervisor._end_leftovers()

    monkeypatch.setattr(supervisor, "_finish", lambda task: finished.append(task.pid))
    monkeypatch.setattr(module, "system", SimpleNamespace(left_behind=lambda ended, known: dict(left)))
    monkeypatch.setattr(module.os, "kill", refuse)
    left[1001] = 10
    end(10)
    assert finished == []
    end(20)
    assert finished == [20]
    # A process of an unknown task may belong to each task that has ended.
    left[1002] = 0
    end(30)
    assert finished == [20]
    supervisor._give_up[10] = time.monotonic()
    supervisor._end_leftovers()
    assert finished == [20, 10]
    end(40)
    assert finished == [20, 10, 40]
    del left[1002]
    supervisor._end_leftovers()
    assert finished == [20, 10, 40, 30]


@pytest.mark.slow
def test_the_log_has_the_error_of_a_process_that_removes_files(
    supervisor: TaskSupervisor, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error", "/attempt/work")

    task: Any = SimpleNamespace(remove_folders=fail)
    supervisor._remove_elsewhere(task)
    (pid,) = supervisor._removers
    os.waitpid(pid, 0)
    assert "Input/output error: '/attempt/work'" in capfd.readouterr().err

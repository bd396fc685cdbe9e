"""Python tasks of one execution that follow each other in one process, where the setting allows it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Failed, Killed, Succeeded, TaskAttempt
from app.system import system
from tests.engine.conftest import Bench, literal, printed, run, until_ended, with_runner

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(system.is_portable, reason="other systems have neither module servers nor workers"),
]

Benches = Callable[..., Bench]

_MODULE = """
import os
import signal
import subprocess
import sys
import threading
import time

from flytekit import task

COUNT = []


@task
def count() -> int:
    COUNT.append(1)
    print(f"pid={os.getpid()} cwd={os.path.basename(os.path.dirname(os.getcwd()))} own={os.environ.get('OWN')}")
    return len(COUNT)


@task
def crash() -> int:
    os._exit(len(COUNT) + 6)
    return 0


@task
def leave() -> int:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print(f"child={child.pid}", flush=True)
    return os.getpid()


@task
def late() -> int:
    def print_later() -> None:
        time.sleep(0.3)
        print("printed later", flush=True)

    threading.Thread(target=print_later).start()
    return os.getpid()


@task
def alarm() -> int:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.setitimer(signal.ITIMER_REAL, 0.5)
    return os.getpid()


@task
def nap() -> int:
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    time.sleep(1.0)
    return os.getpid()


@task
def sleep() -> int:
    print("asleep", flush=True)
    time.sleep(600)
    return 0
"""


@pytest.fixture
def made(bench: Benches, serialize: Callable[..., None], tmp_path: Path) -> Callable[..., Bench]:
    (tmp_path / "counting.py").write_text(_MODULE)
    serialize("counting", tmp_path, tmp_path)

    def make(**local: object) -> Bench:
        one = bench(**{"python_path": str(tmp_path), "reuse_workers": True, **local})
        one.templates = tmp_path
        return one

    return make


async def value_of(runner: TaskRunner, attempt: TaskAttempt) -> int:
    outcome = await run(runner, attempt)
    assert isinstance(outcome, Succeeded), (outcome, attempt.log_path.read_text())
    return int(outcome.outputs.literals["o0"].scalar.primitive.integer)


def pid_in(attempt: TaskAttempt, word: str = "pid=") -> int:
    return int(attempt.log_path.read_text().partition(word)[2].split()[0])


def test_an_alarm_of_a_task_does_not_end_the_next_one(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        pids = {await value_of(runner, bench.attempt(name, node=name)) for name in ("alarm", "nap")}
        assert len(pids) == 1

    with_runner(bench, main)


def test_tasks_of_one_execution_share_a_process_with_their_own_logs_and_variables(
    made: Callable[..., Bench],
) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        attempts = [bench.attempt("count", node=f"n{index}", envs={"OWN": str(index)}) for index in range(4)]
        assert [await value_of(runner, attempt) for attempt in attempts] == [1, 2, 3, 4]
        assert len({pid_in(attempt) for attempt in attempts}) == 1
        for index, attempt in enumerate(attempts):
            assert f"cwd={attempt.directory.name} own={index}\n" in attempt.log_path.read_text()
            assert sorted(os.listdir(attempt.directory)) == ["exit.json", "log", "process.json"]
        # Another execution has a process of its own.
        other = bench.attempt("count", node="m0")
        other.execution.name = "ex2"
        assert await value_of(runner, other) == 1

    with_runner(bench, main)


def test_without_the_setting_each_task_has_a_process_of_its_own(made: Callable[..., Bench]) -> None:
    bench = made(reuse_workers=False)

    async def main(runner: TaskRunner) -> None:
        attempts = [bench.attempt("count", node=f"n{index}") for index in range(3)]
        assert [await value_of(runner, attempt) for attempt in attempts] == [1, 1, 1]
        assert len({pid_in(attempt) for attempt in attempts}) == 3

    with_runner(bench, main)


def test_tasks_at_once_have_processes_of_their_own(made: Callable[..., Bench]) -> None:
    bench = made(processes_max=2, warm_modules_max=0)

    async def main(runner: TaskRunner) -> None:
        sleeping = await runner.start(await runner.prepare(bench.attempt("sleep")))
        counting = bench.attempt("count", node="n1")
        assert await value_of(runner, counting) == 1
        assert pid_in(counting) != sleeping.first.pid
        # The end of one does not touch the other.
        await runner.kill(sleeping, grace_seconds=0)
        assert await runner.wait(sleeping) == Killed()
        assert await value_of(runner, bench.attempt("count", node="n2")) == 2

    with_runner(bench, main)


def test_a_crash_fails_its_task_alone(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        assert await value_of(runner, bench.attempt("count", node="n0")) == 1
        outcome = await run(runner, bench.attempt("crash", node="n1"))
        assert isinstance(outcome, Failed)
        assert "exit code (7)" in outcome.error.message
        assert await value_of(runner, bench.attempt("count", node="n2")) == 1

    with_runner(bench, main)


def test_a_process_that_a_task_leaves_is_killed(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        leaving = bench.attempt("leave", node="n0")
        worker = await value_of(runner, leaving)
        assert not system.stamp(pid_in(leaving, "child="))
        counting = bench.attempt("count", node="n1")
        assert await value_of(runner, counting) == 1
        assert pid_in(counting) == worker

    with_runner(bench, main)


def test_a_thread_that_a_task_leaves_ends_before_the_task_and_ends_the_reuse(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        leaving = bench.attempt("late", node="n0")
        worker = await value_of(runner, leaving)
        assert "printed later" in leaving.log_path.read_text()
        counting = bench.attempt("count", node="n1")
        assert await value_of(runner, counting) == 1
        assert pid_in(counting) != worker

    with_runner(bench, main)


def test_a_worker_ends_after_some_tasks_and_after_a_pause(made: Callable[..., Bench]) -> None:
    bench = made(reused_tasks_max=2, reused_idle_seconds=0.5)

    async def main(runner: TaskRunner) -> None:
        attempts = [bench.attempt("count", node=f"n{index}") for index in range(3)]
        assert [await value_of(runner, attempt) for attempt in attempts] == [1, 2, 1]
        started = time.monotonic()
        await until_ended([pid_in(attempt) for attempt in attempts])
        assert time.monotonic() - started < 5

    with_runner(bench, main)


def test_an_aborted_task_in_a_worker_ends_with_it(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        attempt = bench.attempt("sleep", node="n0")
        running = await runner.start(await runner.prepare(attempt))
        await printed(attempt, "asleep")
        adopted = await runner.adopt(attempt)
        assert adopted is not None
        ended = asyncio.create_task(runner.wait(running))
        await runner.kill(adopted)
        assert await ended == Killed()
        await until_ended([running.first.pid])

    with_runner(bench, main)


def test_the_outputs_are_those_of_the_task(made: Callable[..., Bench]) -> None:
    bench = made()

    async def main(runner: TaskRunner) -> None:
        outcome = await run(runner, bench.attempt("count"))
        assert isinstance(outcome, Succeeded)
        assert outcome.outputs.literals["o0"] == literal(1)

    with_runner(bench, main)

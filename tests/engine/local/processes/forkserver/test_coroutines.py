"""The threads in which flytekit runs coroutines: its own ones need none, those of users keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.engine.local.processes.runner import TaskRunner
from app.engine.local.processes.task_attempt import Succeeded
from tests.engine.conftest import Bench, run, with_runner

pytestmark = pytest.mark.slow

_MODULE = """
import asyncio
import os
import threading

from flytekit import task
from flytekit.utils.asyn import run_sync


@task
def threads() -> str:
    return ",".join(thread.name for thread in threading.enumerate())


@task
async def awaited() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


async def name() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


@task
def called() -> str:
    return run_sync(name)


@task
def closes_descriptors() -> str:
    os.closerange(3, 4096)
    return "closed"


@task
def uses_descriptors_again() -> str:
    os.closerange(3, 4096)
    global files
    files = [open(os.devnull) for _ in range(50)]
    return "opened"
"""


@pytest.fixture
def made(bench: Callable[..., Bench], serialize: Callable[..., None], tmp_path: Path) -> Bench:
    (tmp_path / "threaded.py").write_text(_MODULE)
    serialize("threaded", tmp_path, tmp_path)
    made = bench(python_path=str(tmp_path))
    made.templates = tmp_path
    return made


def check_outputs(made: Bench, expected: dict[str, str]) -> None:
    """Run tasks, and compare the output of each."""

    async def main(runner: TaskRunner) -> None:
        for task, text in expected.items():
            attempt = made.attempt(task, node=task)
            outcome = await run(runner, attempt)
            assert isinstance(outcome, Succeeded), (outcome, attempt.log_path.read_text())
            assert outcome.outputs.literals["o0"].scalar.primitive.string_value == text

    with_runner(made, main)


def test_only_coroutines_of_users_run_in_a_thread(made: Bench) -> None:
    check_outputs(made, {"threads": "MainThread"} | dict.fromkeys(("awaited", "called"), "MainThread : loop-runner"))


def test_a_task_may_close_all_descriptors(made: Bench) -> None:
    """Those of the event loop are among them."""
    check_outputs(made, {"closes_descriptors": "closed", "uses_descriptors_again": "opened"})

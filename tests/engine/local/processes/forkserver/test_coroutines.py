"""The threads in which flytekit runs coroutines: its own ones need none, those of users keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.engine.conftest import Bench, check_outputs

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


@task
def owner_of_connector_loop() -> str:
    from flytekit.extend.backend.base_connector import local_connector_loop

    local_connector_loop.run_until_complete(asyncio.sleep(0))
    socket = os.readlink(f"/proc/self/fd/{local_connector_loop._ssock.fileno()}")
    parent = f"/proc/{os.getppid()}/fd"
    return "parent" if socket in [os.readlink(f"{parent}/{number}") for number in os.listdir(parent)] else "task"
"""

_MODULE_WITH_OWN_LOOPS = """
import asyncio

from flytekit import task


class Loop(asyncio.AbstractEventLoop):
    # Such as uvloop's.
    def __init__(self) -> None:
        self.inner = asyncio.SelectorEventLoop()

    def set_exception_handler(self, handler):
        self.inner.set_exception_handler(handler)

    def run_until_complete(self, future):
        return self.inner.run_until_complete(future)


class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Loop()


asyncio.set_event_loop_policy(Policy())


@task
def sets_a_policy() -> str:
    return type(asyncio.get_event_loop_policy()).__name__
"""


@pytest.fixture
def made(bench: Callable[..., Bench], serialize: Callable[..., None], tmp_path: Path) -> Bench:
    for name, text in (("threaded", _MODULE), ("own_loops", _MODULE_WITH_OWN_LOOPS)):
        (tmp_path / f"{name}.py").write_text(text)
        serialize(name, tmp_path, tmp_path)
    made = bench(python_path=str(tmp_path))
    made.templates = tmp_path
    return made


def test_only_coroutines_of_users_run_in_a_thread(made: Bench) -> None:
    check_outputs(made, {"threads": "MainThread"} | dict.fromkeys(("awaited", "called"), "MainThread : loop-runner"))


def test_a_task_may_close_all_descriptors(made: Bench) -> None:
    """Those of the event loop are among them."""
    check_outputs(made, {"closes_descriptors": "closed", "uses_descriptors_again": "opened"})


def test_tasks_do_not_share_the_loop_of_local_connectors(made: Bench) -> None:
    """One task would receive what wakes the loop of another."""
    check_outputs(made, {"owner_of_connector_loop": "task"})


def test_a_module_may_set_an_event_loop_of_its_own_kind(made: Bench) -> None:
    check_outputs(made, {"sets_a_policy": "Policy"})

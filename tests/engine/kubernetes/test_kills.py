"""Kill the process that places launches, again and again: each launch is placed once, none is lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.services import executions
from tests.engine.kubernetes.test_engine import OBJECT, until
from tests.services.test_executions import a_launch, prepare
from tests.support.kubernetes_api import FakeCluster, fake_cluster

LAUNCHES_PER_KILL = 2
START_SECONDS_MAX = 60
LAST_SECONDS_MAX = 120
# From before the first call to after the last one.
ALIVE_SECONDS_MAX = 0.15


class Placing:
    """The program that forks processes which place launches."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        self._program = program

    @asynccontextmanager
    async def process(self) -> AsyncIterator[None]:
        """Run a process that places, and kill it at the end."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(b"\n")
        async with asyncio.timeout(START_SECONDS_MAX):
            number = int(await self._program.stdout.readline())
        try:
            yield
        finally:
            os.kill(number, signal.SIGKILL)


@asynccontextmanager
async def placing(url: str, home: Path, kubeconfig: str) -> AsyncIterator[Placing]:
    command = [sys.executable, "-m", "tests.engine.kubernetes.placing_process", url, str(home), kubeconfig]
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Placing(program)
    finally:
        assert program.stdin is not None
        program.stdin.close()
        await program.wait()


def kill_often(bench: Callable[..., Any], cluster: FakeCluster, folder: Path, kills: int) -> None:
    dice = random.Random(18)

    async def scenario(b: Any) -> None:
        await prepare(b)
        kubeconfig, launched = cluster.kubeconfig(folder), 0
        async with placing(b.url, folder, kubeconfig) as program:
            for _ in range(kills):
                for _ in range(LAUNCHES_PER_KILL):
                    await b.call(executions.create_execution, a_launch(f"e{launched}"))
                    launched += 1
                async with program.process():
                    await asyncio.sleep(dice.random() * ALIVE_SECONDS_MAX)
            async with program.process():
                await until(lambda: len(cluster.created) >= launched, LAST_SECONDS_MAX)
                await asyncio.sleep(1)
        assert sorted(cluster.created) == sorted(OBJECT.format(f"e{number}") for number in range(launched))

    bench(scenario, engine={"kind": "kubernetes"}, scheduler={"enabled": False})


@pytest.mark.slow
def test_each_launch_is_placed_once_after_kills(bench: Callable[..., Any], tmp_path: Path) -> None:
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=10)


@pytest.mark.campaign
def test_each_launch_is_placed_once_after_1000_kills(bench: Callable[..., Any], tmp_path: Path) -> None:
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=500)

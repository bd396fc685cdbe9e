"""Kill the process that places launches, again and again: each launch is placed once, none is lost."""

from __future__ import annotations

import asyncio
import random
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

LAUNCHES_PER_KILL = 5
START_SECONDS_MAX = 60
# From before the first call to after the last one.
ALIVE_SECONDS_MAX = 0.4


@asynccontextmanager
async def placing(url: str, home: Path, kubeconfig: str) -> AsyncIterator[None]:
    command = [sys.executable, "-m", "tests.engine.kubernetes.placing_process", url, str(home), kubeconfig]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_SECONDS_MAX):
            assert await process.stdout.readline() == b"started\n"
        yield
    finally:
        process.kill()
        await process.wait()


def kill_often(bench: Callable[..., Any], cluster: FakeCluster, folder: Path, kills: int) -> None:
    dice = random.Random(18)

    async def scenario(b: Any) -> None:
        await prepare(b)
        kubeconfig, launched = cluster.kubeconfig(folder), 0
        for _ in range(kills):
            for _ in range(LAUNCHES_PER_KILL):
                await b.call(executions.create_execution, a_launch(f"e{launched}"))
                launched += 1
            async with placing(b.url, folder, kubeconfig):
                await asyncio.sleep(dice.random() * ALIVE_SECONDS_MAX)
        async with placing(b.url, folder, kubeconfig):
            await until(lambda: len(cluster.created) >= launched)
            await asyncio.sleep(1)
        assert sorted(cluster.created) == sorted(OBJECT.format(f"e{number}") for number in range(launched))

    bench(scenario, engine={"kind": "kubernetes"}, scheduler={"enabled": False})


@pytest.mark.slow
def test_each_launch_is_placed_once_after_kills(bench: Callable[..., Any], tmp_path: Path) -> None:
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=5)


@pytest.mark.campaign
def test_each_launch_is_placed_once_after_1000_kills(bench: Callable[..., Any], tmp_path: Path) -> None:
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=500)

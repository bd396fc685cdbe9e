"""Kill the process that places launches, again and again: each launch is placed once, none is lost.

How long a process lives follows from what it does, so that a slow machine kills at the same moments as a fast one.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.database import schema
from app.services import executions
from tests.engine.kubernetes.test_engine import OBJECT, until
from tests.services.test_executions import a_launch, prepare
from tests.support.kubernetes_api import FakeCluster, Fault, fake_cluster

LAUNCHES_PER_KILL = 2
WAIT_SECONDS_MAX = 120.0
# After as many kills before an object is made, one more process dies after that.
KILLS_PER_OTHER = 4


class Killer:
    """Kills one process, at the latest when one of its calls that create an object reaches the API.

    Args:
        cluster: The API.
        creation: The number of that call, from 1; 0 for none.
        lost: Whether that call and later ones have no effect, as if the process had died before them.

    Attributes:
        number: The process.
        creations: The calls so far.
        first_seconds: The time from the start of the process to the first call.
    """

    def __init__(self, cluster: FakeCluster, creation: int, *, lost: bool = True) -> None:
        self.number: Future[int] = Future()
        self.creations = 0
        self.first_seconds = 0.0
        self._last = creation
        self._lost = lost
        self._started = 0.0
        self._killed = threading.Event()
        self._lock = threading.Lock()
        cluster.fault = self._arrived

    def started(self, number: int) -> None:
        self._started = time.monotonic()
        self.number.set_result(number)

    async def wait(self, seconds: float) -> bool:
        """Wait for the end of the process, at most this time, and return whether it was killed."""
        return await asyncio.to_thread(self._killed.wait, seconds)

    def kill(self) -> None:
        """Kill the process, once: its number may belong to another process later."""
        number = self.number.result(WAIT_SECONDS_MAX)
        with self._lock:
            if not self._killed.is_set():
                os.kill(number, signal.SIGKILL)
                self._killed.set()

    def _arrived(self, method: str, path: str) -> Fault:
        if method != "POST":
            return None
        with self._lock:
            self.creations += 1
            count = self.creations
        if count == 1:
            self.number.result(WAIT_SECONDS_MAX)
            self.first_seconds = time.monotonic() - self._started
        if not self._last or count < self._last:
            return None
        self.kill()
        return "drop" if self._lost else None


class Rounds:
    """Processes that place launches, one after the other, each of which is killed.

    Args:
        program: Forks the processes.
        cluster: The API that they create objects with.
        dice: Chooses the moments.

    Attributes:
        launched: The launches so far.
        kills: How many processes were killed at which moment.
    """

    def __init__(self, program: asyncio.subprocess.Process, cluster: FakeCluster, dice: random.Random) -> None:
        self._program = program
        self._cluster = cluster
        self._dice = dice
        self._first_seconds = 0.0
        self.launched = 0
        self.kills: Counter[str] = Counter()

    async def start(self, creation: int = 0, *, lost: bool = True) -> Killer:
        """Start a process that places; the arguments are those of Killer."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        killer = Killer(self._cluster, creation, lost=lost)
        self._program.stdin.write(b"\n")
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            killer.started(int(await self._program.stdout.readline()))
        return killer

    async def before(self) -> None:
        """Kill between the start of the engine and its first creation, at the latest when that arrives."""
        killer = await self.start(1)
        await killer.wait(self._dice.random() * self._first_seconds)
        killer.kill()
        self.kills["before a creation" if killer.creations == 0 else "when a creation arrives"] += 1

    async def arriving(self) -> None:
        """Kill when a creation arrives, which has no effect."""
        await self._at_creation(lost=True)
        self.kills["when a creation arrives"] += 1

    async def answering(self) -> None:
        """Kill when a creation arrives, which takes effect: its answer is lost."""
        await self._at_creation(lost=False)
        self.kills["before an answer"] += 1

    async def _at_creation(self, *, lost: bool) -> None:
        # The launches since the last kill have no object, so that there are as many creations.
        killer = await self.start(self._dice.randint(1, LAUNCHES_PER_KILL), lost=lost)
        assert await killer.wait(WAIT_SECONDS_MAX)
        self._first_seconds = killer.first_seconds

    async def recording(self) -> None:
        """Kill when all objects are made, while their answers are received and recorded."""
        killer = await self.start()
        await until(lambda: len(self._cluster.created) >= self.launched, WAIT_SECONDS_MAX)
        await asyncio.sleep(self._dice.random() * self._first_seconds / 4)
        killer.kill()
        self.kills["after all creations"] += 1


@asynccontextmanager
async def placing(url: str, home: Path, kubeconfig: str) -> AsyncIterator[asyncio.subprocess.Process]:
    command = [sys.executable, "-m", "tests.engine.kubernetes.placing_process", url, str(home), kubeconfig]
    pipe = asyncio.subprocess.PIPE
    program = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield program
    finally:
        assert program.stdin is not None
        program.stdin.close()
        await program.wait()


async def records(b: Any) -> list[Any]:
    async with b.context() as ctx:
        columns = ("execution_name", "owner", "placed_at", "object_uid")
        return list(await ctx.db.find_all(schema.Launch, columns=columns, execution_project="p"))


def kill_often(bench: Callable[..., Any], cluster: FakeCluster, folder: Path, kills: int, seed: int = 18) -> None:
    async def scenario(b: Any) -> None:
        await prepare(b)
        began, leased = time.monotonic(), 0
        async with placing(b.url, folder, cluster.kubeconfig(folder)) as program:
            rounds = Rounds(program, cluster, random.Random(seed))

            async def launch() -> None:
                for _ in range(LAUNCHES_PER_KILL):
                    await b.call(executions.create_execution, a_launch(f"e{rounds.launched}"))
                    rounds.launched += 1

            for number in range(kills):
                await launch()
                await (rounds.before() if number % KILLS_PER_OTHER else rounds.arriving())
                # At least one launch was committed and has no object.
                assert len(cluster.created) < rounds.launched
                leased += any(row.owner for row in await records(b))
                if number % KILLS_PER_OTHER == KILLS_PER_OTHER - 1:
                    await launch()
                    await (rounds.answering() if number // KILLS_PER_OTHER % 2 else rounds.recording())
            killer = await rounds.start()
            try:
                await until(lambda: all_placed(b), WAIT_SECONDS_MAX)
            finally:
                killer.kill()
        rows = await records(b)
        uids = {path: document["metadata"]["uid"] for path, document in cluster.objects.items()}
        assert {OBJECT.format(row.execution_name): row.object_uid for row in rows} == uids
        assert sorted(cluster.created) == sorted(OBJECT.format(f"e{number}") for number in range(rounds.launched))
        assert leased >= kills // KILLS_PER_OTHER
        sys.stdout.write(
            f"{dict(rounds.kills)}; leases at {leased} of {kills} kills; {rounds.launched} launches,"
            f" {len(cluster.created)} objects, {sum(row.placed_at is not None for row in rows)} recorded;"
            f" {time.monotonic() - began:.0f} s\n"
        )

    bench(scenario, engine={"kind": "kubernetes"}, scheduler={"enabled": False})


async def all_placed(b: Any) -> bool:
    return all(row.placed_at is not None for row in await records(b))


@pytest.mark.slow
def test_each_launch_is_placed_once_after_kills(bench: Callable[..., Any], tmp_path: Path) -> None:
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=10)


@pytest.mark.campaign
@pytest.mark.parametrize("part", range(5))
def test_each_launch_is_placed_once_after_1000_kills(bench: Callable[..., Any], tmp_path: Path, part: int) -> None:
    """The parts on both databases together are 1,000 kills between the commit of a launch and its object."""
    with fake_cluster() as cluster:
        kill_often(bench, cluster, tmp_path, kills=100, seed=part)

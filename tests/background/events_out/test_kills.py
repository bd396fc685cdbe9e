"""Processes that publish events, killed at random: nothing is lost, and the order of each execution is kept.

`make test-all` kills 2 processes on each database; the campaign kills 50.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.services.phases import Node
from tests.background.events_out.plane import Plane
from tests.background.events_out.test_events_out import configure, ids, options
from tests.background.outbox.process import Deliverer
from tests.services.test_events import launch, node_event, run_id
from tests.support.http_receiver import http_receiver

pytestmark = pytest.mark.slow

EXECUTIONS, PROCESSES = 10, 2
# Events that wait for their delivery: a slow machine records more than it delivers.
AHEAD_MAX = 200
# The messages of a killed process are free after at most this time.
RENEW_SECONDS = 0.3


@pytest.mark.parametrize("kills", [2, pytest.param(50, marks=pytest.mark.campaign)])
def test_nothing_is_lost_and_no_order_is_broken(bench: Callable[..., Any], tmp_path: Path, kills: int) -> None:
    choice, file = random.Random(17), tmp_path / "flyte.json"

    def start() -> Deliverer:
        return Deliverer(file, tmp_path, renew_seconds=RENEW_SECONDS)

    async def scenario(b: Any) -> None:
        async with http_receiver() as receiver:
            configure(b, **options(receiver.url))
            plane, recorded = Plane(b), 0
            file.write_text(
                json.dumps(
                    {
                        "home": str(b.settings.home),
                        "database": {"url": b.url},
                        "cloudEvents": {
                            "enable": True,
                            "type": "http",
                            "http": {"url": receiver.url},
                            "eventsPublisher": {"eventTypes": ["all"]},
                        },
                        "outbox": {"allowedNetworks": ["127.0.0.1"]},
                    }
                )
            )
            receiver.delay = 0.01
            for number in range(EXECUTIONS):
                await launch(b, f"e{number + 1}")
            processes = [start() for _ in range(PROCESSES)]
            ended = asyncio.Event()

            async def record() -> None:
                nonlocal recorded
                while not ended.is_set():
                    if recorded - len(receiver.accepted) > AHEAD_MAX:
                        await asyncio.sleep(0.01)
                        continue
                    id = run_id(f"e{recorded % EXECUTIONS + 1}")
                    await plane.event("node", node_event(f"n{recorded // EXECUTIONS:05}", Node.RUNNING, 1, id=id))
                    recorded += 1
                    await asyncio.sleep(0.01)

            writer = asyncio.create_task(record())
            try:
                for _ in range(kills):
                    # At a moment at which the receiver is answering.
                    count = len(receiver.received) + choice.randrange(1, 20)
                    async with asyncio.timeout(60):
                        while len(receiver.received) < count:
                            assert not writer.done(), writer
                            await asyncio.sleep(0.001)
                    place = choice.randrange(PROCESSES)
                    await processes[place].started()
                    processes[place].kill()
                    processes[place] = start()
                ended.set()
                await writer
                await plane.settled(90)
            finally:
                ended.set()
                for process in processes:
                    process.kill()
            check(receiver.accepted, recorded, kills)

    bench(scenario)


def check(accepted: list[Any], recorded: int, kills: int) -> None:
    first: dict[str, list[str]] = {}
    seen = set()
    for one, id in zip(accepted, ids(accepted), strict=True):
        if one.headers["webhook-id"] in seen:
            continue
        seen.add(one.headers["webhook-id"])
        execution = id.partition('name:"')[2].partition('"')[0]
        first.setdefault(execution, []).append(id.partition('node_id:"')[2][:6])
    assert len(seen) == recorded
    assert all(nodes == sorted(nodes) for nodes in first.values())
    # A kill repeats at most what was being delivered.
    assert len(accepted) - recorded <= kills * 16

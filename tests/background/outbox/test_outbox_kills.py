"""Outboxes in processes of their own, killed at random: every message arrives, in the order of its execution.

`make test-all` kills 3 processes; the campaign kills 50.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import event_pb2

from app.database.outbox_tables import OutboxMessage
from app.services import outbox
from tests.background.outbox.process import Deliverer
from tests.services.test_events import run_id
from tests.support.http_receiver import http_receiver

pytestmark = pytest.mark.slow

PROCESSES, EXECUTIONS, ROUNDS, DELIVERIES_MAX = 2, 8, 8, 16
# Leases of a killed process are released within 10 s, on a loaded machine a little later.
STALLED_SECONDS = 60.0


async def put(b: Any, round: int) -> None:
    """Write one message about each execution, as its event does."""
    async with b.context() as ctx:
        for number in range(EXECUTIONS):
            request = event_pb2.WorkflowExecutionEventRequest(request_id=str(round))
            request.event.execution_id.CopyFrom(run_id(f"e{number}"))
            await outbox.put(
                ctx,
                target="cloud_events",
                kind="workflow",
                execution=request.event.execution_id,
                content=request.SerializeToString(),
                delivery_id=f"e{number}-{round}",
            )


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.campaign)])
def test_no_message_is_lost(bench: Callable[..., Any], tmp_path: Path, kills: int) -> None:
    choice, config = random.Random(17), tmp_path / "config.yaml"

    async def scenario(b: Any) -> None:
        async with http_receiver() as receiver:
            receiver.delay = 0.01
            config.write_text(
                f"home: {tmp_path}\n"
                f"database: {{url: '{b.url}'}}\n"
                f"outbox: {{allowedNetworks: [127.0.0.0/8], deliveriesMax: {DELIVERIES_MAX}}}\n"
                "cloudEvents:\n"
                "  enable: true\n"
                "  type: http\n"
                f"  http: {{url: '{receiver.url}'}}\n"
                "  eventsPublisher: {eventTypes: [all]}\n"
            )
            processes = [Deliverer(config, tmp_path) for _ in range(PROCESSES)]
            rounds = 0
            try:
                for _ in range(kills):
                    wanted = len(receiver.received) + choice.randrange(1, ROUNDS * EXECUTIONS)
                    for number in range(ROUNDS):
                        await put(b, rounds + number)
                    rounds += ROUNDS
                    async with asyncio.timeout(60):
                        while len(receiver.received) < wanted:  # noqa: ASYNC110 - the receiver has no event
                            await asyncio.sleep(0.005)
                    place = choice.randrange(PROCESSES)
                    await processes[place].started()
                    processes[place].kill()
                    processes[place] = Deliverer(config, tmp_path)
                await drained(b, processes)
            finally:
                codes = [await process.stop() for process in processes]
        assert set(codes) <= {0, -signal.SIGTERM}, _logs(processes)
        check([one.headers["webhook-id"] for one in receiver.accepted], rounds, kills)

    bench(scenario)


async def drained(b: Any, processes: list[Deliverer]) -> None:
    """Wait until no message waits, as long as the number of waiting messages falls."""
    least, since = None, asyncio.get_running_loop().time()
    while True:
        async with b.context() as ctx:
            waiting = int(await ctx.db.count(OutboxMessage, state="pending"))
            first = await ctx.db.find_all(OutboxMessage, state="pending", most=3)
        now = asyncio.get_running_loop().time()
        if not waiting:
            return
        if least is None or waiting < least:
            least, since = waiting, now
        assert now - since < STALLED_SECONDS, (waiting, first, _logs(processes))
        await asyncio.sleep(0.2)


def _logs(processes: list[Deliverer]) -> str:
    return "\n".join(process.log for process in processes)


def check(ids: list[str], rounds: int, kills: int) -> None:
    """Every message arrived, first in order; repeats are those that a killed process had not recorded."""
    first = list(dict.fromkeys(ids))
    for number in range(EXECUTIONS):
        assert [one for one in first if one.startswith(f"e{number}-")] == [f"e{number}-{n}" for n in range(rounds)]
    assert len(ids) - len(first) <= kills * DELIVERIES_MAX

"""Schedulers in processes of their own, killed at random: every slot that was due has exactly one execution.

`make test-all` kills 20 processes; the campaign kills 200.
"""

from __future__ import annotations

import itertools
import random
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import identifier_pb2

from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.services import launch_plans
from app.services.schedules.slots import execution_name
from tests.support.builders import a_launch_plan, an_id, register
from tests.support.forked_commands import command
from tests.support.servers import START_SECONDS_MAX, environment

pytestmark = pytest.mark.slow

PROCESSES, PLANS = 3, 10
CATCH_UP_SECONDS_MAX = 180
SECOND = timedelta(seconds=1)


class Scheduler:
    """A process that fires schedules, and its log."""

    def __init__(self, home: Path, url: str, log: Path) -> None:
        self.log = log
        log.touch()
        variables = {"FLYTEADMIN_DATABASE_URL": url, "FLYTEADMIN_STORAGE_URL": str(home / "storage")}
        self.process = command(["scheduler", "run"], environment(home, **variables), log)

    def kill(self) -> None:
        """Kill the process, which has started before: a slow machine would kill it before it does anything."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while b"the scheduler runs" not in self.log.read_bytes():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.campaign)])
def test_each_slot_has_one_execution(bench: Callable[..., Any], tmp_path: Path, kills: int) -> None:
    choice, numbers = random.Random(17), itertools.count()

    def start() -> Scheduler:
        return Scheduler(tmp_path, url, tmp_path / f"log-{next(numbers)}")

    async def prepare(b: Any) -> None:
        await register(b, workflow=True)
        for number in range(PLANS):
            plan = a_launch_plan(f"lp{number}", cron=f"@every {1 + number % 3}s")
            await b.call(launch_plans.create_launch_plan, plan)
            id = an_id(identifier_pb2.LAUNCH_PLAN, f"lp{number}")
            request = launch_plan_pb2.LaunchPlanUpdateRequest(id=id, state=launch_plan_pb2.ACTIVE)
            await b.call(launch_plans.update_launch_plan, request)

    async def found(b: Any) -> tuple[Any, Any, Any]:
        async with b.context() as ctx:
            executions = await ctx.db.find_all(schema.Execution, columns=("execution_name",), execution_project="p")
            states = await ctx.db.find_all(ScheduleState, project="p")
            active = await ctx.db.find_all(schema.SchedulableEntity, project="p")
        return executions, states, active

    bench(prepare)
    url = bench(_url)
    processes = [start() for _ in range(PROCESSES)]
    try:
        for _ in range(kills):
            time.sleep(choice.uniform(0.1, 1.2))
            place = choice.randrange(PROCESSES)
            processes[place].kill()
            processes[place] = start()
        ended = datetime.now(UTC)
        # The slots up to now are decided after the processes had time to catch up.
        deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
        while any(state.last_slot is None or state.last_slot < ended for state in bench(found)[1]):
            assert time.monotonic() < deadline, _logs(processes)
            time.sleep(0.5)
    finally:
        for each in processes:
            each.process.terminate()
        codes = [each.process.wait(60) for each in processes]
    # A process that has just started ends by the signal itself.
    assert set(codes) <= {0, -signal.SIGTERM}, _logs(processes)
    executions, states, active = bench(found)
    names = [row.execution_name for row in executions]
    assert len(names) == len(set(names))
    expected = set()
    for schedule in active:
        key = (schedule.project, schedule.domain, schedule.name, schedule.version)
        [state] = [one for one in states if one.name == schedule.name]
        slot = schedule.updated_at.replace(microsecond=0)
        every = int(schedule.name[2:]) % 3 + 1
        while (slot := slot + every * SECOND) <= state.last_slot:
            expected.add(execution_name(key, slot))
    assert set(names) == expected
    assert sum(state.launched for state in states) == len(expected)


def _logs(processes: list[Scheduler]) -> str:
    return "\n".join(each.log.read_text()[-1500:] for each in processes)


async def _url(b: Any) -> str:
    return str(b.url)

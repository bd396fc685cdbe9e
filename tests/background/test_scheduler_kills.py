"""Schedulers in processes of their own, killed at random: every slot that was due has exactly one execution.

`make test-all` kills 20 processes; the campaign kills 200.
"""

from __future__ import annotations

import random
import signal
import subprocess
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
from tests.support.servers import COMMAND, environment

pytestmark = pytest.mark.slow

PROCESSES, PLANS = 3, 10
SECOND = timedelta(seconds=1)


def start(home: Path, url: str, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [*COMMAND, "scheduler", "run"],
            env=environment(home, FLYTEADMIN_DATABASE_URL=url, FLYTEADMIN_STORAGE_URL=str(home / "storage")),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


@pytest.mark.parametrize("kills", [20, pytest.param(200, marks=pytest.mark.campaign)])
def test_each_slot_has_one_execution(bench: Callable[..., Any], tmp_path: Path, kills: int) -> None:
    choice, log = random.Random(17), tmp_path / "log"

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
    processes = [start(tmp_path, url, log) for _ in range(PROCESSES)]
    try:
        for _ in range(kills):
            time.sleep(choice.uniform(0.1, 1.2))
            place = choice.randrange(PROCESSES)
            processes[place].send_signal(signal.SIGKILL)
            processes[place].wait()
            processes[place] = start(tmp_path, url, log)
        ended = datetime.now(UTC)
        # The slots up to now are decided after the processes had time to catch up.
        deadline = time.monotonic() + 60
        while any(state.last_slot is None or state.last_slot < ended for state in bench(found)[1]):
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.5)
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(60) for process in processes]
    # A process that has just started ends by the signal itself.
    assert set(codes) <= {0, -signal.SIGTERM}, log.read_text()[-3000:]
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


async def _url(b: Any) -> str:
    return str(b.url)

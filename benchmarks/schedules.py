"""What schedules cost: many that are due in the same minute, next to as many POST /executions, and many that are idle.

A process of its own fires them (`flyteadmin scheduler run`, engine none). The requests go to a server of one process.
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import identifier_pb2
from google.protobuf.json_format import MessageToJson
from sqlalchemy import create_engine, text

from app.database import migrations, schema
from app.database.schedule_tables import ScheduleState
from app.services.checks import version_key
from benchmarks import fill, messages
from benchmarks.servers import Processes, need_postgres
from tests.support.clusters import Postgres
from tests.support.servers import COMMAND, STOP_SECONDS_MAX, environment, serving

# Targets: seconds from the minute to the first and to the last launch, CPU in relation to requests, share of a core.
FIRST_SECONDS, LAST_SECONDS, CPU_RATIO, IDLE_SHARE = 1.0, 30.0, 1.2, 0.005
REQUESTS_AT_ONCE = 16
WAIT_SECONDS_MAX = 300
# Time in which the scheduler reads its schedules, before it is measured at rest.
SETTLE_SECONDS = 8.0
Figures = dict[str, Any]


class _Database:
    """A filled database of one kind, and what PostgreSQL uses."""

    def __init__(self, name: str, url: str, storage: Path, cluster: Postgres | None) -> None:
        self.name = name
        self.variables = {"FLYTEADMIN_DATABASE_URL": url, "FLYTEADMIN_STORAGE_URL": str(storage)}
        self.engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        self._postgres: Processes | None = None
        if cluster is not None:
            number = int((cluster.folder / "data" / "postmaster.pid").read_text().split()[0])
            self._postgres = Processes(psutil.Process(number))

    def cpu_seconds(self) -> float:
        return self._postgres.cpu_seconds() if self._postgres is not None else 0.0

    def run(self, sql: str, **values: Any) -> Any:
        with self.engine.begin() as connection:
            result = connection.execute(text(sql), values)
            return result.fetchall() if result.returns_rows else None


def measure(folder: Path, database: str, *, schedules: int, requests: int, idle_seconds: float) -> Figures:
    """Return the figures of one database.

    Args:
        folder: For the database and the objects.
        database: postgresql or sqlite.
        schedules: The number of schedules.
        requests: The number of POST /executions to compare with.
        idle_seconds: Time for which the scheduler is measured at rest.

    Raises:
        Missing: PostgreSQL is not on this machine.
    """
    cluster = Postgres(need_postgres(), durable=False) if database == "postgresql" else None
    try:
        url = cluster.create() if cluster is not None else f"sqlite:///{folder / 'schedules.db'}"
        migrations.run(url)
        storage = folder / f"storage-{database}"
        asyncio.run(_Plans(url, storage, schedules).fill())
        made = _Database(database, url, storage, cluster)
        posted = _requests(folder, made, schedules, requests)
        return {"database": database, "schedules": schedules, **posted, **_fired(folder, made, schedules, idle_seconds)}
    finally:
        if cluster is not None:
            cluster.stop()


class _Plans(fill.Filler):
    """A database with launch plans and their schedules, which never fire so far."""

    def __init__(self, url: str, storage: Path, number: int) -> None:
        super().__init__(url, storage)
        self._number = number

    async def fill(self) -> None:
        """Register one launch plan, then copy it."""
        await self._database.open()
        try:
            async with self._context() as ctx:
                await fill.register_templates(ctx)
            async with self._context() as ctx:
                row = await fill.row_of(ctx, schema.LaunchPlan, version_key(_id(0)))
        finally:
            await self._database.close()
        spec = launch_plan_pb2.LaunchPlanSpec.FromString(row["spec"])
        closure = launch_plan_pb2.LaunchPlanClosure.FromString(row["closure"])
        for parameters in (spec.default_inputs.parameters, closure.expected_inputs.parameters):
            parameters["x"].required = False
            parameters["x"].default.scalar.primitive.integer = 3
        row |= {"spec": spec.SerializeToString(), "closure": closure.SerializeToString()}
        plans = (row | version_key(_id(number)) for number in range(1, self._number + 1))
        # Active since an hour: slots of former days would be caught up, at the rate of scheduler.catchUpRate.
        times = dict.fromkeys(("created_at", "updated_at"), datetime.now(UTC) - timedelta(hours=1))
        rest = {"cron_expression": "0 0 31 2 *", "fixed_rate_value": 0, "unit": 0, "kickoff_time_input_arg": ""}
        rows = (times | version_key(_id(number)) | rest | {"active": True} for number in range(1, self._number + 1))
        state = dict.fromkeys(("launched", "missed", "skipped", "failed", "failures_in_row"), 0) | {"paused": False}
        states = (times | version_key(_id(number)) | state for number in range(1, self._number + 1))
        fill.insert(
            self._url,
            [(schema.LaunchPlan, plans), (schema.SchedulableEntity, rows), (ScheduleState, states)],
            link=False,
        )


def _id(number: int) -> identifier_pb2.Identifier:
    return messages.identifier(identifier_pb2.LAUNCH_PLAN, fill.workflow_name(number), "v0")


def _requests(folder: Path, made: _Database, plans: int, requests: int) -> Figures:
    """Launch so many of the launch plans by POST /executions."""
    with serving(folder / f"home-{made.name}", "--no-scheduler", variables=made.variables) as server:
        processes = Processes(psutil.Process(server.process.pid))
        asyncio.run(_post(server.web, plans, 50))
        before, database_before = processes.cpu_seconds(), made.cpu_seconds()
        started = time.monotonic()
        asyncio.run(_post(server.web, plans, requests))
        seconds = time.monotonic() - started
        used, database_used = processes.cpu_seconds() - before, made.cpu_seconds() - database_before
    made.run("DELETE FROM executions")
    return {
        "request_cpu_ms": round(1000 * used / requests, 3),
        "request_database_cpu_ms": round(1000 * database_used / requests, 3),
        "requests_per_second": round(requests / seconds, 1),
    }


async def _post(web: str, plans: int, requests: int) -> None:
    numbers = iter(range(requests))

    async def work(client: httpx.AsyncClient) -> None:
        for number in numbers:
            request = messages.execution("", fill.workflow_name(1 + number % plans), "v0")
            request.ClearField("inputs")
            body = MessageToJson(request, preserving_proto_field_name=True)
            reply = await client.post("/api/v1/executions", content=body)
            reply.raise_for_status()

    headers = {"accept": "application/json", "content-type": "application/json"}
    async with httpx.AsyncClient(base_url=web, headers=headers, timeout=60, trust_env=False) as client:
        await asyncio.gather(*(work(client) for _ in range(REQUESTS_AT_ONCE)))


def _fired(folder: Path, made: _Database, schedules: int, idle_seconds: float) -> Figures:
    """Let the scheduler rest, then fire all schedules in one minute."""
    slot = datetime.now(UTC).replace(second=0, microsecond=0)
    while (slot - datetime.now(UTC)).total_seconds() < SETTLE_SECONDS + idle_seconds + 15:
        slot += timedelta(minutes=1)
    cron = f"CRON_TZ=UTC {slot.minute} {slot.hour} * * *"
    made.run("UPDATE schedulable_entities SET cron_expression = :cron", cron=cron)
    with _scheduler(folder, made) as process:
        leads = time.monotonic() + WAIT_SECONDS_MAX
        while not made.run("SELECT 1 FROM leases WHERE name = 'scheduler' AND owner IS NOT NULL"):
            _check(process, leads)
            time.sleep(0.2)
        time.sleep(SETTLE_SECONDS)
        processes = Processes(psutil.Process(process.pid))
        before, started = processes.cpu_seconds() + made.cpu_seconds(), time.monotonic()
        time.sleep(max(1.0, min(idle_seconds, (slot - datetime.now(UTC)).total_seconds() - 2)))
        own, database = processes.cpu_seconds(), made.cpu_seconds()
        idle = (own + database - before) / (time.monotonic() - started)
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while made.run("SELECT count(*) FROM executions")[0][0] < schedules:
            _check(process, deadline)
            time.sleep(1)
        own, database = processes.cpu_seconds() - own, made.cpu_seconds() - database
    [(first, last)] = made.run("SELECT min(execution_created_at), max(execution_created_at) FROM executions")
    return {
        "idle_share": round(idle, 5),
        "first_seconds": round(_seconds(first, slot), 2),
        "last_seconds": round(_seconds(last, slot), 2),
        "launch_cpu_ms": round(1000 * own / schedules, 3),
        "launch_database_cpu_ms": round(1000 * database / schedules, 3),
    }


def _seconds(moment: Any, slot: datetime) -> float:
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return float((at.replace(tzinfo=at.tzinfo or UTC) - slot).total_seconds())


def _check(process: subprocess.Popen[bytes], deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        raise RuntimeError("the scheduler has ended, or has not launched everything in time")


@contextmanager
def _scheduler(folder: Path, made: _Database) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"scheduler-{made.name}.log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "scheduler", "run"],
            env=environment(folder / f"home-scheduler-{made.name}", **made.variables),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(STOP_SECONDS_MAX)


def line(figures: Figures) -> str:
    """Return the figures as text, with the targets."""
    launch = figures["launch_cpu_ms"] + figures["launch_database_cpu_ms"]
    request = figures["request_cpu_ms"] + figures["request_database_cpu_ms"]
    return (
        f"schedules, {figures['database']}: {figures['schedules']} due in one minute: first launch after "
        f"{figures['first_seconds']} s (target {FIRST_SECONDS:g}), last after {figures['last_seconds']} s (target "
        f"{LAST_SECONDS:g}); CPU of a launch {launch:.2f} ms ({figures['launch_cpu_ms']} server, "
        f"{figures['launch_database_cpu_ms']} database), of POST /executions {request:.2f} ms "
        f"({figures['request_cpu_ms']}, {figures['request_database_cpu_ms']}): {launch / request:.2f} times (target "
        f"{CPU_RATIO:g}); idle {100 * figures['idle_share']:.2f} % of a core (target {100 * IDLE_SHARE:g})"
    )

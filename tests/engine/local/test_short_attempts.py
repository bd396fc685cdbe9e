"""Attempts that end soon are reported RUNNING together with their end, all others while they run."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from flyteidl.admin import task_execution_pb2

from app.database import schema
from app.engine.local.graph import service_calls
from app.runtime.dispatch import perform
from app.services.execution_ids import execution_key
from app.services.phases import Task
from tests.engine.fake_runner import boom
from tests.engine.plane import RunPlane
from tests.engine.workflows import launch_plan, task, task_node, template, workflow


def nothing() -> dict[str, Any]:
    return {}


async def attempts(plane: Any, id: Any) -> list[Any]:
    async with plane.server.database.unit_of_work() as db:
        return list(await db.find_all(schema.TaskExecution, **execution_key(id)))


def closure_of(row: Any) -> task_execution_pb2.TaskExecutionClosure:
    return task_execution_pb2.TaskExecutionClosure.FromString(row.closure)


def test_a_short_attempt_takes_two_transactions_and_shows_its_start(
    run_plane: RunPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[list[str]] = []

    async def counted(server: Any, function: Any, request: Any) -> Any:
        if isinstance(request, list):
            sent.append([Task.Phase.Name(event.phase) for event in request if hasattr(event, "task_id")])
        return await perform(server, function, request)

    async def scenario(plane: Any) -> None:
        await plane.register(task("t"), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
        id = await plane.launch("wf")
        assert await plane.phase(id) == "SUCCEEDED"
        (row,) = await attempts(plane, id)
        closure = closure_of(row)
        assert closure.HasField("started_at")
        assert closure.started_at.ToNanoseconds() >= closure.created_at.ToNanoseconds()
        assert row.duration >= 0
        assert [phases for phases in sent if phases] == [["QUEUED"], ["RUNNING", "SUCCEEDED"]]

    monkeypatch.setattr(service_calls, "perform", counted)
    run_plane(scenario, {"t": nothing})


def test_short_attempts_that_fail_show_their_starts(run_plane: RunPlane) -> None:
    async def scenario(plane: Any) -> None:
        failing = task("t")
        failing.spec.template.metadata.retries.retries = 1
        await plane.register(failing, workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
        id = await plane.launch("wf")
        assert await plane.phase(id) == "FAILED"
        rows = await attempts(plane, id)
        assert [row.phase for row in rows] == ["FAILED", "FAILED"]
        assert all(closure_of(row).HasField("started_at") for row in rows)

    run_plane(scenario, {"t": lambda: boom(retryable=True)})


def test_a_longer_attempt_is_shown_running_while_it_runs(run_plane: RunPlane) -> None:
    ends = asyncio.Event()

    async def scenario(plane: Any) -> None:
        async def wait() -> dict[str, Any]:
            await ends.wait()
            return {}

        plane.runner.tasks["t"] = wait
        await plane.register(task("t"), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
        id = await plane.launch("wf")

        async def phases() -> bool:
            return [row.phase for row in await attempts(plane, id)] == ["RUNNING"]

        await plane.until(phases)
        ends.set()
        assert await plane.phase(id) == "SUCCEEDED"

    run_plane(scenario, {})


def test_an_attempt_that_ends_while_no_server_runs_shows_its_start(run_plane: RunPlane) -> None:
    """The server stops between the start of the process and the report of it."""

    async def scenario(plane: Any) -> None:
        async def wait() -> dict[str, Any]:
            await asyncio.sleep(0.05)
            return {}

        plane.runner.tasks["t"] = wait
        await plane.register(task("t"), workflow(template("wf", task_node("n0", "t"))), launch_plan("wf"))
        id = await plane.launch("wf")
        await plane.until(lambda: plane.runner.alive)
        await plane.server.engine.stop()
        assert [row.phase for row in await attempts(plane, id)] == ["QUEUED"]
        await plane.until(lambda: not plane.runner.alive)
        ended = time.time()
        await plane.start()
        assert await plane.phase(id) == "SUCCEEDED"
        (row,) = await attempts(plane, id)
        assert closure_of(row).HasField("started_at")
        # The start of the process, not its adoption.
        assert closure_of(row).started_at.ToNanoseconds() / 1e9 < ended
        assert len(plane.runner.starts) == 1

    run_plane(scenario, {})

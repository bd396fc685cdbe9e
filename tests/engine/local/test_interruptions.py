"""Restarts and aborts at every step of an execution with nodes of every kind, in this process.

A step is one call of a service function by the engine: an event, a launch of a child, a signal.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import identifier_pb2

from app.engine.local import engine
from app.engine.local.graph import service_calls
from tests.conftest import DATABASES
from tests.engine.every_kind import EXPECTED, FUNCTIONS, register
from tests.engine.plane import Plane

Id = identifier_pb2.WorkflowExecutionIdentifier
Interrupted = Callable[[Plane, Id], Awaitable[None]]


class Steps:
    """Counts the engine's calls of service functions, and holds one of them back to be interrupted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.stop_at = 0
        self.reached = asyncio.Event()
        perform = service_calls.perform

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            if self.count == self.stop_at:
                self.reached.set()
                await asyncio.sleep(0.005)
            return await perform(*arguments)

        monkeypatch.setattr(service_calls, "perform", counted)

    async def reach(self, plane: Plane, step: int) -> Id:
        """Launch an execution and return at a step of it, before the call; at its end, where it has fewer steps."""
        self.count, self.stop_at = 0, step
        self.reached.clear()
        id = await plane.launch("wf", f"e{step}")
        waits = [asyncio.ensure_future(plane.ended(id)), asyncio.ensure_future(self.reached.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        return id


@pytest.fixture(params=DATABASES)
def at_every_step(
    request: pytest.FixtureRequest,
    emptied_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Interrupted], None]:
    """Launches the workflow once for each of its steps and calls back when the step is reached."""
    # SQLite takes every step. The engine's code is the same on PostgreSQL, which takes every fifth to save time.
    stride = 1 if request.param == "sqlite" else 5

    # A child that is launched while the engine stops is found by the poll of the next engine.
    monkeypatch.setattr(engine, "POLL_SECONDS", 0.1)

    def run(interrupted: Interrupted) -> None:
        async def main() -> None:
            async with Plane(emptied_database(request.param), tmp_path, FUNCTIONS).running() as plane:
                await register(plane)
                steps = Steps(monkeypatch)
                assert await plane.outputs(await steps.reach(plane, 0)) == EXPECTED
                last = steps.count
                assert last > 30
                for step in range(1, last + 1, stride):
                    id = await steps.reach(plane, step)
                    await interrupted(plane, id)
                    await plane.check_all_ended(step)

        asyncio.run(main())

    return run


@pytest.mark.slow
def test_a_restart_at_any_step_runs_nothing_twice(at_every_step: Callable[[Interrupted], None]) -> None:
    async def restart(plane: Plane, id: Id) -> None:
        await plane.restart()
        assert await plane.outputs(id) == EXPECTED
        assert max(Counter(plane.runner.starts).values()) == 1
        assert await plane.attempts(id, "n0") == [("FAILED", "USER:RuntimeError"), ("SUCCEEDED", "")]

    at_every_step(restart)


@pytest.mark.slow
def test_an_abort_at_any_step_leaves_nothing_unfinished(at_every_step: Callable[[Interrupted], None]) -> None:
    async def abort(plane: Plane, id: Id) -> None:
        if await plane.phase_now(id) != "SUCCEEDED":
            await plane.terminate(id)
            assert await plane.phase(id) == "ABORTED"

    at_every_step(abort)


@pytest.mark.slow
def test_an_abort_at_any_step_survives_a_restart(at_every_step: Callable[[Interrupted], None]) -> None:
    async def abort(plane: Plane, id: Id) -> None:
        if await plane.phase_now(id) != "SUCCEEDED":
            await plane.terminate(id)
            await plane.restart()
            assert await plane.phase(id) == "ABORTED"

    at_every_step(abort)

"""Two engines that send events of one execution: a lease ran out while its holder was slow or stopped.

The old holder continues at a step of the execution, beside the new one or after it, until it finds out.
A step is one call of a service function by the old holder: an event, a launch of a child, a signal.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import execution_pb2, node_execution_pb2
from flyteidl.core import identifier_pb2

from app.database import schema
from app.engine.local import engine
from app.engine.local.graph import service_calls
from app.services.execution_ids import execution_id, execution_key
from tests.conftest import DATABASES
from tests.engine.every_kind import EXPECTED, FUNCTIONS, UPSTREAM, register
from tests.engine.plane import ENDS, Plane

Id = identifier_pb2.WorkflowExecutionIdentifier

OLD = "old"
# Calls of the new holder before the old one continues; the last one stands for its end.
LATENESS = (0, 3, 10_000)


class Theft:
    """Takes the lease of an execution from `old` at one of its calls, which then continues."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, old: Plane, new: Plane) -> None:
        self.old, self.new = old, new
        self.id = Id()
        self.steal_at = 0
        self.lateness = 0
        self.abort = False
        # How many executions there are when the old holder continues.
        self.executions = 0
        self.counts = {id(old.server): 0, id(new.server): 0}
        self._stolen: asyncio.Task[None] | None = None
        perform = service_calls.perform

        async def counted(server: Any, *arguments: Any) -> Any:
            self.counts[id(server)] += 1
            if server is self.old.server and self.steal_at and self.counts[id(server)] >= self.steal_at:
                # Calls beside the first one wait too, as all coroutines of a stopped process do.
                if self._stolen is None:
                    self._stolen = asyncio.create_task(self._steal())
                await asyncio.shield(self._stolen)
            return await perform(server, *arguments)

        monkeypatch.setattr(service_calls, "perform", counted)

    async def launch(self, name: str, *, steal_at: int, lateness: int = 0, abort: bool = False) -> Id:
        self._stolen = None
        self.steal_at, self.lateness, self.abort = steal_at, lateness, abort
        self.counts = dict.fromkeys(self.counts, 0)
        self.id = await self.old.launch("wf", name)
        return self.id

    async def _steal(self) -> None:
        async with self.old.server.database.unit_of_work() as db:
            # With the leases of its children.
            rows = await db.find_all(schema.Launch, owner=OLD)
            await db.update(schema.Launch, {"owner": OLD}, leased_until=datetime(2020, 1, 1, tzinfo=UTC))
        assert rows
        for row in rows:
            self.new.engine.launched(execution_id(row))
        if self.lateness or self.abort:
            await self.new.until(lambda: self.new.engine.is_running(self.id))
        if self.abort:
            await self.new.terminate(self.id)
        await self.new.until(self._is_late)
        self.executions = await self.new.executions()

    async def _is_late(self) -> bool:
        if self.counts[id(self.new.server)] >= self.lateness:
            return True
        return bool(await self.new.phase_now(self.id) in ENDS)


async def events_of(plane: Plane, id: Id) -> tuple[list[str], dict[str, list[str]]]:
    """The recorded phases of an execution and of its nodes, in the order of their commits."""
    async with plane.server.database.unit_of_work() as db:
        own = await db.find_all(schema.ExecutionEvent, **execution_key(id))
        rows = await db.find_all(schema.NodeExecutionEvent, **execution_key(id))
    nodes: dict[str, list[str]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: int(row.id)):
        nodes[row.node_id].append(row.phase)
    return [row.phase for row in sorted(own, key=lambda row: int(row.id))], nodes


async def times_of(plane: Plane, id: Id) -> dict[str, tuple[int, int]]:
    """Start and end of each node, in nanoseconds since 1970."""
    async with plane.server.database.unit_of_work() as db:
        rows = await db.find_all(schema.NodeExecution, **execution_key(id))
    closures = {row.node_id: node_execution_pb2.NodeExecutionClosure.FromString(row.closure) for row in rows}
    starts = {node: closure.started_at.ToNanoseconds() for node, closure in closures.items()}
    return {node: (start, start + closures[node].duration.ToNanoseconds()) for node, start in starts.items()}


async def check(plane: Plane, id: Id) -> None:
    own, nodes = await events_of(plane, id)
    assert len(own) == len(set(own)), own
    assert own[-1] in ENDS, own
    for node, recorded in nodes.items():
        assert len(recorded) == len(set(recorded)), (node, recorded)
        assert not set(recorded[:-1]) & {*ENDS, "SKIPPED"}, (node, recorded)
    if own[-1] != "SUCCEEDED":
        return
    assert {phases[-1] for phases in nodes.values()} <= {"SUCCEEDED", "SKIPPED"}, nodes
    times = await times_of(plane, id)
    for node, upstream in UPSTREAM.items():
        for one in upstream:
            assert not times[node][0] or times[node][0] >= times[one][1], (node, one, times)


@pytest.fixture(params=DATABASES)
def at_every_step(
    request: pytest.FixtureRequest,
    emptied_database: Callable[[str], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Calls back with two planes on one database, for steps of the old holder."""
    stride = 3 if request.param == "sqlite" else 9
    owners = iter((OLD, "new"))
    monkeypatch.setattr(engine, "owner_name", lambda: next(owners))
    monkeypatch.setattr(engine, "has_ended", lambda owner: False)
    url = emptied_database(request.param)

    def run(scenario: Callable[[Theft, int], Any]) -> None:
        async def main() -> None:
            old, new = Plane(url, tmp_path, FUNCTIONS), Plane(url, tmp_path, FUNCTIONS)
            new.runner = old.runner
            async with old.running(), _beside(new):
                await register(old)
                theft = Theft(monkeypatch, old, new)
                assert await old.outputs(await theft.launch("e0", steal_at=0)) == EXPECTED
                last = theft.counts[id(old.server)]
                assert last > 20
                for step in range(1, last + 1, stride):
                    await scenario(theft, step)
                    await new.check_all_ended(step)

        asyncio.run(main())

    return run


@asynccontextmanager
async def _beside(plane: Plane) -> AsyncIterator[None]:
    await plane.server.database.open()
    try:
        await plane.start()
        yield
    finally:
        await plane.server.engine.stop()
        await plane.server.database.close()


@pytest.mark.slow
@pytest.mark.parametrize("lateness", LATENESS)
def test_one_of_two_holders_decides(at_every_step: Callable[..., None], lateness: int) -> None:
    async def scenario(theft: Theft, step: int) -> None:
        id = await theft.launch(f"e{step}-{lateness}", steal_at=step, lateness=lateness)
        assert await theft.new.outputs(id) == EXPECTED, step
        # The old holder stops by itself, and neither ends nor deletes anything.
        await theft.old.until(lambda: not theft.old.engine.is_running(id))
        await check(theft.new, id)

    at_every_step(scenario)


@pytest.mark.slow
def test_an_old_holder_starts_nothing_after_an_abort(at_every_step: Callable[..., None]) -> None:
    async def scenario(theft: Theft, step: int) -> None:
        id = await theft.launch(f"e{step}", steal_at=step, lateness=10_000, abort=True)
        closure: execution_pb2.ExecutionClosure = await theft.new.ended(id)
        assert closure.HasField("abort_metadata"), step
        await theft.old.until(lambda: not theft.old.engine.is_running(id))
        assert await theft.new.phase_now(id) == "ABORTED"
        assert await theft.new.executions() == theft.executions, step
        await check(theft.new, id)

    at_every_step(scenario)

"""The sender of events: events of one moment share a transaction, and a refusal concerns only its own sender."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from flyteidl.core import execution_pb2
from flyteidl.event import event_pb2

from app import errors
from app.database import schema
from app.engine.local.graph import service_calls
from app.engine.local.graph.events import EventSender
from app.engine.local.graph.failures import ExecutionEnded, LeaseLost
from app.engine.port import NoEngine
from app.runtime.dispatch import Server, perform
from app.services import events
from app.settings import Settings
from tests.conftest import DATABASES, Bench
from tests.engine.fake_host import FakeHost
from tests.services.test_events import launch, node_event, run_id, task_event

Scenario = Callable[..., Any]
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution


@pytest.fixture(params=DATABASES)
def on_database(
    request: pytest.FixtureRequest, emptied_database: Callable[[str], str], tmp_path: Path
) -> Callable[..., Any]:
    """Runs a scenario with the service functions on a database, without an engine."""
    url = emptied_database(request.param)

    def run(scenario: Callable[[Bench], Any]) -> None:
        async def main() -> None:
            b = Bench(url, Settings(home=tmp_path))
            await b.database.open()
            try:
                await scenario(b)
            finally:
                await b.database.close()

        asyncio.run(main())

    return run


def event(node: str, phase: int) -> event_pb2.NodeExecutionEvent:
    found: event_pb2.NodeExecutionEvent = node_event(node, phase, 0).event
    found.ClearField("occurred_at")
    return found


class Sending:
    """A sender on a launched execution. batches: the numbers of events of the transactions that were tried."""

    def __init__(self, b: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.failures: list[Exception] = []
        self.bench = b
        self.host = FakeHost()
        self.sender = EventSender(Server(b.settings, b.database, b.blobs, NoEngine()), run_id(), cast(Any, self.host))
        record = events.record_events

        async def counted(ctx: Any, requests: Any) -> None:
            self.batches.append(len(requests))
            if self.failures:
                raise self.failures.pop(0)
            await record(ctx, requests)

        monkeypatch.setattr(events, "record_events", counted)
        monkeypatch.setattr(service_calls, "_PAUSE_SECONDS", 0.001)
        monkeypatch.setattr(service_calls, "_BACKOFF", 1.0)

    async def phases(self) -> dict[str, str]:
        async with self.bench.context() as ctx:
            return {row.node_id: row.phase for row in await ctx.db.find_all(schema.NodeExecution)}


def test_events_of_one_moment_share_transactions(on_database: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        pairs = [(event(f"n{n}", Node.QUEUED), event(f"n{n}", Node.RUNNING)) for n in range(40)]
        await asyncio.gather(*(made.sender.send(*pair) for pair in pairs))
        assert made.batches == [50, 30]
        assert await made.phases() == {f"n{n}": "RUNNING" for n in range(40)}
        # What is recorded is not sent again.
        await asyncio.gather(*(made.sender.send(*pair) for pair in pairs))
        assert made.batches == [50, 30]

    on_database(scenario)


def test_a_refused_event_stops_only_its_own_sender(on_database: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_node_event, node_event("n1", Node.ABORTED, 1))
        await b.call(events.create_node_event, node_event("n2", Node.RUNNING, 1))
        made = Sending(b, monkeypatch)
        sends = [made.sender.send(event(f"n{n}", Node.QUEUED), event(f"n{n}", Node.RUNNING)) for n in range(3)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [type(None), ExecutionEnded, type(None)]
        # An engine that was killed had sent RUNNING of n2 already.
        assert await made.phases() == {"n0": "RUNNING", "n1": "ABORTED", "n2": "RUNNING"}

    on_database(scenario)


def test_nothing_is_recorded_without_the_lease(on_database: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        made.host.has_lease = False
        sends = [made.sender.send(event(f"n{n}", Node.QUEUED), event(f"n{n}", Node.RUNNING)) for n in range(3)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [LeaseLost] * 3
        # One transaction shows it for all of them.
        assert made.batches == [6]
        assert await made.phases() == {}
        # The other server has ended a node.
        await b.call(events.create_node_event, node_event("n1", Node.SUCCEEDED, 1))
        with pytest.raises(LeaseLost):
            await made.sender.send(event("n1", Node.RUNNING))
        with pytest.raises(LeaseLost):
            await made.sender.send(event("n1", Node.FAILED))
        assert await made.phases() == {"n1": "SUCCEEDED"}
        # The other server has started a node: this one may not start the node too.
        await b.call(events.create_node_event, node_event("n2", Node.RUNNING, 1))
        for given in ([Node.RUNNING], [Node.RUNNING, Node.RUNNING]):
            with pytest.raises(LeaseLost):
                await made.sender.send(*(event("n2", phase) for phase in given))
        assert await made.phases() == {"n1": "SUCCEEDED", "n2": "RUNNING"}

    on_database(scenario)


def test_a_database_that_comes_back_loses_no_event(on_database: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        made.failures += [errors.Unavailable("busy")] * 3
        await asyncio.gather(*(made.sender.send(event(f"n{n}", Node.RUNNING)) for n in range(3)))
        assert made.batches == [3, 3, 3, 3]
        made.failures += [errors.Unavailable("busy")] * 6
        sends = [made.sender.send(event(f"n{n}", Node.SUCCEEDED)) for n in range(3)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {errors.Unavailable}
        assert set((await made.phases()).values()) == {"RUNNING"}
        # A failed event is not remembered as recorded.
        await asyncio.gather(*(made.sender.send(event(f"n{n}", Node.SUCCEEDED)) for n in range(3)))
        assert set((await made.phases()).values()) == {"SUCCEEDED"}

    on_database(scenario)


def test_an_unexpected_exception_reaches_the_sender_whose_event_causes_it(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        # The transaction of both, then that of the first alone.
        made.failures += [KeyError("both"), KeyError("first")]
        sends = [made.sender.send(event(f"n{n}", Node.RUNNING)) for n in range(2)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert [repr(outcome) for outcome in outcomes] == ["KeyError('first')", "None"]
        assert await made.phases() == {"n1": "RUNNING"}

    on_database(scenario)


def test_a_cancelled_sender_raises_when_its_events_are_recorded(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        sends = [asyncio.ensure_future(made.sender.send(event(f"n{n}", Node.RUNNING))) for n in range(2)]
        await asyncio.sleep(0)
        sends[0].cancel()
        with pytest.raises(asyncio.CancelledError):
            await sends[0]
        assert (await made.phases())["n0"] == "RUNNING"
        await sends[1]

    on_database(scenario)


@pytest.mark.parametrize("others", [0, 2])
def test_events_whose_answer_is_lost_are_recorded_once_and_stop_nothing(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch, others: int
) -> None:
    """As where the database fails over during a commit: the commit counts, and its answer does not arrive."""
    lost: list[int] = []

    async def losing(server: Any, function: Any, request: Any) -> Any:
        response = await perform(server, function, request)
        if lost:
            lost.pop()
            raise errors.Unavailable("the database connection was lost")
        return response

    def running() -> list[Any]:
        return [event("n0", Node.QUEUED), task_event("n0", Task.QUEUED, 0).event, event("n0", Node.RUNNING)]

    def ended() -> list[Any]:
        attempt = (task_event("n0", phase, 0).event for phase in (Task.RUNNING, Task.SUCCEEDED))
        return [*attempt, event("n0", Node.RUNNING), event("n0", Node.SUCCEEDED)]

    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        monkeypatch.setattr(service_calls, "perform", losing)
        for given in (running(), ended()):
            lost.append(1)
            sends = [made.sender.send(event(f"m{n}", given[-1].phase)) for n in range(others)]
            await asyncio.gather(made.sender.send(*given), *sends)
        assert set((await made.phases()).values()) == {"SUCCEEDED"}
        async with b.context() as ctx:
            rows = await ctx.db.find_all(schema.NodeExecutionEvent, node_id="n0")
        assert sorted(row.phase for row in rows) == ["QUEUED", "RUNNING", "SUCCEEDED"]

    on_database(scenario)


def test_a_sender_without_an_end_stops_where_a_client_has_ended_the_attempt(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        await b.call(events.create_task_event, task_event("n0", Task.ABORTED, 1))
        made = Sending(b, monkeypatch)
        with pytest.raises(ExecutionEnded):
            await made.sender.send(task_event("n0", Task.RUNNING, 2).event, event("n0", Node.RUNNING))

    on_database(scenario)


def test_a_cancelled_sender_waits_for_its_own_events_alone(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made, answers, record = Sending(b, monkeypatch), asyncio.Event(), events.record_events

        async def slow(ctx: Any, requests: Any) -> None:
            if len(requests) == 1:
                await answers.wait()
            await record(ctx, requests)

        monkeypatch.setattr(events, "record_events", slow)
        first = asyncio.ensure_future(made.sender.send(*(event(f"a{n}", Node.RUNNING) for n in range(50))))
        second = asyncio.ensure_future(made.sender.send(event("n1", Node.RUNNING)))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (made.batches, second.done()) == ([50], False)
        answers.set()
        await second
        # What was recorded for the cancelled sender is not sent again.
        await made.sender.send(event("a0", Node.RUNNING), event("a49", Node.QUEUED))
        assert made.batches == [50, 1]

    on_database(scenario)


def test_a_database_that_stays_away_refuses_all_waiting_events_at_once(
    on_database: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        made = Sending(b, monkeypatch)
        made.failures += [errors.Unavailable("busy")] * 6
        sends = [made.sender.send(*(event(f"n{n}-{m}", Node.RUNNING) for m in range(30))) for n in range(4)]
        outcomes = await asyncio.gather(*sends, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {errors.Unavailable}
        assert made.batches == [30] * 6
        await made.sender.send(event("n0-0", Node.RUNNING))
        assert await made.phases() == {"n0-0": "RUNNING"}

    on_database(scenario)

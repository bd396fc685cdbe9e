"""Events that are recorded in one transaction leave the rows that single calls leave."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.core import literals_pb2

from app import errors
from app.database import schema
from app.runtime.outgoing import RecordedEvent
from app.services import events
from app.services.phases import Node, Task, Workflow
from tests.services.test_events import get, launch, node_event, rows_of, story, task_event, workflow_event

Scenario = Callable[..., Any]
MODELS = (schema.NodeExecution, schema.TaskExecution, schema.NodeExecutionEvent)


async def record(ctx: Any, requests: Any) -> None:
    await events.record_events(ctx, [request.event for request in requests])


async def forget(b: Any) -> None:
    async with b.context() as ctx:
        for model in MODELS:
            await ctx.db.delete(model, execution_name="e1")


def two_nodes() -> list[tuple[Any, Any]]:
    """A node with a retry of its task, its child, and a failure, in the order in which an engine sends them."""
    failed = task_event("n0", Task.FAILED, 4)
    failed.event.error.code, failed.event.error.message = "E", "bad"
    logged = task_event("n0", Task.RUNNING, 3, reason="running")
    logged.event.logs.add(name="log", uri="http://log")
    ended = node_event("n0", Node.FAILED, 9)
    ended.event.error.code = "E"
    cached = node_event("n1", Node.SUCCEEDED, 8, parent="n0", output_uri="/out/n1")
    cached.event.task_node_metadata.catalog_key.dataset_id.name = "d"
    cached.event.task_node_metadata.cache_status = 1
    return [
        (events.create_node_event, node_event("n0", Node.QUEUED, 1, input_uri="/in/n0", is_parent=True)),
        (events.create_task_event, task_event("n0", Task.QUEUED, 2, reason="task submitted")),
        (events.create_node_event, node_event("n0", Node.RUNNING, 2, is_dynamic=True)),
        (events.create_task_event, logged),
        (events.create_task_event, failed),
        (events.create_task_event, task_event("n0", Task.QUEUED, 5, attempt=1)),
        (events.create_node_event, node_event("n1", Node.QUEUED, 6, parent="n0")),
        (events.create_node_event, node_event("n1", Node.RUNNING, 7, parent="n0")),
        (events.create_node_event, cached),
        (events.create_task_event, task_event("n0", Task.FAILED, 9, attempt=1)),
        (events.create_node_event, ended),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_batches_of_each_size_leave_the_rows_of_single_calls(bench: Scenario, size: int) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        for function, request in two_nodes():
            await b.call(function, request)
        expected = await rows_of(b)
        await forget(b)
        requests = [request for _, request in two_nodes()]
        for start in range(0, len(requests), size):
            await b.call(record, requests[start : start + size])
        assert await rows_of(b) == expected

    bench(scenario)


def test_a_batch_of_many_nodes_leaves_the_rows_of_single_calls(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        lines = story()[:60]
        for line in lines:
            for function, request in line:
                await b.call(function, request)
        expected = await rows_of(b)
        await forget(b)
        # Nodes before their children, and the events of a row in order.
        left = [[request for _, request in line] for line in lines]
        mixed = [line.pop(0) for line in left]
        dice = random.Random(3)
        while left := [line for line in left if line]:
            mixed.append(dice.choice(left).pop(0))
        await b.call(record, mixed)
        assert await rows_of(b) == expected

    bench(scenario)


def test_one_refused_event_leaves_nothing_of_its_batch(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_node_event, node_event("n0", Node.SUCCEEDED, 1))
        before = await rows_of(b)
        late = node_event("n0", Node.RUNNING, 2)
        for bad, error in (
            (late, errors.FailedPrecondition),
            (node_event("n0", Node.SUCCEEDED, 2), errors.AlreadyExists),
            (task_event("n9", Task.RUNNING, 2), errors.NotFound),
            (node_event("n2", Node.QUEUED, 2, parent="n9"), errors.NotFound),
        ):
            for batch in ([node_event("n1", Node.QUEUED, 2), bad], [bad, node_event("n1", Node.QUEUED, 2)]):
                with pytest.raises(error):
                    await b.call(record, batch)
                assert await rows_of(b) == before

    bench(scenario)


def test_events_of_nodes_and_of_the_execution_keep_their_order(bench: Scenario) -> None:
    """The messages about events come in the order of the events, each after its row."""
    seen: list[tuple[str, bool, int]] = []

    class Writer:
        kinds = frozenset({"workflow", "node", "task"})

        async def write(self, ctx: Any, event: RecordedEvent) -> None:
            rows = await ctx.db.find_all(schema.NodeExecution, execution_name="e1")
            seen.append((event.kind, event.first, len(rows)))

    async def scenario(b: Any) -> None:
        await launch(b)

        async def with_writer(ctx: Any, requests: Any) -> None:
            ctx.outgoing.writers.append(Writer())
            await record(ctx, requests)

        batch = [
            node_event("n0", Node.QUEUED, 1),
            node_event("n0", Node.RUNNING, 2),
            task_event("n0", Task.RUNNING, 2),
            workflow_event(Workflow.RUNNING, 3),
            node_event("n1", Node.SUCCEEDED, 4),
        ]
        await b.call(with_writer, batch)
        expected = [("node", True, 1), ("node", False, 1), ("task", True, 1), ("workflow", False, 1), ("node", True, 2)]
        assert seen == expected
        assert (await get(b)).closure.phase == Workflow.RUNNING

    bench(scenario)
    seen.clear()


def test_events_with_inline_inputs_are_recorded_one_by_one(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        queued = task_event("n0", Task.QUEUED, 1)
        queued.event.input_data.CopyFrom(literals_pb2.LiteralMap())
        await b.call(record, [node_event("n0", Node.RUNNING, 1), queued])
        (attempt,) = map(dict, (await rows_of(b))["task_executions"])
        assert attempt["input_uri"].endswith("offloaded_inputs")

    bench(scenario)


def test_the_deck_of_a_batch_is_looked_for_before_the_transaction(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        deck = b.blobs.uri("deck.html")
        await b.blobs.write(deck, b"<p>deck</p>")
        batch = [
            node_event("n0", Node.RUNNING, 1),
            task_event("n0", Task.RUNNING, 1),
            node_event("n0", Node.RUNNING, 2, deck_uri=deck),
            task_event("n0", Task.SUCCEEDED, 3),
        ]
        writing: list[bool] = []

        async def watched(ctx: Any, requests: Any) -> None:
            exists = ctx.blobs.exists

            async def looked_for(uri: str) -> bool:
                writing.append(ctx.db.writing)
                return bool(await exists(uri))

            ctx.blobs.exists = looked_for
            try:
                await record(ctx, requests)
            finally:
                del ctx.blobs.exists

        await b.call(watched, batch)
        assert writing == [False]
        rows = await rows_of(b)
        (node,) = map(dict, rows["node_executions"])
        assert deck.encode() in node["closure"]
        # The event of the deck has no line in the log.
        assert len(rows["node_execution_events"]) == 1
        # A deck that the node has, and one that does not exist, are no news.
        for uri in (deck, b.blobs.uri("missing.html")):
            with pytest.raises(errors.AlreadyExists):
                await b.call(record, [node_event("n0", Node.RUNNING, 4, deck_uri=uri)])

    bench(scenario)

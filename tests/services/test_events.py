"""Events of engines: late, twice, out of order and from many writers at once, on both databases."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from flyteidl.admin import event_pb2, execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2

from app import errors
from app.database import schema
from app.services import events, execution_ids, executions, launch_plans, node_executions, task_executions
from app.services.events.node_events import _internal_data
from app.services.executions import metrics
from app.services.phases import Node, Task, Workflow
from app.wire.text import text
from tests.support.builders import a_launch_plan, an_id, refusal, register

Scenario = Callable[..., Any]
TASK = an_id(identifier_pb2.TASK, "inc")


def run_id(name: str = "e1") -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="development", name=name)


async def launch(b: Any, name: str = "e1") -> None:
    """One execution of launch plan lp, with its registrations if it is the first."""
    if name == "e1":
        await register(b, workflow=True)
        await b.call(launch_plans.create_launch_plan, a_launch_plan())
    request = execution_pb2.ExecutionCreateRequest(project="p", domain="development", name=name)
    request.spec.launch_plan.CopyFrom(an_id(identifier_pb2.LAUNCH_PLAN, "lp"))
    request.inputs.literals["a"].scalar.primitive.integer = 1
    await b.call(executions.create_execution, request)


def workflow_event(phase: int, second: int, **fields: Any) -> event_pb2.WorkflowExecutionEventRequest:
    request = event_pb2.WorkflowExecutionEventRequest()
    request.event.execution_id.CopyFrom(fields.pop("id", run_id()))
    request.event.phase = phase
    request.event.occurred_at.seconds = 1_700_000_000 + second
    for name, value in fields.items():
        setattr(request.event, name, value)
    return request


def node_event(node: str, phase: int, second: int, *, parent: str = "", **fields: Any) -> Any:
    request = event_pb2.NodeExecutionEventRequest()
    request.event.id.execution_id.CopyFrom(fields.pop("id", run_id()))
    request.event.id.node_id = node
    request.event.phase = phase
    request.event.spec_node_id = node
    request.event.occurred_at.seconds = 1_700_000_000 + second
    if parent:
        request.event.parent_node_metadata.node_id = parent
    for name, value in fields.items():
        setattr(request.event, name, value)
    return request


def task_event(node: str, phase: int, second: int, *, attempt: int = 0, version: int = 0, **fields: Any) -> Any:
    request = event_pb2.TaskExecutionEventRequest()
    given = request.event
    given.task_id.CopyFrom(TASK)
    given.parent_node_execution_id.execution_id.CopyFrom(run_id())
    given.parent_node_execution_id.node_id = node
    given.retry_attempt, given.phase, given.phase_version = attempt, phase, version
    given.occurred_at.seconds = 1_700_000_000 + second
    for name, value in fields.items():
        setattr(given, name, value)
    return request


async def get(b: Any, name: str = "e1") -> execution_pb2.Execution:
    request = execution_pb2.WorkflowExecutionGetRequest(id=run_id(name))
    return await b.call(executions.get_execution, request)  # type: ignore[no-any-return]


async def get_node(b: Any, node: str) -> node_execution_pb2.NodeExecution:
    request = node_execution_pb2.NodeExecutionGetRequest()
    request.id.execution_id.CopyFrom(run_id())
    request.id.node_id = node
    return await b.call(node_executions.get_node_execution, request)  # type: ignore[no-any-return]


async def get_task(b: Any, node: str, attempt: int = 0) -> task_execution_pb2.TaskExecution:
    request = task_execution_pb2.TaskExecutionGetRequest()
    request.id.node_execution_id.execution_id.CopyFrom(run_id())
    request.id.node_execution_id.node_id = node
    request.id.task_id.CopyFrom(TASK)
    request.id.retry_attempt = attempt
    return await b.call(task_executions.get_task_execution, request)  # type: ignore[no-any-return]


class TestWorkflowEvents:
    def test_a_run_from_start_to_end(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            await b.call(events.create_workflow_event, workflow_event(Workflow.SUCCEEDED, 301, output_uri="s3://x/o"))
            found = (await get(b)).closure
            assert (found.phase, found.outputs.uri) == (Workflow.SUCCEEDED, "s3://x/o")
            assert (found.started_at.seconds, found.duration.seconds) == (1_700_000_001, 300)

        bench(scenario)

    def test_a_repeated_and_a_late_event_change_nothing(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            await refusal(b, events.create_workflow_event, workflow_event(Workflow.RUNNING, 2), errors.AlreadyExists)
            await b.call(events.create_workflow_event, workflow_event(Workflow.FAILED, 3))
            before = await get(b)
            for phase in (Workflow.RUNNING, Workflow.SUCCEEDED, Workflow.QUEUED):
                late = workflow_event(phase, 9, output_uri="s3://wrong")
                error = await refusal(b, events.create_workflow_event, late, errors.FailedPrecondition)
                assert error.details[0].already_in_terminal_state.current_phase == "FAILED"
            assert await get(b) == before

        bench(scenario)

    @pytest.mark.parametrize("part", ["project", "domain", "name"])
    def test_an_empty_part_of_the_id_reaches_nobody(self, bench: Scenario, part: str) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            before = await get(b)
            id = run_id()
            id.ClearField(part)
            for function, request in (
                (events.create_workflow_event, workflow_event(Workflow.RUNNING, 1, id=id)),
                (events.create_node_event, node_event("n0", Node.RUNNING, 1, id=id)),
            ):
                error = await refusal(b, function, request)
                assert error.message == f"missing {part}"
            assert await get(b) == before

        bench(scenario)

    def test_an_unknown_execution_is_not_found(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            request = workflow_event(Workflow.RUNNING, 1, id=run_id("nobody"))
            error = await refusal(b, events.create_workflow_event, request, errors.NotFound)
            assert error.message.startswith("missing entity of type execution")
            await refusal(
                b, events.create_node_event, node_event("n0", Node.QUEUED, 1, id=run_id("nobody")), errors.NotFound
            )
            await refusal(b, events.create_task_event, task_event("n0", Task.QUEUED, 1), errors.NotFound)

        bench(scenario)

    def test_the_queueing_cluster_takes_the_execution_over(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.QUEUED, 1, producer_id="c2"))
            assert (await get(b)).spec.metadata.system_metadata.execution_cluster == "c2"
            other = workflow_event(Workflow.RUNNING, 2, producer_id="c3")
            error = await refusal(b, events.create_workflow_event, other, errors.FailedPrecondition)
            assert error.details[0].incompatible_cluster.cluster == "c3"

        bench(scenario)

    def test_an_abort_keeps_its_cause_and_principal(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            terminate = execution_pb2.ExecutionTerminateRequest(id=run_id(), cause="enough")
            await b.call(executions.terminate_execution, terminate, principal="me")
            assert (await get(b)).closure.phase == Workflow.ABORTING
            await b.call(events.create_workflow_event, workflow_event(Workflow.ABORTED, 5))
            found = (await get(b)).closure
            assert (found.phase, found.abort_metadata.cause, found.abort_metadata.principal) == (
                Workflow.ABORTED,
                "enough",
                "me",
            )

        bench(scenario)


class TestNodeAndTaskEvents:
    def test_inline_outputs_are_stored_as_objects(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
            request = node_event("n0", Node.SUCCEEDED, 5)
            request.event.output_data.literals["o"].scalar.primitive.integer = 7
            await b.call(events.create_node_event, request)
            assert (await get_node(b, "n0")).closure.output_uri.endswith("/p/development/e1/n0/offloaded_outputs")
            ask = node_execution_pb2.NodeExecutionGetDataRequest(id=request.event.id)
            data = await b.call(node_executions.get_node_execution_data, ask)
            assert data.full_outputs.literals["o"].scalar.primitive.integer == 7
            assert data.flyte_urls.inputs == "flyte://v1/p/development/e1/n0/i"

        bench(scenario)

    def test_outputs_over_the_limit_are_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            request = node_event("n0", Node.SUCCEEDED, 5)
            request.event.output_data.literals["o"].scalar.primitive.string_value = "x" * 3_000_000
            error = await refusal(b, events.create_node_event, request, errors.ResourceExhausted)
            assert error.message.startswith("Output data size exceeds platform configured threshold (")

        bench(scenario)

    def test_times_as_far_apart_as_can_be_are_recorded(self, bench: Scenario) -> None:
        first, last = -62_135_596_800, 253_402_300_799

        async def scenario(b: Any) -> None:
            await launch(b)
            for phase, seconds in ((Node.RUNNING, first), (Node.FAILED, last)):
                event = node_event("n0", phase, 0)
                event.event.occurred_at.seconds = seconds
                await b.call(events.create_node_event, event)
            for phase, seconds in ((Workflow.RUNNING, first), (Workflow.FAILED, last)):
                event = workflow_event(phase, 0)
                event.event.occurred_at.seconds = seconds
                await b.call(events.create_workflow_event, event)
            node, run = await get_node(b, "n0"), await get(b)
            assert node.closure.started_at.seconds == run.closure.started_at.seconds == first
            assert node.closure.duration.ToNanoseconds() == run.closure.duration.ToNanoseconds() == 2**63 - 1

        bench(scenario)

    def test_a_child_execution_is_measured_with_its_node(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await launch(b, "e2")
            await b.call(events.create_node_event, node_event("n0", Node.QUEUED, 1))
            running = node_event("n0", Node.RUNNING, 2)
            running.event.workflow_node_metadata.execution_id.CopyFrom(run_id("e2"))
            await b.call(events.create_node_event, running)
            node = await get_node(b, "n0")
            assert node.closure.workflow_node_metadata.executionId == run_id("e2")

            execution = await get(b)

            async def spans_of(ctx: Any, visited: set[str]) -> Any:
                run = metrics.ExecutionTree(execution, compiler_pb2.CompiledWorkflowClosure(), visited=visited)
                return await metrics._launch_plan(ctx, run, node, 0)

            setup, child, *_ = await b.call(spans_of, set())
            assert setup.operation_id == "NODE_SETUP"
            assert child.workflow_id == run_id("e2")
            # An execution that is named as its own child is not repeated.
            (alone,) = await b.call(spans_of, {text(run_id("e2"))})
            assert alone.operation_id == "NODE_SETUP"

        bench(scenario)

    def test_a_node_that_is_cut_off_keeps_a_deck_that_is_there(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            there, gone = b.blobs.uri("n0", "deck.html"), b.blobs.uri("gone", "deck.html")
            await b.blobs.write(there, b"<h1>seen</h1>")
            ends = {"n0": Node.ABORTED, "n1": Node.TIMED_OUT, "n2": Node.ABORTED, "n3": Node.FAILED, "n4": Node.ABORTED}
            shown = {"n0": there, "n1": there, "n2": gone, "n3": there, "n4": "/elsewhere/deck.html"}
            for node, phase in ends.items():
                running = node_event(node, Node.RUNNING, 1, deck_uri=shown[node])
                await b.call(events.create_node_event, running)
                await b.call(events.create_node_event, node_event(node, phase, 2))
            found = {node: (await get_node(b, node)).closure.deck_uri for node in ends}
            # The store cannot check a deck outside of it. The event of a failed node names its deck.
            assert found == {"n0": there, "n1": there, "n2": "", "n3": "", "n4": "/elsewhere/deck.html"}

        bench(scenario)

    @pytest.mark.parametrize("phase", [Node.RUNNING, Node.DYNAMIC_RUNNING])
    def test_a_running_node_takes_a_deck_once_it_lies_in_the_store(self, bench: Scenario, phase: int) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            first, second = b.blobs.uri("n0", "0", "deck.html"), b.blobs.uri("n0", "1", "deck.html")

            async def shown() -> str:
                return str((await get_node(b, "n0")).closure.deck_uri)

            for given in dict.fromkeys((Node.RUNNING, phase)):
                await b.call(events.create_node_event, node_event("n0", given, 1))
            before = await get_node(b, "n0")
            # A repeated phase is refused if its deck is missing, is outside the store, or is not named.
            for uri in (first, "/elsewhere/deck.html", ""):
                await refusal(
                    b, events.create_node_event, node_event("n0", phase, 2, deck_uri=uri), errors.AlreadyExists
                )
            for uri in (first, second):
                await b.blobs.write(uri, b"page")
                added = node_event("n0", phase, 3, deck_uri=uri, input_uri="/other")
                await b.call(events.create_node_event, added)
                assert await shown() == uri
                await refusal(b, events.create_node_event, added, errors.AlreadyExists)
            after = await get_node(b, "n0")
            assert (after.closure.phase, after.closure.started_at) == (phase, before.closure.started_at)
            assert after.closure.updated_at.seconds == before.closure.updated_at.seconds + 2
            assert after.input_uri == before.input_uri
            await b.call(events.create_node_event, node_event("n0", Node.ABORTED, 4))
            assert await shown() == second
            late = node_event("n0", phase, 5, deck_uri=first)
            await refusal(b, events.create_node_event, late, errors.FailedPrecondition)
            assert await shown() == second

        bench(scenario)

    def test_children_hang_under_their_parent(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            child = node_event("n0-0-a", Node.QUEUED, 2, parent="n0", retry_group="0")
            await refusal(b, events.create_node_event, child, errors.NotFound)
            await b.call(events.create_node_event, node_event("n0", Node.QUEUED, 1))
            await b.call(events.create_node_event, child)
            ask = node_execution_pb2.NodeExecutionListRequest(workflow_execution_id=run_id(), limit=10)
            top = await b.call(node_executions.list_node_executions, ask)
            ask.unique_parent_id = "n0"
            below = await b.call(node_executions.list_node_executions, ask)
            assert [node.id.node_id for node in top.node_executions] == ["n0"]
            assert [node.id.node_id for node in below.node_executions] == ["n0-0-a"]
            assert (await get_node(b, "n0")).metadata.is_parent_node

        bench(scenario)

    def test_attempts_are_rows_of_their_own(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
            for attempt, phase in ((0, Task.FAILED), (1, Task.SUCCEEDED)):
                await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 2, attempt=attempt))
                await b.call(events.create_task_event, task_event("n0", phase, 9, attempt=attempt))
                assert (await get_task(b, "n0", attempt)).closure.phase == phase
            ask = task_execution_pb2.TaskExecutionListRequest(limit=10)
            ask.node_execution_id.execution_id.CopyFrom(run_id())
            ask.node_execution_id.node_id = "n0"
            found = await b.call(task_executions.list_task_executions, ask)
            assert [one.id.retry_attempt for one in found.task_executions] == [0, 1]
            # Parity: the names are those of the execution, not of the task.
            for filters, count in (
                ("eq(name,e1)", 2),
                ("eq(name,inc)", 0),
                ("eq(project,p)", 2),
                ("contains(name,1)", 2),
            ):
                ask.filters = filters
                found = await b.call(task_executions.list_task_executions, ask)
                assert len(found.task_executions) == count, filters

        bench(scenario)

    @pytest.mark.parametrize(
        ("closure", "message"),
        [
            (
                compiler_pb2.CompiledWorkflowClosure(),
                "Empty primary workflow definition in loaded dynamic workflow model.",
            ),
            (
                compiler_pb2.CompiledWorkflowClosure(primary={}),
                "Empty primary workflow template in loaded dynamic workflow model.",
            ),
        ],
    )
    def test_a_dynamic_workflow_that_is_empty(
        self, bench: Scenario, closure: compiler_pb2.CompiledWorkflowClosure, message: str
    ) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
            node = identifier_pb2.NodeExecutionIdentifier(execution_id=run_id(), node_id="n0")
            async with b.context() as ctx:
                uri = ctx.blobs.uri("dynamic")
                await ctx.blobs.write(uri, closure.SerializeToString())
                await ctx.db.update(
                    schema.NodeExecution, execution_ids.node_key(node), dynamic_workflow_remote_closure_reference=uri
                )
            for function, request in (
                (node_executions.get_node_execution_data, node_execution_pb2.NodeExecutionGetDataRequest),
                (node_executions.get_dynamic_node_workflow, node_execution_pb2.GetDynamicNodeWorkflowRequest),
            ):
                with pytest.raises(errors.Internal) as caught:
                    await b.call(function, request(id=node))
                assert caught.value.message == message

        bench(scenario)

    def test_phase_version_zero_is_stored(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
            await b.call(events.create_task_event, task_event("n0", Task.QUEUED, 1, version=2))
            await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 2, version=0))
            await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 3, version=1))
            again = task_event("n0", Task.RUNNING, 4, version=1)
            await refusal(b, events.create_task_event, again, errors.AlreadyExists)

        bench(scenario)

    @pytest.mark.parametrize(("version", "stored"), [(0, b""), (1, b"\x08\x01"), (300, b"\x08\xac\x02")])
    def test_the_event_version_is_stored_as_field_1_of_a_message(self, version: int, stored: bytes) -> None:
        assert _internal_data(version) == stored


NODES = 200


def story() -> list[list[tuple[Any, Any]]]:
    """For each entity of one execution its events in order; entities are independent but for their parents."""
    lines: list[list[tuple[Any, Any]]] = []
    for number in range(NODES):
        node, parent = f"n{number}", "" if number < 20 else f"n{number % 20}"
        line: list[tuple[Any, Any]] = []
        for step, phase in enumerate((Node.QUEUED, Node.RUNNING, Node.SUCCEEDED)):
            request = node_event(node, phase, number * 10 + step, parent=parent, event_version=1)
            if phase == Node.SUCCEEDED:
                request.event.output_uri = f"/out/{node}"
            line.append((events.create_node_event, request))
        lines.append(line)
        line = []
        for step, phase in enumerate((Task.QUEUED, Task.RUNNING, Task.RUNNING, Task.SUCCEEDED)):
            request = task_event(node, phase, number * 10 + step, version=step)
            for index in range(3):
                resource = request.event.metadata.external_resources.add(index=index, phase=phase)
                resource.external_id = f"{node}-{index}"
            line.append((events.create_task_event, request))
        lines.append(line)
    return lines


async def deliver(b: Any, function: Any, request: Any) -> bool:
    """Whether the event is recorded; one whose parent is not there yet has to come again, as an engine does."""
    try:
        await b.call(function, request)
    except errors.AlreadyExists:
        return True
    except errors.NotFound:
        return False
    return True


async def rows_of(b: Any) -> dict[str, list[Any]]:
    """Every row of the execution, without what differs from run to run."""
    found: dict[str, list[Any]] = {}
    async with b.context() as ctx:
        for model in (schema.NodeExecution, schema.TaskExecution, schema.NodeExecutionEvent):
            rows = await ctx.db.find_all(model, execution_name="e1")
            ids = {row.id: row.node_id for row in rows}
            plain = []
            for row in rows:
                values = row._asdict()
                for name in ("id", "created_at", "updated_at"):
                    values.pop(name)
                if values.get("parent_id"):
                    values["parent_id"] = ids[values["parent_id"]]
                plain.append(sorted(values.items(), key=lambda item: item[0]))
            found[schema.table(model).name] = sorted(plain, key=repr)
    return found


@pytest.mark.slow
def test_eight_writers_leave_what_one_leaves(bench: Scenario) -> None:
    """Events of 200 nodes, shuffled over eight writers that repeat some, end as a serial, ordered delivery does."""

    async def serial(b: Any) -> dict[str, list[Any]]:
        await launch(b)
        for line in story():
            for function, request in line:
                await b.call(function, request)
        rows = await rows_of(b)
        async with b.context() as ctx:
            for model in (schema.NodeExecution, schema.TaskExecution, schema.NodeExecutionEvent):
                await ctx.db.delete(model, execution_name="e1")
        return rows

    async def scenario(b: Any) -> None:
        expected = await serial(b)
        assert len(expected["node_executions"]) == NODES
        dice = random.Random(7)
        lines = story()
        dice.shuffle(lines)
        queue = [list(line) for line in lines]

        async def writer(number: int) -> None:
            mine = queue[number::8]
            while mine:
                line = dice.choice(mine)
                function, request = line[0]
                if not await deliver(b, function, request):
                    continue
                if dice.random() < 0.2:
                    await deliver(b, function, request)
                line.pop(0)
                if not line:
                    mine.remove(line)

        # Each entity's events stay in order, as one engine worker sends them; entities and writers interleave freely.
        await asyncio.wait_for(asyncio.gather(*(writer(number) for number in range(8))), 120)
        assert await rows_of(b) == expected

    bench(scenario)


def test_two_writers_of_one_row_lose_nothing(bench: Scenario) -> None:
    """Every event for one row adds a reason and a log; whatever the order of arrival, all of them are there."""

    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 1))

        async def add(number: int) -> None:
            request = task_event("n0", Task.RUNNING, 1 + number, version=number)
            request.event.reasons.add(reason=f"reason {number}")
            request.event.logs.add(name=f"log {number}", uri=f"http://logs/{number}")
            try:
                await b.call(events.create_task_event, request)
            except errors.AlreadyExists:
                # A concurrent event has a higher phase version, so this event is refused.
                await add(number + 100)

        await asyncio.gather(*(add(number) for number in range(1, 33)))
        closure = (await get_task(b, "n0")).closure
        assert len({reason.message for reason in closure.reasons}) == 32
        assert len({log.name for log in closure.logs}) == 32

    bench(scenario)


@pytest.mark.parametrize("kind", ["workflow", "node", "task", "first node", "first task"])
def test_the_outputs_of_the_event_that_won_are_those_that_stay(bench: Scenario, kind: str) -> None:
    """Many writers end one row with outputs of their own; those whose writes take longest come too late."""

    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
        if not kind.startswith("first node"):
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        if kind == "task":
            await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 1))
        create = b.blobs.create

        async def slowly(uri: str, data: bytes) -> bool:
            await asyncio.sleep(0.02 * value_in(data))
            return bool(await create(uri, data))

        b.blobs.create = slowly
        won = []

        async def end(number: int) -> None:
            function, request = ending(kind)
            request.event.output_data.literals["o"].scalar.primitive.integer = number
            try:
                await b.call(function, request)
            except (errors.AlreadyExists, errors.FailedPrecondition):
                return
            won.append(number)

        await asyncio.gather(*(end(number) for number in range(1, 9)))
        assert len(won) == 1
        (uri,) = [uri for uri in (await outputs_uris(b, kind)) if uri]
        assert value_in(await b.blobs.read(uri, bytes_max=0)) == won[0]

    bench(scenario)


@pytest.mark.parametrize("kind", ["workflow", "node", "task", "first node", "first task"])
def test_no_lock_is_held_while_outputs_are_written(bench: Scenario, kind: str) -> None:
    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
        if kind not in ("workflow", "first node"):
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        if kind == "task":
            await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 1))
        create, writing = b.blobs.create, []

        async def watched(uri: str, data: bytes) -> bool:
            # No lock is held while the object is written; on SQLite a lock is on the whole database.
            async with asyncio.timeout(5), b.context() as ctx:
                for model in (schema.Execution, schema.NodeExecution, schema.TaskExecution):
                    await ctx.db.find(model, for_update=True, execution_project="p", execution_name="e1")
            writing.append(uri)
            return bool(await create(uri, data))

        b.blobs.create = watched
        function, request = ending(kind)
        request.event.output_data.literals["o"].scalar.primitive.integer = 1
        await b.call(function, request)
        assert len(writing) == 1

    bench(scenario)


@pytest.mark.parametrize("kind", ["workflow", "node", "task"])
def test_an_event_that_was_interrupted_after_its_write_is_taken_again(bench: Scenario, kind: str) -> None:
    """The same data is found under upstream's name; other data there belongs to an event that was not recorded."""

    async def scenario(b: Any) -> None:
        await launch(b)
        await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
        await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
        await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 1))
        function, request = ending(kind)
        request.event.output_data.literals["o"].scalar.primitive.integer = 1
        with suppress(RuntimeError):
            async with b.context() as ctx:
                await function(ctx, request)
                raise RuntimeError("killed before the commit")
        if kind == "node":
            request.event.output_data.literals["o"].scalar.primitive.integer = 2
        await b.call(function, request)
        (uri,) = [uri for uri in (await outputs_uris(b, kind)) if uri]
        wanted = request.event.output_data.literals["o"].scalar.primitive.integer
        assert value_in(await b.blobs.read(uri, bytes_max=0)) == wanted
        assert uri.endswith("/offloaded_outputs") == (kind != "node")

    bench(scenario)


def value_in(data: bytes) -> int:
    return int(literals_pb2.LiteralMap.FromString(data).literals["o"].scalar.primitive.integer)


def ending(kind: str) -> tuple[Any, Any]:
    """The event that ends a row of this kind, and the function that takes it."""
    if kind == "workflow":
        return events.create_workflow_event, workflow_event(Workflow.SUCCEEDED, 5)
    if "node" in kind:
        return events.create_node_event, node_event("n0", Node.SUCCEEDED, 5)
    return events.create_task_event, task_event("n0", Task.SUCCEEDED, 5)


async def outputs_uris(b: Any, kind: str) -> list[str]:
    if kind == "workflow":
        return [(await get(b)).closure.outputs.uri]
    found = await (get_node(b, "n0") if "node" in kind else get_task(b, "n0"))
    return [found.closure.output_uri]

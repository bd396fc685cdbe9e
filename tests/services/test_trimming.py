"""Rows of lists are small whatever was reported; the Get RPCs return it whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import common_pb2, execution_pb2, node_execution_pb2, task_execution_pb2
from flyteidl.core import literals_pb2
from flyteidl.event import event_pb2
from google.protobuf.struct_pb2 import Struct

from app.services import events, executions, node_executions, task_executions
from app.services.phases import Node, Task, Workflow
from app.services.trimming import trim_execution, trim_task
from tests.services.test_events import TASK, launch, node_event, run_id, task_event, workflow_event

TRACE = "Trace:\n\n" + 20 * '    File "train.py", line 3, in fit\n' + "\nMessage:\n\n    "
Scenario = Callable[..., Any]
LONG = "m" * 1_500_000


async def lists(b: Any) -> tuple[Any, Any, Any]:
    """One page of executions, nodes and attempts."""
    request = common_pb2.ResourceListRequest(limit=100)
    request.id.project, request.id.domain = "p", "development"
    runs = await b.call(executions.list_executions, request)
    of_nodes = node_execution_pb2.NodeExecutionListRequest(workflow_execution_id=run_id(), limit=100)
    of_tasks = task_execution_pb2.TaskExecutionListRequest(limit=100)
    of_tasks.node_execution_id.node_id = "n0"
    of_tasks.node_execution_id.execution_id.CopyFrom(run_id())
    return (
        runs,
        await b.call(node_executions.list_node_executions, of_nodes),
        await b.call(task_executions.list_task_executions, of_tasks),
    )


async def attempt(b: Any, number: int) -> task_execution_pb2.TaskExecution:
    request = task_execution_pb2.TaskExecutionGetRequest()
    request.id.task_id.CopyFrom(TASK)
    request.id.node_execution_id.node_id = "n0"
    request.id.node_execution_id.execution_id.CopyFrom(run_id())
    request.id.retry_attempt = number
    found: task_execution_pb2.TaskExecution = await b.call(task_executions.get_task_execution, request)
    return found


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("short", "short"),
        ("", ""),
        ("  short\n", "  short\n"),
        ("a" * 100, "a" * 100),
        ("a" * 101, "a" * 100),
        (
            f"{TRACE}ValueError: bad shape\n\n",
            'File "train.py", line 3, in fit\n\nMessage:\n\n    ValueError: bad shape',
        ),
        (TRACE + "ValueError: " + "x" * 200, "ValueError: " + "x" * 88),
        ("head\n" + "b" * 99, "b" * 99),
        ("the head\n" + "b" * 100, "b" * 100),
        ("é" * 101, "é" * 50),
        ("the head\n" + "é" * 50, "é" * 50),
        ("日本語" * 40 + "\n日本語", "日本語"),
        (" \n" * 200, ""),
        ("one\n" + "\n" * 200, "one"),
        (
            "\r\n[fit] terminated with exit code (137). Reason [OOMKilled]. Message: \n" + "log\n" * 60 + ".",
            "log\n" * 24 + ".",
        ),
    ],
)
def test_the_end_of_an_error_is_kept(message: str, shown: str) -> None:
    closure = execution_pb2.ExecutionClosure()
    closure.error.message = message
    trim_execution(closure)
    assert closure.error.message == shown
    assert len(closure.error.message.encode()) <= 100


class TestTrimming:
    def test_errors_of_attempts_nodes_and_executions_are_cut_in_lists(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 2))
            for number in range(3):
                failed = task_event("n0", Task.FAILED, 3, attempt=number)
                failed.event.error.message, failed.event.error.code = LONG, "X"
                await b.call(events.create_task_event, failed)
            ended = node_event("n0", Node.FAILED, 4)
            ended.event.error.message = LONG
            await b.call(events.create_node_event, ended)
            over = workflow_event(Workflow.FAILED, 5)
            over.event.error.message = LONG
            await b.call(events.create_workflow_event, over)
            runs, nodes, attempts = await lists(b)
            assert [len(one.closure.error.message) for one in attempts.task_executions] == [10_000] * 3
            assert [one.closure.error.code for one in attempts.task_executions] == ["X"] * 3
            assert len(nodes.node_executions[0].closure.error.message) == 100
            assert len(runs.executions[0].closure.error.message) == 100
            assert (await attempt(b, 2)).closure.error.message == LONG

        bench(scenario)

    def test_an_abort_cause_is_cut_in_lists(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            await b.call(
                executions.terminate_execution, execution_pb2.ExecutionTerminateRequest(id=run_id(), cause=LONG)
            )
            request = common_pb2.ResourceListRequest(limit=100)
            request.id.project, request.id.domain = "p", "development"
            found = (await b.call(executions.list_executions, request)).executions[0]
            assert len(found.closure.abort_metadata.cause) == 1000
            whole = await b.call(executions.get_execution, execution_pb2.WorkflowExecutionGetRequest(id=run_id()))
            assert whole.closure.abort_metadata.cause == LONG

        bench(scenario)

    def test_outputs_that_stay_inline_are_left_out_of_lists(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            data = literals_pb2.LiteralMap()
            data.literals["o"].scalar.primitive.string_value = LONG
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 2))
            for make, send in (
                (task_event("n0", Task.SUCCEEDED, 3), events.create_task_event),
                (node_event("n0", Node.SUCCEEDED, 4), events.create_node_event),
                (workflow_event(Workflow.SUCCEEDED, 5), events.create_workflow_event),
            ):
                make.event.output_data.CopyFrom(data)
                await b.call(send, make)
            assert max(page.ByteSize() for page in await lists(b)) < 10_000
            assert (await attempt(b, 0)).closure.output_data == data

        bench(scenario, remote_data={"inline_event_data_policy": "StoreInline"})

    def test_of_reasons_logs_custom_info_and_indices_so_much_is_shown(self) -> None:
        closure = task_execution_pb2.TaskExecutionClosure(reason=LONG, custom_info=Struct())
        closure.custom_info["x"] = LONG
        for number in range(50):
            closure.reasons.add(message=f"{number} {LONG}")
            closure.logs.add(name=str(number), uri="u" * 500)
        resources = [event_pb2.ExternalResourceInfo(index=number, external_id="e" * 150) for number in range(10_000)]
        closure.metadata.external_resources.extend(resources)
        trim_task(closure)
        assert len(closure.reason) == 1000
        assert [reason.message.partition(" ")[0] for reason in closure.reasons] == ["46", "47", "48", "49"]
        assert [log.name for log in closure.logs] == [str(number) for number in range(8)]
        assert not closure.HasField("custom_info")
        assert 6_000 < len(closure.metadata.external_resources) < 7_000

    def test_what_is_small_stays_as_it_is(self) -> None:
        closure = task_execution_pb2.TaskExecutionClosure(reason="r", custom_info=Struct())
        closure.custom_info["x"] = 1
        closure.reasons.add(message="r")
        closure.logs.add(uri="u")
        closure.metadata.external_resources.add(index=1)
        before = closure.SerializeToString()
        trim_task(closure)
        assert closure.SerializeToString() == before


class TestBytesOfAPage:
    def test_a_page_ends_before_it_has_too_many_bytes(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launch(b)
            for name in ("e2", "e3"):
                await launch(b, name)
            request = common_pb2.ResourceListRequest(limit=100)
            request.id.project, request.id.domain = "p", "development"
            names, pages = [], 0
            while not pages or request.token:
                page = await b.call(executions.list_executions, request)
                names += [one.id.name for one in page.executions]
                request.token, pages = page.token, pages + 1
            assert (sorted(names), pages) == (["e1", "e2", "e3"], 3)

        bench(scenario, limits={"list_reply_bytes_max": 1})

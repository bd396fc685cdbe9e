"""The payloads of version v2, field by field, from the rows of both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flyteidl.admin import event_pb2, execution_pb2
from flyteidl.core import artifact_id_pb2, identifier_pb2
from flyteidl.event import cloudevents_pb2

from app.background.events_out import wrappers
from app.background.outbox.targets import MessageRefused
from app.database import schema
from app.services import events, execution_ids, executions, launch_plans
from app.services.phases import Node, Task, Workflow
from tests.services.test_events import TASK, node_event, run_id, task_event, workflow_event
from tests.support.builders import INTEGER, a_launch_plan, an_id, register, variables

Scenario = Callable[..., Any]
PLAN = an_id(identifier_pb2.LAUNCH_PLAN, "lp")


async def launched(b: Any) -> None:
    """An execution with labels and a principal, an artifact and a reference execution, and two attempts of its node."""
    await register(b, workflow=True)
    await b.call(launch_plans.create_launch_plan, a_launch_plan())
    request = execution_pb2.ExecutionCreateRequest(project="p", domain="development", name="e1")
    request.spec.launch_plan.CopyFrom(PLAN)
    request.spec.labels.values.update({"team": "a", "cost": "b"})
    request.inputs.literals["a"].scalar.primitive.integer = 1
    await b.call(executions.create_execution, request, principal="ada")
    async with b.context() as ctx:
        key = execution_ids.execution_key(run_id())
        row = await ctx.db.find(schema.Execution, columns=("spec",), **key)
        spec = execution_pb2.ExecutionSpec.FromString(row.spec)
        spec.metadata.artifact_ids.add().CopyFrom(artifact())
        spec.metadata.reference_execution.CopyFrom(run_id("before"))
        await ctx.db.update(schema.Execution, key, spec=spec.SerializeToString())
    await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
    await b.call(events.create_node_event, node_event("n0", Node.RUNNING, 1))
    for attempt in range(2):
        await b.call(events.create_task_event, task_event("n0", Task.RUNNING, 2, attempt=attempt))


def artifact() -> artifact_id_pb2.ArtifactID:
    return artifact_id_pb2.ArtifactID(
        artifact_key=artifact_id_pb2.ArtifactKey(project="p", domain="development", name="model"), version="1"
    )


async def wrapped(b: Any, kind: str, request: Any, *, enrich_all: bool = False) -> Any:
    async with b.context() as ctx:
        return await wrappers.wrapper_of(ctx.db, kind, request.event, enrich_all=enrich_all)


LABELS = {"team": "a", "cost": "b"}


class TestWorkflows:
    @pytest.mark.parametrize(
        ("phase", "enrich_all", "details"),
        [
            (Workflow.SUCCEEDED, False, True),
            (Workflow.FAILED, False, False),
            (Workflow.RUNNING, True, True),
            (Workflow.FAILED, True, True),
        ],
    )
    def test_details(self, bench: Scenario, phase: int, enrich_all: bool, details: bool) -> None:
        async def scenario(b: Any) -> None:
            await launched(b)
            request = workflow_event(phase, 9)
            found = await wrapped(b, "workflow", request, enrich_all=enrich_all)
            expected = cloudevents_pb2.CloudEventWorkflowExecution(raw_event=request.event)
            if details:
                expected.output_interface.inputs.CopyFrom(variables(a=INTEGER))
                expected.output_interface.outputs.CopyFrom(variables(r=INTEGER))
                expected.artifact_ids.add().CopyFrom(artifact())
                expected.reference_execution.CopyFrom(run_id("before"))
                expected.principal = "ada"
                expected.launch_plan_id.CopyFrom(PLAN)
                expected.labels.update(LABELS)
            assert found == expected

        bench(scenario)

    def test_an_execution_that_is_not_there_is_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            with pytest.raises(MessageRefused, match="execution p/development/e1 is not in the database"):
                await wrapped(b, "workflow", workflow_event(Workflow.SUCCEEDED, 9))

        bench(scenario)


class TestNodes:
    @pytest.mark.parametrize(
        ("node", "phase", "details"),
        [("n0", Node.SUCCEEDED, True), ("n0", Node.RUNNING, False), ("start-node", Node.SUCCEEDED, False)],
    )
    def test_details(self, bench: Scenario, node: str, phase: int, details: bool) -> None:
        async def scenario(b: Any) -> None:
            await launched(b)
            request = node_event(node, phase, 9)
            found = await wrapped(b, "node", request)
            expected = cloudevents_pb2.CloudEventNodeExecution(raw_event=request.event)
            if details:
                expected.task_exec_id.task_id.CopyFrom(TASK)
                expected.task_exec_id.node_execution_id.CopyFrom(request.event.id)
                expected.task_exec_id.retry_attempt = 1
                expected.output_interface.inputs.CopyFrom(variables(x=INTEGER))
                expected.output_interface.outputs.CopyFrom(variables(o=INTEGER))
                expected.artifact_ids.add().CopyFrom(artifact())
                expected.principal = "ada"
                expected.launch_plan_id.CopyFrom(PLAN)
                expected.labels.update(LABELS)
            assert found == expected

        bench(scenario)

    def test_a_node_without_attempts_has_no_task(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launched(b)
            found = await wrapped(b, "node", node_event("other", Node.SUCCEEDED, 9))
            assert not found.HasField("task_exec_id")
            assert not found.HasField("output_interface")
            assert found.launch_plan_id == PLAN

        bench(scenario)

    def test_a_task_that_is_not_registered_leaves_the_interface_out(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await launched(b)
            async with b.context() as ctx:
                await ctx.db.delete(schema.Task, name="inc")
            found = await wrapped(b, "node", node_event("n0", Node.SUCCEEDED, 9))
            assert found.task_exec_id.task_id == TASK
            assert not found.HasField("output_interface")

        bench(scenario)


def test_tasks_have_the_labels_of_their_execution(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await launched(b)
        request: event_pb2.TaskExecutionEventRequest = task_event("n0", Task.SUCCEEDED, 9, attempt=1)
        found = await wrapped(b, "task", request)
        assert found == cloudevents_pb2.CloudEventTaskExecution(raw_event=request.event, labels=LABELS)

    bench(scenario)

"""Executions that another flyteadmin launched: their aborts are refused, and a command ends them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from flyteidl.admin import execution_pb2

from app import errors
from app.database import schema
from app.services import events, executions
from app.services.execution_ids import execution_key
from app.services.executions import orphans
from app.services.phases import Node, Task, Workflow
from tests.services.test_events import get, node_event, run_id, task_event, workflow_event
from tests.services.test_executions import a_launch, prepare
from tests.support.builders import refusal

Scenario = Callable[..., Any]


async def launched_elsewhere(b: Any, name: str = "e1") -> None:
    """An execution as the Go server launches it: its row, and no launch record."""
    await b.call(executions.create_execution, a_launch(name))
    async with b.database.unit_of_work() as db:
        await db.delete(schema.Launch, **execution_key(run_id(name)))


def abort(name: str = "e1", cause: str = "enough") -> execution_pb2.ExecutionTerminateRequest:
    return execution_pb2.ExecutionTerminateRequest(id=run_id(name), cause=cause)


class TestAborts:
    def test_the_local_engine_refuses_what_it_does_not_run(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await launched_elsewhere(b)
            await b.call(executions.create_execution, a_launch("ours"))
            error = await refusal(b, executions.terminate_execution, abort(), errors.FailedPrecondition)
            for part in ("p/development/e1", "no launch record", "another flyteadmin", "flyteadmin executions end"):
                assert part in error.message
            assert (await get(b)).closure.phase == Workflow.UNDEFINED
            await b.call(executions.terminate_execution, abort("ours"))
            assert (await get(b, "ours")).closure.phase == Workflow.ABORTING

        bench(scenario)

    def test_without_an_engine_the_abort_is_recorded_and_logged(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await launched_elsewhere(b)
            with structlog.testing.capture_logs() as lines:
                await b.call(executions.terminate_execution, abort())
            assert [line["event"] for line in lines] == ["abort_is_recorded_only"]
            closure = (await get(b)).closure
            assert (closure.phase, closure.abort_metadata.cause) == (Workflow.ABORTING, "enough")

        bench(scenario, engine={"kind": "none"})

    def test_what_has_ended_is_refused_as_before(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await launched_elsewhere(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.SUCCEEDED, 1))
            error = await refusal(b, executions.terminate_execution, abort(), errors.FailedPrecondition)
            assert error.details[0].already_in_terminal_state.current_phase == "SUCCEEDED"

        bench(scenario)


class TestLeftovers:
    def test_they_are_found_by_what_they_lack(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            for name in ("e1", "e2", "over"):
                await launched_elsewhere(b, name)
            await b.call(executions.create_execution, a_launch("ours"))
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            over = workflow_event(Workflow.FAILED, 1)
            over.event.execution_id.CopyFrom(run_id("over"))
            await b.call(events.create_workflow_event, over)

            async def found(*chosen: Any, **how: Any) -> list[str]:
                async with b.database.unit_of_work() as db:
                    rows = await orphans.list_orphans(db, orphans.OrphanFilter(*chosen), **{"limit": 9, **how})
                return [row.execution_name for row in rows]

            assert await found() == ["e1", "e2"]
            assert await found(limit=1) == ["e1"]
            assert await found("p", "development") == ["e1", "e2"]
            assert await found("other") == []
            row = await self.row(b, "e1")
            assert await found(after_id=row.id) == ["e2"]
            assert await found("", "", row.created_at) == []

        bench(scenario)

    @staticmethod
    async def row(b: Any, name: str) -> Any:
        async with b.database.unit_of_work() as db:
            return await db.find(schema.Execution, **execution_key(run_id(name)))

    def test_they_end_with_their_nodes_and_attempts(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await launched_elsewhere(b)
            await b.call(events.create_workflow_event, workflow_event(Workflow.RUNNING, 1))
            for node, phase in (("n0", Node.SUCCEEDED), ("n1", Node.RUNNING), ("n2", Node.QUEUED)):
                await b.call(events.create_node_event, node_event(node, phase, 2))
            await b.call(events.create_task_event, task_event("n1", Task.RUNNING, 3))
            await b.call(executions.end_orphan, abort())
            execution = await get(b)
            assert execution.closure.phase == Workflow.ABORTED
            assert execution.closure.abort_metadata.cause == "enough"
            assert execution.closure.duration.seconds >= 0
            async with b.database.unit_of_work() as db:
                nodes = {
                    name: (await db.find(schema.NodeExecution, **execution_key(run_id()), node_id=name)).phase
                    for name in ("n0", "n1", "n2")
                }
                assert await db.find(schema.ExecutionEvent, **execution_key(run_id()), phase="ABORTED") is not None
                attempt = await db.find(schema.TaskExecution, **execution_key(run_id()), node_id="n1")
            assert nodes == {"n0": "SUCCEEDED", "n1": "ABORTED", "n2": "ABORTED"}
            assert attempt.phase == "ABORTED"
            again = await refusal(b, executions.end_orphan, abort(), errors.FailedPrecondition)
            assert "has ended: ABORTED" in again.message

        bench(scenario)

    def test_an_abort_that_was_asked_for_keeps_its_cause(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await launched_elsewhere(b)
            await b.call(executions.terminate_execution, abort(cause="by hand"))
            await b.call(executions.end_orphan, abort(cause="later"))
            assert (await get(b)).closure.abort_metadata.cause == "by hand"

        bench(scenario, engine={"kind": "none"})

    def test_what_this_server_runs_is_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await prepare(b)
            await b.call(executions.create_execution, a_launch())
            error = await refusal(b, executions.end_orphan, abort(), errors.FailedPrecondition)
            assert "run by this server's engine" in error.message
            await refusal(b, executions.end_orphan, abort("none"), errors.NotFound)

        bench(scenario)

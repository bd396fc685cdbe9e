"""Events of array nodes: none is lost when sending is interrupted, and damaged output files count as None."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flyteidl.core import execution_pb2, identifier_pb2, literals_pb2, tasks_pb2, workflow_pb2
from flyteidl.event import event_pb2

from app.blobs import Blobs
from app.engine.local.graph.literal_store import LiteralStore
from app.engine.local.nodes import dynamics
from app.engine.local.nodes.arrays.elements import TaskElements
from app.engine.local.nodes.arrays.progress import ArrayProgress
from app.engine.local.nodes.arrays.rules import shape_of
from app.settings import Settings

Task = execution_pb2.TaskExecution
RUN = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="e")


class Report:
    """Takes events; the first one is not let through."""

    def __init__(self) -> None:
        self.sent: list[event_pb2.TaskExecutionEvent] = []
        self.blocked = True

    def phase_version(self, unique_id: str, attempt: int) -> int:
        return 0

    async def send(self, event: event_pb2.TaskExecutionEvent) -> None:
        if self.blocked:
            await asyncio.Event().wait()
        self.sent.append(event)


def context_of(folder: Path, events: Report) -> Any:
    """As much of a node's place in an execution as its indices look at, over a real store."""
    settings = Settings.model_validate({"home": folder, "storage": {"url": str(folder / "store")}})
    host = SimpleNamespace(
        platform={},
        console_url="",
        runner=SimpleNamespace(processes_max=2),
        connectors=SimpleNamespace(may_run=lambda task: False),
        log_url=lambda id, node, attempt: "http://log",
    )
    server: Any = SimpleNamespace(settings=settings, blobs=Blobs(settings))
    execution: Any = SimpleNamespace(
        id=RUN,
        workflow_id=identifier_pb2.Identifier(name="w"),
        server=server,
        host=host,
        events=events,
        literals=LiteralStore(server),
        envs={},
        raw_prefix="",
        folder=lambda unique_id: folder / unique_id,
    )
    base = folder / "store" / "n0"
    return SimpleNamespace(
        execution=execution,
        unique_id="n0",
        input_uri="",
        recorded=None,
        recorded_attempts={},
        output_dir=lambda attempt=0: f"{base}",
    )


def test_changes_of_a_cancelled_event_are_sent_with_the_next_one(tmp_path: Path) -> None:
    async def main() -> None:
        events = Report()
        progress = ArrayProgress(
            context_of(tmp_path, events), 0, identifier_pb2.Identifier(name="t"), 2, lambda resource, news: None
        )
        progress.change(0, Task.FAILED, 0)
        progress.change(1, Task.QUEUED, 0)
        sending = asyncio.create_task(progress.send_changes())
        await asyncio.sleep(0)
        progress.change(0, Task.RUNNING, 1)
        progress.change(1, Task.RUNNING, 0)
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        running, last = progress.ended(Task.FAILED)
        assert running.phase == Task.RUNNING
        listed = {(one.index, one.retry_attempt): one.phase for one in running.metadata.external_resources}
        assert listed == {(0, 0): Task.FAILED, (0, 1): Task.ABORTED, (1, 0): Task.ABORTED}
        assert last.phase == Task.FAILED
        events.blocked = False
        progress.change(0, Task.FAILED, 1)
        await progress.send_changes()
        await progress.send_changes()
        (event,) = events.sent
        # Later than what may have arrived all the same.
        assert event.phase_version == running.phase_version + 1 == 3
        assert len(progress.ended(Task.FAILED)) == 1

    asyncio.run(main())


def test_damaged_outputs_of_an_index_count_as_none(tmp_path: Path) -> None:
    context = context_of(tmp_path, Report())
    shape = shape_of(workflow_pb2.ArrayNode())
    elements = TaskElements(context, 0, shape, literals_pb2.LiteralMap(), tasks_pb2.TaskTemplate())
    uri = elements._output_uri(0, 0)
    asyncio.run(context.execution.server.blobs.write(uri, b"no map"))
    assert asyncio.run(elements._outputs(0, 0)) == literals_pb2.LiteralMap()


def test_a_damaged_dynamic_workflow_is_compiled_again(tmp_path: Path) -> None:
    context = context_of(tmp_path, Report())
    uri = f"{context.output_dir()}/dynamic.pb"
    asyncio.run(context.execution.server.blobs.write(uri, b"no workflow"))
    context.recorded = SimpleNamespace(dynamic_uri=uri)
    assert asyncio.run(dynamics._reported(context, identifier_pb2.Identifier())) is None

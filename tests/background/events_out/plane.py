"""A process without server for tests of events out: service functions that write events, and the outbox."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from app.background.events_out.build import targets_of
from app.background.outbox.service import Outbox
from app.database.outbox_tables import OutboxMessage
from app.runtime import dispatch
from app.runtime.dispatch import Server
from app.services import events
from app.services.phases import Node, Task, Workflow
from tests.services.test_events import launch, node_event, run_id, task_event, workflow_event

FUNCTIONS = {
    "workflow": events.create_workflow_event,
    "node": events.create_node_event,
    "task": events.create_task_event,
}


class Plane:
    """Services that write events, and the outbox that publishes them.

    Args:
        b: The bench with database and settings.
        targets: Targets instead of those of the settings.
    """

    def __init__(self, b: Any, targets: list[Any] | None = None) -> None:
        self.b = b
        self.server = Server(b.settings, b.database, b.blobs, b.engine)
        found = targets_of(self.server)
        self.outbox = Outbox(self.server, found if targets is None else targets)
        self.server.outgoing.wake = self.outbox.wake

    async def event(self, kind: str, request: Any) -> None:
        """Record an event as a request does."""
        await dispatch.perform(self.server, FUNCTIONS[kind], request)

    async def run_of(self, name: str = "e1", *, retries: int = 1) -> list[tuple[str, Any]]:
        """Record the events of an execution with one node; return those that are published, in their order."""
        await launch(self.b, name)
        id = run_id(name)
        sent: list[tuple[str, Any]] = [("workflow", workflow_event(Workflow.RUNNING, 1, id=id))]
        node = [node_event("n0", phase, 2, id=id) for phase in (Node.QUEUED, Node.RUNNING)]
        sent += [("node", one) for one in node]
        first = []
        for attempt in range(retries):
            for number, phase in enumerate((Task.QUEUED, Task.RUNNING, Task.SUCCEEDED)):
                one = task_event("n0", phase, 3 + number, attempt=attempt)
                one.event.parent_node_execution_id.execution_id.CopyFrom(id)
                sent.append(("task", one))
                first += [one] if number == 0 else []
        sent.append(("node", node_event("n0", Node.SUCCEEDED, 9, id=id)))
        sent.append(("workflow", workflow_event(Workflow.SUCCEEDED, 10, id=id)))
        for kind, request in sent:
            await self.event(kind, request)
        return [one for one in sent if one[1] not in first]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Outbox]:
        """Publish while the block runs."""
        await self.outbox.start()
        try:
            yield self.outbox
        finally:
            await self.outbox.stop()

    async def rows(self, **where: Any) -> list[Any]:
        """Return messages of the outbox in the order of their ids."""
        async with self.b.context() as ctx:
            return sorted(await ctx.db.find_all(OutboxMessage, **where), key=lambda row: row.id)

    async def settled(self, seconds: float = 30) -> None:
        """Wait until no message waits."""
        async with asyncio.timeout(seconds):
            while await self.rows(state="pending"):  # noqa: ASYNC110 - the outbox has no event that only tests need
                await asyncio.sleep(0.01)


async def until(holds: Callable[[], Any], seconds: float = 20) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.005)

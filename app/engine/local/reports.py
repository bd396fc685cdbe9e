"""What the engine tells the control plane: events, through the same service functions as everybody's.

A repeated event answers ALREADY_EXISTS and counts as told. An event behind a terminal phase that is no end itself
means that others have ended the execution, and the engine stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import structlog
from flyteidl.admin import event_pb2 as admin_event_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app import errors
from app.engine.local.failures import Stopped
from app.services import events, phases
from app.work import Server, perform

log = structlog.get_logger(__name__)

PRODUCER = "propeller"
EVENT_VERSION = 1
_TRIES_MAX = 6
_PAUSE_SECONDS = 0.05

Response = TypeVar("Response")
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution
Workflow = execution_pb2.WorkflowExecution


async def patiently(server: Server, function: Callable[[Any, Any], Awaitable[Response]], request: Any) -> Response:
    """Call a service function; what passes by itself (a busy database, a deadlock) is tried again, with a backoff."""
    pause = _PAUSE_SECONDS
    for attempt in range(1, _TRIES_MAX + 1):
        try:
            return await perform(server, function, request)
        except (errors.Unavailable, errors.Aborted, errors.DeadlineExceeded):
            if attempt == _TRIES_MAX:
                raise
        await asyncio.sleep(pause)
        pause *= 3
    raise AssertionError("unreachable")


class Reporter:
    """Sends the events of one execution."""

    def __init__(self, server: Server, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        self._server = server
        self._execution = execution

    async def workflow(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> None:
        """A phase of the whole execution."""
        event = event_pb2.WorkflowExecutionEvent(
            execution_id=self._execution, producer_id=PRODUCER, phase=phase, output_uri=output_uri
        )
        event.occurred_at.FromDatetime(datetime.now(UTC))
        if error is not None:
            event.error.CopyFrom(error)
        request = admin_event_pb2.WorkflowExecutionEventRequest(event=event)
        await self._send(events.create_workflow_event, request, ends=phase in phases.WORKFLOW_TERMINAL)

    async def node(self, event: event_pb2.NodeExecutionEvent) -> None:
        """A phase of a node; producer, times and version are filled in."""
        event.producer_id = PRODUCER
        self._stamp(event)
        request = admin_event_pb2.NodeExecutionEventRequest(event=event)
        await self._send(events.create_node_event, request, ends=event.phase in phases.NODE_TERMINAL)

    async def task(self, event: event_pb2.TaskExecutionEvent) -> None:
        """A phase of an attempt; producer, times and version are filled in."""
        event.producer_id = PRODUCER
        event.event_version = EVENT_VERSION
        self._stamp(event)
        request = admin_event_pb2.TaskExecutionEventRequest(event=event)
        await self._send(events.create_task_event, request, ends=event.phase in phases.TASK_TERMINAL)

    @staticmethod
    def _stamp(event: Any) -> None:
        now = datetime.now(UTC)
        if not event.HasField("occurred_at"):
            event.occurred_at.FromDatetime(now)
        event.reported_at.FromDatetime(now)

    async def _send(self, function: Callable[[Any, Any], Awaitable[Any]], request: Any, *, ends: bool) -> None:
        try:
            await patiently(self._server, function, request)
        except errors.AlreadyExists:
            return
        except errors.FailedPrecondition as error:
            if not ends:
                raise Stopped(error.message) from error
        except errors.NotFound as error:
            raise Stopped(error.message) from error

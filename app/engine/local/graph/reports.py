"""What the engine tells the control plane: events, through the same service functions as everybody's.

A repeated event answers ALREADY_EXISTS and counts as told; one that is known to be told is not sent, unless it names
a deck that the running node does not show yet. An event behind a terminal phase that is no end itself means that
others have ended the execution, and the engine stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from flyteidl.admin import event_pb2 as admin_event_pb2
from flyteidl.admin import task_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app import errors
from app.engine.local.graph.failures import Stopped
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.services import events, phases

if TYPE_CHECKING:
    from app.engine.local.graph.run import Known

PRODUCER = "propeller"
EVENT_VERSION = 1
_TRIES_MAX = 6
_PAUSE_SECONDS = 0.05

Response = TypeVar("Response")
Event: TypeAlias = event_pb2.WorkflowExecutionEvent | event_pb2.NodeExecutionEvent | event_pb2.TaskExecutionEvent
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution
Workflow = execution_pb2.WorkflowExecution

# How far a node or an attempt is; an event that does not lead further is not sent.
_NODE_STEPS = {Node.QUEUED: 1, Node.RUNNING: 2, Node.DYNAMIC_RUNNING: 3}
_TASK_STEPS = {Task.QUEUED: 1, Task.INITIALIZING: 2, Task.WAITING_FOR_RESOURCES: 2, Task.RUNNING: 3}
_ENDED = 9


async def unbroken(work: Coroutine[Any, Any, Response]) -> Response:
    """Carry work through even when its caller is cancelled meanwhile; the cancellation is raised after it."""
    task = asyncio.ensure_future(work)
    # Its error is looked at here even where a second cancellation leaves nobody to do so.
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((task,))
        raise


async def patiently(server: Server, function: Callable[[Any, Any], Awaitable[Response]], request: Any) -> Response:
    """Call a service function; what passes by itself (a busy database, a deadlock) is tried again, with a backoff."""
    pause = _PAUSE_SECONDS
    for attempt in range(1, _TRIES_MAX + 1):
        try:
            return await unbroken(perform(server, function, request))
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
        self._told: dict[tuple[str, ...], tuple[int, int]] = {}
        self._decks: dict[str, str] = {}

    def know(
        self,
        nodes: Mapping[str, Known],
        attempts: Mapping[str, Mapping[int, task_execution_pb2.TaskExecutionClosure]],
        versions: Mapping[tuple[str, int], int],
    ) -> None:
        """What earlier runs of the execution told already; versions: of the phases of attempts."""
        for node_id, known in nodes.items():
            self._told[(node_id,)] = (_NODE_STEPS.get(phases.number(Node.Phase, known.phase), _ENDED), 0)
            self._decks[node_id] = known.closure.deck_uri
        for node_id, closures in attempts.items():
            for attempt, closure in closures.items():
                version = versions.get((node_id, attempt), 0)
                self._told[(node_id, str(attempt))] = (_TASK_STEPS.get(closure.phase, _ENDED), version)

    def phase_version(self, node_id: str, attempt: int) -> int:
        """The version of the last event of an attempt that was told, 0 where none was."""
        return self._told.get((node_id, str(attempt)), (0, 0))[1]

    def deck(self, node_id: str) -> str:
        """Return the URI of the deck that a node shows, "" where it shows none."""
        return self._decks.get(node_id, "")

    def running_phase(self, node_id: str) -> int:
        """Return the phase in which a node runs: DYNAMIC_RUNNING once that was reported, else RUNNING."""
        dynamic = self._told.get((node_id,)) == (_NODE_STEPS[Node.DYNAMIC_RUNNING], 0)
        return int(Node.DYNAMIC_RUNNING if dynamic else Node.RUNNING)

    async def workflow(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> None:
        """A phase of the whole execution."""
        await self.several(self.workflow_event(phase, output_uri=output_uri, error=error))

    async def node(self, event: event_pb2.NodeExecutionEvent) -> None:
        """A phase of a node; producer and times are filled in."""
        await self.several(event)

    async def task(self, event: event_pb2.TaskExecutionEvent) -> None:
        """A phase of an attempt; producer, times and version are filled in."""
        await self.several(event)

    def workflow_event(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> event_pb2.WorkflowExecutionEvent:
        """An event of the whole execution, to be sent together with others."""
        event = event_pb2.WorkflowExecutionEvent(execution_id=self._execution, phase=phase, output_uri=output_uri)
        if error is not None:
            event.error.CopyFrom(error)
        return event

    async def several(self, *given: Event) -> None:
        """Events that happen together, in this order and in one transaction.

        errors: Stopped where others have ended the execution
        """
        untold = [event for event in given if self._is_news(event)]
        for event in untold:
            _complete(event)
        if len(untold) > 1:
            try:
                await patiently(self._server, _record_all, untold)
            except (errors.AlreadyExists, errors.FailedPrecondition, errors.NotFound):
                # One of them was told before: each for itself, then, and the answer to each is looked at.
                for event in untold:
                    await self._send(event)
        elif untold:
            await self._send(untold[0])
        for event in untold:
            self._mark(event)

    async def _send(self, event: Event) -> None:
        try:
            await patiently(self._server, _record, event)
        except errors.AlreadyExists:
            return
        except errors.FailedPrecondition as error:
            if not _is_end(event):
                raise Stopped(error.message) from error
        except errors.NotFound as error:
            raise Stopped(error.message) from error

    def _is_news(self, event: Event) -> bool:
        if isinstance(event, event_pb2.WorkflowExecutionEvent):
            return True
        step, told = _step(event), self._told.get(_key(event), (0, 0))
        return step > told or (step == told and self._adds_deck(event))

    def _adds_deck(self, event: Event) -> bool:
        if not isinstance(event, event_pb2.NodeExecutionEvent) or _is_end(event):
            return False
        return bool(event.deck_uri) and event.deck_uri != self.deck(event.id.node_id)

    def _mark(self, event: Event) -> None:
        if not isinstance(event, event_pb2.WorkflowExecutionEvent):
            self._told[_key(event)] = _step(event)
        if self._adds_deck(event):
            self._decks[event.id.node_id] = event.deck_uri


def _key(event: Any) -> tuple[str, ...]:
    if isinstance(event, event_pb2.NodeExecutionEvent):
        return (event.id.node_id,)
    return (event.parent_node_execution_id.node_id, str(event.retry_attempt))


def _step(event: Any) -> tuple[int, int]:
    if isinstance(event, event_pb2.NodeExecutionEvent):
        return _NODE_STEPS.get(event.phase, _ENDED), 0
    return _TASK_STEPS.get(event.phase, _ENDED), event.phase_version


def _is_end(event: Any) -> bool:
    if isinstance(event, event_pb2.WorkflowExecutionEvent):
        return event.phase in phases.WORKFLOW_TERMINAL
    if isinstance(event, event_pb2.NodeExecutionEvent):
        return event.phase in phases.NODE_TERMINAL
    return event.phase in phases.TASK_TERMINAL


def _complete(event: Any) -> None:
    now = datetime.now(UTC)
    event.producer_id = PRODUCER
    if not event.HasField("occurred_at"):
        event.occurred_at.FromDatetime(now)
    if not isinstance(event, event_pb2.WorkflowExecutionEvent):
        event.reported_at.FromDatetime(now)
    if isinstance(event, event_pb2.TaskExecutionEvent):
        event.event_version = EVENT_VERSION


async def _record(ctx: Context, event: Event) -> None:
    if isinstance(event, event_pb2.WorkflowExecutionEvent):
        await events.create_workflow_event(ctx, admin_event_pb2.WorkflowExecutionEventRequest(event=event))
    elif isinstance(event, event_pb2.NodeExecutionEvent):
        await events.create_node_event(ctx, admin_event_pb2.NodeExecutionEventRequest(event=event))
    else:
        await events.create_task_event(ctx, admin_event_pb2.TaskExecutionEventRequest(event=event))


async def _record_all(ctx: Context, given: list[Event]) -> None:
    for event in given:
        await _record(ctx, event)

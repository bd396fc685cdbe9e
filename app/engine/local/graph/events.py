"""Send the events of one execution to the control plane, through the service functions that clients' events use.

An event that the control plane has recorded already is not sent again, and its answer ALREADY_EXISTS counts as
success. An exception is an event that adds a deck to a running node. FAILED_PRECONDITION in answer to an event that
ends nothing means that a client or another server has ended the execution; the engine then stops running it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeAlias

from flyteidl.admin import event_pb2 as admin_event_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app import errors
from app.engine.local.graph.failures import Stopped
from app.engine.local.graph.history import RecordedAttempts, RecordedNode
from app.engine.local.graph.service_calls import with_retries
from app.runtime.context import Context
from app.runtime.dispatch import Server
from app.services import events, phases

PRODUCER = "propeller"
EVENT_VERSION = 1

Event: TypeAlias = event_pb2.WorkflowExecutionEvent | event_pb2.NodeExecutionEvent | event_pb2.TaskExecutionEvent
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

# The order of the phases of a node and of an attempt. An event that does not lead to a later step is not sent.
_NODE_STEPS = {Node.QUEUED: 1, Node.RUNNING: 2, Node.DYNAMIC_RUNNING: 3}
_TASK_STEPS = {Task.QUEUED: 1, Task.INITIALIZING: 2, Task.WAITING_FOR_RESOURCES: 2, Task.RUNNING: 3}
_ENDED = 9


class EventSender:
    """Sends the events of one execution and remembers which steps were recorded."""

    def __init__(self, server: Server, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        self._server = server
        self._execution = execution
        self._recorded: dict[tuple[str, ...], tuple[int, int]] = {}
        self._decks: dict[str, str] = {}

    def load(self, nodes: Mapping[str, RecordedNode], attempts: RecordedAttempts) -> None:
        """Take over which events earlier runs of the execution have sent."""
        for node_id, node in nodes.items():
            self._recorded[(node_id,)] = (_NODE_STEPS.get(phases.phase_number(Node.Phase, node.phase), _ENDED), 0)
            self._decks[node_id] = node.closure.deck_uri
        for node_id, closures in attempts.closures.items():
            for attempt, closure in closures.items():
                version = attempts.versions.get((node_id, attempt), 0)
                self._recorded[(node_id, str(attempt))] = (_TASK_STEPS.get(closure.phase, _ENDED), version)

    def phase_version(self, node_id: str, attempt: int) -> int:
        """Return the version of the last recorded event of an attempt, 0 without one."""
        return self._recorded.get((node_id, str(attempt)), (0, 0))[1]

    def next_version(self, event: event_pb2.TaskExecutionEvent) -> int:
        """Return the version with which an event of an attempt follows the last recorded one of the same step."""
        step, version = self._recorded.get(_key(event), (0, 0))
        return version + 1 if step == _TASK_STEPS.get(event.phase, _ENDED) else 0

    def deck(self, node_id: str) -> str:
        """Return the URI of the deck that a node shows, "" where it shows none."""
        return self._decks.get(node_id, "")

    def running_phase(self, node_id: str) -> int:
        """Return the phase in which a node runs: DYNAMIC_RUNNING once that was recorded, else RUNNING."""
        dynamic = self._recorded.get((node_id,)) == (_NODE_STEPS[Node.DYNAMIC_RUNNING], 0)
        return int(Node.DYNAMIC_RUNNING if dynamic else Node.RUNNING)

    def workflow_event(
        self, phase: int, *, output_uri: str = "", error: execution_pb2.ExecutionError | None = None
    ) -> event_pb2.WorkflowExecutionEvent:
        """Return an event of the execution itself."""
        event = event_pb2.WorkflowExecutionEvent(execution_id=self._execution, phase=phase, output_uri=output_uri)
        if error is not None:
            event.error.CopyFrom(error)
        return event

    async def send(self, *events: Event) -> None:
        """Record events in this order and in one transaction. Producer, times and versions are filled in.

        Raises:
            Stopped: A client or another server has ended the execution.
        """
        new = [event for event in events if self._is_new(event)]
        for event in new:
            _complete(event)
        if len(new) > 1:
            try:
                await with_retries(self._server, _record_all, new)
            except (errors.AlreadyExists, errors.FailedPrecondition, errors.NotFound):
                # One event was refused, and with it the transaction: send each alone and handle its answer.
                for event in new:
                    await self._send_alone(event)
        elif new:
            await self._send_alone(new[0])
        for event in new:
            self._remember(event)

    async def _send_alone(self, event: Event) -> None:
        try:
            await with_retries(self._server, _record, event)
        except errors.AlreadyExists:
            return
        except errors.FailedPrecondition as error:
            if not _is_end(event):
                raise Stopped(error.message) from error
        except errors.NotFound as error:
            raise Stopped(error.message) from error

    def _is_new(self, event: Event) -> bool:
        if isinstance(event, event_pb2.WorkflowExecutionEvent):
            return True
        step, recorded = _step(event), self._recorded.get(_key(event), (0, 0))
        return step > recorded or (step == recorded and self._adds_deck(event))

    def _adds_deck(self, event: Event) -> bool:
        if not isinstance(event, event_pb2.NodeExecutionEvent) or _is_end(event):
            return False
        return bool(event.deck_uri) and event.deck_uri != self.deck(event.id.node_id)

    def _remember(self, event: Event) -> None:
        if not isinstance(event, event_pb2.WorkflowExecutionEvent):
            self._recorded[_key(event)] = _step(event)
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

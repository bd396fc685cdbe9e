"""Send the events of one execution to the control plane, through the service functions that clients' events use.

Events that nodes send at the same moment are recorded in one transaction, which saves a commit for each and repeated
writes of one row. An event that is recorded already is not sent again, and its answer ALREADY_EXISTS counts as success.
An exception is an event that adds a deck to a running node. FAILED_PRECONDITION in answer to an event that ends nothing
means that a client or another server has ended the execution; the engine then stops running it.

Each transaction keeps the lease of the execution until its commit. So a server that was stopped for longer than its
lease records nothing beside the server that has taken over.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import structlog
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2

from app import errors
from app.database import schema
from app.engine.local.graph.failures import ExecutionEnded, LeaseLost
from app.engine.local.graph.history import RecordedAttempts, RecordedNode
from app.engine.local.graph.service_calls import RETRIED, with_retries_cancellable
from app.engine.local.host import Host
from app.runtime.context import Context
from app.runtime.dispatch import Server
from app.services import events, phases
from app.services.execution_ids import node_key, task_key

log = structlog.get_logger(__name__)

PRODUCER = "propeller"
EVENT_VERSION = 1

Event: TypeAlias = events.Event
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

# The order of the phases of a node and of an attempt. An event that does not lead to a later step is not sent.
_NODE_STEPS = {Node.QUEUED: 1, Node.RUNNING: 2, Node.DYNAMIC_RUNNING: 3}
_TASK_STEPS = {Task.QUEUED: 1, Task.INITIALIZING: 2, Task.WAITING_FOR_RESOURCES: 2, Task.RUNNING: 3}
_ENDED = 9

# Events of one transaction. On SQLite it keeps the event loop busy for about 0.1 ms for each.
_EVENTS_MAX = 50


@dataclass(frozen=True, slots=True)
class _Group:
    """Events that are recorded together or not at all. recorded: done when they are."""

    events: list[Event]
    recorded: asyncio.Future[None]


class EventSender:
    """Sends the events of one execution and remembers which steps were recorded."""

    def __init__(self, server: Server, execution: identifier_pb2.WorkflowExecutionIdentifier, host: Host) -> None:
        self._server = server
        self._execution = execution
        self._host = host
        self._recorded: dict[tuple[str, ...], tuple[int, int]] = {}
        self._decks: dict[str, str] = {}
        self._waiting: deque[_Group] = deque()
        self._sending: asyncio.Task[None] | None = None

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

    def is_running(self, node_id: str) -> bool:
        """Return whether a node was recorded RUNNING, or a later phase of it was."""
        return self._recorded.get((node_id,), (0, 0))[0] >= _NODE_STEPS[Node.RUNNING]

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
            ExecutionEnded: A client or another server has ended the execution.
            LeaseLost: Another server runs the execution.
        """
        new = [event for event in events if self._is_new(event)]
        if not new:
            return
        for event in new:
            _complete(event)
        group = _Group(new, asyncio.get_running_loop().create_future())
        self._waiting.append(group)
        if self._sending is None:
            self._sending = asyncio.create_task(self._send_waiting())
        await _finished(group)

    async def _send_waiting(self) -> None:
        """Record the waiting groups, until none is left."""
        groups: list[_Group] = []
        try:
            while self._waiting:
                groups = self._next_groups()
                try:
                    await self._send_groups(groups)
                except (*RETRIED, LeaseLost) as error:
                    # The other groups would meet the same error.
                    _fail((*groups, *self._waiting), error)
                    self._waiting.clear()
        finally:
            self._sending = None
            # At the end of the event loop the senders wait no longer.
            _fail((*groups, *self._waiting), asyncio.CancelledError())

    def _next_groups(self) -> list[_Group]:
        groups = [self._waiting.popleft()]
        count = len(groups[0].events)
        while self._waiting and (count := count + len(self._waiting[0].events)) <= _EVENTS_MAX:
            groups.append(self._waiting.popleft())
        return groups

    async def _send_groups(self, groups: list[_Group]) -> None:
        """Record groups in one transaction; each by itself where the transaction is refused.

        Raises:
            FlyteError: One of `RETRIED`.
            LeaseLost: Another server runs the execution.
        """
        if len(groups) > 1:
            try:
                await self._record([event for group in groups for event in group.events])
            except (*RETRIED, LeaseLost):
                raise
            except Exception as error:  # noqa: BLE001 - the group that causes it meets it again, alone
                log.debug("events_sent_apart", execution=self._execution.name, error=type(error).__name__)
            else:
                self._succeed(groups)
                return
        for group in groups:
            try:
                await self._send_group(group.events)
            except (*RETRIED, LeaseLost):
                raise
            except Exception as error:  # noqa: BLE001 - the sender raises it
                _fail((group,), error)
            else:
                self._succeed((group,))

    async def _record(self, events: list[Event]) -> None:
        """Record events. A repeated call leaves out what the one before has recorded, though its answer was lost."""
        await with_retries_cancellable(self._server, self._record_all, events, again=self._record_rest)

    async def _record_all(self, ctx: Context, given: list[Event]) -> None:
        await events.record_events(ctx, given)
        await self._host.hold(ctx.db, self._execution)

    async def _record_rest(self, ctx: Context, given: list[Event]) -> None:
        await self._record_all(ctx, await _not_recorded(ctx, given))

    async def _check_lease(self) -> None:
        """Raise LeaseLost if another server runs the execution, which may have recorded or refused an event."""
        async with self._server.database.unit_of_work() as db:
            await self._host.hold(db, self._execution)

    async def _send_group(self, events: list[Event]) -> None:
        if len(events) > 1:
            try:
                await self._record(events)
                return
            except (errors.AlreadyExists, errors.FailedPrecondition, errors.NotFound):
                # One event was refused, and with it the transaction: send each alone and handle its answer.
                events = await with_retries_cancellable(self._server, _not_recorded, events)
                await self._check_lease()
        for event in events:
            await self._send_alone(event)

    async def _send_alone(self, event: Event) -> None:
        try:
            await self._record([event])
        except (errors.AlreadyExists, errors.FailedPrecondition, errors.NotFound) as error:
            await self._check_lease()
            refused = isinstance(error, errors.FailedPrecondition) and not _is_end(event)
            if refused or isinstance(error, errors.NotFound):
                raise ExecutionEnded(error.message) from error

    def _is_new(self, event: Event) -> bool:
        if isinstance(event, event_pb2.WorkflowExecutionEvent):
            return True
        step, recorded = _step(event), self._recorded.get(_key(event), (0, 0))
        return step > recorded or (step == recorded and self._adds_deck(event))

    def _adds_deck(self, event: Event) -> bool:
        if not isinstance(event, event_pb2.NodeExecutionEvent) or _is_end(event):
            return False
        return bool(event.deck_uri) and event.deck_uri != self.deck(event.id.node_id)

    def _succeed(self, groups: Iterable[_Group]) -> None:
        for group in groups:
            # Also where the sender was cancelled: the events are recorded.
            for event in group.events:
                self._remember(event)
            group.recorded.set_result(None)

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
    now = time.time_ns() // 1000
    event.producer_id = PRODUCER
    if not event.HasField("occurred_at"):
        event.occurred_at.FromMicroseconds(now)
    if not isinstance(event, event_pb2.WorkflowExecutionEvent):
        event.reported_at.FromMicroseconds(now)
    if isinstance(event, event_pb2.TaskExecutionEvent):
        event.event_version = EVENT_VERSION


async def _finished(group: _Group) -> None:
    """Wait for the record of events even when the caller is cancelled; raise the cancellation afterwards."""
    try:
        await asyncio.shield(group.recorded)
    except asyncio.CancelledError:
        await asyncio.wait((group.recorded,))
        raise


def _fail(groups: Iterable[_Group], error: BaseException) -> None:
    """Let the senders of groups whose outcome is not known raise an error."""
    for group in groups:
        if group.recorded.done():
            continue
        if isinstance(error, asyncio.CancelledError):
            group.recorded.cancel()
        else:
            group.recorded.set_exception(error)
            # A sender that was cancelled twice does not retrieve it.
            group.recorded.exception()


async def _not_recorded(ctx: Context, given: list[Event]) -> list[Event]:
    """Return the events that the database may not have yet.

    Without this, an event whose record was not answered would lead a row back to an earlier phase, or be refused
    because its row has ended by a later event of the same transaction. Events of a row that somebody else has ended are
    returned, so that they are refused, unless the last one ends the row anyway.
    """
    steps: dict[tuple[str, ...], tuple[int, int]] = {}
    last = {_key(event): event for event in given if not isinstance(event, event_pb2.WorkflowExecutionEvent)}
    for key, event in last.items():
        steps[key] = await _recorded_step(ctx, event)
    return [event for event in given if _may_be_missing(event, steps, last)]


def _may_be_missing(
    event: Event, steps: Mapping[tuple[str, ...], tuple[int, int]], last: Mapping[tuple[str, ...], Event]
) -> bool:
    if isinstance(event, event_pb2.WorkflowExecutionEvent):
        return True
    key = _key(event)
    if steps[key][0] == _ENDED:
        return not _is_end(last[key])
    if _step(event) == steps[key]:
        return isinstance(event, event_pb2.NodeExecutionEvent) and bool(event.deck_uri)
    return _step(event) > steps[key]


async def _recorded_step(ctx: Context, event: Any) -> tuple[int, int]:
    """Return the step of the row that an event changes, as `_step`; (0, 0) without a row."""
    if isinstance(event, event_pb2.NodeExecutionEvent):
        row: Any = await ctx.db.find(schema.NodeExecution, columns=("phase",), **node_key(event.id))
        return (0, 0) if row is None else (_NODE_STEPS.get(phases.phase_number(Node.Phase, row.phase), _ENDED), 0)
    key = task_key(event.task_id, event.parent_node_execution_id, event.retry_attempt)
    row = await ctx.db.find(schema.TaskExecution, columns=("phase", "phase_version"), **key)
    if row is None:
        return 0, 0
    return _TASK_STEPS.get(phases.phase_number(Task.Phase, row.phase), _ENDED), row.phase_version or 0

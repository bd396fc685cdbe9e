"""Messages that events cause: the hook between the services that record events and those that publish them.

A process has one `Outgoing`, made in `app.main`; each request finds it in its Context. A service that publishes events
appends an `EventWriter` to `writers`. Recording an event calls every writer in the event's transaction, after the row
of the execution, node or attempt is written. Without writers the hook costs one comparison, and no statement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from flyteidl.core import identifier_pb2


@dataclass(frozen=True, slots=True)
class RecordedEvent:
    """An event that was accepted.

    Attributes:
        kind: The subject of the event: an execution, a node, or an attempt of a task.
        execution: The execution.
        request: The WorkflowExecutionEventRequest, NodeExecutionEventRequest or TaskExecutionEventRequest as received.
        first: Whether the event made the row: the first event of a node or an attempt. False for executions.
    """

    kind: Literal["workflow", "node", "task"]
    execution: identifier_pb2.WorkflowExecutionIdentifier
    request: Any
    first: bool = False


class EventWriter(Protocol):
    """Writes the messages of events into the outbox.

    Attributes:
        kinds: The kinds of events that `write` is called for (`RecordedEvent.kind`).
    """

    kinds: frozenset[str]

    async def write(self, ctx: Any, event: RecordedEvent) -> None:
        """Write messages with `app.services.outbox.put`. An exception refuses the event.

        Args:
            ctx: The app.runtime.context.Context of the call, whose module imports this one.
            event: The event.
        """


@dataclass(slots=True)
class Outgoing:
    """The writers of events of a process, and the way to its outbox.

    Attributes:
        writers: Called for each event that is accepted.
        wake: Called after the commit of a transaction that wrote messages, so that they are delivered at once.
    """

    writers: list[EventWriter] = field(default_factory=list)
    wake: Callable[[], None] = lambda: None

"""The messages about accepted events: those of `externalEvents`, and of `cloudEvents` in version v1.

Each function is pure. wrappers.py makes the payloads of version v2.
Source: flyteadmin/pkg/async/notifications/implementations/event_publisher.go, flyteadmin/pkg/async/cloudevent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import event_pb2
from google.protobuf.message import Message as ProtobufMessage

from app.services import phases
from app.wire.cloud_events import CloudEvent, uri_reference
from app.wire.render import to_compact_json
from app.wire.text import text

# The classes of requests by kind of event (app/runtime/outgoing.py).
REQUESTS: Mapping[str, Any] = {
    "workflow": event_pb2.WorkflowExecutionEventRequest,
    "node": event_pb2.NodeExecutionEventRequest,
    "task": event_pb2.TaskExecutionEventRequest,
}
ALL = ("all", "*")

SOURCE = "https://github.com/flyteorg/flyte/flyteadmin"
_TYPE_PREFIX = "com.flyte.resource"
_SCHEMA = "jsonschemaurl"
_SCHEMA_URL = "https://github.com/flyteorg/flyteidl/blob/v0.24.14/jsonschema/workflow_execution.json"

_PHASES = {"workflow": phases.Workflow.Phase, "node": phases.Node.Phase, "task": phases.Task.Phase}
_WRAPPED = {"workflow": "WorkflowExecution", "node": "NodeExecution", "task": "TaskExecution"}


def key_of(kind: str) -> str:
    """Return the name of an event's request, which upstream uses as the kind of a message."""
    name: str = REQUESTS[kind].DESCRIPTOR.full_name
    return name


def wrapped_key_of(kind: str) -> str:
    """Return the name of the kind of a message in version v2."""
    return f"cloudevents.{_WRAPPED[kind]}"


def event_id(kind: str, event: Any) -> str:
    """Return the id of an event.

    Parity: the id of a task's event names the task, not the attempt, so attempts and nodes share ids. The extension
    `retry`, and in version v2 the source, distinguish them.
    """
    ids = {"workflow": "execution_id", "node": "id", "task": "task_id"}
    values = _PHASES[kind].DESCRIPTOR.values_by_number
    phase = values[event.phase].name if event.phase in values else str(event.phase)
    return f"{text(getattr(event, ids[kind]))}.{phase}"


def wrapped_source(kind: str, event: Any) -> str:
    """Return the source of a message in version v2: execution and node, with the attempt for tasks."""
    if kind == "workflow":
        return uri_reference(f"{event.execution_id.name}/end-node")
    if kind == "node":
        return uri_reference(f"{event.id.execution_id.name}/{event.id.node_id}")
    node = event.parent_node_execution_id
    return uri_reference(f"{node.execution_id.name}/{node.node_id}/{event.retry_attempt}")


def cloud_event_v1(kind: str, request: Any) -> CloudEvent:
    """Return the CloudEvent of version v1 about a request.

    Deviates: events of tasks have the extension `retry`, because their ids repeat over attempts.
    """
    event = request.event
    extensions: dict[str, str | int] = {_SCHEMA: _SCHEMA_URL}
    if kind == "task":
        extensions["retry"] = event.retry_attempt
    return CloudEvent(
        id=event_id(kind, event),
        source=SOURCE,
        type=f"{_TYPE_PREFIX}.{key_of(kind)}",
        time=event.occurred_at,
        data=to_compact_json(request),
        extensions=extensions,
    )


def cloud_event_v2(kind: str, request: Any, wrapper: ProtobufMessage) -> CloudEvent:
    """Return the CloudEvent of version v2 about a request.

    Args:
        kind: The kind of event.
        request: The request.
        wrapper: The payload, of app.background.events_out.wrappers.
    """
    event = request.event
    return CloudEvent(
        id=event_id(kind, event),
        source=wrapped_source(kind, event),
        type=f"{_TYPE_PREFIX}.{wrapped_key_of(kind)}",
        time=event.occurred_at,
        data=to_compact_json(wrapper),
        extensions={_SCHEMA: ""},
    )


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The kinds of events that a section publishes."""

    kinds: frozenset[str]
    unknown: tuple[str, ...] = ()

    @classmethod
    def of(cls, event_types: tuple[str, ...]) -> EventFilter:
        """Return the filter of `eventsPublisher.eventTypes`; unknown names stand in `unknown`.

        Parity: names after `all` are not looked at.
        """
        kinds: set[str] = set()
        unknown: list[str] = []
        for name in event_types:
            if name in ALL:
                return cls(frozenset(REQUESTS), tuple(unknown))
            if name in REQUESTS:
                kinds.add(name)
            else:
                unknown.append(name)
        return cls(frozenset(kinds), tuple(unknown))

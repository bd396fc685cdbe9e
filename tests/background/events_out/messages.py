"""Messages for tests of publishers."""

from __future__ import annotations

from typing import Any

from app.background.events_out import envelopes
from app.background.events_out.publisher import Message
from app.services.phases import Node, Workflow
from tests.services.test_events import node_event, run_id, workflow_event


def message(name: str = "e1", *, node: str = "n0", phase: int = Node.RUNNING) -> Message:
    """Return the message of a node's event."""
    return _message("node", node_event(node, phase, 1, id=run_id(name)), name)


def raw_message(name: str = "e1") -> Message:
    """Return a message of `externalEvents`."""
    request = workflow_event(Workflow.RUNNING, 1, id=run_id(name))
    return Message("d1", envelopes.key_of("workflow"), f"p/development/{name}", request.SerializeToString())


def _message(kind: str, request: Any, name: str) -> Message:
    event = envelopes.cloud_event_v1(kind, request)
    delivery = f"delivery of {name} {event.id}"
    return Message(delivery, envelopes.key_of(kind), f"p/development/{name}", event.protobuf(), event)

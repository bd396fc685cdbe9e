"""Events: the single writer of phases. Engines report with these three RPCs, late, twice and out of order.

Each event locks the row that it changes, so two events for one row never lose one another, and is written
in one transaction with the row of the event log. What an event carries inline goes to the blob store before the lock.
Proto: flyteidl/admin/event.proto, flyteidl/event/event.proto.
"""

from app.services.events.node_events import create_node_event
from app.services.events.task_events import create_task_event
from app.services.events.workflow_events import create_workflow_event

__all__ = ["create_node_event", "create_task_event", "create_workflow_event"]

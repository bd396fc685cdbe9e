"""Record the events of engines: every change of the phase of an execution, a node or an attempt is made here.

Engines may send an event late, twice or out of order. Each event locks the row that it changes, so that two events for
one row cannot overwrite each other. The row and its line in the event log are written in one transaction. Data that an
event carries inline is written to the object store before the row is locked.

workflow_events: the phase of an execution. node_events: of a node. task_events: of one attempt of a task.
batch: several events in one transaction.
The rules for which phase may follow which are in app/services/phases.py.
Proto: flyteidl/admin/event.proto, flyteidl/event/event.proto.
"""

from app.services.events.batch import Event, record_events
from app.services.events.node_events import create_node_event
from app.services.events.task_events import create_task_event
from app.services.events.workflow_events import create_workflow_event

__all__ = ["Event", "create_node_event", "create_task_event", "create_workflow_event", "record_events"]

"""Select the nodes and attempts of an execution that have not ended, and build events of such attempts.

The local engine uses these when it aborts an execution, and orphans.py when it records an execution as ABORTED. The
local engine also sends events of open attempts while the object store is unavailable.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import task_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2
from sqlalchemy import literal, select

from app.database import schema
from app.database.statements import Statement
from app.services.execution_ids import of_execution
from app.services.phases import NODE_TERMINAL, TASK_TERMINAL, Node, Task

_nodes, _tasks = schema.table(schema.NodeExecution), schema.table(schema.TaskExecution)


# Newest first, so that a child comes before its parent.
OPEN_NODES = Statement(
    select(_nodes.c.id, _nodes.c.node_id, _nodes.c.parent_id, _nodes.c.input_uri, _nodes.c.closure)
    .where(
        *of_execution(_nodes), _nodes.c.phase.not_in([literal(Node.Phase.Name(one)) for one in sorted(NODE_TERMINAL)])
    )
    .order_by(_nodes.c.id.desc())
)
OPEN_ATTEMPTS = Statement(
    select(_tasks)
    .where(
        *of_execution(_tasks), _tasks.c.phase.not_in([literal(Task.Phase.Name(one)) for one in sorted(TASK_TERMINAL)])
    )
    .order_by(_tasks.c.retry_attempt)
)


def attempt_event(
    id: identifier_pb2.WorkflowExecutionIdentifier, row: Any, **fields: Any
) -> event_pb2.TaskExecutionEvent:
    """Return an event of an attempt, without time and producer.

    Args:
        id: The execution.
        row: A row of OPEN_ATTEMPTS.
        fields: Further fields of the event, such as its phase.
    """
    event = event_pb2.TaskExecutionEvent(retry_attempt=row.retry_attempt, **fields)
    event.task_id.resource_type = identifier_pb2.TASK
    for part in ("project", "domain", "name", "version"):
        setattr(event.task_id, part, getattr(row, part))
    event.parent_node_execution_id.execution_id.CopyFrom(id)
    event.parent_node_execution_id.node_id = row.node_id
    return event


def attempt_aborted(id: identifier_pb2.WorkflowExecutionIdentifier, row: Any) -> event_pb2.TaskExecutionEvent:
    """Return the event that ends an attempt and its external resources as ABORTED, without time and producer.

    Args:
        id: The execution.
        row: A row of OPEN_ATTEMPTS.
    """
    closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
    event = attempt_event(
        id,
        row,
        phase=Task.ABORTED,
        task_type=closure.task_type,
        input_uri=row.input_uri or "",
        metadata=closure.metadata,
        logs=closure.logs,
    )
    for resource in event.metadata.external_resources:
        if resource.phase not in TASK_TERMINAL:
            resource.phase = Task.ABORTED
    return event

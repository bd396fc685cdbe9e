"""Read from the database what earlier runs of an execution have recorded of its nodes and attempts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TypeAlias

from flyteidl.admin import node_execution_pb2, task_execution_pb2
from flyteidl.core import identifier_pb2

from app.database import schema
from app.runtime.dispatch import Server
from app.services.execution_ids import execution_key

AttemptClosure: TypeAlias = task_execution_pb2.TaskExecutionClosure


@dataclass(frozen=True, slots=True)
class RecordedNode:
    """A node execution as the database holds it, recorded by an earlier run of an execution.

    Attributes:
        dynamic_uri: The compiled workflow of a dynamic node; "" without one.
    """

    phase: str
    closure: node_execution_pb2.NodeExecutionClosure
    input_uri: str
    dynamic_uri: str

    @property
    def created_at(self) -> float:
        """Return when the node was first reported, in seconds since 1970."""
        return float(self.closure.created_at.ToNanoseconds() / 1e9)

    @property
    def started_at(self) -> float:
        """Return when the node was first reported RUNNING, in seconds since 1970; 0 when it never was."""
        return self.closure.started_at.ToNanoseconds() / 1e9 if self.closure.HasField("started_at") else 0.0


@dataclass(frozen=True, slots=True)
class RecordedAttempts:
    """The attempts of an execution's tasks.

    Attributes:
        closures: By unique node id and attempt.
        versions: The version of the last phase, by unique node id and attempt.
    """

    closures: dict[str, dict[int, AttemptClosure]]
    versions: dict[tuple[str, int], int]


async def recorded_nodes(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, RecordedNode]:
    """Read the nodes of an execution, by unique node id."""
    columns = ("node_id", "phase", "closure", "input_uri", "dynamic_workflow_remote_closure_reference")
    async with server.database.unit_of_work() as db:
        rows = await db.find_all(schema.NodeExecution, columns=columns, **execution_key(id))
    return {
        row.node_id: RecordedNode(
            phase=row.phase,
            closure=node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b""),
            input_uri=row.input_uri or "",
            dynamic_uri=row.dynamic_workflow_remote_closure_reference or "",
        )
        for row in rows
    }


async def recorded_attempts(server: Server, id: identifier_pb2.WorkflowExecutionIdentifier) -> RecordedAttempts:
    """Read the attempts of an execution's tasks."""
    columns = ("node_id", "retry_attempt", "phase_version", "closure")
    async with server.database.unit_of_work() as db:
        rows = await db.find_all(schema.TaskExecution, columns=columns, **execution_key(id))
    closures: dict[str, dict[int, AttemptClosure]] = defaultdict(dict)
    for row in rows:
        closures[row.node_id][row.retry_attempt] = AttemptClosure.FromString(row.closure or b"")
    versions = {(row.node_id, row.retry_attempt): row.phase_version or 0 for row in rows}
    return RecordedAttempts(dict(closures), versions)

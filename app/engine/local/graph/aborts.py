"""End unfinished nodes: end processes, terminate child executions, report attempts and nodes ABORTED.

Aborts read the rows of the database and the records of processes, not the graph in memory. The caller first cancels the
coroutines that run the nodes, which report nothing then, and calls `end`. A server that takes over an abort from a
server that was killed does the same.
Source: flytepropeller pkg/controller/nodes/executor.go (AbortHandler), workflow/executor.go (HandleAbortedWorkflow).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from flyteidl.admin import execution_pb2 as admin_execution_pb2
from flyteidl.admin import node_execution_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from flyteidl.event import event_pb2
from sqlalchemy import bindparam, literal, select

from app import errors
from app.blobs import BlobError
from app.database import schema
from app.database.statements import Statement
from app.engine.local.connectors.jobs import Job
from app.engine.local.execution_error import error_of
from app.engine.local.graph.service_calls import with_retries
from app.engine.local.graph.state import ExecutionState, GraphScope, NodeContext
from app.engine.local.processes import decks
from app.services import executions
from app.services.execution_ids import execution_columns, execution_id, execution_key, of_execution, same_execution
from app.services.executions.unfinished import OPEN_ATTEMPTS, OPEN_NODES, attempt_aborted
from app.services.phases import WORKFLOW_TERMINAL, Node, Workflow

_DECK_SECONDS_MAX = 5.0

TERMINATED = "Workflow aborted."
AUTO_ABORT = "Some node execution failed, auto-abort."
SUBWORKFLOW_FAILED = "subworkflow failed"
TIMED_OUT = "node timed out"

_nodes, _tasks = schema.table(schema.NodeExecution), schema.table(schema.TaskExecution)
_executions, _launches = schema.table(schema.Execution), schema.table(schema.Launch)
_tags = schema.table(schema.ExecutionTag)
_NOT_TO_TERMINATE = [literal(Workflow.Phase.Name(phase)) for phase in sorted(WORKFLOW_TERMINAL | {Workflow.ABORTING})]

# Only running executions have launch records, so that joining from these few needs no further index.
_RUNNING = _launches.join(_executions, same_execution(_launches, _executions))
_CHILDREN = Statement(
    select(*execution_columns(_executions), _nodes.c.node_id)
    .select_from(_RUNNING.join(_nodes, _nodes.c.id == _executions.c.parent_node_execution_id))
    .where(*of_execution(_nodes), _executions.c.phase.not_in(_NOT_TO_TERMINATE))
)
# flytekit labels the executions that an eager task launches with the execution of the task (EAGER_TAG_KEY).
EAGER_LABEL = "eager-exec"
_LAUNCHED = Statement(
    select(*execution_columns(_executions))
    .select_from(_RUNNING.join(_tags, same_execution(_tags, _executions)))
    .where(
        _tags.c.key == literal(EAGER_LABEL),
        _tags.c.value == bindparam("launcher"),
        _executions.c.execution_project == bindparam("project"),
        _executions.c.execution_domain == bindparam("domain"),
        _executions.c.phase.not_in(_NOT_TO_TERMINATE),
    )
)


async def end_attempts(execution: ExecutionState, unique_id: str, reason: str, *, report: bool) -> None:
    """End the processes, tasks of services and child executions of one node, but not the node.

    Args:
        execution: The execution.
        unique_id: The node.
        reason: Shown as the cause of the ends.
        report: Whether to report the open attempts of the node ABORTED.

    Raises:
        FlyteError: From the database.
        LeaseLost: Another server runs the execution.
    """
    async with execution.server.database.unit_of_work() as db:
        attempts = await db.all(OPEN_ATTEMPTS, **execution_key(execution.id))
        children = await db.all(_CHILDREN, **execution_key(execution.id))
        await execution.host.hold(db, execution.id)
    jobs = await execution.host.connectors.open_jobs(execution.id)
    abort = _Abort(execution, reason, (), attempts, children, jobs)
    events = await abort.end_attempts(unique_id)
    if report:
        await execution.events.send(*events)


async def end(
    execution: ExecutionState, reason: str, *, within: GraphScope | None = None, below: NodeContext | None = None
) -> None:
    """End all unfinished nodes of an execution, of one graph in it, or below one node.

    Args:
        execution: The execution.
        reason: Shown as the cause of the ends.
        within: The graph; its failure node is left alone.
        below: The node; it is left alone itself.

    Raises:
        FlyteError: From the database.
        LeaseLost: Another server runs the execution.
    """
    async with execution.server.database.unit_of_work() as db:
        nodes = await db.all(OPEN_NODES, **execution_key(execution.id))
        attempts = await db.all(OPEN_ATTEMPTS, **execution_key(execution.id)) if nodes else ()
        children = await db.all(_CHILDREN, **execution_key(execution.id)) if nodes else ()
        # The processes may be those of another server, which has taken over the execution.
        await execution.host.hold(db, execution.id)
    jobs = await execution.host.connectors.open_jobs(execution.id) if nodes else {}
    await _Abort(execution, reason, nodes, attempts, children, jobs).end(within, below)


async def terminate_launched(execution: ExecutionState) -> None:
    """Terminate the unfinished executions that eager tasks of this execution have launched.

    Deviates: upstream leaves these executions to flytekit, whose handler of SIGTERM fails before it ends any of them.
    """
    id = execution.id
    async with execution.server.database.unit_of_work() as db:
        rows = await db.all(_LAUNCHED, launcher=id.name, project=id.project, domain=id.domain)
    for row in rows:
        await terminate(execution, execution_id(row), TERMINATED)


class _Abort:
    def __init__(
        self,
        execution: ExecutionState,
        reason: str,
        nodes: Any,
        attempts: Any,
        children: Any,
        jobs: Mapping[str, Sequence[Job]],
    ) -> None:
        self._execution = execution
        self._jobs = jobs
        self._reason = reason
        self._nodes = {row.id: row for row in nodes}
        self._below: dict[int, list[Any]] = defaultdict(list)
        for row in nodes:
            if row.parent_id in self._nodes:
                self._below[row.parent_id].append(row)
        self._attempts: dict[str, list[Any]] = defaultdict(list)
        for row in attempts:
            self._attempts[row.node_id].append(row)
        templates = (task.template for task in execution.closure.tasks)
        self._generates_deck = {
            (task.id.project, task.id.domain, task.id.name, task.id.version): task.metadata.generates_deck.value
            for task in templates
        }
        self._children: dict[str, list[Any]] = defaultdict(list)
        for row in children:
            self._children[row.node_id].append(row)

    async def end(self, within: GraphScope | None, below: NodeContext | None) -> None:
        parent = within.parent if within is not None else below
        roots = [row for row in self._nodes.values() if row.parent_id not in self._nodes]
        if parent is not None:
            ids = [row.id for row in self._nodes.values() if row.node_id == parent.unique_id]
            roots = [row for id in ids for row in self._below[id]]
        if within is not None and within.workflow.template.HasField("failure_node"):
            kept = within.context(within.workflow.template.failure_node).unique_id
            roots = [row for row in roots if row.node_id != kept]
        await asyncio.gather(*(self._end(row) for row in roots))

    async def end_attempts(self, node_id: str) -> list[event_pb2.TaskExecutionEvent]:
        """End the processes, tasks of services and child executions of a node.

        Returns:
            ABORTED events for its open attempts. A task that its service did not delete is named as the reason.
        """
        execution = self._execution
        await execution.host.runner.kill_below(execution.folder(node_id))
        jobs = self._jobs.get(node_id, ())
        left = await asyncio.gather(*(execution.host.connectors.delete(job) for job in jobs))
        children = self._children[node_id]
        await asyncio.gather(*(terminate(execution, execution_id(child), self._reason) for child in children))
        events = [attempt_aborted(execution.id, attempt) for attempt in self._attempts[node_id]]
        for event in events:
            event.reason = next(filter(None, left), "")
        return events

    async def _end(self, row: Any) -> None:
        """End the nodes inside a node first, then its processes; report it ABORTED last."""
        await asyncio.gather(*(self._end(child) for child in self._below[row.id]))
        execution = self._execution
        events: list[Any] = await self.end_attempts(row.node_id)
        # Parity: the event has no further fields, so that those of earlier events are kept.
        aborted = event_pb2.NodeExecutionEvent(
            phase=Node.ABORTED,
            error=error_of("NodeAborted", self._reason, execution_pb2.ExecutionError.UNKNOWN),
            deck_uri=await self._deck(row),
        )
        aborted.id.execution_id.CopyFrom(execution.id)
        aborted.id.node_id = row.node_id
        await execution.events.send(*events, aborted)

    async def _deck(self, row: Any) -> str:
        """Return the deck of a node's open attempt, else the deck that the node shows; "" for none.

        Deviates: upstream's event names no deck, which makes a published deck unreachable (flyteorg/flyte#7610).
        """
        shown = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"").deck_uri
        folder = (row.input_uri or "").rpartition("/")[0]
        # Only an open attempt may have written a deck that no event names yet.
        open_attempts = [one.retry_attempt for one in self._attempts[row.node_id] if self._may_have_deck(one)]
        latest = decks.uri_of(f"{folder}/{open_attempts[-1]}") if folder and open_attempts else ""
        if not shown and not latest:
            return ""
        try:
            async with asyncio.timeout(_DECK_SECONDS_MAX):
                return await decks.first_of(self._execution.server.blobs, latest, shown)
        except (BlobError, TimeoutError):
            # An abort does not depend on the store.
            return str(shown)

    def _may_have_deck(self, attempt: Any) -> bool:
        """Return whether the task of an attempt generates decks; True for a task of a dynamic workflow."""
        id = (attempt.project, attempt.domain, attempt.name, attempt.version)
        return bool(self._generates_deck.get(id, True))


async def terminate(execution: ExecutionState, child: identifier_pb2.WorkflowExecutionIdentifier, reason: str) -> None:
    """Terminate a child execution, unless it has ended."""
    cause = f"cascading abort as parent execution id [{execution.id.name}] aborted, reason [{reason}]"
    request = admin_execution_pb2.ExecutionTerminateRequest(id=child, cause=cause)
    try:
        await with_retries(execution.server, executions.terminate_execution, request)
    except (errors.FailedPrecondition, errors.NotFound):
        return

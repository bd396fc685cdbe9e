"""Record several events in one transaction: each row that they change is read once and written once.

The local engine sends events in batches. The phase rules and the resulting rows are those of the single RPCs.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, TypeAlias

from flyteidl.admin import event_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2 as engine_event_pb2

from app import errors
from app.database import schema
from app.database.base import already_exists
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services import outbox, phases
from app.services.checks import missing_entity
from app.services.events import changes, node_events, task_events
from app.services.events.workflow_events import create_workflow_event
from app.services.execution_ids import execution_key, node_key, task_key
from app.wire.text import text

Event: TypeAlias = (
    engine_event_pb2.WorkflowExecutionEvent | engine_event_pb2.NodeExecutionEvent | engine_event_pb2.TaskExecutionEvent
)
_Uris: TypeAlias = "dict[str, str]"

# The columns that the functions of node_events and task_events read.
_READ: dict[type[schema.Base], tuple[str, ...]] = {
    schema.NodeExecution: ("phase", "closure", "started_at", "input_uri", "node_execution_metadata"),
    schema.TaskExecution: ("phase", "phase_version", "closure", "started_at", "input_uri"),
}


async def record_events(ctx: Context, events: Sequence[Event]) -> None:
    """Record events of this server's engine in this order. If one of them is refused, none is recorded.

    Their ids and phases are not checked: the engine takes them from the compiled workflow that it runs, and has checked
    the ids of tasks that a dynamic task returns.

    Raises:
        FlyteError: As the functions for single events.
    """
    if not all(map(_is_plain, events)):
        for event in events:
            await _record_alone(ctx, event)
        return
    prepared = [(event, await _prepare(ctx, event)) for event in events]
    rows = _Rows(ctx)
    await ctx.db.begin()
    for event, uris in prepared:
        if isinstance(event, engine_event_pb2.NodeExecutionEvent):
            await _record_node(ctx, rows, event, uris)
        elif isinstance(event, engine_event_pb2.TaskExecutionEvent):
            await _record_attempt(rows, event, uris)
        else:
            await rows.write()
            await create_workflow_event(ctx, event_pb2.WorkflowExecutionEventRequest(event=event))
    await rows.write()


def _is_plain(event: Event) -> bool:
    """Return whether an event has no inline inputs, whose place depends on the row."""
    is_workflow_event = isinstance(event, engine_event_pb2.WorkflowExecutionEvent)
    return is_workflow_event or event.WhichOneof("input_value") != "input_data"


async def _record_alone(ctx: Context, event: Event) -> None:
    if isinstance(event, engine_event_pb2.WorkflowExecutionEvent):
        await create_workflow_event(ctx, event_pb2.WorkflowExecutionEventRequest(event=event))
    elif isinstance(event, engine_event_pb2.NodeExecutionEvent):
        await node_events.create_node_event(ctx, event_pb2.NodeExecutionEventRequest(event=event))
    else:
        await task_events.create_task_event(ctx, event_pb2.TaskExecutionEventRequest(event=event))


async def _prepare(ctx: Context, event: Event) -> _Uris:
    """Write the inline data of an event, before any row is locked.

    Returns:
        The URIs of its data, and under "deck" that of a deck that exists and that it may add.
    """
    if isinstance(event, engine_event_pb2.WorkflowExecutionEvent):
        return {}
    of_node = isinstance(event, engine_event_pb2.NodeExecutionEvent)
    if of_node:
        await node_events.keep_deck_of_aborted(ctx, event)
    if event.WhichOneof("output_result") == "output_data":
        changes.check_output_size(ctx, event.output_data)
    elif not (of_node and event.task_node_metadata.HasField("dynamic_workflow")):
        ends = event.phase in (phases.NODE_TERMINAL if of_node else phases.TASK_TERMINAL)
        uris = {"input": event.input_uri, "output": event.output_uri if ends else "", "dynamic": "", "deck": ""}
        if of_node and node_events.may_add_deck(event) and await node_events.deck_exists(ctx, event):
            uris["deck"] = event.deck_uri
        return uris
    if of_node:
        node_events.check_dynamic_workflow(event)
        return await node_events.write_inline_data(ctx, event, has_inputs=False)
    return await task_events.write_inline_data(ctx, event, has_inputs=False)


class _Row:
    """The row of a node or an attempt. values: the columns of `_READ` as they are after the events so far."""

    __slots__ = ("changed", "is_new", "key", "model", "values")

    def __init__(self, model: type[schema.Base], key: changes.Columns, stored: Any, changed: changes.Columns) -> None:
        self.model = model
        self.key = key
        self.is_new = stored is None
        self.values = SimpleNamespace(**{column: getattr(stored, column, None) for column in _READ[model]})
        self.changed: changes.Columns = {}
        self.change(changed)

    def change(self, columns: changes.Columns) -> None:
        self.changed.update(columns)
        self.values.__dict__.update(columns)


class _Rows:
    """The rows that the events of one transaction change, their lines in the log, and the messages about them."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._rows: dict[tuple[Any, ...], _Row] = {}
        self._executions: dict[tuple[Any, ...], Any] = {}
        self._lines: list[changes.Columns] = []
        self._recorded: list[RecordedEvent] = []

    async def execution(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> Any:
        """Return the row of an execution with the column cluster, None without one."""
        key = (id.project, id.domain, id.name)
        if key not in self._executions:
            self._executions[key] = await self._ctx.db.find(schema.Execution, columns=("cluster",), **execution_key(id))
        return self._executions[key]

    async def find(self, model: type[schema.Base], key: changes.Columns) -> _Row | None:
        """Return a row, locked; None where it does not exist."""
        name = (model, *key.values())
        row = self._rows.get(name)
        if row is None:
            stored = await self._ctx.db.find(model, columns=_READ[model], for_update=True, **key)
            if stored is not None:
                row = self._rows[name] = _Row(model, key, stored, {})
        return row

    async def exists(self, model: type[schema.Base], key: changes.Columns) -> bool:
        """Return whether a row exists, which is not locked."""
        return (model, *key.values()) in self._rows or await self._ctx.db.find(
            model, columns=("id",), **key
        ) is not None

    def add(self, model: type[schema.Base], key: changes.Columns, columns: changes.Columns) -> None:
        """Add a row that does not exist."""
        self._rows[(model, *key.values())] = _Row(model, key, None, columns)

    def recorded(self, event: Any, execution: identifier_pb2.WorkflowExecutionIdentifier, *, first: bool) -> None:
        """Let `write` insert the line of an event of a node into the log, and publish an event.

        Args:
            event: The event of a node or an attempt.
            execution: The execution.
            first: Whether the event has added its row.
        """
        if isinstance(event, engine_event_pb2.NodeExecutionEvent):
            self._lines.append(node_events.log_line(event))
        if not self._ctx.outgoing.writers:
            return
        if isinstance(event, engine_event_pb2.NodeExecutionEvent):
            node = event_pb2.NodeExecutionEventRequest(event=event)
            self._recorded.append(RecordedEvent("node", execution, node, first=first))
        else:
            attempt = event_pb2.TaskExecutionEventRequest(event=event)
            self._recorded.append(RecordedEvent("task", execution, attempt, first=first))

    async def write(self) -> None:
        """Write the changed rows and the lines of the log, then the messages about the events.

        Raises:
            AlreadyExists: Another transaction has inserted a row since `find`.
        """
        db = self._ctx.db
        for row in self._rows.values():
            if not row.is_new:
                await db.update(row.model, row.key, **row.changed)
            elif await db.insert_if_absent(row.model, **row.key, **row.changed) is None:
                raise already_exists(f"{schema.table(row.model).name}_pkey")
        self._rows.clear()
        await db.insert_all_if_absent(schema.NodeExecutionEvent, self._lines)
        self._lines.clear()
        for event in self._recorded:
            await outbox.publish(self._ctx, event)
        self._recorded.clear()


async def _record_node(ctx: Context, rows: _Rows, event: engine_event_pb2.NodeExecutionEvent, uris: _Uris) -> None:
    execution_id = event.id.execution_id
    node_events.check_execution(await rows.execution(execution_id), event)
    key = node_key(event.id)
    row = await rows.find(schema.NodeExecution, key)
    if row is None:
        # A parent may be a row of this batch.
        if event.HasField("parent_node_metadata") or event.HasField("parent_task_metadata"):
            await rows.write()
        columns = node_events.first_columns(event, uris) | await node_events.parent_columns(ctx, event)
        rows.add(schema.NodeExecution, key, columns)
    elif uris.get("deck") and node_events.adds_deck(row.values, event):
        row.change(node_events.deck_columns(row.values, event))
        return
    else:
        phases.check_node_event(row.values.phase, event.phase, id=event.id)
        await node_events.check_child_execution(ctx, event)
        row.change(node_events.later_columns(row.values, event, uris))
    rows.recorded(event, execution_id, first=row is None)


async def _record_attempt(rows: _Rows, event: engine_event_pb2.TaskExecutionEvent, uris: _Uris) -> None:
    node = event.parent_node_execution_id
    execution = await rows.execution(node.execution_id)
    if execution is None:
        raise missing_entity("execution", node.execution_id)
    phases.check_cluster(execution.cluster, event.producer_id)
    key = task_key(event.task_id, node, event.retry_attempt)
    row = await rows.find(schema.TaskExecution, key)
    if row is not None:
        task_events.check_phase(row.values, event)
        row.change(task_events.later_columns(row.values, event, uris))
    elif not await rows.exists(schema.NodeExecution, node_key(node)):
        raise errors.NotFound(f"Failed to get existing node execution id: [{text(node)}] with err: entry not found")
    else:
        rows.add(schema.TaskExecution, key, task_events.first_columns(event, uris))
    rows.recorded(event, node.execution_id, first=row is None)

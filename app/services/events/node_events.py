"""Record the phases of a node, its parents, its dynamic workflow and its cache status: CreateNodeEvent."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from flyteidl.admin import event_pb2, node_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2 as engine_event_pb2
from google.protobuf import wrappers_pb2

from app import errors
from app.blobs import BlobError, BlobUnavailable
from app.database import schema
from app.runtime.context import Context
from app.runtime.outgoing import RecordedEvent
from app.services import outbox, phases
from app.services.checks import missing_entity
from app.services.events import changes
from app.services.events.inline_data import InlineData
from app.services.execution_ids import (
    attempt_row,
    check_execution_id,
    check_task_execution_id,
    execution_key,
    node_key,
)
from app.wire.text import text

log = structlog.get_logger(__name__)

_RUNNING = frozenset({phases.Node.RUNNING, phases.Node.DYNAMIC_RUNNING})


async def create_node_event(
    ctx: Context, request: event_pb2.NodeExecutionEventRequest
) -> event_pb2.NodeExecutionEventResponse:
    """Record a phase of a node. The first event of a node inserts its row.

    Parents that the event names must exist. An event may repeat the phase of a running node to add a deck.

    Raises:
        errors.InvalidArgument: An id or time is missing.
        errors.ResourceExhausted: The outputs are too large.
        errors.NotFound: The execution, a parent or the child execution does not exist.
        errors.AlreadyExists: See phases.check_node_event.
        errors.FailedPrecondition: See phases.check_node_event.

    Source: upstream NodeExecutionManager.CreateNodeEvent.
    """
    event = request.event
    check_event(ctx, event)
    execution_id = event.id.execution_id
    execution = await ctx.db.find(schema.Execution, columns=("cluster",), **execution_key(execution_id))
    check_execution(execution, event)
    key = node_key(event.id)
    stored = await ctx.db.find(schema.NodeExecution, columns=("phase", "input_uri"), **key)
    if stored is not None:
        if may_add_deck(event) and await _add_deck(ctx, event):
            return event_pb2.NodeExecutionEventResponse()
        phases.check_node_event(stored.phase, event.phase, id=event.id)
    check_dynamic_workflow(event)
    await keep_deck_of_aborted(ctx, event)
    parents = await parent_columns(ctx, event) if stored is None else {}
    if stored is not None:
        await check_child_execution(ctx, event)
    uris = await write_inline_data(ctx, event, has_inputs=stored is not None and bool(stored.input_uri))
    await changes.insert_or_update(
        ctx,
        schema.NodeExecution,
        key,
        first=first_columns(event, uris) | parents if stored is None else None,
        check=lambda row: phases.check_node_event(row.phase, event.phase, id=event.id),
        later=lambda row: later_columns(row, event, uris),
    )
    await ctx.db.insert_if_absent(schema.NodeExecutionEvent, **log_line(event, request.request_id))
    if ctx.outgoing.writers:
        await outbox.publish(ctx, RecordedEvent("node", execution_id, request, first=stored is None))
    return event_pb2.NodeExecutionEventResponse()


def log_line(event: engine_event_pb2.NodeExecutionEvent, request_id: str = "") -> changes.Columns:
    """Return the columns of the line of an event in the event log."""
    return {
        **node_key(event.id),
        "request_id": request_id,
        "occurred_at": changes.to_datetime(event.occurred_at),
        "phase": phases.Node.Phase.Name(event.phase),
    }


# Checks.


def check_execution(row: Any, event: engine_event_pb2.NodeExecutionEvent) -> None:
    """Check that the execution of an event exists, and that the producer of the event may report on it.

    Args:
        row: The row of the execution, with the column cluster; None if there is none.
        event: The event.

    Raises:
        errors.NotFound: There is no execution.
        errors.FailedPrecondition: See phases.check_cluster.
    """
    if row is None:
        id = text(event.id.execution_id)
        raise errors.NotFound(
            f"Failed to get existing execution id: [{id}] with err: "
            f"missing entity of type execution with identifier {id}"
        )
    phases.check_cluster(row.cluster, event.producer_id)


def check_event(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> None:
    """Raise INVALID_ARGUMENT if ids, phase or times of an event are missing or invalid.

    Deviates: upstream logs these errors and continues, so that an event with an empty id changes the row of another
    node.
    """
    if not event.id.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not event.id.node_id:
        raise errors.missing("node_id")
    check_execution_id(event.id.execution_id)
    phases.check_known(phases.Node.Phase, event.phase)
    if not event.HasField("occurred_at"):
        raise errors.InvalidArgument("failed to read event timestamp")
    changes.check_times(event)
    changes.check_output_size(ctx, event.output_data)


def check_dynamic_workflow(event: engine_event_pb2.NodeExecutionEvent) -> None:
    """Raise INVALID_ARGUMENT if an event names a dynamic workflow without its compiled form."""
    metadata = event.task_node_metadata
    if metadata.HasField("dynamic_workflow") and not metadata.dynamic_workflow.HasField("compiled_workflow"):
        workflow = metadata.dynamic_workflow
        raise errors.InvalidArgument(
            f"Failed to upload dynamic workflow closure for node id [{text(event.id)}] and workflow id "
            f"[{text(workflow.id if workflow.HasField('id') else None)}] with err: proto: Marshal called with nil"
        )


async def check_child_execution(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> None:
    """Raise NOT_FOUND if the child execution that an event names does not exist."""
    if event.HasField("workflow_node_metadata"):
        child = event.workflow_node_metadata.execution_id
        check_execution_id(child)
        if await ctx.db.find(schema.Execution, columns=("id",), **execution_key(child)) is None:
            raise missing_entity("execution", child)


# Decks.


def may_add_deck(event: engine_event_pb2.NodeExecutionEvent) -> bool:
    """Return whether an event may add a deck to a running node."""
    return bool(event.deck_uri) and event.phase in _RUNNING


def adds_deck(row: Any, event: engine_event_pb2.NodeExecutionEvent) -> bool:
    """Return whether an event repeats the phase of a running node, and names a deck that the node does not have.

    Deviates: upstream answers ALREADY_EXISTS. A node then shows the deck URI of its first RUNNING event. That deck may
    not exist yet, or belong to an earlier attempt.

    Args:
        row: The row of the node, with the columns phase and closure.
        event: The event.
    """
    if not may_add_deck(event) or phases.Node.Phase.Name(event.phase) != row.phase:
        return False
    return bool(_closure_of(row).deck_uri != event.deck_uri)


async def deck_exists(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> bool:
    """Return whether the deck of an event exists in the store.

    Raises:
        BlobUnavailable: The object store does not answer.
    """
    try:
        return await ctx.blobs.exists(event.deck_uri)
    except BlobUnavailable:
        raise
    except BlobError as error:
        log.warning("deck_not_added", uri=event.deck_uri, reason=error.message)
        return False


def deck_columns(row: Any, event: engine_event_pb2.NodeExecutionEvent) -> changes.Columns:
    """Return the columns of a node that the deck of an event changes. Nothing else of the event is recorded."""
    closure = _closure_of(row)
    closure.deck_uri = event.deck_uri
    closure.updated_at.CopyFrom(changes.reported_at(event))
    updated_at = changes.to_datetime(changes.reported_at(event))
    return {"closure": closure.SerializeToString(), "node_execution_updated_at": updated_at}


async def _add_deck(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> bool:
    """Record the deck of an event that adds one; return False, with nothing recorded, for other events.

    Raises:
        BlobUnavailable: The object store does not answer.
    """
    key, columns = node_key(event.id), ("phase", "closure")
    before = await ctx.db.find(schema.NodeExecution, columns=columns, **key)
    if before is None or not adds_deck(before, event) or not await deck_exists(ctx, event):
        return False
    row: Any = await ctx.db.find(schema.NodeExecution, columns=columns, for_update=True, **key)
    if row.phase != before.phase:
        return False
    await ctx.db.update(schema.NodeExecution, key, **deck_columns(row, event))
    return True


async def keep_deck_of_aborted(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> None:
    """Copy the stored deck URI into the event of an aborted or timed out node, unless the deck does not exist.

    The URI is kept too if the store does not answer.
    Deviates: engines name no deck in the event of an abort, and upstream clears the URI (flyteorg/flyte#7610).
    """
    if event.phase not in (phases.Node.ABORTED, phases.Node.TIMED_OUT) or event.deck_uri:
        return
    row = await ctx.db.find(schema.NodeExecution, columns=("closure",), **node_key(event.id))
    stored = "" if row is None else _closure_of(row).deck_uri
    if not stored:
        return
    try:
        exists = await ctx.blobs.exists(stored)
    except BlobError as error:
        log.warning("deck_not_checked", uri=stored, reason=error.message)
        exists = True
    if exists:
        event.deck_uri = stored


# Columns.


async def write_inline_data(
    ctx: Context, event: engine_event_pb2.NodeExecutionEvent, *, has_inputs: bool
) -> dict[str, str]:
    """Write the inline data of an event; return the URIs of its "input", "output" and "dynamic" workflow, or ""."""
    id, inline = event.id, InlineData(ctx)
    parts = (id.execution_id.project, id.execution_id.domain, id.execution_id.name, id.node_id)
    uris = inline.uris(event, *parts, has_inputs=has_inputs, ends=event.phase in phases.NODE_TERMINAL)
    uris["dynamic"] = ""
    if event.task_node_metadata.HasField("dynamic_workflow"):
        workflow = event.task_node_metadata.dynamic_workflow
        name = "_".join((workflow.id.project, workflow.id.domain, workflow.id.name, workflow.id.version))
        uri = ctx.blobs.uri(*ctx.settings.flyteadmin.metadata_storage_prefix, *parts, name)
        uris["dynamic"] = inline.add(uri, workflow.compiled_workflow)
    return await inline.write(uris)


async def parent_columns(ctx: Context, event: engine_event_pb2.NodeExecutionEvent) -> changes.Columns:
    """Return the columns that link a new node to its parent task or parent node."""
    columns: changes.Columns = {}
    if event.HasField("parent_task_metadata"):
        id = event.parent_task_metadata.id
        check_task_execution_id(id.node_execution_id, id.task_id, has_node=id.HasField("node_execution_id"))
        columns["parent_task_execution_id"] = (await attempt_row(ctx, id)).id
    if event.HasField("parent_node_metadata"):
        parent_id = identifier_pb2.NodeExecutionIdentifier(
            execution_id=event.id.execution_id, node_id=event.parent_node_metadata.node_id
        )
        parent = await ctx.db.find(schema.NodeExecution, columns=("id",), **node_key(parent_id))
        if parent is None:
            raise missing_entity("node execution", parent_id)
        columns["parent_id"] = parent.id
    return columns


def _internal_data(event_version: int) -> bytes:
    """Return upstream's NodeExecutionInternalData{int32 event_version = 1}, a message that flyteidl does not have."""
    # Int32Value has the same field number and type.
    return bytes(wrappers_pb2.Int32Value(value=event_version).SerializeToString())


def first_columns(event: engine_event_pb2.NodeExecutionEvent, uris: dict[str, str]) -> changes.Columns:
    """Return the columns of a node after its first event (upstream CreateNodeExecutionModel)."""
    closure = node_execution_pb2.NodeExecutionClosure(created_at=event.occurred_at)
    metadata = node_execution_pb2.NodeExecutionMetaData(
        retry_group=event.retry_group,
        spec_node_id=event.spec_node_id,
        is_parent_node=event.is_parent,
        is_dynamic=event.is_dynamic,
        is_array=event.is_array,
    )
    return {
        "node_execution_created_at": changes.to_datetime(event.occurred_at),
        "node_execution_metadata": metadata.SerializeToString(),
        "dynamic_workflow_remote_closure_reference": uris["dynamic"],
        "internal_data": _internal_data(event.event_version),
        "input_uri": uris["input"],
        "duration": 0,
        **_state_columns(closure, event, uris, started_at=None),
    }


def later_columns(row: Any, event: engine_event_pb2.NodeExecutionEvent, uris: dict[str, str]) -> changes.Columns:
    """Return the columns of a node that a later event changes (upstream UpdateNodeExecutionModel)."""
    closure = _closure_of(row)
    if event.HasField("workflow_node_metadata") and not closure.HasField("workflow_node_metadata"):
        closure.workflow_node_metadata.executionId.CopyFrom(event.workflow_node_metadata.execution_id)
    if event.task_node_metadata.dynamic_workflow.dynamic_job_spec_uri:
        closure.dynamic_job_spec_uri = event.task_node_metadata.dynamic_workflow.dynamic_job_spec_uri
    columns = _state_columns(closure, event, uris, started_at=row.started_at)
    columns |= changes.late_inputs(row, uris["input"])
    if uris["dynamic"]:
        columns["dynamic_workflow_remote_closure_reference"] = uris["dynamic"]
    if event.is_parent or event.is_dynamic or event.is_array:
        metadata = node_execution_pb2.NodeExecutionMetaData.FromString(row.node_execution_metadata or b"")
        metadata.is_parent_node |= event.is_parent
        metadata.is_dynamic |= event.is_dynamic
        metadata.is_array |= event.is_array
        columns["node_execution_metadata"] = metadata.SerializeToString()
    return columns


def _state_columns(
    closure: node_execution_pb2.NodeExecutionClosure,
    event: engine_event_pb2.NodeExecutionEvent,
    uris: dict[str, str],
    *,
    started_at: datetime | None,
) -> changes.Columns:
    """Set phase, times, outcome and cache status in a closure; return the columns that change with it."""
    columns = changes.set_phase(closure, event, phases.Node.Phase, "node_execution_updated_at")
    starts, ends = event.phase == phases.Node.RUNNING, event.phase in phases.NODE_TERMINAL
    columns |= changes.set_times(closure, event, started_at, starts=starts, ends=ends)
    if starts or ends:
        # Parity: a terminal event without a deck clears the URI (addTerminalState); see keep_deck_of_aborted.
        closure.deck_uri = event.deck_uri
    if ends:
        columns |= changes.set_outcome(closure, event, uris["output"])
    if event.HasField("task_node_metadata"):
        metadata = event.task_node_metadata
        closure.task_node_metadata.Clear()
        closure.task_node_metadata.checkpoint_uri = metadata.checkpoint_uri
        closure.task_node_metadata.SetInParent()
        if metadata.HasField("catalog_key"):
            closure.task_node_metadata.cache_status = metadata.cache_status
            closure.task_node_metadata.catalog_key.CopyFrom(metadata.catalog_key)
            columns["cache_status"] = _cache_status_name(metadata)
    columns["closure"] = closure.SerializeToString()
    return columns


def _cache_status_name(metadata: engine_event_pb2.TaskNodeMetadata) -> str:
    """Return the name of a cache status, or its number if it has no name."""
    values = type(metadata).DESCRIPTOR.fields_by_name["cache_status"].enum_type.values_by_number
    value = values.get(metadata.cache_status)
    return value.name if value is not None else str(metadata.cache_status)


def _closure_of(row: Any) -> node_execution_pb2.NodeExecutionClosure:
    return node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")

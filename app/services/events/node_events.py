"""Node events: the phases of one node, its parents, its dynamic workflow and its cache marks."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import structlog
from flyteidl.admin import event_pb2, node_execution_pb2
from flyteidl.core import identifier_pb2
from flyteidl.event import event_pb2 as event

from app import errors
from app.blobs import BlobError, BlobUnavailable
from app.database import schema
from app.runtime.context import Context
from app.services import phases
from app.services.events.event_data import Inline, check_output_size, instant, put_outcome, put_times, reported
from app.services.execution_ids import (
    check_execution_id,
    check_task_execution_id,
    execution_key,
    node_key,
    task_key,
    untyped,
)
from app.wire.text import text

log = structlog.get_logger(__name__)

_RUNNING = frozenset({phases.Node.RUNNING, phases.Node.DYNAMIC_RUNNING})


async def create_node_event(
    ctx: Context, request: event_pb2.NodeExecutionEventRequest
) -> event_pb2.NodeExecutionEventResponse:
    """Record a phase of a node; the first event of a node creates its row.

    shape:  request.event as event.NodeExecutionEvent; parents, when named, are known already
    errors: INVALID_ARGUMENT for missing ids and times; RESOURCE_EXHAUSTED outputs too large; NOT_FOUND for an unknown
            execution, parent or child execution; ALREADY_EXISTS, FAILED_PRECONDITION see phases.check_node, but a
            phase may be repeated to add a deck
    source: upstream NodeExecutionManager.CreateNodeEvent
    """
    given = request.event
    _check_node_event(ctx, given)
    execution_id = given.id.execution_id
    execution = await ctx.db.find(schema.Execution, columns=("cluster",), **execution_key(execution_id))
    if execution is None:
        raise errors.NotFound(
            f"Failed to get existing execution id: [{text(execution_id)}] with err: "
            f"missing entity of type execution with identifier {text(execution_id)}"
        )
    phases.check_cluster(execution.cluster, given.producer_id)
    known = await ctx.db.find(schema.NodeExecution, columns=("phase", "input_uri"), **node_key(given.id))
    if known is not None:
        if await _add_deck(ctx, given, known.phase):
            return event_pb2.NodeExecutionEventResponse()
        phases.check_node(known.phase, given.phase, id=given.id)
    _check_dynamic(given)
    await _keep_deck(ctx, given)
    links = await _node_links(ctx, given, known is None)
    inline, inserted = Inline(ctx), None
    uris = await inline.write(_uris(ctx, inline, given, has_inputs=known is not None and bool(known.input_uri)))
    if known is None:
        created = _new_node(given, uris) | links
        inserted = await ctx.db.insert_if_absent(schema.NodeExecution, **node_key(given.id), **created)
    if inserted is None:
        row: Any = await ctx.db.find(schema.NodeExecution, for_update=True, **node_key(given.id))
        phases.check_node(row.phase, given.phase, id=given.id)
        await ctx.db.update(schema.NodeExecution, node_key(given.id), **_next_node(row, given, uris))
    await ctx.db.insert_if_absent(
        schema.NodeExecutionEvent,
        **node_key(given.id),
        request_id=request.request_id,
        occurred_at=instant(given.occurred_at, ""),
        phase=phases.Node.Phase.Name(given.phase),
    )
    return event_pb2.NodeExecutionEventResponse()


def _check_node_event(ctx: Context, given: event.NodeExecutionEvent) -> None:
    """Deviates: upstream logs these and goes on, so that an empty id reaches another's row."""
    if not given.id.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not given.id.node_id:
        raise errors.missing("node_id")
    check_execution_id(given.id.execution_id)
    phases.check_known(phases.Node.Phase, given.phase)
    if not given.HasField("occurred_at"):
        raise errors.InvalidArgument("failed to read event timestamp")
    instant(given.occurred_at, "failed to read event timestamp")
    instant(given.reported_at, "failed to read event reported_at timestamp")
    check_output_size(ctx, given.output_data)


async def _add_deck(ctx: Context, given: event.NodeExecutionEvent, stored: str) -> bool:
    """Record the deck of an event that repeats the phase of a running node, and nothing else of that event.

    Deviates: upstream answers ALREADY_EXISTS, so that a node shows the address of its first RUNNING event, of a deck
    that the task may not have written yet, or of an earlier attempt.

    Args:
        ctx: The request.
        given: The event.
        stored: The phase of the node.

    Returns:
        False, with nothing recorded, where the node shows this deck already or the deck is not in the storage.

    Raises:
        BlobUnavailable: The storage does not answer.
    """
    if not given.deck_uri or given.phase not in _RUNNING or phases.Node.Phase.Name(given.phase) != stored:
        return False
    seen = await ctx.db.find(schema.NodeExecution, columns=("closure",), **node_key(given.id))
    if seen is None or _closure(seen).deck_uri == given.deck_uri:
        return False
    try:
        if not await ctx.blobs.exists(given.deck_uri):
            return False
    except BlobUnavailable:
        raise
    except BlobError as error:
        log.warning("deck_not_added", uri=given.deck_uri, reason=error.message)
        return False
    row: Any = await ctx.db.find(schema.NodeExecution, for_update=True, **node_key(given.id))
    if row.phase != stored:
        return False
    closure = _closure(row)
    closure.deck_uri = given.deck_uri
    closure.updated_at.CopyFrom(reported(given))
    changes = {"closure": closure.SerializeToString(), "node_execution_updated_at": instant(reported(given), "")}
    await ctx.db.update(schema.NodeExecution, node_key(given.id), **changes)
    return True


def _closure(row: Any) -> node_execution_pb2.NodeExecutionClosure:
    return node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")


async def _keep_deck(ctx: Context, given: event.NodeExecutionEvent) -> None:
    """Name the deck that a cut off node showed while it ran, if it lies in the store or the store cannot say.

    Deviates: engines name none in the event of an abort, and upstream clears it (flyteorg/flyte#7610).
    """
    if given.phase not in (phases.Node.ABORTED, phases.Node.TIMED_OUT) or given.deck_uri:
        return
    row = await ctx.db.find(schema.NodeExecution, columns=("closure",), **node_key(given.id))
    shown = "" if row is None else _closure(row).deck_uri
    if not shown:
        return
    try:
        there = await ctx.blobs.exists(shown)
    except BlobError as error:
        log.warning("deck_not_checked", uri=shown, reason=error.message)
        there = True
    if there:
        given.deck_uri = shown


def _check_dynamic(given: event.NodeExecutionEvent) -> None:
    metadata = given.task_node_metadata
    if metadata.HasField("dynamic_workflow") and not metadata.dynamic_workflow.HasField("compiled_workflow"):
        workflow = metadata.dynamic_workflow
        raise errors.InvalidArgument(
            f"Failed to upload dynamic workflow closure for node id [{text(given.id)}] and workflow id "
            f"[{text(workflow.id if workflow.HasField('id') else None)}] with err: proto: Marshal called with nil"
        )


def _uris(ctx: Context, inline: Inline, given: event.NodeExecutionEvent, *, has_inputs: bool) -> dict[str, str]:
    """URIs of input, output and the dynamic workflow, "" for none; what came inline is left to be written."""
    id = given.id
    parts = (id.execution_id.project, id.execution_id.domain, id.execution_id.name, id.node_id)
    uris = {"input": given.input_uri, "output": "", "dynamic": ""}
    if given.WhichOneof("input_value") == "input_data" and not has_inputs:
        uris["input"] = inline.inputs(given.input_data, *parts)
    if given.phase in phases.NODE_TERMINAL:
        uris["output"] = inline.outputs(given, *parts)
    if given.task_node_metadata.HasField("dynamic_workflow"):
        workflow = given.task_node_metadata.dynamic_workflow
        name = "_".join((workflow.id.project, workflow.id.domain, workflow.id.name, workflow.id.version))
        uri = ctx.blobs.uri(*ctx.settings.flyteadmin.metadata_storage_prefix, *parts, name)
        uris["dynamic"] = inline.put(uri, workflow.compiled_workflow)
    return uris


async def _node_links(ctx: Context, given: event.NodeExecutionEvent, first: bool) -> dict[str, Any]:
    """Ids of the parent rows for a node's first event; a later one's child execution must exist."""
    links: dict[str, Any] = {}
    if not first:
        if given.HasField("workflow_node_metadata"):
            child = given.workflow_node_metadata.execution_id
            check_execution_id(child)
            if await ctx.db.find(schema.Execution, columns=("id",), **execution_key(child)) is None:
                raise errors.NotFound(f"missing entity of type execution with identifier {text(child)}")
        return links
    if given.HasField("parent_task_metadata"):
        id = given.parent_task_metadata.id
        check_task_execution_id(id.node_execution_id, id.task_id, nested=id.HasField("node_execution_id"))
        key = task_key(id.task_id, id.node_execution_id, id.retry_attempt)
        parent = await ctx.db.find(schema.TaskExecution, columns=("id",), **key)
        if parent is None:
            raise errors.NotFound(f"missing entity of type task execution with identifier {text(untyped(id))}")
        links["parent_task_execution_id"] = parent.id
    if given.HasField("parent_node_metadata"):
        above = identifier_pb2.NodeExecutionIdentifier(
            execution_id=given.id.execution_id, node_id=given.parent_node_metadata.node_id
        )
        parent = await ctx.db.find(schema.NodeExecution, columns=("id",), **node_key(above))
        if parent is None:
            raise errors.NotFound(f"missing entity of type node execution with identifier {text(above)}")
        links["parent_id"] = parent.id
    return links


def _internal_data(event_version: int) -> bytes:
    """Upstream's NodeExecutionInternalData{event_version = 1}, which flyteidl does not carry."""
    if not event_version:
        return b""
    # The varint of an int32 as protobuf writes it.
    encoded, value = bytearray(b"\x08"), event_version & 0xFFFFFFFFFFFFFFFF
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])


def _new_node(given: event.NodeExecutionEvent, uris: dict[str, str]) -> dict[str, Any]:
    """The columns of a node after its first event (upstream CreateNodeExecutionModel)."""
    closure = node_execution_pb2.NodeExecutionClosure(created_at=given.occurred_at)
    metadata = node_execution_pb2.NodeExecutionMetaData(
        retry_group=given.retry_group,
        spec_node_id=given.spec_node_id,
        is_parent_node=given.is_parent,
        is_dynamic=given.is_dynamic,
        is_array=given.is_array,
    )
    return {
        "node_execution_created_at": instant(given.occurred_at, ""),
        "node_execution_metadata": metadata.SerializeToString(),
        "dynamic_workflow_remote_closure_reference": uris["dynamic"],
        "internal_data": _internal_data(given.event_version),
        "input_uri": uris["input"],
        "duration": 0,
        **_node_state(closure, given, uris, started_at=None),
    }


def _next_node(row: Any, given: event.NodeExecutionEvent, uris: dict[str, str]) -> dict[str, Any]:
    """The columns of a node that a later event changes (upstream UpdateNodeExecutionModel)."""
    closure = _closure(row)
    if given.HasField("workflow_node_metadata") and not closure.HasField("workflow_node_metadata"):
        closure.workflow_node_metadata.executionId.CopyFrom(given.workflow_node_metadata.execution_id)
    if given.task_node_metadata.dynamic_workflow.dynamic_job_spec_uri:
        closure.dynamic_job_spec_uri = given.task_node_metadata.dynamic_workflow.dynamic_job_spec_uri
    changes = _node_state(closure, given, uris, started_at=row.started_at)
    if uris["input"] and not row.input_uri:
        changes["input_uri"] = uris["input"]
    if uris["dynamic"]:
        changes["dynamic_workflow_remote_closure_reference"] = uris["dynamic"]
    if given.is_parent or given.is_dynamic or given.is_array:
        metadata = node_execution_pb2.NodeExecutionMetaData.FromString(row.node_execution_metadata or b"")
        metadata.is_parent_node |= given.is_parent
        metadata.is_dynamic |= given.is_dynamic
        metadata.is_array |= given.is_array
        changes["node_execution_metadata"] = metadata.SerializeToString()
    return changes


def _node_state(
    closure: node_execution_pb2.NodeExecutionClosure,
    given: event.NodeExecutionEvent,
    uris: dict[str, str],
    *,
    started_at: datetime | None,
) -> dict[str, Any]:
    """Phase, times, outcome and cache marks, which first and later events set alike."""
    closure.phase = given.phase
    closure.updated_at.CopyFrom(reported(given))
    changes: dict[str, Any] = {
        "phase": phases.Node.Phase.Name(given.phase),
        "node_execution_updated_at": instant(reported(given), ""),
    }
    starts, ends = given.phase == phases.Node.RUNNING, given.phase in phases.NODE_TERMINAL
    changes |= put_times(closure, given, started_at, starts=starts, ends=ends)
    if starts or ends:
        # Parity: a terminal event without a deck clears it (addTerminalState); see _keep_deck.
        closure.deck_uri = given.deck_uri
    if ends:
        changes |= put_outcome(closure, given, uris["output"])
    if given.HasField("task_node_metadata"):
        seen = given.task_node_metadata
        closure.task_node_metadata.Clear()
        closure.task_node_metadata.checkpoint_uri = seen.checkpoint_uri
        closure.task_node_metadata.SetInParent()
        if seen.HasField("catalog_key"):
            closure.task_node_metadata.cache_status = seen.cache_status
            closure.task_node_metadata.catalog_key.CopyFrom(seen.catalog_key)
            names = type(seen).DESCRIPTOR.fields_by_name["cache_status"].enum_type.values_by_number
            name = names.get(seen.cache_status)
            changes["cache_status"] = name.name if name is not None else str(seen.cache_status)
    changes["closure"] = closure.SerializeToString()
    return changes

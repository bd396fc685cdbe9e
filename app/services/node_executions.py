"""Node executions: the state of each node of an execution, and of the nodes that a node started.

Proto: flyteidl/admin/node_execution.proto.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, node_execution_pb2
from flyteidl.core import compiler_pb2, identifier_pb2
from google.protobuf.message import DecodeError

from app import errors
from app.blobs import CLOSURE_LIMIT, BlobError, failed_call
from app.database import schema
from app.query import lists
from app.query.lists import ExistsFlag, Join, Listing
from app.query.pages import check_limit
from app.runtime.context import Context
from app.services import payloads
from app.services.checks import field_or_none, missing_entity
from app.services.execution_ids import (
    EXECUTION_KEY,
    attempt_row,
    check_execution_id,
    execution_key,
    named_attempt,
    node_key,
    set_execution_id,
)
from app.services.trimming import trim_node
from app.wire.page import Page

_COLUMNS = (
    *EXECUTION_KEY,
    "node_id",
    "input_uri",
    "closure",
    "node_execution_metadata",
    "dynamic_workflow_remote_closure_reference",
)


LISTING = Listing(
    schema.NodeExecution,
    "node_execution",
    joins=(Join("execution", tuple((part, part) for part in EXECUTION_KEY)),),
    flags=(ExistsFlag("has_children", schema.NodeExecution, "parent_id"),),
)


def to_message(row: Any, *, has_children: bool) -> node_execution_pb2.NodeExecution:
    """Return the message of a row (upstream FromNodeExecutionModel).

    Deviates: is_parent_node is set for a node with children in every read. Upstream looks for children only in lists
    and for event version 0.
    """
    message = node_execution_pb2.NodeExecution(input_uri=row.input_uri or "")
    message.id.node_id = row.node_id
    set_execution_id(message.id.execution_id, row)
    message.closure.ParseFromString(row.closure or b"")
    message.metadata.ParseFromString(row.node_execution_metadata or b"")
    if has_children:
        message.metadata.is_parent_node = True
        if row.dynamic_workflow_remote_closure_reference:
            message.metadata.is_dynamic = True
    return message


def _in_list(row: Any) -> node_execution_pb2.NodeExecution:
    message = to_message(row, has_children=bool(row.has_children))
    trim_node(message.closure)
    return message


def _check_id(request: Any) -> identifier_pb2.NodeExecutionIdentifier:
    """Return the node in field `id` of a request. Raises INVALID_ARGUMENT if a part is missing.

    Deviates: upstream logs the missing part and reads any row that matches the other parts.
    """
    id: identifier_pb2.NodeExecutionIdentifier = request.id
    if not request.HasField("id"):
        raise errors.missing("id")
    if not id.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not id.node_id:
        raise errors.missing("node_id")
    check_execution_id(id.execution_id)
    return id


async def _row(ctx: Context, id: identifier_pb2.NodeExecutionIdentifier, *columns: str) -> Any:
    row = await ctx.db.find(schema.NodeExecution, columns=("id", *columns), **node_key(id))
    if row is None:
        raise missing_entity("node execution", id)
    return row


async def _has_children(ctx: Context, row_id: int) -> bool:
    return await ctx.db.find(schema.NodeExecution, columns=("id",), parent_id=row_id) is not None


async def get_node_execution(
    ctx: Context, request: node_execution_pb2.NodeExecutionGetRequest
) -> node_execution_pb2.NodeExecution:
    """Return a node of an execution.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The node does not exist.

    Source: upstream NodeExecutionManager.GetNodeExecution.
    """
    row = await _row(ctx, _check_id(request), *_COLUMNS)
    return to_message(row, has_children=await _has_children(ctx, row.id))


async def list_node_executions(
    ctx: Context, request: node_execution_pb2.NodeExecutionListRequest
) -> Page[node_execution_pb2.NodeExecutionList]:
    """Return a page of the nodes of an execution: those without a parent, or those with parent unique_parent_id.

    Raises:
        errors.InvalidArgument: A part of the execution's id is missing, or limit, filter, sort or token is invalid.
        errors.NotFound: The parent does not exist.

    Source: upstream NodeExecutionManager.ListNodeExecutions.
    """
    id = request.workflow_execution_id
    if not (id.project and id.domain and id.name):
        raise errors.missing("execution_id")
    check_limit(request.limit)
    where: dict[str, Any] = {**execution_key(id), "parent_id": None, "parent_task_execution_id": None}
    if request.unique_parent_id:
        parent = identifier_pb2.NodeExecutionIdentifier(execution_id=id, node_id=request.unique_parent_id)
        where = {**execution_key(id), "parent_id": (await _row(ctx, parent)).id}
    return await _page(ctx, request, where)


async def list_node_executions_for_task(
    ctx: Context, request: node_execution_pb2.NodeExecutionForTaskListRequest
) -> Page[node_execution_pb2.NodeExecutionList]:
    """Return a page of the nodes that an attempt of a task started. Only events of version 0 record this parent.

    Raises:
        errors.InvalidArgument: A part of the id is missing, or limit, filter, sort or token is invalid.
        errors.NotFound: The attempt does not exist.

    Source: upstream NodeExecutionManager.ListNodeExecutionsForTask.
    """
    id = named_attempt(request, "task_execution_id")
    check_limit(request.limit)
    row = await attempt_row(ctx, id)
    where = {**execution_key(id.node_execution_id.execution_id), "parent_task_execution_id": row.id}
    return await _page(ctx, request, where)


async def _page(ctx: Context, request: Any, where: dict[str, Any]) -> Page[node_execution_pb2.NodeExecutionList]:
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListNodeExecutions",
        where=where,
        filters=request.filters,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=_COLUMNS,
        message_of=_in_list,
    )
    return Page(node_execution_pb2.NodeExecutionList(token=token), rows, _in_list)


async def get_node_execution_data(
    ctx: Context, request: node_execution_pb2.NodeExecutionGetDataRequest
) -> node_execution_pb2.NodeExecutionGetDataResponse:
    """Return the inputs, outputs and flyte:// URLs of a node, and the workflow of a dynamic node.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The node does not exist.
        errors.Internal: The dynamic workflow cannot be read.

    Source: upstream NodeExecutionManager.GetNodeExecutionData.
    """
    id = _check_id(request)
    row = await _row(ctx, id, "input_uri", "closure", "dynamic_workflow_remote_closure_reference")
    closure = node_execution_pb2.NodeExecutionClosure.FromString(row.closure or b"")
    inputs, full_inputs = await payloads.read_payload(ctx, row.input_uri or "")
    outputs, full_outputs = await payloads.outputs_of(ctx, closure)
    response = node_execution_pb2.NodeExecutionGetDataResponse(
        inputs=inputs,
        outputs=outputs,
        full_inputs=full_inputs,
        full_outputs=full_outputs,
        flyte_urls=flyte_urls(id, deck=bool(closure.deck_uri)),
    )
    if row.dynamic_workflow_remote_closure_reference:
        dynamic = await dynamic_closure(ctx, row.dynamic_workflow_remote_closure_reference)
        response.dynamic_workflow.id.CopyFrom(dynamic.primary.template.id)
        response.dynamic_workflow.compiled_workflow.CopyFrom(dynamic)
        response.dynamic_workflow.dynamic_job_spec_uri = closure.dynamic_job_spec_uri
    return response


def flyte_urls(
    id: identifier_pb2.NodeExecutionIdentifier, *, attempt: int | None = None, deck: bool = False
) -> common_pb2.FlyteURLs:
    """Return the flyte:// URLs of a node, or of an attempt of its task (upstream FlyteURLsFromNodeExecutionID)."""
    run = id.execution_id
    base = f"flyte://v1/{run.project}/{run.domain}/{run.name}/{id.node_id}"
    if attempt is not None:
        base += f"/{attempt}"
    return common_pb2.FlyteURLs(inputs=f"{base}/i", outputs=f"{base}/o", deck=f"{base}/d" if deck else "")


async def dynamic_closure(ctx: Context, reference: str) -> compiler_pb2.CompiledWorkflowClosure:
    """Return the workflow of a dynamic node.

    Raises:
        errors.Internal: The closure cannot be read, or has no primary workflow or no template of it.

    Source: upstream fetchDynamicWorkflowClosure.
    """
    try:
        raw = await ctx.blobs.read(
            reference, bytes_max=ctx.settings.storage.limits.closure_bytes_max, setting=CLOSURE_LIMIT
        )
        closure = compiler_pb2.CompiledWorkflowClosure.FromString(raw)
    except (BlobError, DecodeError) as error:
        raise failed_call(error, f"Unable to read WorkflowClosure from location {reference} : {error}") from error
    if not closure.HasField("primary"):
        raise errors.Internal("Empty primary workflow definition in loaded dynamic workflow model.")
    if not closure.primary.HasField("template"):
        raise errors.Internal("Empty primary workflow template in loaded dynamic workflow model.")
    return closure


async def get_dynamic_node_workflow(
    ctx: Context, request: node_execution_pb2.GetDynamicNodeWorkflowRequest
) -> node_execution_pb2.DynamicNodeWorkflowResponse:
    """Return the workflow of a dynamic node.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The node does not exist or is not dynamic.
        errors.Internal: The workflow cannot be read.

    Source: upstream NodeExecutionManager.GetDynamicNodeWorkflow.
    """
    row = await _row(ctx, _check_id(request), "dynamic_workflow_remote_closure_reference")
    if not row.dynamic_workflow_remote_closure_reference:
        raise errors.NotFound("node does not contain dynamic workflow")
    closure = await dynamic_closure(ctx, row.dynamic_workflow_remote_closure_reference)
    return node_execution_pb2.DynamicNodeWorkflowResponse(compiled_workflow=closure)

"""Task executions: the attempts of a task node.

Proto: flyteidl/admin/task_execution.proto.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import task_execution_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.query import lists
from app.query.lists import ExistsFlag, Join, Listing
from app.query.pages import check_limit
from app.runtime.context import Context
from app.services import payloads
from app.services.checks import field_or_none
from app.services.execution_ids import (
    EXECUTION_KEY,
    attempt_row,
    check_execution_id,
    named_attempt,
    node_key,
    set_execution_id,
)
from app.services.node_executions import flyte_urls
from app.services.trimming import trim_task
from app.wire.page import Page

_NAMES = ("project", "domain", "name", "version")
_COLUMNS = (*_NAMES, *EXECUTION_KEY, "node_id", "retry_attempt", "input_uri", "closure")

LISTING = Listing(
    schema.TaskExecution,
    "task_execution",
    joins=(
        Join("task", tuple((part, part) for part in _NAMES)),
        Join("execution", tuple((part, part) for part in EXECUTION_KEY)),
        Join("node_execution", tuple((part, part) for part in (*EXECUTION_KEY, "node_id"))),
    ),
    flags=(ExistsFlag("is_parent", schema.NodeExecution, "parent_task_execution_id"),),
)


def to_message(row: Any, *, is_parent: bool) -> task_execution_pb2.TaskExecution:
    """Return the message of a row (upstream FromTaskExecutionModel)."""
    message = task_execution_pb2.TaskExecution(input_uri=row.input_uri or "", is_parent=is_parent)
    message.closure.ParseFromString(row.closure or b"")
    task = message.id.task_id
    task.resource_type = identifier_pb2.TASK
    task.project, task.domain, task.name, task.version = row.project, row.domain, row.name, row.version
    message.id.node_execution_id.node_id = row.node_id
    set_execution_id(message.id.node_execution_id.execution_id, row)
    message.id.retry_attempt = row.retry_attempt
    return message


async def get_task_execution(
    ctx: Context, request: task_execution_pb2.TaskExecutionGetRequest
) -> task_execution_pb2.TaskExecution:
    """Return an attempt.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The attempt does not exist.

    Source: upstream TaskExecutionManager.GetTaskExecution.
    """
    row = await attempt_row(ctx, named_attempt(request, "id"), *_COLUMNS)
    child = await ctx.db.find(schema.NodeExecution, columns=("id",), parent_task_execution_id=row.id)
    return to_message(row, is_parent=child is not None)


async def list_task_executions(
    ctx: Context, request: task_execution_pb2.TaskExecutionListRequest
) -> Page[task_execution_pb2.TaskExecutionList]:
    """Return a page of the attempts of a node.

    Raises:
        errors.InvalidArgument: A part of the node's id is missing, or limit, filter, sort or token is invalid.

    Source: upstream TaskExecutionManager.ListTaskExecutions.
    """
    id = request.node_execution_id
    if not request.HasField("node_execution_id"):
        raise errors.missing("id")
    if not id.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not id.node_id:
        raise errors.missing("node_id")
    check_execution_id(id.execution_id)
    check_limit(request.limit)
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListTaskExecutions",
        where=node_key(id),
        filters=request.filters,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=_COLUMNS,
        message_of=_in_list,
    )
    return Page(task_execution_pb2.TaskExecutionList(token=token), rows, _in_list)


def _in_list(row: Any) -> task_execution_pb2.TaskExecution:
    message = to_message(row, is_parent=bool(row.is_parent))
    trim_task(message.closure)
    return message


async def get_task_execution_data(
    ctx: Context, request: task_execution_pb2.TaskExecutionGetDataRequest
) -> task_execution_pb2.TaskExecutionGetDataResponse:
    """Return the inputs, outputs and flyte:// URLs of an attempt.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The attempt does not exist.

    Source: upstream TaskExecutionManager.GetTaskExecutionData.
    """
    row = await attempt_row(ctx, named_attempt(request, "id"), "input_uri", "closure")
    closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure or b"")
    inputs, full_inputs = await payloads.read_payload(ctx, row.input_uri or "")
    outputs, full_outputs = await payloads.outputs_of(ctx, closure)
    return task_execution_pb2.TaskExecutionGetDataResponse(
        inputs=inputs,
        outputs=outputs,
        full_inputs=full_inputs,
        full_outputs=full_outputs,
        flyte_urls=flyte_urls(request.id.node_execution_id, attempt=request.id.retry_attempt),
    )

"""Read executions: get, list, inputs and outputs.

Proto: flyteidl/admin/execution.proto.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import common_pb2, execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2

from app import errors
from app.database import schema
from app.query import filters as grammar
from app.query import lists
from app.query.lists import Join, Listing
from app.query.pages import check_limit
from app.runtime.context import Context
from app.services import payloads
from app.services.checks import field_or_none, missing_entity
from app.services.execution_ids import EXECUTION_KEY, check_execution_id, execution_key, set_execution_id
from app.services.trimming import trim_execution
from app.wire.page import Page

_COLUMNS = (*EXECUTION_KEY, "spec", "closure", "phase", "abort_cause", "user")

# Deviates: upstream joins tags by the execution's name only, and a page may have an execution more than once.
_TAGS = tuple(
    Join(entity, tuple((p, p) for p in EXECUTION_KEY), one=False, counted=True)
    for entity in ("execution_tag", "admin_tag")
)
LISTING = Listing(
    schema.Execution,
    "execution",
    joins=(
        Join("launch_plan", (("launch_plan_id", "id"),)),
        Join("workflow", (("workflow_id", "id"),)),
        Join("task", (("task_id", "id"),)),
        *_TAGS,
    ),
    ordered_columns=frozenset({"launch_plan_id", "workflow_id", "phase", "mode", "user"}),
    enumerated_columns=(("phase", tuple(core_execution_pb2.WorkflowExecution.Phase.keys())),),
    counted_columns=frozenset({"duration", "updated_at"}),
)


def check_id(request: Any) -> identifier_pb2.WorkflowExecutionIdentifier:
    """Return the execution that a request names in field `id`. Raises INVALID_ARGUMENT if a part is missing."""
    if not request.HasField("id"):
        raise errors.missing("id")
    check_execution_id(request.id)
    id: identifier_pb2.WorkflowExecutionIdentifier = request.id
    return id


async def row_of(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, *, for_update: bool = False, columns: Any = None
) -> Any:
    """Return the row of an execution. Raises NOT_FOUND."""
    row = await ctx.db.find(schema.Execution, columns=columns, for_update=for_update, **execution_key(id))
    if row is None:
        raise missing_entity("execution", id)
    return row


def to_message(row: Any) -> execution_pb2.Execution:
    """Return the message of a row (upstream FromExecutionModel)."""
    message = execution_pb2.Execution()
    set_execution_id(message.id, row)
    message.spec.ParseFromString(row.spec)
    closure = message.closure
    closure.ParseFromString(row.closure or b"")
    if not closure.HasField("state_change_details"):
        # Rows that upstream stored before 2022 have no state_change_details.
        closure.state_change_details.state = execution_pb2.EXECUTION_ACTIVE
        closure.state_change_details.principal = row.user or ""
        closure.state_change_details.occurred_at.CopyFrom(closure.created_at)
    if row.phase == "ABORTED" and not closure.HasField("abort_metadata"):
        # Parity: the abort's cause replaces outputs and error, which share a oneof with it.
        closure.abort_metadata.cause = row.abort_cause or ""
    return message


def _in_list(row: Any) -> execution_pb2.Execution:
    message = to_message(row)
    message.spec.ClearField("inputs")
    message.closure.ClearField("computed_inputs")
    trim_execution(message.closure)
    return message


async def get_execution(ctx: Context, request: execution_pb2.WorkflowExecutionGetRequest) -> execution_pb2.Execution:
    """Return an execution.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution does not exist.

    Source: upstream ExecutionManager.GetExecution.
    """
    row = await row_of(ctx, check_id(request), columns=_COLUMNS)
    message = to_message(row)
    if not message.spec.metadata.system_metadata.namespace:
        message.spec.metadata.system_metadata.namespace = ctx.settings.namespace_mapping.of(
            request.id.project, request.id.domain
        )
    return message


async def list_executions(ctx: Context, request: common_pb2.ResourceListRequest) -> Page[execution_pb2.ExecutionList]:
    """Return a page of the executions of a project-domain. Archived executions need a filter on state.

    Filters on duration have seconds or Go's form, such as 1h2m. Times are RFC 3339.

    Raises:
        errors.InvalidArgument: Project or domain is missing, or limit, filter, sort or token is invalid.

    Source: upstream ExecutionManager.ListExecutions.
    """
    if not request.HasField("id"):
        raise errors.missing("id")
    if not request.id.project:
        raise errors.missing("project")
    if not request.id.domain:
        raise errors.missing("domain")
    check_limit(request.limit)
    where: dict[str, Any] = {"execution_project": request.id.project, "execution_domain": request.id.domain}
    if request.id.name:
        where["execution_name"] = request.id.name
    parsed = lists.parse_filters(LISTING, request.filters, ctx.settings.limits)
    if not any(f.entity == "execution" and f.field == "state" for f in parsed):
        # Deviates: upstream lists archived executions for a filter on the state of any entity.
        parsed = (*parsed, grammar.Filter("eq", "execution", "state", (execution_pb2.EXECUTION_ACTIVE,)))
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListExecutions",
        where=where,
        filters=parsed,
        sort_by=field_or_none(request, "sort_by"),
        limit=request.limit,
        token=request.token,
        columns=_COLUMNS,
        message_of=_in_list,
    )
    return Page(execution_pb2.ExecutionList(token=token), rows, _in_list)


async def get_execution_data(
    ctx: Context, request: execution_pb2.WorkflowExecutionGetDataRequest
) -> execution_pb2.WorkflowExecutionGetDataResponse:
    """Return the inputs and outputs of an execution: inline up to the size limit, as signed URLs beyond it.

    Raises:
        errors.InvalidArgument: A part of the id is missing.
        errors.NotFound: The execution does not exist.

    Source: upstream ExecutionManager.GetExecutionData.
    """
    row = await row_of(ctx, check_id(request), columns=("inputs_uri", "spec", "closure"))
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    inputs, full_inputs = await payloads.read_payload(ctx, row.inputs_uri or "")
    if not row.inputs_uri:
        # Rows that upstream stored before 2019 have their inputs in the closure.
        # Deviates: upstream rewrites such a row when it reads it.
        full_inputs.CopyFrom(payloads.inline_if_small(ctx, closure.computed_inputs))
    outputs, full_outputs = await _outputs(ctx, closure)
    return execution_pb2.WorkflowExecutionGetDataResponse(
        inputs=inputs, outputs=outputs, full_inputs=full_inputs, full_outputs=full_outputs
    )


async def _outputs(ctx: Context, closure: execution_pb2.ExecutionClosure) -> payloads.Payload:
    kind = closure.WhichOneof("output_result")
    if kind == "output_data":
        return common_pb2.UrlBlob(), payloads.inline_if_small(ctx, closure.output_data)
    if kind == "outputs" and closure.outputs.WhichOneof("data") == "values":
        return common_pb2.UrlBlob(), payloads.inline_if_small(ctx, closure.outputs.values)
    return await payloads.read_payload(ctx, closure.outputs.uri if kind == "outputs" else "")

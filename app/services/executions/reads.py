"""Get, list and data of executions.

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
from app.services.execution_ids import EXECUTION_KEY, check_execution_id, execution_key, set_execution_id
from app.services.trimming import trim_execution
from app.wire.page import Page
from app.wire.text import text

_COLUMNS = (*EXECUTION_KEY, "spec", "closure", "phase", "abort_cause", "user")

# Deviates: tags match by the whole key and a page holds an execution once; upstream joins by name and repeats it.
_TAGS = tuple(
    Join(entity, tuple((p, p) for p in EXECUTION_KEY), one=False) for entity in ("execution_tag", "admin_tag")
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
    counted_columns=frozenset({"duration"}),
)


def check_id(request: Any) -> identifier_pb2.WorkflowExecutionIdentifier:
    """The execution that a request names in `id`. errors: INVALID_ARGUMENT missing id, project, domain, name"""
    if not request.HasField("id"):
        raise errors.missing("id")
    check_execution_id(request.id)
    id: identifier_pb2.WorkflowExecutionIdentifier = request.id
    return id


async def row_of(
    ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier, *, for_update: bool = False, columns: Any = None
) -> Any:
    """The row of an execution. errors: NOT_FOUND"""
    row = await ctx.db.find(schema.Execution, columns=columns, for_update=for_update, **execution_key(id))
    if row is None:
        raise errors.NotFound(f"missing entity of type execution with identifier {text(id)}")
    return row


def to_message(row: Any) -> execution_pb2.Execution:
    """A row as the API shows it (upstream FromExecutionModel)."""
    message = execution_pb2.Execution()
    set_execution_id(message.id, row)
    message.spec.ParseFromString(row.spec)
    closure = message.closure
    closure.ParseFromString(row.closure or b"")
    if not closure.HasField("state_change_details"):
        # Rows of upstream before 2022 lack it.
        closure.state_change_details.state = execution_pb2.EXECUTION_ACTIVE
        closure.state_change_details.principal = row.user or ""
        closure.state_change_details.occurred_at.CopyFrom(closure.created_at)
    if row.phase == "ABORTED" and not closure.HasField("abort_metadata"):
        # Parity: the cause of an abort hides outputs and error.
        closure.abort_metadata.cause = row.abort_cause or ""
    return message


def _in_list(row: Any) -> execution_pb2.Execution:
    message = to_message(row)
    message.spec.ClearField("inputs")
    message.closure.ClearField("computed_inputs")
    trim_execution(message.closure)
    return message


def namespace(ctx: Context, project: str, domain: str) -> str:
    """The namespace of a project-domain; the template replaces exactly these two texts."""
    template = ctx.settings.namespace_mapping.template
    return template.replace("{{ project }}", project).replace("{{ domain }}", domain)


async def get_execution(ctx: Context, request: execution_pb2.WorkflowExecutionGetRequest) -> execution_pb2.Execution:
    """One execution.

    errors: INVALID_ARGUMENT for missing parts of the id; NOT_FOUND
    source: upstream ExecutionManager.GetExecution
    """
    row = await row_of(ctx, check_id(request), columns=_COLUMNS)
    message = to_message(row)
    if not message.spec.metadata.system_metadata.namespace:
        message.spec.metadata.system_metadata.namespace = namespace(ctx, request.id.project, request.id.domain)
    return message


async def list_executions(ctx: Context, request: common_pb2.ResourceListRequest) -> Page[execution_pb2.ExecutionList]:
    """One page of the executions of a project-domain; archived ones only if a filter on state asks for them.

    shape:  request.id{project, domain[, name]}, limit ≥ 1, token → executions, token "" behind the last page
    units:  filters on duration in seconds or as 1h2m; times RFC 3339
    errors: INVALID_ARGUMENT missing id, project, domain; limit 0; filter, sort, token
    source: upstream ExecutionManager.ListExecutions
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
        # Deviates: upstream shows archived ones as soon as any entity's state is filtered.
        parsed = (*parsed, grammar.Filter("eq", "execution", "state", (execution_pb2.EXECUTION_ACTIVE,)))
    rows, token = await lists.page(
        ctx,
        LISTING,
        rpc="ListExecutions",
        where=where,
        filters=parsed,
        sort_by=request.sort_by if request.HasField("sort_by") else None,
        limit=request.limit,
        token=request.token,
        columns=_COLUMNS,
        message_of=_in_list,
    )
    return Page(execution_pb2.ExecutionList(token=token), rows, _in_list)


async def get_execution_data(
    ctx: Context, request: execution_pb2.WorkflowExecutionGetDataRequest
) -> execution_pb2.WorkflowExecutionGetDataResponse:
    """Inputs and outputs of an execution, inline up to the limit, beyond it as a signed address.

    errors: INVALID_ARGUMENT for missing parts of the id; NOT_FOUND
    source: upstream ExecutionManager.GetExecutionData
    """
    row = await row_of(ctx, check_id(request), columns=("inputs_uri", "spec", "closure"))
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    inputs, full_inputs = await payloads.at(ctx, row.inputs_uri or "")
    if not row.inputs_uri:
        # Rows of upstream before 2019 hold their inputs. Deviates: upstream rewrites the row in this read.
        full_inputs.CopyFrom(payloads.inline(ctx, closure.computed_inputs))
    outputs, full_outputs = await _outputs(ctx, closure)
    return execution_pb2.WorkflowExecutionGetDataResponse(
        inputs=inputs, outputs=outputs, full_inputs=full_inputs, full_outputs=full_outputs
    )


async def _outputs(ctx: Context, closure: execution_pb2.ExecutionClosure) -> payloads.Payload:
    kind = closure.WhichOneof("output_result")
    if kind == "output_data":
        return common_pb2.UrlBlob(), payloads.inline(ctx, closure.output_data)
    if kind == "outputs" and closure.outputs.WhichOneof("data") == "values":
        return common_pb2.UrlBlob(), payloads.inline(ctx, closure.outputs.values)
    return await payloads.at(ctx, closure.outputs.uri if kind == "outputs" else "")

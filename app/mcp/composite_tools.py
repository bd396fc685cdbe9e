"""Composite tools: each makes its result of the replies of several RPCs.

They complete the seven operations of the capability: an assistant finds launch plans and their inputs before a launch,
and reads data and failures after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    task_execution_pb2,
)
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from pydantic import BaseModel

from app import errors
from app.mcp import plain_json, tools
from app.mcp.clients import RpcClient
from app.mcp.composite_models import (
    Arguments,
    DataAnswer,
    DescribePlanArguments,
    ExecutionArguments,
    FailedNode,
    Failure,
    FailuresAnswer,
    Input,
    Link,
    ListPlansArguments,
    PlanAnswer,
    PlanPage,
    PlanRow,
    PlanVersion,
    Reference,
)
from app.mcp.tools import Tool
from app.runtime.threads import in_thread_if_large
from app.settings.mcp import Mcp

FAILED = "value_in(phase,FAILED;TIMED_OUT)"
_NEWEST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)
_NODES_PER_CALL = 100


@dataclass(frozen=True, slots=True)
class ToolContext:
    """The client for RPCs and the limits of results, which every tool, resource and prompt receives."""

    client: RpcClient
    limits: Mcp

    async def call(self, rpc: str, request: Any) -> Any:
        """Return the response of the RPC with this name."""
        return await self.client.call(tools.rpcs_by_name()[rpc], request)

    def rows_of_page(self, limit: int) -> int:
        """Return the number of rows of a page for an argument `limit`. Raises INVALID_ARGUMENT for too many."""
        if limit > self.limits.list_rows_max:
            raise errors.InvalidArgument(f"limit: at most {self.limits.list_rows_max} are allowed, not {limit}")
        return limit or self.limits.list_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeTool(Tool):
    """A tool with its own models of arguments and result; `answer(context, arguments)` makes the result."""

    arguments: type[Arguments]
    result: type[BaseModel]
    answer: Callable[[ToolContext, Any], Awaitable[BaseModel]]


async def list_launch_plans(context: ToolContext, asked: ListPlansArguments) -> PlanPage:
    """Return a page of versions of launch plans, the newest first."""
    request = common_pb2.ResourceListRequest(
        id=common_pb2.NamedEntityIdentifier(**asked.id.model_dump()),
        limit=context.rows_of_page(asked.limit),
        token=asked.token,
        sort_by=_NEWEST,
    )
    found = await context.call("ListLaunchPlans", request)
    shown = await in_thread_if_large(found.ByteSize(), lambda: [_plan_row(plan) for plan in found.launch_plans])
    return PlanPage(launch_plans=shown, token=found.token)


def _plan_row(plan: launch_plan_pb2.LaunchPlan) -> PlanRow:
    parameters = plan.closure.expected_inputs.parameters
    return PlanRow(
        id=_reference(plan.id),
        active=plan.closure.state == launch_plan_pb2.ACTIVE,
        workflow=plan.spec.workflow_id.name,
        inputs={
            name: plain_json.describe_type(one.var.type) + ("*" if one.required else "")
            for name, one in sorted(parameters.items())
        },
        created_at=plan.closure.created_at.ToJsonString(),
    )


def _reference(id: identifier_pb2.Identifier) -> Reference:
    return Reference(project=id.project, domain=id.domain, name=id.name, version=id.version)


async def find_launch_plan(context: ToolContext, id: PlanVersion) -> launch_plan_pb2.LaunchPlan:
    """Return the given version of a launch plan, else the active one, else the newest. Raises NOT_FOUND."""
    name = common_pb2.NamedEntityIdentifier(project=id.project, domain=id.domain, name=id.name)
    if id.version:
        exact = identifier_pb2.Identifier(**id.model_dump())
        return await context.call("GetLaunchPlan", common_pb2.ObjectGetRequest(id=exact))
    try:
        active = launch_plan_pb2.ActiveLaunchPlanRequest(id=name)
        return await context.call("GetActiveLaunchPlan", active)
    except errors.NotFound:
        newest = common_pb2.ResourceListRequest(id=name, limit=1, sort_by=_NEWEST)
        found = await context.call("ListLaunchPlans", newest)
        if not found.launch_plans:
            raise errors.NotFound(f"there is no launch plan {id.name} in {id.project}/{id.domain}") from None
        return found.launch_plans[0]


async def describe_launch_plan(context: ToolContext, asked: DescribePlanArguments) -> PlanAnswer:
    """Return the inputs and outputs of a launch plan."""
    plan = await find_launch_plan(context, asked.id)
    return await in_thread_if_large(plan.ByteSize(), _plan_answer, plan)


def _plan_answer(plan: launch_plan_pb2.LaunchPlan) -> PlanAnswer:
    return PlanAnswer(
        id=_reference(plan.id),
        active=plan.closure.state == launch_plan_pb2.ACTIVE,
        workflow=plan.spec.workflow_id.name,
        inputs=[
            Input(
                name=name,
                type=plain_json.describe_type(one.var.type),
                required=one.required,
                default=plain_json.plain_value(one.default) if one.HasField("default") else None,
                description=one.var.description,
            )
            for name, one in sorted(plan.closure.expected_inputs.parameters.items())
        ],
        fixed_inputs=plain_json.plain_values(plan.spec.fixed_inputs.literals),
        outputs=plain_json.describe_types(plan.closure.expected_outputs.variables),
    )


async def retrieve_execution_data(context: ToolContext, asked: ExecutionArguments) -> DataAnswer:
    """Return the inputs and outputs of an execution as plain JSON."""
    found = await context.call("GetExecutionData", execution_pb2.WorkflowExecutionGetDataRequest(id=asked.id.message()))
    return await in_thread_if_large(found.ByteSize(), _data_answer, found)


def _data_answer(found: execution_pb2.WorkflowExecutionGetDataResponse) -> DataAnswer:
    inputs, outputs = found.full_inputs.literals, found.full_outputs.literals
    return DataAnswer(
        inputs=plain_json.plain_values(inputs),
        outputs=plain_json.plain_values(outputs),
        inputs_url="" if inputs else found.inputs.url,
        outputs_url="" if outputs else found.outputs.url,
    )


async def list_failed_nodes(context: ToolContext, asked: ExecutionArguments) -> FailuresAnswer:
    """Return the failed nodes of an execution, each before the failed nodes that it contains."""
    id = asked.id.message()
    execution = await context.call("GetExecution", execution_pb2.WorkflowExecutionGetRequest(id=id))
    nodes: list[FailedNode] = []
    more = False
    waiting = [""]
    while waiting:
        inside = waiting.pop(0)
        request = node_execution_pb2.NodeExecutionListRequest(
            workflow_execution_id=id, limit=_NODES_PER_CALL, filters=FAILED, unique_parent_id=inside
        )
        page = await context.call("ListNodeExecutions", request)
        more = more or bool(page.token)
        for node in page.node_executions:
            if len(nodes) == context.limits.failed_nodes_max:
                more = True
                break
            nodes.append(await _failed_node(context, node.id, inside))
            if node.metadata.is_parent_node:
                waiting.append(node.id.node_id)
    closure = execution.closure
    return FailuresAnswer(
        phase=core_execution_pb2.WorkflowExecution.Phase.Name(closure.phase),
        error=_failure(closure.error) if closure.HasField("error") else None,
        nodes=nodes,
        more=more,
    )


async def _failed_node(context: ToolContext, id: identifier_pb2.NodeExecutionIdentifier, inside: str) -> FailedNode:
    # Lists truncate errors; GetNodeExecution does not.
    node = await context.call("GetNodeExecution", node_execution_pb2.NodeExecutionGetRequest(id=id))
    request = task_execution_pb2.TaskExecutionListRequest(
        node_execution_id=id, limit=_NODES_PER_CALL, sort_by=common_pb2.Sort(key="retry_attempt")
    )
    attempts = (await context.call("ListTaskExecutions", request)).task_executions
    child = node.closure.workflow_node_metadata.executionId
    made = FailedNode(
        node_id=id.node_id,
        phase=core_execution_pb2.NodeExecution.Phase.Name(node.closure.phase),
        error=_failure(node.closure.error) if node.closure.HasField("error") else None,
        attempts=len(attempts),
        child_execution=f"{child.project}/{child.domain}/{child.name}" if child.name else "",
        inside=inside,
    )
    if not attempts:
        return made
    last = max(attempts, key=lambda attempt: attempt.id.retry_attempt)
    end = (
        await context.client.read_log_end(last.id, context.limits.log_bytes_max)
        if context.limits.log_bytes_max
        else None
    )
    return made.model_copy(
        update={
            "task": f"{last.id.task_id.name} {last.id.task_id.version}".strip(),
            "log_links": [Link(name=one.name, uri=one.uri) for one in last.closure.logs],
            "log_end": end or "",
        }
    )


def _failure(error: core_execution_pb2.ExecutionError) -> Failure:
    kind = core_execution_pb2.ExecutionError.ErrorKind.Name(error.kind)
    return Failure(code=error.code, kind=kind, message=error.message)


ALL = (
    CompositeTool(
        "list-launch-plans",
        "ListLaunchPlans",
        "List launch plans",
        "Launch plans of a project and domain, newest versions first, with input types. A launch needs one of them.",
        read_only=True,
        idempotent=True,
        arguments=ListPlansArguments,
        result=PlanPage,
        answer=list_launch_plans,
    ),
    CompositeTool(
        "describe-launch-plan",
        "GetLaunchPlan",
        "Describe a launch plan and its inputs",
        "The inputs of a launch plan: names, types, defaults, descriptions, which are required. To launch it, pass the "
        "id as spec.launch_plan of create-workflow-execution, and the inputs as plain JSON in `values`.",
        read_only=True,
        idempotent=True,
        arguments=DescribePlanArguments,
        result=PlanAnswer,
        answer=describe_launch_plan,
    ),
    CompositeTool(
        "retrieve-execution-data",
        "GetExecutionData",
        "Retrieve the inputs and outputs of an execution",
        "Inputs and outputs by name as plain JSON, files and tables by their uri. Outputs exist once it has SUCCEEDED.",
        read_only=True,
        idempotent=True,
        arguments=ExecutionArguments,
        result=DataAnswer,
        answer=retrieve_execution_data,
    ),
    CompositeTool(
        "list-failed-nodes",
        "ListNodeExecutions",
        "List the failed nodes of an execution",
        "Why an execution failed: its error, and each failed node with its full error, number of attempts, links to "
        "logs and the end of the last log. A node inside another one (`inside`) is nearer to the cause.",
        read_only=True,
        idempotent=True,
        arguments=ExecutionArguments,
        result=FailuresAnswer,
        answer=list_failed_nodes,
    ),
)

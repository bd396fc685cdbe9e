"""Tools beyond the capability that answer what an assistant asks before and after its seven: from several RPCs each.

Arguments and results are models of their own; what is asked goes through the same callers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    task_execution_pb2,
)
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import errors
from app.mcp import plain, rows
from app.mcp.callers import Caller
from app.mcp.rows import Tool
from app.runtime.threads import in_thread_if_large
from app.settings.assistants import Mcp

FAILED = "value_in(phase,FAILED;TIMED_OUT)"
_NEWEST = common_pb2.Sort(key="created_at", direction=common_pb2.Sort.DESCENDING)
_NODES_PER_CALL = 100
_PROBLEMS_MAX = 5

Model = TypeVar("Model", bound=BaseModel)


class Arguments(BaseModel):
    """What is not declared is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Place(Arguments):
    project: str = Field(description="The id of a project.", min_length=1)
    domain: str = Field(description="The id of one of the server's domains.", min_length=1)
    # Ids of answers hold it, and come back as arguments.
    org: str = Field(default="", description="Kept for compatibility; leave it empty.")


class Plans(Place):
    name: str = Field(
        default="", description="The name of a launch plan, for its versions; without it all plans are listed."
    )


class Plan(Place):
    name: str = Field(description="The name of the launch plan.", min_length=1)
    version: str = Field(default="", description="Without it the active version counts, else the newest.")
    resource_type: Literal["LAUNCH_PLAN"] = "LAUNCH_PLAN"


class Run(Place):
    name: str = Field(description="The name of the execution.", min_length=1)

    def message(self) -> identifier_pb2.WorkflowExecutionIdentifier:
        return identifier_pb2.WorkflowExecutionIdentifier(project=self.project, domain=self.domain, name=self.name)


class OfPlans(Arguments):
    id: Plans
    limit: int = Field(default=0, ge=0, description="Rows of a page.")
    token: str = Field(default="", description="Where the next page begins, as the last result said.")


class OfPlan(Arguments):
    id: Plan


class OfRun(Arguments):
    id: Run


class Input(BaseModel):
    name: str
    type: str
    required: bool
    default: Any = None
    description: str = ""


class Reference(BaseModel):
    """As spec.launch_plan of create-workflow-execution takes it."""

    resource_type: str = "LAUNCH_PLAN"
    project: str
    domain: str
    name: str
    version: str


class PlanRow(BaseModel):
    id: Reference
    active: bool
    workflow: str
    inputs: dict[str, str] = Field(description="Types by name; required ones end in '*'.")
    created_at: str


class PlanPage(BaseModel):
    launch_plans: list[PlanRow]
    token: str = Field(description="Where the next page begins; empty after the last one.")


class PlanAnswer(BaseModel):
    id: Reference
    active: bool
    workflow: str
    inputs: list[Input]
    fixed_inputs: dict[str, Any] = Field(description="Values that the plan has set and nobody can change.")
    outputs: dict[str, str] = Field(description="Types by name.")


class DataAnswer(BaseModel):
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    inputs_url: str = Field(default="", description="Where to download inputs that are too large to be here.")
    outputs_url: str = Field(default="", description="Where to download outputs that are too large to be here.")


class Failure(BaseModel):
    code: str
    kind: str
    message: str


class Link(BaseModel):
    name: str
    uri: str


class FailedNode(BaseModel):
    node_id: str
    phase: str
    error: Failure | None = None
    attempts: int = Field(description="How often its task was tried.")
    task: str = Field(default="", description="The name and version of its task.")
    log_links: list[Link] = []
    log_end: str = Field(default="", description="The end of what the last attempt printed, where this machine has it.")
    child_execution: str = Field(default="", description="The execution that the node launched: project/domain/name.")
    inside: str = Field(default="", description="The node that this one lies in.")


class FailuresAnswer(BaseModel):
    phase: str
    error: Failure | None = None
    nodes: list[FailedNode]
    more: bool = Field(description="Whether further nodes failed that are not told here.")


@dataclass(frozen=True, slots=True)
class Desk:
    """Who asks, and the limits of answers."""

    caller: Caller
    limits: Mcp

    async def call(self, rpc: str, request: Any) -> Any:
        """The response of an RPC by its name."""
        return await self.caller.call(rows.rpcs()[rpc], request)

    def rows_of_page(self, limit: int) -> int:
        """How many rows a page has. errors: INVALID_ARGUMENT for more than are allowed"""
        if limit > self.limits.list_rows_max:
            raise errors.InvalidArgument(f"limit: at most {self.limits.list_rows_max} are allowed, not {limit}")
        return limit or self.limits.list_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry(Tool):
    """A tool with models of its own: answer(desk, arguments) gives a result."""

    arguments: type[Arguments]
    result: type[BaseModel]
    answer: Callable[[Desk, Any], Awaitable[BaseModel]]


def validated(model: type[Model], arguments: Mapping[str, Any]) -> Model:
    """errors: INVALID_ARGUMENT naming the fields that do not fit"""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors()[:_PROBLEMS_MAX]]
        raise errors.InvalidArgument("; ".join(told)) from error


async def list_launch_plans(desk: Desk, asked: OfPlans) -> PlanPage:
    """Versions, the newest first."""
    request = common_pb2.ResourceListRequest(
        id=common_pb2.NamedEntityIdentifier(**asked.id.model_dump()),
        limit=desk.rows_of_page(asked.limit),
        token=asked.token,
        sort_by=_NEWEST,
    )
    found = await desk.call("ListLaunchPlans", request)
    shown = await in_thread_if_large(found.ByteSize(), lambda: [_plan_row(plan) for plan in found.launch_plans])
    return PlanPage(launch_plans=shown, token=found.token)


def _plan_row(plan: launch_plan_pb2.LaunchPlan) -> PlanRow:
    parameters = plan.closure.expected_inputs.parameters
    return PlanRow(
        id=_reference(plan.id),
        active=plan.closure.state == launch_plan_pb2.ACTIVE,
        workflow=plan.spec.workflow_id.name,
        inputs={
            name: plain.type_text(one.var.type) + ("*" if one.required else "")
            for name, one in sorted(parameters.items())
        },
        created_at=plan.closure.created_at.ToJsonString(),
    )


def _reference(id: identifier_pb2.Identifier) -> Reference:
    return Reference(project=id.project, domain=id.domain, name=id.name, version=id.version)


async def find_launch_plan(desk: Desk, id: Plan) -> launch_plan_pb2.LaunchPlan:
    """The version that is named, else the active one, else the newest. errors: NOT_FOUND"""
    name = common_pb2.NamedEntityIdentifier(project=id.project, domain=id.domain, name=id.name)
    if id.version:
        exact = identifier_pb2.Identifier(**id.model_dump())
        return await desk.call("GetLaunchPlan", common_pb2.ObjectGetRequest(id=exact))
    try:
        active = launch_plan_pb2.ActiveLaunchPlanRequest(id=name)
        return await desk.call("GetActiveLaunchPlan", active)
    except errors.NotFound:
        newest = common_pb2.ResourceListRequest(id=name, limit=1, sort_by=_NEWEST)
        found = await desk.call("ListLaunchPlans", newest)
        if not found.launch_plans:
            raise errors.NotFound(f"there is no launch plan {id.name} in {id.project}/{id.domain}") from None
        return found.launch_plans[0]


async def describe_launch_plan(desk: Desk, asked: OfPlan) -> PlanAnswer:
    plan = await find_launch_plan(desk, asked.id)
    return await in_thread_if_large(plan.ByteSize(), _plan_answer, plan)


def _plan_answer(plan: launch_plan_pb2.LaunchPlan) -> PlanAnswer:
    return PlanAnswer(
        id=_reference(plan.id),
        active=plan.closure.state == launch_plan_pb2.ACTIVE,
        workflow=plan.spec.workflow_id.name,
        inputs=[
            Input(
                name=name,
                type=plain.type_text(one.var.type),
                required=one.required,
                default=plain.value(one.default) if one.HasField("default") else None,
                description=one.var.description,
            )
            for name, one in sorted(plan.closure.expected_inputs.parameters.items())
        ],
        fixed_inputs=plain.values(plan.spec.fixed_inputs.literals),
        outputs=plain.type_texts(plan.closure.expected_outputs.variables),
    )


async def retrieve_execution_data(desk: Desk, asked: OfRun) -> DataAnswer:
    found = await desk.call("GetExecutionData", execution_pb2.WorkflowExecutionGetDataRequest(id=asked.id.message()))
    return await in_thread_if_large(found.ByteSize(), _data_answer, found)


def _data_answer(found: execution_pb2.WorkflowExecutionGetDataResponse) -> DataAnswer:
    inputs, outputs = found.full_inputs.literals, found.full_outputs.literals
    return DataAnswer(
        inputs=plain.values(inputs),
        outputs=plain.values(outputs),
        inputs_url="" if inputs else found.inputs.url,
        outputs_url="" if outputs else found.outputs.url,
    )


async def list_failed_nodes(desk: Desk, asked: OfRun) -> FailuresAnswer:
    """Outer nodes before those inside them; the deepest ones are where it began."""
    id = asked.id.message()
    execution = await desk.call("GetExecution", execution_pb2.WorkflowExecutionGetRequest(id=id))
    nodes: list[FailedNode] = []
    more = False
    waiting = [""]
    while waiting:
        inside = waiting.pop(0)
        request = node_execution_pb2.NodeExecutionListRequest(
            workflow_execution_id=id, limit=_NODES_PER_CALL, filters=FAILED, unique_parent_id=inside
        )
        page = await desk.call("ListNodeExecutions", request)
        more = more or bool(page.token)
        for node in page.node_executions:
            if len(nodes) == desk.limits.failed_nodes_max:
                more = True
                break
            nodes.append(await _failed_node(desk, node.id, inside))
            if node.metadata.is_parent_node:
                waiting.append(node.id.node_id)
    closure = execution.closure
    return FailuresAnswer(
        phase=core_execution_pb2.WorkflowExecution.Phase.Name(closure.phase),
        error=_failure(closure.error) if closure.HasField("error") else None,
        nodes=nodes,
        more=more,
    )


async def _failed_node(desk: Desk, id: identifier_pb2.NodeExecutionIdentifier, inside: str) -> FailedNode:
    # Lists cut errors short, so the node is asked for by itself.
    node = await desk.call("GetNodeExecution", node_execution_pb2.NodeExecutionGetRequest(id=id))
    request = task_execution_pb2.TaskExecutionListRequest(
        node_execution_id=id, limit=_NODES_PER_CALL, sort_by=common_pb2.Sort(key="retry_attempt")
    )
    attempts = (await desk.call("ListTaskExecutions", request)).task_executions
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
    end = await desk.caller.log_end(last.id, desk.limits.log_bytes_max) if desk.limits.log_bytes_max else None
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
    Inquiry(
        "list-launch-plans",
        "ListLaunchPlans",
        "List launch plans",
        "What can be launched in a project and domain, the newest versions first, with the types of their inputs.",
        read_only=True,
        idempotent=True,
        arguments=OfPlans,
        result=PlanPage,
        answer=list_launch_plans,
    ),
    Inquiry(
        "describe-launch-plan",
        "GetLaunchPlan",
        "Describe a launch plan and its inputs",
        "The inputs of a launch plan: names, types, defaults, descriptions, which are required. Its id is what "
        "spec.launch_plan of create-workflow-execution takes, and `values` there takes the inputs as plain JSON.",
        read_only=True,
        idempotent=True,
        arguments=OfPlan,
        result=PlanAnswer,
        answer=describe_launch_plan,
    ),
    Inquiry(
        "retrieve-execution-data",
        "GetExecutionData",
        "Retrieve the inputs and outputs of an execution",
        "Plain values by name. Files and tables are named by their uri; outputs are there once it has SUCCEEDED.",
        read_only=True,
        idempotent=True,
        arguments=OfRun,
        result=DataAnswer,
        answer=retrieve_execution_data,
    ),
    Inquiry(
        "list-failed-nodes",
        "ListNodeExecutions",
        "List the failed nodes of an execution",
        "Why an execution failed: its error, and each failed node with its whole error, how often it was tried, links "
        "to its logs and the end of its last log. A node inside another one (`inside`) is nearer to the cause.",
        read_only=True,
        idempotent=True,
        arguments=OfRun,
        result=FailuresAnswer,
        answer=list_failed_nodes,
    ),
)

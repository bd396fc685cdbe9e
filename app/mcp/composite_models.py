"""Arguments and results of the composite tools. Clients read their JSON schemas, so fields have descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from flyteidl.core import identifier_pb2
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from app import errors

_PROBLEMS_MAX = 5

Model = TypeVar("Model", bound=BaseModel)


class Arguments(BaseModel):
    """Arguments of a tool; undeclared ones are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Scope(Arguments):
    """A project and domain."""

    project: str = Field(description="The id of a project.", min_length=1)
    domain: str = Field(description="The id of one of the server's domains.", min_length=1)
    # Ids in results have this field, and clients send these ids as arguments.
    org: str = Field(default="", description="Kept for compatibility; leave it empty.")


class PlanNames(Scope):
    """All launch plans of a project and domain, or the versions of one."""

    name: str = Field(
        default="", description="The name of a launch plan, for its versions; without it all plans are listed."
    )


class PlanVersion(Scope):
    """A version of a launch plan."""

    name: str = Field(description="The name of the launch plan.", min_length=1)
    version: str = Field(default="", description="Without it the active version is taken, else the newest.")
    resource_type: Literal["LAUNCH_PLAN"] = "LAUNCH_PLAN"


class ExecutionName(Scope):
    """The id of an execution."""

    name: str = Field(description="The name of the execution.", min_length=1)

    def message(self) -> identifier_pb2.WorkflowExecutionIdentifier:
        """Return the id as a message."""
        return identifier_pb2.WorkflowExecutionIdentifier(project=self.project, domain=self.domain, name=self.name)


class ListPlansArguments(Arguments):
    """Arguments of list-launch-plans."""

    id: PlanNames
    limit: int = Field(default=0, ge=0, description="Rows of a page.")
    token: str = Field(default="", description="The token of the previous page; empty for the first page.")


class DescribePlanArguments(Arguments):
    """Arguments of describe-launch-plan."""

    id: PlanVersion


class ExecutionArguments(Arguments):
    """Arguments of the tools for one execution."""

    id: ExecutionName


class Input(BaseModel):
    """An input of a launch plan."""

    name: str
    type: str
    required: bool
    default: Any = None
    description: str = ""


class Reference(BaseModel):
    """A version of a launch plan, as spec.launch_plan of create-workflow-execution takes it."""

    resource_type: str = "LAUNCH_PLAN"
    project: str
    domain: str
    name: str
    version: str


class PlanRow(BaseModel):
    """A launch plan in a list."""

    id: Reference
    active: bool
    workflow: str
    inputs: dict[str, str] = Field(description="Types by name; required ones end in '*'.")
    created_at: str


class PlanPage(BaseModel):
    """Result of list-launch-plans."""

    launch_plans: list[PlanRow]
    token: str = Field(description="The token of the next page; empty on the last page.")


class PlanAnswer(BaseModel):
    """Result of describe-launch-plan."""

    id: Reference
    active: bool
    workflow: str
    inputs: list[Input]
    fixed_inputs: dict[str, Any] = Field(description="Values that the plan sets and a launch cannot change.")
    outputs: dict[str, str] = Field(description="Types by name.")


class DataAnswer(BaseModel):
    """Result of retrieve-execution-data."""

    inputs: dict[str, Any]
    outputs: dict[str, Any]
    inputs_url: str = Field(default="", description="The address of inputs that are too large for this result.")
    outputs_url: str = Field(default="", description="The address of outputs that are too large for this result.")


class Failure(BaseModel):
    """An error of an execution or a node."""

    code: str
    kind: str
    message: str


class Link(BaseModel):
    """A link to a log."""

    name: str
    uri: str


class FailedNode(BaseModel):
    """A node that failed."""

    node_id: str
    phase: str
    error: Failure | None = None
    attempts: int = Field(description="Number of attempts of its task.")
    task: str = Field(default="", description="The name and version of its task.")
    log_links: list[Link] = []
    log_end: str = Field(default="", description="The end of the last attempt's log, where this machine has it.")
    child_execution: str = Field(default="", description="The execution that the node launched: project/domain/name.")
    inside: str = Field(default="", description="The node that contains this one.")


class FailuresAnswer(BaseModel):
    """Result of list-failed-nodes."""

    phase: str
    error: Failure | None = None
    nodes: list[FailedNode]
    more: bool = Field(description="Whether further nodes failed that are not listed here.")


def validated(model: type[Model], arguments: Mapping[str, Any]) -> Model:
    """Return arguments as a model. Raises INVALID_ARGUMENT with the paths of the fields that do not fit."""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors()[:_PROBLEMS_MAX]]
        raise errors.InvalidArgument("; ".join(problems)) from error

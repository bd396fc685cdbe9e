"""The tools that call one RPC each: name, RPC, texts and hints for MCP.

OPERATIONS are the seven operations of the capability "Flyte Admin API — Executions": MCP tools, operations of the REST
adapter, and the content of the capability file (capability.py). LISTS are MCP tools alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from app.api import routers
from app.runtime.rows import Binding, Rpc


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool.

    Attributes:
        name: The name of the tool.
        rpc: The RPC that the tool calls.
        title: A few words for people.
        description: The text by which a model chooses the tool.
        read_only: MCP's hint: the tool changes nothing.
        destructive: MCP's hint: the tool can destroy work.
        idempotent: MCP's hint: a repeated call changes nothing more.
        operation: The name in the capability; "" for a tool that is not in it.
        defaults: Names and values of arguments that a call may leave out.
    """

    name: str
    rpc: str
    title: str
    description: str
    read_only: bool = False
    destructive: bool = False
    idempotent: bool = False
    operation: str = ""
    defaults: tuple[tuple[str, Any], ...] = ()


OPERATIONS = (
    Tool(
        "create-workflow-execution",
        "CreateExecution",
        "Create a workflow execution",
        "Launches a launch plan (or a single task) and returns the id of the new execution, which runs in the "
        "background; retrieve-workflow-execution returns its state. list-launch-plans lists launch plans, "
        "describe-launch-plan their inputs. Each call launches another execution; with `name`, a second call with the "
        "same name is refused.",
        operation="createexecution",
    ),
    Tool(
        "recover-workflow-execution",
        "RecoverExecution",
        "Recover a workflow execution",
        "Starts a new execution from one that failed: nodes that succeeded keep their outputs, the others run again "
        "with the same inputs. Use it after a temporary fault; to change inputs, create a new execution.",
        operation="recoverexecution",
    ),
    Tool(
        "relaunch-workflow-execution",
        "RelaunchExecution",
        "Relaunch a workflow execution",
        "Starts a new execution with the launch plan, version and inputs of an earlier one; everything runs again.",
        operation="relaunchexecution",
    ),
    Tool(
        "list-workflow-executions",
        "ListExecutions",
        "List workflow executions",
        "Executions of a project and domain, page by page: ids, phases, times, the beginnings of errors.",
        read_only=True,
        idempotent=True,
        operation="listexecutions",
    ),
    Tool(
        "retrieve-workflow-execution",
        "GetExecution",
        "Retrieve a workflow execution",
        "One execution: closure.phase is its state, closure.error the reason of a failure, spec the launched request. "
        "QUEUED and RUNNING change by themselves; SUCCEEDED, FAILED, ABORTED and TIMED_OUT are final.",
        read_only=True,
        idempotent=True,
        operation="getexecution",
    ),
    Tool(
        "terminate-workflow-execution",
        "TerminateExecution",
        "Terminate a workflow execution",
        "Stops a running execution and its tasks; unfinished work is lost. The phase is ABORTING until the tasks have "
        "ended, then ABORTED. An execution that has ended cannot be terminated.",
        destructive=True,
        idempotent=True,
        operation="terminateexecution",
    ),
    Tool(
        "retrieve-execution-metrics",
        "GetExecutionMetrics",
        "Retrieve execution metrics",
        "How the time of an execution was spent: a tree of spans of the workflow, its nodes, tasks and overheads. "
        "`depth` limits the levels below the root; without it all are returned.",
        read_only=True,
        idempotent=True,
        operation="getexecutionmetrics",
        # To the API, proto's default of 0 means the root alone.
        defaults=(("depth", -1),),
    ),
)

LISTS = (
    Tool(
        "list-projects",
        "ListProjects",
        "List projects",
        "The projects of this server with their domains. All other objects belong to one project and one domain.",
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "list-workflows",
        "ListWorkflowIds",
        "List workflows",
        "The names of the workflows of a project and domain. A workflow is launched by one of its launch plans.",
        read_only=True,
        idempotent=True,
    ),
)


@cache
def rpcs_by_name() -> Mapping[str, Rpc]:
    """Return all RPCs by name."""
    return {rpc.name: rpc for rpc in routers.ALL}


def binding_of(tool: Tool) -> Binding:
    """Return the REST binding that an operation of the capability consumes."""
    return rpcs_by_name()[tool.rpc].bindings[0]

"""What is offered: a row names an RPC and says how an assistant sees it.

The first seven are the operations of the capability "Flyte Admin API — Executions": MCP tools, operations of the REST
adapter, and all that the capability file (capability.py) holds. The others are MCP tools alone.
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
    """name: of the tool; rpc: what it calls; title: what it does, in few words; description: for who chooses a tool.

    The hints are those of MCP; operation: the name in the capability, "" for tools that are not of it.
    defaults: arguments that a call of the tool has where it does not name them.
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
        "Launches a launch plan (or a single task) and answers with the id of the new execution, which runs in the "
        "background: ask for it with retrieve-workflow-execution. Find what to launch with list-launch-plans and its "
        "inputs with describe-launch-plan. Each call launches once more, unless `name` is given: a name is taken once.",
        operation="createexecution",
    ),
    Tool(
        "recover-workflow-execution",
        "RecoverExecution",
        "Recover a workflow execution",
        "Starts a new execution from one that failed: what succeeded there is taken over, the rest runs again with the "
        "same inputs. The right tool after a fault that has passed; after a change of inputs launch anew.",
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
        "Executions of a project and domain, page by page: ids, phases, times, the first words of errors.",
        read_only=True,
        idempotent=True,
        operation="listexecutions",
    ),
    Tool(
        "retrieve-workflow-execution",
        "GetExecution",
        "Retrieve a workflow execution",
        "One execution: closure.phase says how far it is, closure.error why it failed, spec what was launched. "
        "QUEUED and RUNNING change by themselves; SUCCEEDED, FAILED, ABORTED and TIMED_OUT are final.",
        read_only=True,
        idempotent=True,
        operation="getexecution",
    ),
    Tool(
        "terminate-workflow-execution",
        "TerminateExecution",
        "Terminate a workflow execution",
        "Stops a running execution and its tasks; what they have not finished is lost. It is ABORTING first and "
        "ABORTED when its tasks have ended. An execution that has ended cannot be terminated.",
        destructive=True,
        idempotent=True,
        operation="terminateexecution",
    ),
    Tool(
        "retrieve-execution-metrics",
        "GetExecutionMetrics",
        "Retrieve execution metrics",
        "Where the time of an execution went: a tree of spans, of the workflow, its nodes, their tasks and overheads. "
        "All levels of it, unless depth says how many below the root.",
        read_only=True,
        idempotent=True,
        operation="getexecutionmetrics",
        # The API takes 0, the default of proto, for the root alone.
        defaults=(("depth", -1),),
    ),
)

LISTS = (
    Tool(
        "list-projects",
        "ListProjects",
        "List projects",
        "The projects of this server with their domains; everything else lies in one project and one domain.",
        read_only=True,
        idempotent=True,
    ),
    Tool(
        "list-workflows",
        "ListWorkflowIds",
        "List workflows",
        "The names of the workflows of a project and domain. What can be launched are their launch plans.",
        read_only=True,
        idempotent=True,
    ),
)


@cache
def rpcs() -> Mapping[str, Rpc]:
    """All RPCs by name."""
    return {rpc.name: rpc for rpc in routers.ALL}


def binding_of(tool: Tool) -> Binding:
    """The REST form that an operation of the capability consumes."""
    return rpcs()[tool.rpc].bindings[0]

"""The routes that are measured: what is sent, what Go's flyteadmin v1.16.8 reaches, and what is the target.

Figures are ratios to the unit (unit.py). Go's were taken on a machine with two cores, with PostgreSQL 15, the same
numbers of rows, and clients with the same settings; its POST /executions waits for a stub of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flyteidl.admin import common_pb2, event_pb2, execution_pb2
from flyteidl.core import execution_pb2 as core_execution
from flyteidl.core import identifier_pb2
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message

from benchmarks import fill, messages

# Requests take turns through this many entities.
ENTITIES = 200
UNIQUE = "@@UNIQUE@@"
_WHERE = f"{messages.PROJECT}/{messages.DOMAIN}"
_ADMIN = "flyteidl.service.AdminService"


@dataclass(frozen=True)
class Route:
    """paths: what requests take turns through. body: JSON for POST, with UNIQUE in it.

    call, requests: of gRPC, in place of paths; UNIQUE in a text of a request is new in each call.
    """

    name: str
    go: float
    target: float
    paths: tuple[str, ...] = ()
    body: str = ""
    call: str = ""
    requests: tuple[Message, ...] = ()


def _named(prefix: str, name: Callable[[int], str], suffix: str = "/v1") -> tuple[str, ...]:
    return tuple(f"/api/v1/{prefix}/{_WHERE}/{name(number)}{suffix}" for number in range(ENTITIES))


def as_json(message: Message) -> str:
    """A message as clients send it."""
    text: str = MessageToJson(message, preserving_proto_field_name=True, indent=None)
    return text


def _execution_id(number: int) -> identifier_pb2.WorkflowExecutionIdentifier:
    return identifier_pb2.WorkflowExecutionIdentifier(
        project=messages.PROJECT, domain=messages.DOMAIN, name=fill.execution_name(number)
    )


def _executions() -> tuple[Message, ...]:
    return tuple(execution_pb2.WorkflowExecutionGetRequest(id=_execution_id(number)) for number in range(ENTITIES))


def _workflows() -> tuple[Message, ...]:
    ids = (messages.identifier(identifier_pb2.WORKFLOW, fill.workflow_name(number), "v1") for number in range(ENTITIES))
    return tuple(common_pb2.ObjectGetRequest(id=id) for id in ids)


def _node_event() -> Any:
    request = event_pb2.NodeExecutionEventRequest(request_id=UNIQUE)
    request.event.id.execution_id.CopyFrom(_execution_id(0))
    request.event.id.node_id = UNIQUE
    request.event.phase = core_execution.NodeExecution.RUNNING
    request.event.producer_id = "propeller"
    request.event.node_name = "n0"
    request.event.event_version = 1
    request.event.input_uri = "/metadata/inputs.pb"
    request.event.occurred_at.FromDatetime(fill.START)
    return request


def _newest(limit: int) -> tuple[str, ...]:
    order = "sort_by.key=created_at&sort_by.direction=DESCENDING"
    return (f"/api/v1/executions/{_WHERE}?limit={limit}&{order}",)


ROUTES = (
    Route("GET /projects", 0.82, 0.82, ("/api/v1/projects",)),
    Route("GET /workflows/p/d/n/v", 0.18, 1.2, _named("workflows", fill.workflow_name)),
    Route("GET /workflows/p/d?limit=20", 0.19, 0.40, (f"/api/v1/workflows/{_WHERE}?limit=20",)),
    Route("GET /workflow_ids/p/d?limit=100", 0.25, 0.35, (f"/api/v1/workflow_ids/{_WHERE}?limit=100",)),
    Route("GET /tasks/p/d/n/v", 0.49, 1.2, _named("tasks", fill.task_name)),
    Route("GET /launch_plans/p/d/n/v", 0.54, 0.65, _named("launch_plans", fill.workflow_name)),
    Route("GET /executions/p/d/n", 0.59, 0.65, _named("executions", fill.execution_name, "")),
    Route("GET /data/executions/p/d/n", 0.61, 0.61, _named("data/executions", fill.execution_name, "")),
    Route("GET /executions/p/d?limit=20, newest first", 0.13, 0.35, _newest(20)),
    Route("GET /executions/p/d?limit=100", 0.047, 0.20, (f"/api/v1/executions/{_WHERE}?limit=100",)),
    Route("POST /tasks", 0.13, 0.13, ("/api/v1/tasks",), as_json(messages.task(fill.task_name(0), UNIQUE))),
    Route(
        "POST /workflows",
        *(0.055, 0.055, ("/api/v1/workflows",)),
        as_json(messages.workflow(fill.workflow_name(0), UNIQUE, sub_workflow=True)),
    ),
    Route(
        "POST /executions",
        *(0.013, 0.07, ("/api/v1/executions",)),
        as_json(messages.execution("", fill.workflow_name(0), "v1")),
    ),
    Route("gRPC GetExecution", 0.53, 0.60, call=f"{_ADMIN}/GetExecution", requests=_executions()),
    Route("gRPC GetWorkflow", 0.15, 0.80, call=f"{_ADMIN}/GetWorkflow", requests=_workflows()),
    Route("gRPC CreateNodeEvent", 0.075, 0.10, call=f"{_ADMIN}/CreateNodeEvent", requests=(_node_event(),)),
)

UNIT = Route(
    "unit",
    *(1.0, 1.0),
    tuple(path.removeprefix("/api/v1") for path in _named("tasks", fill.task_name)),
)

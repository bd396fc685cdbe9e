"""The payloads of CloudEvents in version v2: the event with details of its execution, read from the database.

Source: CloudEventWrappedPublisher in flyteadmin/pkg/async/cloudevent/implementations/cloudevent_publisher.go.
"""

from __future__ import annotations

from typing import Any

from flyteidl.admin import execution_pb2, task_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2, interface_pb2
from flyteidl.event import cloudevents_pb2
from sqlalchemy import bindparam, select

from app.background.outbox.targets import MessageRefused
from app.database import schema
from app.database.base import UnitOfWork
from app.database.statements import Statement
from app.services.checks import version_key
from app.services.execution_ids import execution_key, execution_path, node_key

_ATTEMPTS = schema.table(schema.TaskExecution)
_NODE_KEY = ("execution_project", "execution_domain", "execution_name", "node_id")
_LATEST_ATTEMPT = Statement(
    select(*(_ATTEMPTS.c[name] for name in ("project", "domain", "name", "version", "retry_attempt")))
    .where(*(_ATTEMPTS.c[name] == bindparam(name) for name in _NODE_KEY))
    .order_by(_ATTEMPTS.c.retry_attempt.desc())
    .limit(1)
)
_START_NODE = "start-node"


async def wrapper_of(unit: UnitOfWork, kind: str, event: Any, *, enrich_all: bool) -> Any:
    """Return the payload about an event.

    Args:
        unit: Reads the rows of the execution.
        kind: workflow, node or task.
        event: The event of the request.
        enrich_all: Whether events of workflows in every phase get details, not only in SUCCEEDED.

    Raises:
        MessageRefused: The execution or its workflow is not in the database any more.
    """
    if kind == "workflow":
        return await _workflow(unit, event, enrich_all)
    if kind == "node":
        return await _node(unit, event)
    row = await _execution(unit, event.parent_node_execution_id.execution_id, ("spec",))
    return cloudevents_pb2.CloudEventTaskExecution(raw_event=event, labels=_spec(row).labels.values)


async def _workflow(unit: UnitOfWork, event: Any, enrich_all: bool) -> Any:
    wrapper = cloudevents_pb2.CloudEventWorkflowExecution(raw_event=event)
    if event.phase != core_execution_pb2.WorkflowExecution.SUCCEEDED and not enrich_all:
        return wrapper
    row = await _execution(unit, event.execution_id, ("spec", "closure"))
    closure = execution_pb2.ExecutionClosure.FromString(row.closure or b"")
    key = version_key(closure.workflow_id)
    workflow = await unit.find(schema.Workflow, columns=("typed_interface",), **key)
    if workflow is None:
        raise MessageRefused(f"workflow {'/'.join(key.values())} is not in the database")
    wrapper.output_interface.MergeFrom(interface_pb2.TypedInterface.FromString(workflow.typed_interface or b""))
    wrapper.output_interface.SetInParent()
    spec = _spec(row)
    if spec.metadata.HasField("reference_execution"):
        wrapper.reference_execution.CopyFrom(spec.metadata.reference_execution)
    _set_details(wrapper, spec)
    return wrapper


async def _node(unit: UnitOfWork, event: Any) -> Any:
    wrapper = cloudevents_pb2.CloudEventNodeExecution(raw_event=event)
    if event.phase != core_execution_pb2.NodeExecution.SUCCEEDED or event.id.node_id == _START_NODE:
        return wrapper
    row = await _execution(unit, event.id.execution_id, ("spec",))
    attempt = await unit.one(_LATEST_ATTEMPT, **node_key(event.id))
    if attempt is not None:
        wrapper.task_exec_id.CopyFrom(_attempt_id(attempt, event.id))
        task = await unit.find(schema.Task, columns=("closure",), **version_key(wrapper.task_exec_id.task_id))
        # Deviates: upstream publishes nothing about a node whose task is not registered, as in dynamic workflows.
        if task is not None:
            template = task_pb2.TaskClosure.FromString(task.closure).compiled_task.template
            if template.HasField("interface"):
                wrapper.output_interface.CopyFrom(template.interface)
    _set_details(wrapper, _spec(row))
    return wrapper


def _attempt_id(row: Any, node: Any) -> identifier_pb2.TaskExecutionIdentifier:
    return identifier_pb2.TaskExecutionIdentifier(
        task_id=identifier_pb2.Identifier(
            resource_type=identifier_pb2.TASK,
            project=row.project,
            domain=row.domain,
            name=row.name,
            version=row.version,
        ),
        node_execution_id=node,
        retry_attempt=row.retry_attempt,
    )


def _set_details(wrapper: Any, spec: execution_pb2.ExecutionSpec) -> None:
    """Copy what events of workflows and nodes have in common."""
    wrapper.artifact_ids.extend(spec.metadata.artifact_ids)
    wrapper.principal = spec.metadata.principal
    if spec.HasField("launch_plan"):
        wrapper.launch_plan_id.CopyFrom(spec.launch_plan)
    wrapper.labels.update(spec.labels.values)


async def _execution(unit: UnitOfWork, id: Any, columns: tuple[str, ...]) -> Any:
    row = await unit.find(schema.Execution, columns=columns, **execution_key(id))
    if row is None:
        raise MessageRefused(f"execution {execution_path(id)} is not in the database")
    return row


def _spec(row: Any) -> execution_pb2.ExecutionSpec:
    spec: execution_pb2.ExecutionSpec = execution_pb2.ExecutionSpec.FromString(row.spec)
    return spec

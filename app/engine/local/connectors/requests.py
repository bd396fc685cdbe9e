"""The messages that this server sends to a service, with the fields that FlytePropeller fills."""

from __future__ import annotations

import re

from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2, literals_pb2, tasks_pb2

from app.engine.local.connectors.registry import Route
from app.engine.local.connectors.reports import ConnectorTask
from app.engine.local.processes import commands
from app.engine.local.processes.variables import array_variables

_LABEL_CHARACTERS_MAX = 63
_not_in_labels = re.compile(r"[^A-Za-z0-9._-]+")


def header(task: ConnectorTask, route: Route, inputs: literals_pb2.LiteralMap) -> agent_pb2.CreateRequestHeader:
    """Return template, output prefix and metadata of a task.

    Raises:
        CannotBuild: A variable in the arguments of the container has no value.
    """
    return agent_pb2.CreateRequestHeader(
        template=_template(task, route, inputs),
        output_prefix=task.attempt.output_prefix,
        task_execution_metadata=_metadata(task),
    )


def create(header: agent_pb2.CreateRequestHeader, inputs: literals_pb2.LiteralMap) -> agent_pb2.CreateTaskRequest:
    """Return the request that creates a task."""
    return agent_pb2.CreateTaskRequest(
        inputs=inputs,
        template=header.template,
        output_prefix=header.output_prefix,
        task_execution_metadata=header.task_execution_metadata,
    )


def _template(task: ConnectorTask, route: Route, inputs: literals_pb2.LiteralMap) -> tasks_pb2.TaskTemplate:
    template = tasks_pb2.TaskTemplate()
    template.CopyFrom(task.template)
    template.task_type_version = route.version
    if template.WhichOneof("target") == "container":
        # Parity: the arguments are rendered, the command is not.
        args = commands.render(tuple(template.container.args), task.attempt, inputs)
        del template.container.args[:]
        template.container.args.extend(args)
    return template


def _metadata(task: ConnectorTask) -> agent_pb2.TaskExecutionMetadata:
    attempt, id = task.attempt, task.execution
    metadata = agent_pb2.TaskExecutionMetadata(
        namespace=attempt.namespace,
        k8s_service_account=task.security_context.run_as.k8s_service_account or "default",
        annotations=task.annotations,
        environment_variables={**attempt.envs, **array_variables(attempt.array_index)},
        identity=task.security_context.run_as,
    )
    labels = {
        **task.labels,
        "execution-id": id.name,
        "project": id.project,
        "domain": id.domain,
        "workflow-name": attempt.workflow_name,
        "node-id": task.node_id,
        "task-name": task.template.id.name,
        "interruptible": str(task.interruptible).lower(),
    }
    metadata.labels.update({name: _label(value) for name, value in labels.items()})
    metadata.task_execution_id.CopyFrom(
        identifier_pb2.TaskExecutionIdentifier(
            task_id=task.template.id,
            node_execution_id=identifier_pb2.NodeExecutionIdentifier(node_id=task.node_id, execution_id=id),
            retry_attempt=attempt.attempt,
        )
    )
    return metadata


def _label(value: str) -> str:
    """Return a value in the form of Kubernetes' labels."""
    return _not_in_labels.sub("-", value)[:_LABEL_CHARACTERS_MAX].strip("._-")

"""Identifiers of executions, nodes and attempts: their checks and the keys of their rows.

Source: flyteadmin/pkg/manager/impl/validation (ValidateWorkflowExecutionIdentifier and its neighbours).
"""

import secrets
from typing import Any

from flyteidl.core import identifier_pb2

from app import errors
from app.services import checks

# Upstream draws names without vowels and without what looks alike (k8s.io/apimachinery, rand.String).
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


def random_name(length: int) -> str:
    """A name that nobody guesses."""
    return "".join(secrets.choice(_NAME_LETTERS) for _ in range(length))


# The columns that name the execution of a row.
EXECUTION_KEY = ("execution_project", "execution_domain", "execution_name")


def execution_key(id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, Any]:
    """Return the values of EXECUTION_KEY for an execution."""
    return {"execution_project": id.project, "execution_domain": id.domain, "execution_name": id.name}


def execution_id(row: Any) -> identifier_pb2.WorkflowExecutionIdentifier:
    """Return the execution that a row with the columns EXECUTION_KEY belongs to."""
    return identifier_pb2.WorkflowExecutionIdentifier(
        project=row.execution_project, domain=row.execution_domain, name=row.execution_name
    )


def node_key(id: identifier_pb2.NodeExecutionIdentifier) -> dict[str, Any]:
    return {**execution_key(id.execution_id), "node_id": id.node_id}


def task_key(
    task: identifier_pb2.Identifier, node: identifier_pb2.NodeExecutionIdentifier, retry_attempt: int
) -> dict[str, Any]:
    return {**checks.key_of(task), **node_key(node), "retry_attempt": retry_attempt}


def check_execution_id(id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Deviates: upstream looks up whatever row fits the parts that are given."""
    checks.check_parts(id, "project", "domain", "name")


def check_task_execution_id(
    node: identifier_pb2.NodeExecutionIdentifier,
    task: identifier_pb2.Identifier,
    *,
    nested: bool,
    task_given: bool = True,
) -> None:
    """The parts of an attempt's id, in upstream's order (validation.ValidateTaskExecutionIdentifier)."""
    if not nested:
        raise errors.missing("node_execution_id")
    if not node.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not node.node_id:
        raise errors.missing("node_id")
    check_execution_id(node.execution_id)
    if not task_given:
        raise errors.missing("task_id")
    checks.check_identifier(task, identifier_pb2.TASK)


def untyped(id: identifier_pb2.TaskExecutionIdentifier) -> identifier_pb2.TaskExecutionIdentifier:
    """Parity: a missing attempt is named without resource type and attempt number."""
    copy = identifier_pb2.TaskExecutionIdentifier(task_id=id.task_id, node_execution_id=id.node_execution_id)
    copy.task_id.ClearField("resource_type")
    return copy

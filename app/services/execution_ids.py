"""Identifiers of executions, nodes and attempts: their checks, the keys of their rows, and conditions on these keys.

Source: flyteadmin/pkg/manager/impl/validation (ValidateWorkflowExecutionIdentifier and the functions beside it).
"""

import secrets
from typing import Any

from flyteidl.core import identifier_pb2
from sqlalchemy import ColumnElement, FromClause, and_, bindparam

from app import errors
from app.database import schema
from app.runtime.context import Context
from app.services import checks

# Upstream draws names without vowels and without letters and digits that look alike (k8s.io/apimachinery, rand.String).
_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"

# The columns that name the execution of a row, in every table that has them.
EXECUTION_KEY = ("execution_project", "execution_domain", "execution_name")


def random_name(length: int) -> str:
    """Return a random name that a caller cannot guess."""
    return "".join(secrets.choice(_NAME_LETTERS) for _ in range(length))


# Keys of rows.


def execution_key(id: identifier_pb2.WorkflowExecutionIdentifier) -> dict[str, Any]:
    """Return the values of the columns EXECUTION_KEY for an execution."""
    return {"execution_project": id.project, "execution_domain": id.domain, "execution_name": id.name}


def node_key(id: identifier_pb2.NodeExecutionIdentifier) -> dict[str, Any]:
    """Return the key of a node's row."""
    return {**execution_key(id.execution_id), "node_id": id.node_id}


def task_key(
    task: identifier_pb2.Identifier, node: identifier_pb2.NodeExecutionIdentifier, retry_attempt: int
) -> dict[str, Any]:
    """Return the key of an attempt's row."""
    return {**checks.version_key(task), **node_key(node), "retry_attempt": retry_attempt}


def set_execution_id(id: identifier_pb2.WorkflowExecutionIdentifier, row: Any) -> None:
    """Fill an identifier in with the execution of a row that has the columns EXECUTION_KEY."""
    id.project, id.domain, id.name = row.execution_project, row.execution_domain, row.execution_name


def execution_id(row: Any) -> identifier_pb2.WorkflowExecutionIdentifier:
    """Return the execution of a row that has the columns EXECUTION_KEY."""
    id = identifier_pb2.WorkflowExecutionIdentifier()
    set_execution_id(id, row)
    return id


def execution_path(id: identifier_pb2.WorkflowExecutionIdentifier) -> str:
    """Return project/domain/name of an execution, for messages and the command line."""
    return f"{id.project}/{id.domain}/{id.name}"


# SQL.


def execution_columns(table: FromClause) -> list[ColumnElement[Any]]:
    """Return the columns EXECUTION_KEY of a table."""
    return [table.c[name] for name in EXECUTION_KEY]


def of_execution(table: FromClause) -> list[ColumnElement[bool]]:
    """Return the conditions that select the rows of one execution; `execution_key` returns their parameters."""
    return [table.c[name] == bindparam(name) for name in EXECUTION_KEY]


def same_execution(left: FromClause, right: FromClause) -> ColumnElement[bool]:
    """Return the condition that joins the rows of two tables that belong to the same execution."""
    return and_(*(a == b for a, b in zip(execution_columns(left), execution_columns(right), strict=True)))


# Checks.


def check_execution_id(id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
    """Raise INVALID_ARGUMENT if a part of an execution's identifier is empty.

    Deviates: upstream looks up any row that matches the parts that are not empty.
    """
    checks.check_parts(id, "project", "domain", "name")


def check_task_execution_id(
    node: identifier_pb2.NodeExecutionIdentifier,
    task: identifier_pb2.Identifier,
    *,
    has_node: bool,
    has_task: bool = True,
) -> None:
    """Raise INVALID_ARGUMENT for the first missing part of an attempt's identifier, in upstream's order.

    Args:
        node: The node execution of the attempt.
        task: The task of the attempt.
        has_node: Whether the message has a node execution identifier.
        has_task: Whether the message has a task identifier.

    Source: upstream validation.ValidateTaskExecutionIdentifier.
    """
    if not has_node:
        raise errors.missing("node_execution_id")
    if not node.HasField("execution_id"):
        raise errors.missing("execution_id")
    if not node.node_id:
        raise errors.missing("node_id")
    check_execution_id(node.execution_id)
    if not has_task:
        raise errors.missing("task_id")
    checks.check_identifier(task, identifier_pb2.TASK)


def named_attempt(request: Any, field: str) -> identifier_pb2.TaskExecutionIdentifier:
    """Return the checked attempt identifier in a field of a request; a missing resource type becomes TASK."""
    id: identifier_pb2.TaskExecutionIdentifier = getattr(request, field)
    if not request.HasField(field):
        raise errors.missing("id")
    if id.HasField("task_id") and id.task_id.resource_type == identifier_pb2.UNSPECIFIED:
        id.task_id.resource_type = identifier_pb2.TASK
    check_task_execution_id(
        id.node_execution_id, id.task_id, has_node=id.HasField("node_execution_id"), has_task=id.HasField("task_id")
    )
    return id


async def attempt_row(ctx: Context, id: identifier_pb2.TaskExecutionIdentifier, *columns: str) -> Any:
    """Return row id and further columns of an attempt.

    Raises:
        errors.NotFound: The attempt does not exist.
    """
    key = task_key(id.task_id, id.node_execution_id, id.retry_attempt)
    row = await ctx.db.find(schema.TaskExecution, columns=("id", *columns), **key)
    if row is None:
        raise checks.missing_entity("task execution", _without_types(id))
    return row


def _without_types(id: identifier_pb2.TaskExecutionIdentifier) -> identifier_pb2.TaskExecutionIdentifier:
    """Return an attempt's identifier without its resource type and attempt number.

    Parity: upstream's message about a missing attempt has neither.
    """
    copy = identifier_pb2.TaskExecutionIdentifier(task_id=id.task_id, node_execution_id=id.node_execution_id)
    copy.task_id.ClearField("resource_type")
    return copy

"""Executions of workflows, launch plans and single tasks: launch, look at, archive, terminate.

Proto: flyteidl/admin/execution.proto.
"""

from app.services.executions.lifecycle import terminate_execution, update_execution
from app.services.executions.reads import get_execution, get_execution_data, list_executions

__all__ = [
    "get_execution",
    "get_execution_data",
    "list_executions",
    "terminate_execution",
    "update_execution",
]

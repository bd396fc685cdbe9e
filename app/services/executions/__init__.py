"""Executions of launch plans and single tasks.

launch: create_execution; launch_checks: its checks. relaunch: relaunch and recover. reads: get, list, data.
terminate: terminate and archive. metrics: the span tree. orphans: executions that no engine of this server runs.
Proto: flyteidl/admin/execution.proto.
"""

from app.services.executions.launch import create_execution
from app.services.executions.metrics import get_execution_metrics
from app.services.executions.orphans import end_orphan
from app.services.executions.reads import get_execution, get_execution_data, list_executions
from app.services.executions.relaunch import recover_execution, relaunch_execution
from app.services.executions.terminate import terminate_execution, update_execution

__all__ = [
    "create_execution",
    "end_orphan",
    "get_execution",
    "get_execution_data",
    "get_execution_metrics",
    "list_executions",
    "recover_execution",
    "relaunch_execution",
    "terminate_execution",
    "update_execution",
]

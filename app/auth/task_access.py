"""The limits of the token of a running task: the needs of its execution, in the project and domain of its execution.

A launch needs the role `run`, so the token has `run` there. A registration needs the role of the launcher.
Other places are closed, but for reads of registered versions that the launcher may read: a launch refers to them.
This holds with and without roles.
"""

from __future__ import annotations

from app.auth.identity import TaskGrant
from app.auth.roles import Need, Role

# RPCs that a task may call. The table in rpc_roles.py names the place of each.
TASK_RPCS = frozenset(
    {
        "GetVersion",
        "GetDomains",
        "GetProject",
        "UserInfo",
        # Data of the execution.
        "CreateUploadLocation",
        "CreateDownloadLocation",
        "CreateDownloadLink",
        "GetData",
        # Registered versions.
        "CreateTask",
        "CreateWorkflow",
        "CreateLaunchPlan",
        "UpdateLaunchPlan",
        "GetTask",
        "GetWorkflow",
        "GetLaunchPlan",
        "GetActiveLaunchPlan",
        "GetDescriptionEntity",
        "GetNamedEntity",
        "ListTasks",
        "ListTaskIds",
        "ListWorkflows",
        "ListWorkflowIds",
        "ListLaunchPlans",
        "ListLaunchPlanIds",
        "ListActiveLaunchPlans",
        "ListNamedEntities",
        "ListDescriptionEntities",
        # Executions, this one and its children.
        "CreateExecution",
        "RelaunchExecution",
        "RecoverExecution",
        "TerminateExecution",
        "GetExecution",
        "GetExecutionData",
        "GetExecutionMetrics",
        "ListExecutions",
        "GetNodeExecution",
        "GetNodeExecutionData",
        "GetDynamicNodeWorkflow",
        "ListNodeExecutions",
        "ListNodeExecutionsForTask",
        "GetTaskExecution",
        "GetTaskExecutionData",
        "ListTaskExecutions",
        "GetOrCreateSignal",
        "ListSignals",
        "SetSignal",
    }
)


def allows(task: TaskGrant, need: Need, *, launcher_may: bool) -> bool:
    """Return whether a task's token has what a call needs.

    Args:
        task: The execution of the token.
        need: The need.
        launcher_may: Whether the launcher of the execution has it; true where roles are off.
    """
    if need.project == task.project and need.domain in (task.domain, None):
        return need.role <= Role.RUN or (need.role == Role.REGISTER and launcher_may)
    return need.entity and need.role == Role.VIEW and launcher_may

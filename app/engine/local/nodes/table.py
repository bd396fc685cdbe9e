"""The table of node kinds. A new kind is one module in this package and one row here."""

from __future__ import annotations

from app.engine.local.graph.state import Handlers
from app.engine.local.nodes.arrays.node import run_array, run_container_array
from app.engine.local.nodes.arrays.progress import CONTAINER_ARRAY
from app.engine.local.nodes.branches import run_branch
from app.engine.local.nodes.child_executions import run_launch_plan
from app.engine.local.nodes.echo import run_echo
from app.engine.local.nodes.gates import run_gate
from app.engine.local.nodes.sub_workflows import run_sub_workflow
from app.engine.local.nodes.tasks import run_task
from app.engine.local.processes.commands import ECHO

HANDLERS = Handlers(
    nodes={
        "task_node": run_task,
        "sub_workflow": run_sub_workflow,
        "branch_node": run_branch,
        "gate_node": run_gate,
        "launch_plan": run_launch_plan,
        "array_node": run_array,
    },
    tasks={
        CONTAINER_ARRAY: run_container_array,
        ECHO: run_echo,
    },
)

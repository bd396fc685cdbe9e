"""Which handler runs which kind of node."""

from app.engine.local.nodes.arrays.node import run_array
from app.engine.local.nodes.branches import run_branch
from app.engine.local.nodes.child_executions import run_launch_plan
from app.engine.local.nodes.gates import run_gate
from app.engine.local.nodes.nodes import Handler, run_sub_workflow
from app.engine.local.nodes.tasks import run_task

HANDLERS: dict[str, Handler] = {
    "task_node": run_task,
    "sub_workflow": run_sub_workflow,
    "branch_node": run_branch,
    "gate_node": run_gate,
    "launch_plan": run_launch_plan,
    "array_node": run_array,
}

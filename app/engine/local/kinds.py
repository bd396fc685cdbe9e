"""Which handler runs which kind of node."""

from app.engine.local.nodes import Handler, run_sub_workflow
from app.engine.local.tasks import run_task

HANDLERS: dict[str, Handler] = {
    "task_node": run_task,
    "sub_workflow": run_sub_workflow,
}

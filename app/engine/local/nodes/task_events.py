"""Build the events of task executions."""

from __future__ import annotations

from flyteidl.core import execution_pb2, identifier_pb2, tasks_pb2
from flyteidl.event import event_pb2

from app.engine.local.connectors.reports import Report
from app.engine.local.graph import unique_ids
from app.engine.local.graph.state import NodeContext

_PLUGIN = "container"


def bare_event(
    context: NodeContext, task_id: identifier_pb2.Identifier, attempt: int, phase: int, *, task_type: str, plugin: str
) -> event_pb2.TaskExecutionEvent:
    """Return an event with the fields that every task execution has.

    Args:
        context: The node.
        task_id: The task.
        attempt: Of the task, from 0.
        phase: Of core.TaskExecution.
        task_type: The type under which the task execution is listed.
        plugin: The name of upstream's plugin for such tasks.
    """
    event = event_pb2.TaskExecutionEvent(task_id=task_id, retry_attempt=attempt, phase=phase, task_type=task_type)
    event.parent_node_execution_id.execution_id.CopyFrom(context.execution.id)
    event.parent_node_execution_id.node_id = context.unique_id
    event.metadata.plugin_identifier = plugin
    return event


def attempt_event(
    context: NodeContext,
    task: tasks_pb2.TaskTemplate,
    attempt: int,
    phase: int,
    *,
    interruptible: bool,
    reason: str = "",
    output_uri: str = "",
    error: execution_pb2.ExecutionError | None = None,
    has_log: bool = False,
    plugin: str = "",
    report: Report | None = None,
) -> event_pb2.TaskExecutionEvent:
    """Return an event of an attempt of a task node.

    Args:
        context: The node.
        task: The task.
        attempt: The attempt, from 0.
        phase: Of core.TaskExecution.
        interruptible: Whether the attempt is shown as interruptible.
        reason: Shown with the phase.
        output_uri: Of a SUCCEEDED event.
        error: Of a FAILED event.
        has_log: Whether the attempt has a process, so that a link to its log is shown.
        plugin: The name of upstream's plugin; "" for that of containers.
        report: The state of an attempt that a service runs: its message, links and further information.
    """
    execution = context.execution
    event = bare_event(context, task.id, attempt, phase, task_type=task.type, plugin=plugin or _PLUGIN)
    event.input_uri = context.input_uri
    event.reason = reason
    event.output_uri = output_uri
    event.metadata.generated_name = unique_ids.generated_name(execution.id.name, context.unique_id, attempt)
    if interruptible:
        event.metadata.instance_class = event_pb2.TaskExecutionMetadata.INTERRUPTIBLE
    if error is not None:
        event.error.CopyFrom(error)
    if has_log:
        event.logs.add(name="Task log", uri=execution.host.log_url(execution.id, context.unique_id, attempt))
    if report is not None:
        event.reason = reason or report.message
        event.logs.extend(report.log_links)
        if report.custom_info is not None:
            event.custom_info.CopyFrom(report.custom_info)
    return event

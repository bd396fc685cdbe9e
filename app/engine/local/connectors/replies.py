"""The meaning of a service's reply: the phase of the task, and its outcome where the task has ended.

Deviates: upstream drops messages, ignores `agent_error`, and takes an empty reply for a failure of the task.
"""

from __future__ import annotations

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

from app.engine.local.connectors.reports import Report
from app.engine.local.execution_error import error_of
from app.engine.local.processes.task_attempt import Failed

Task = execution_pb2.TaskExecution
_Kind = execution_pb2.ExecutionError

TASK_FAILED = "TaskFailedWithError"
_MESSAGE_CHARACTERS_MAX = 10_000
_LINKS_MAX = 100
_LIVE = frozenset({Task.QUEUED, Task.RUNNING, Task.INITIALIZING, Task.WAITING_FOR_RESOURCES})
_BY_STATE = {
    agent_pb2.RETRYABLE_FAILURE: Task.RETRYABLE_FAILED,
    agent_pb2.PERMANENT_FAILURE: Task.FAILED,
    agent_pb2.PENDING: Task.INITIALIZING,
    agent_pb2.RUNNING: Task.RUNNING,
    agent_pb2.SUCCEEDED: Task.SUCCEEDED,
}


class Nonsense(Exception):
    """A reply has no meaning; it counts as a failed call."""


def phase_of(resource: agent_pb2.Resource) -> int:
    """Return the phase of a reply, of core.TaskExecution.

    Raises:
        Nonsense: The reply is empty.
    """
    if resource.phase:
        return int(resource.phase)
    if not resource.ByteSize():
        raise Nonsense("the service returned an empty reply, without a phase")
    # Services of old versions set the deprecated state only. An unknown state becomes an unknown phase.
    return int(_BY_STATE.get(resource.state, -resource.state))


def is_live(phase: int) -> bool:
    """Return whether a task in this phase continues."""
    return phase in _LIVE


def report_of(resource: agent_pb2.Resource, phase: int) -> Report:
    """Return what the reply shows. Long messages are shortened."""
    return Report(
        phase=phase,
        message=resource.message[:_MESSAGE_CHARACTERS_MAX],
        log_links=tuple(resource.log_links[:_LINKS_MAX]),
        custom_info=resource.custom_info if resource.HasField("custom_info") else None,
    )


def failure_of(resource: agent_pb2.Resource, phase: int) -> Failed | None:
    """Return the failure that a terminal reply reports; None for a success."""
    if phase == Task.SUCCEEDED:
        return None
    if phase not in (Task.FAILED, Task.ABORTED, Task.RETRYABLE_FAILED):
        message = f"the service replied with the unknown phase [{phase}]"
        return Failed(error_of("UnknownPhase", message, _Kind.SYSTEM), retryable=False)
    code, kind = TASK_FAILED, _Kind.USER
    retryable = phase == Task.RETRYABLE_FAILED
    if resource.HasField("agent_error"):
        code = resource.agent_error.code or code
        retryable = retryable or resource.agent_error.kind == agent_pb2.AgentError.RECOVERABLE
        if resource.agent_error.origin != _Kind.UNKNOWN:
            kind = resource.agent_error.origin
    message = resource.message
    if phase == Task.ABORTED:
        text = "failed to run the job with aborted phase. It was aborted by the connector" + (
            f": {message}" if message else ""
        )
    else:
        text = f"failed to run the job: {message}"
    return Failed(error_of(code, text, kind), retryable=retryable and phase != Task.ABORTED)


def call_failed(doing: str, reason: object, *, code: str = TASK_FAILED, retryable: bool = True) -> Failed:
    """Return the failure of an attempt whose service did not do what was asked.

    Args:
        doing: The words of upstream for the failed call.
        reason: The error of the call.
        code: The code of the failure.
        retryable: Whether another attempt may follow.
    """
    return Failed(error_of(code, f"{doing}{reason}"), retryable=retryable)

"""States of tasks that services report, in the form in which events show them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flyteidl.core import execution_pb2, identifier_pb2, security_pb2, tasks_pb2
from google.protobuf import struct_pb2

from app.engine.local.processes.task_attempt import TaskAttempt

Task = execution_pb2.TaskExecution


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a task.

    Attributes:
        phase: Of core.TaskExecution.
        message: The message of the service, shown as the reason of the phase.
        log_links: Links to logs outside this server.
        custom_info: Further information of the service; None without any.
    """

    phase: int = Task.QUEUED
    message: str = ""
    log_links: tuple[execution_pb2.TaskLog, ...] = ()
    custom_info: struct_pb2.Struct | None = None


def joined(
    before: Iterable[execution_pb2.TaskLog], after: Iterable[execution_pb2.TaskLog]
) -> tuple[execution_pb2.TaskLog, ...]:
    """Return the links of two reports; a link of the later one replaces one with the same address."""
    links = {link.uri: link for link in before}
    links |= {link.uri: link for link in after}
    return tuple(links.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorTask:
    """An attempt of a task for a service.

    Attributes:
        attempt: The attempt.
        template: The template as it was registered.
        node_id: The id of the node in its graph.
        labels: Labels of the execution.
        annotations: Annotations of the execution.
        security_context: The security context of the execution.
        interruptible: Whether the attempt is interruptible.
        distribution: The archive of code that was registered together with the task; "" for none.
    """

    attempt: TaskAttempt
    template: tasks_pb2.TaskTemplate
    node_id: str
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    security_context: security_pb2.SecurityContext = field(default_factory=security_pb2.SecurityContext)
    interruptible: bool = False
    distribution: str = ""

    @property
    def execution(self) -> identifier_pb2.WorkflowExecutionIdentifier:
        """Return the execution."""
        return self.attempt.execution

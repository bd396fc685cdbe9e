"""The rules for phases: which phase of an event may follow the stored phase of an execution, a node or an attempt.

Engines send events late, twice and out of order, so only these rules are enforced and no graph of phases.
After a terminal phase no event is accepted. RETRYABLE_FAILED is not terminal for a task: the next attempt has a row of
its own.
Source: flyteadmin/pkg/common/executions.go, pkg/manager/impl/*_execution_manager.go.
"""

from flyteidl.admin import event_pb2 as admin_event_pb2
from flyteidl.core import execution_pb2, identifier_pb2
from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper
from google.protobuf.message import Message

from app import errors
from app.wire.text import text

Workflow = execution_pb2.WorkflowExecution
Node = execution_pb2.NodeExecution
Task = execution_pb2.TaskExecution

WORKFLOW_TERMINAL = frozenset({Workflow.SUCCEEDED, Workflow.FAILED, Workflow.TIMED_OUT, Workflow.ABORTED})
NODE_TERMINAL = frozenset({Node.SUCCEEDED, Node.FAILED, Node.TIMED_OUT, Node.ABORTED, Node.SKIPPED, Node.RECOVERED})
TASK_TERMINAL = frozenset({Task.SUCCEEDED, Task.FAILED, Task.ABORTED})


def phase_number(phases: EnumTypeWrapper, name: str | None) -> int:
    """Return the number of a stored phase name; 0 (UNDEFINED) for an unknown name, as upstream reads it."""
    value = phases.DESCRIPTOR.values_by_name.get(name or "")
    return value.number if value is not None else 0


def check_known(phases: EnumTypeWrapper, phase: int) -> None:
    """Raise INVALID_ARGUMENT for a phase number without a name.

    Deviates: upstream stores an unknown phase number as text and reads it back as UNDEFINED.
    """
    if phase not in phases.DESCRIPTOR.values_by_number:
        raise errors.invalid("phase")


def already_terminal(message: str, current: str) -> errors.FailedPrecondition:
    """Return the error at which an engine stops sending events (upstream errors.NewAlreadyInTerminalStateError)."""
    reason = admin_event_pb2.EventFailureReason(
        already_in_terminal_state=admin_event_pb2.EventErrorAlreadyInTerminalState(current_phase=current)
    )
    return errors.FailedPrecondition(message, details=(reason,))


def check_cluster(recorded: str | None, producer: str) -> None:
    """Raise FAILED_PRECONDITION if the producer of an event is not the cluster that runs the execution.

    The error's detail incompatible_cluster names the producer.
    Source: upstream validation.ValidateCluster.
    """
    if producer in ("", "propeller", recorded or ""):
        return
    reason = admin_event_pb2.EventFailureReason(
        incompatible_cluster=admin_event_pb2.EventErrorIncompatibleCluster(cluster=producer)
    )
    message = (
        f"Cluster/producer from event [{producer}] does not match existing workflow execution clusterInDB: "
        f"[{recorded or ''}]"
    )
    raise errors.FailedPrecondition(message, details=(reason,))


def check_workflow_event(
    stored: str | None,
    phase: int,
    *,
    cluster: str | None,
    producer: str,
    id: identifier_pb2.WorkflowExecutionIdentifier,
) -> None:
    """Check that a workflow event may follow the stored phase of its execution.

    Raises:
        errors.AlreadyExists: The event repeats the stored phase. QUEUED may repeat.
        errors.FailedPrecondition: The stored phase is terminal, or a later one than the phase of the event.

    Source: upstream ExecutionManager.CreateWorkflowEvent.
    """
    current, names = phase_number(Workflow.Phase, stored), Workflow.Phase
    if phase != Workflow.QUEUED:
        if phase == current:
            raise errors.AlreadyExists(
                f"This phase {names.Name(phase)} was already recorded for workflow execution {text(id)}"
            )
        check_cluster(cluster, producer)
    if current in WORKFLOW_TERMINAL:
        message = (
            f"Invalid phase change from {names.Name(current)} to {names.Name(phase)} for workflow execution {text(id)}"
        )
        raise already_terminal(message, names.Name(current))
    if current == Workflow.RUNNING and phase == Workflow.QUEUED:
        raise errors.FailedPrecondition(f"Cannot go from RUNNING to QUEUED for workflow execution {text(id)}")
    if current == Workflow.ABORTING and phase not in WORKFLOW_TERMINAL:
        raise errors.FailedPrecondition(
            f"Invalid phase change from aborting to {names.Name(phase)} for workflow execution {text(id)}"
        )


def check_node_event(stored: str | None, phase: int, *, id: identifier_pb2.NodeExecutionIdentifier) -> None:
    """Check that a node event may follow the stored phase of its node.

    Raises:
        errors.AlreadyExists: The event repeats the stored phase.
        errors.FailedPrecondition: The stored phase is terminal.

    Source: upstream updateNodeExecutionWithEvent.
    """
    current, names = phase_number(Node.Phase, stored), Node.Phase
    if phase == current:
        raise errors.AlreadyExists(f"This phase was already recorded {names.Name(current)} for {text(id)}")
    if current in NODE_TERMINAL:
        # Deviates: upstream prints the number of the stored phase and puts the event's phase into the detail.
        message = (
            f"Invalid phase change from {names.Name(current)} to {names.Name(phase)} for node execution {text(id)}"
        )
        raise already_terminal(message, names.Name(current))


def check_task_event(stored: str | None, stored_version: int, phase: int, version: int, *, id: Message) -> None:
    """Check that a task event may follow the stored phase of its attempt.

    Raises:
        errors.AlreadyExists: The event repeats the stored phase without a higher phase version.
        errors.FailedPrecondition: The stored phase is terminal.

    Source: upstream TaskExecutionManager.CreateTaskExecutionEvent.
    """
    current, names = phase_number(Task.Phase, stored), Task.Phase
    if phase == current and version <= stored_version:
        raise errors.AlreadyExists(
            f"have already recorded task execution phase {names.Name(phase)} (version: {version}) for {text(id)}"
        )
    if current in TASK_TERMINAL:
        # Deviates: upstream puts the event's phase into the detail.
        message = (
            f"invalid phase change from {names.Name(current)} to {names.Name(phase)} for task execution {text(id)}"
        )
        raise already_terminal(message, names.Name(current))

"""Which phase may follow which: pure rules for workflow, node and task executions.

No graph is enforced beyond these rules: engines report late, twice and out of order. Terminal sets:
workflow SUCCEEDED FAILED TIMED_OUT ABORTED; node those and SKIPPED, RECOVERED; task SUCCEEDED FAILED ABORTED
(RETRYABLE_FAILED is followed by the next attempt's row).
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
    """The phase of a stored name; 0 (UNDEFINED) for a name that is none, as upstream reads it."""
    value = phases.DESCRIPTOR.values_by_name.get(name or "")
    return value.number if value is not None else 0


def check_known(phases: EnumTypeWrapper, phase: int) -> None:
    """Deviates: upstream stores an unknown phase number as text and reads it back as UNDEFINED.

    errors: INVALID_ARGUMENT invalid value for phase
    """
    if phase not in phases.DESCRIPTOR.values_by_number:
        raise errors.invalid("phase")


def already_terminal(message: str, current: str) -> errors.FailedPrecondition:
    """The refusal that tells an engine to stop (upstream errors.NewAlreadyInTerminalStateError)."""
    reason = admin_event_pb2.EventFailureReason(
        already_in_terminal_state=admin_event_pb2.EventErrorAlreadyInTerminalState(current_phase=current)
    )
    return errors.FailedPrecondition(message, details=(reason,))


def check_cluster(recorded: str | None, producer: str) -> None:
    """An event comes from the cluster that runs the execution (upstream validation.ValidateCluster).

    errors: FAILED_PRECONDITION with the detail incompatible_cluster, which names the event's producer
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


def check_workflow(
    stored: str | None,
    phase: int,
    *,
    cluster: str | None,
    producer: str,
    id: identifier_pb2.WorkflowExecutionIdentifier,
) -> None:
    """Whether a workflow event may be recorded (upstream ExecutionManager.CreateWorkflowEvent).

    errors: ALREADY_EXISTS for the same phase again, but QUEUED may repeat; FAILED_PRECONDITION otherwise
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


def check_node(stored: str | None, phase: int, *, id: identifier_pb2.NodeExecutionIdentifier) -> None:
    """Whether a node event may be recorded on a known node (upstream updateNodeExecutionWithEvent).

    errors: ALREADY_EXISTS for the same phase again; FAILED_PRECONDITION behind a terminal phase
    """
    current, names = phase_number(Node.Phase, stored), Node.Phase
    if phase == current:
        raise errors.AlreadyExists(f"This phase was already recorded {names.Name(current)} for {text(id)}")
    if current in NODE_TERMINAL:
        # Deviates: upstream prints the row's number and puts the event's phase into the detail.
        message = (
            f"Invalid phase change from {names.Name(current)} to {names.Name(phase)} for node execution {text(id)}"
        )
        raise already_terminal(message, names.Name(current))


def check_task(stored: str | None, stored_version: int, phase: int, version: int, *, id: Message) -> None:
    """Whether a task event may be recorded on a known attempt (upstream TaskExecutionManager.CreateTaskExecutionEvent).

    errors: ALREADY_EXISTS for the same phase with no higher version; FAILED_PRECONDITION behind a terminal phase
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

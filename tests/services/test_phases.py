"""Which phase may follow which: every pair of phases, for workflows, nodes and attempts."""

from __future__ import annotations

import pytest
from flyteidl.core import execution_pb2, identifier_pb2

from app import errors
from app.services import phases

WORKFLOW = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="e")
NODE = identifier_pb2.NodeExecutionIdentifier(execution_id=WORKFLOW, node_id="n0")

W, N, T = phases.Workflow, phases.Node, phases.Task
W_ENDS = {"SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"}
N_ENDS = W_ENDS | {"SKIPPED", "RECOVERED"}
T_ENDS = {"SUCCEEDED", "FAILED", "ABORTED"}


def workflow_verdict(stored: str, event: str) -> type[errors.FlyteError] | None:
    """The specification in other words than the code's (CreateWorkflowEvent, steps 5 to 8)."""
    if event == stored and event != "QUEUED":
        return errors.AlreadyExists
    if stored in W_ENDS:
        return errors.FailedPrecondition
    if (stored, event) == ("RUNNING", "QUEUED"):
        return errors.FailedPrecondition
    if stored == "ABORTING" and event not in W_ENDS:
        return errors.FailedPrecondition
    return None


@pytest.mark.parametrize("stored", W.Phase.keys())
@pytest.mark.parametrize("event", W.Phase.keys())
def test_workflow(stored: str, event: str) -> None:
    expected = workflow_verdict(stored, event)

    def check() -> None:
        phases.check_workflow_event(stored, W.Phase.Value(event), cluster="", producer="propeller", id=WORKFLOW)

    if expected is None:
        check()
        return
    with pytest.raises(expected) as caught:
        check()
    if stored in W_ENDS and expected is errors.FailedPrecondition:
        assert caught.value.details[0].already_in_terminal_state.current_phase == stored
    else:
        assert caught.value.details == ()


@pytest.mark.parametrize("stored", N.Phase.keys())
@pytest.mark.parametrize("event", N.Phase.keys())
def test_node(stored: str, event: str) -> None:
    expected = errors.AlreadyExists if stored == event else errors.FailedPrecondition if stored in N_ENDS else None
    if expected is None:
        phases.check_node_event(stored, N.Phase.Value(event), id=NODE)
        return
    with pytest.raises(expected) as caught:
        phases.check_node_event(stored, N.Phase.Value(event), id=NODE)
    if expected is errors.FailedPrecondition:
        assert caught.value.details[0].already_in_terminal_state.current_phase == stored


@pytest.mark.parametrize("stored", T.Phase.keys())
@pytest.mark.parametrize("event", T.Phase.keys())
@pytest.mark.parametrize("versions", [(0, 0), (0, 1), (1, 0), (3, 3)])
def test_task(stored: str, event: str, versions: tuple[int, int]) -> None:
    before, now = versions
    if stored == event and now <= before:
        expected: type[errors.FlyteError] | None = errors.AlreadyExists
    else:
        expected = errors.FailedPrecondition if stored in T_ENDS else None
    id = identifier_pb2.TaskExecutionIdentifier(node_execution_id=NODE)
    if expected is None:
        phases.check_task_event(stored, before, T.Phase.Value(event), now, id=id)
        return
    with pytest.raises(expected):
        phases.check_task_event(stored, before, T.Phase.Value(event), now, id=id)


@pytest.mark.parametrize(
    ("recorded", "producer", "accepted"),
    [
        ("", "", True),
        ("c1", "", True),
        ("c1", "propeller", True),
        ("c1", "c1", True),
        ("c1", "c2", False),
        ("", "c1", False),
    ],
)
def test_cluster(recorded: str, producer: str, accepted: bool) -> None:
    if accepted:
        phases.check_cluster(recorded, producer)
        return
    with pytest.raises(errors.FailedPrecondition) as caught:
        phases.check_cluster(recorded, producer)
    assert caught.value.details[0].incompatible_cluster.cluster == producer


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(errors.InvalidArgument, match="invalid value for phase"):
        phases.check_known(execution_pb2.WorkflowExecution.Phase, 42)

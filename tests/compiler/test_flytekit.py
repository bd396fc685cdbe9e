"""Workflows as flytekit registers them compile to what upstream's compiler makes of the same bytes.

The messages under data/ come from data/flows.py; the digests are those of the closures that upstream (v1.16.8) makes of
them, so one byte of difference anywhere in a closure is seen.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2

from app.compiler import LaunchPlanInterface, compile_task, compile_workflow, requirements
from app.compiler.literals import expected_inputs
from app.wire.go.digest import digest
from tests.compiler.invariants import check_compiled

DATA = Path(__file__).parent / "data"
DIGESTS = {
    "attributes": "8d36e6070c58f804ed75fcee6e999c871bbb0ebf0014d22882b103050d06b5a8",
    "branches": "4f7409fe566ff392e7577033ef99130a2e9970677bcd151cc53adc5b8126d010",
    "chain": "c5052b5b8b681e9db39618c3f888b0361f6d4d49030a93fc2440737a13d2941b",
    "dynamic_and_map": "cd0e6fc2de804f2c068319ffd4a8f022f5f78817b01b476f7ee48091570cd7ec",
    "gates": "6e97937a49ba4c8ea858c5d85090a6518851c5de384606fab58c78394ef1a6bc",
    "nested_branches": "5bdbeb07a5a5afc821f5ff23022da634fc922038a9fd90480e73958e7e549d97",
    "order": "d60b4fb97069301630984fa24a3eeb3767e440fee9f0a5824aa7c044eca41da9",
    "sub_workflows": "3aa5d6e8a174625383d779a4d1a25b8476f559fb92a17d4f53f861dd283e93cb",
    "types": "4a744dd0129c38b65519b941e474b95faf7ebee3c475781caec4e848fd4d0192",
    "with_failure_node": "85a21b905eccaf9a0640a94fe1c8a6d082b99a70421ba18e04c34dd87e7a9fe5",
    "with_launch_plans": "da2992f8c6825da3295e0f859180b6344461924d714ed03e89b52f458b75f17d",
}


def _spec(name: str) -> workflow_pb2.WorkflowSpec:
    return workflow_pb2.WorkflowSpec.FromString((DATA / f"{name}.pb").read_bytes())


def _tasks() -> dict[str, compiler_pb2.CompiledTask]:
    listed = task_pb2.TaskList.FromString((DATA / "tasks.pb").read_bytes())
    compiled = [compile_task(task.closure.compiled_task.template) for task in listed.tasks]
    return {task.template.id.name: task for task in compiled}


def _launch_plan() -> LaunchPlanInterface:
    """The interface of the one launch plan, which is of the sub-workflow `inner`."""
    listed = launch_plan_pb2.LaunchPlanList.FromString((DATA / "launch_plans.pb").read_bytes())
    (plan,) = listed.launch_plans
    (inner,) = _spec("sub_workflows").sub_workflows
    assert plan.spec.workflow_id.name == inner.id.name
    inputs = expected_inputs(
        inner.interface.inputs.variables, plan.spec.fixed_inputs.literals, plan.spec.default_inputs.parameters
    )
    return LaunchPlanInterface(plan.id, inputs, inner.interface.outputs)


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_the_closure_is_that_of_upstream(name: str) -> None:
    spec, tasks = _spec(name), _tasks()
    needed = requirements(spec.template, spec.sub_workflows)
    assert bool(needed.launch_plan_ids) == (name == "with_launch_plans")
    closure = compile_workflow(
        spec.template,
        spec.sub_workflows,
        [tasks[identifier.name] for identifier in needed.task_ids],
        [_launch_plan() for _ in needed.launch_plan_ids],
    )
    assert digest(closure).hex() == DIGESTS[name]
    check_compiled(closure.primary)
    for sub_workflow in closure.sub_workflows:
        check_compiled(sub_workflow)

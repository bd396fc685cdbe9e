"""What upstream answered to registrations, against the compiler and the input rules alone, without a server.

Each case is played into a registry that is three dictionaries. Only the answers that these rules decide are compared;
replaying the cases against a server compares all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from app.compiler import CompileErrors, LaunchPlanInterface, compile_task, compile_workflow, requirements
from app.compiler.literals import check_literals, check_parameters, expected_inputs
from app.errors import FlyteError, InvalidArgument
from app.wire.go.diff import different_structure
from app.wire.go.digest import digest
from app.wire.text import text

pytestmark = pytest.mark.heavy

CONFORMANCE = Path(__file__).parent.parent / "conformance"
CASES = sorted(
    path
    for pattern in ("tasks-*.yaml", "workflows-*.yaml", "launch-plans-*.yaml")
    for path in (CONFORMANCE / "cases").glob(pattern)
)
# Texts of the rules here, as opposed to those of the services around them.
OURS = re.compile(
    "failed to compile workflow for|task failed compilation with|.* with (identical|different) structure already exists"
    "|(unexpected|missing key in|missing valid literal in) (default_input|fixed_input)"
    "|invalid launch plan (default|fixed)|invalid (default|fixed)_input"
    "|Type mismatch for Parameter|The Variable component|Invalid variable"
    "|Failed to validate literal type|artifact mode not enabled"
)
# Upstream panics at an empty scalar; here it is a compile error.
PANICS = {("workflows-compile-bindings", "scalar-without-value")}
# Deviates: upstream tells the difference to something almost empty, so only the first line is comparable.
FIRST_LINE = re.compile(r"\S+ workflow with different structure already exists.*")

Key = tuple[str, str, str, str]


class Registry:
    """Tasks, workflows and launch plans as far as compiling needs them."""

    def __init__(self) -> None:
        self.tasks: dict[Key, compiler_pb2.CompiledTask] = {}
        self.workflows: dict[Key, compiler_pb2.CompiledWorkflowClosure] = {}
        self.launch_plans: dict[Key, launch_plan_pb2.LaunchPlan] = {}

    def create_task(self, request: task_pb2.TaskCreateRequest) -> None:
        request.spec.template.id.CopyFrom(request.id)
        try:
            compiled = compile_task(request.spec.template)
        except CompileErrors as errors:
            raise InvalidArgument(f"task failed compilation with {errors}") from errors
        _store(self.tasks, "task", request.id, compiled)

    def create_workflow(self, request: workflow_pb2.WorkflowCreateRequest) -> None:
        spec = request.spec
        spec.template.id.CopyFrom(request.id)
        try:
            closure = self._compiled(spec)
        except (CompileErrors, FlyteError) as error:
            reason = f"failed to compile workflow for [{text(request.id)}] with err: {error}"
            raise InvalidArgument(reason) from error
        _store(self.workflows, "workflow", request.id, closure)

    def _compiled(self, spec: workflow_pb2.WorkflowSpec) -> compiler_pb2.CompiledWorkflowClosure:
        try:
            needed = requirements(spec.template, spec.sub_workflows)
        except CompileErrors as errors:
            raise InvalidArgument(f"failed to get workflow requirements with err {errors}") from errors
        tasks = [_found(self.tasks, "TASK", identifier) for identifier in needed.task_ids]
        plans = [_found(self.launch_plans, "LAUNCH_PLAN", identifier) for identifier in needed.launch_plan_ids]
        interfaces = [
            LaunchPlanInterface(identifier, plan.closure.expected_inputs, plan.closure.expected_outputs)
            for identifier, plan in zip(needed.launch_plan_ids, plans, strict=True)
        ]
        return compile_workflow(spec.template, spec.sub_workflows, tasks, interfaces)

    def create_launch_plan(self, request: launch_plan_pb2.LaunchPlanCreateRequest) -> None:
        spec = request.spec
        workflow = _found(self.workflows, "WORKFLOW", spec.workflow_id)
        interface: interface_pb2.TypedInterface = workflow.primary.template.interface
        check_literals(spec.fixed_inputs.literals, "fixed_inputs")
        check_parameters(spec.default_inputs.parameters, "default_inputs")
        expected = expected_inputs(
            interface.inputs.variables, spec.fixed_inputs.literals, spec.default_inputs.parameters
        )
        spec.default_inputs.CopyFrom(expected)
        plan = launch_plan_pb2.LaunchPlan(id=request.id, spec=spec)
        plan.closure.expected_inputs.CopyFrom(expected)
        plan.closure.expected_outputs.CopyFrom(interface.outputs)
        _store(self.launch_plans, "launch plan", request.id, plan, lambda stored: stored.spec)


def _key(identifier: identifier_pb2.Identifier) -> Key:
    return identifier.project, identifier.domain, identifier.name, identifier.version


def _found(rows: dict[Key, Any], kind: str, identifier: identifier_pb2.Identifier) -> Any:
    if _key(identifier) not in rows:
        bare = identifier_pb2.Identifier()
        bare.CopyFrom(identifier)
        bare.ClearField("resource_type")
        raise InvalidArgument(f"missing entity of type {kind} with identifier {text(bare)}")
    return rows[_key(identifier)]


def _store(
    rows: dict[Key, Any],
    kind: str,
    identifier: identifier_pb2.Identifier,
    new: Message,
    compared: Callable[[Any], Message] = lambda stored: stored,
) -> None:
    old = rows.setdefault(_key(identifier), new)
    if old is new:
        return
    if digest(old) == digest(new):
        raise InvalidArgument(f"{kind} with identical structure already exists")
    raise InvalidArgument(different_structure(kind, identifier.name, compared(old), compared(new)))


CREATE = {
    "/api/v1/tasks": (task_pb2.TaskCreateRequest, Registry.create_task),
    "/api/v1/workflows": (workflow_pb2.WorkflowCreateRequest, Registry.create_workflow),
    "/api/v1/launch_plans": (launch_plan_pb2.LaunchPlanCreateRequest, Registry.create_launch_plan),
}
READ: dict[str, tuple[type[Message], str, Callable[[Any], list[Message]]]] = {
    "tasks": (task_pb2.Task, "tasks", lambda row: [row.closure.compiled_task]),
    "workflows": (workflow_pb2.Workflow, "workflows", lambda row: [row.closure.compiled_workflow]),
    "launch_plans": (
        launch_plan_pb2.LaunchPlan,
        "launch_plans",
        lambda row: [row.spec, row.closure.expected_inputs, row.closure.expected_outputs],
    ),
}


def _load(path: Path) -> Any:
    # The loader in C reads these files five times as fast; it is not in every build of PyYAML.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text().replace("${project}", "conf-abcdefghij"), Loader=loader)


def _fixture_steps(name: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for step in _load(CONFORMANCE / "fixtures" / f"{name}.yaml")["steps"]:
        steps += _fixture_steps(step["fixture"]) if "fixture" in step else [step]
    return steps


def _plain(value: Any) -> Any:
    """A recorded answer without the times, which differ in each run."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items() if inner != "<<timestamp>>"}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def _one_blank(message: str) -> str:
    return re.sub("[ \u00a0]+", " ", message)


def _create(registry: Registry, step: dict[str, Any]) -> str | None:
    """The text that a registration is refused with; None when it is accepted or is no business of these rules."""
    request = step["request"]
    if request["method"] != "POST" or request["path"] not in CREATE or "json" not in request:
        return None
    kind, create = CREATE[request["path"]]
    try:
        message = json_format.ParseDict(request["json"], kind())
    except json_format.ParseError:
        return None
    try:
        create(registry, message)
    except InvalidArgument as refused:
        return refused.message
    return None


def _check_read(registry: Registry, step: dict[str, Any]) -> int:
    """Compare what is stored with a recorded GET of one task, workflow or launch plan; how many were compared."""
    match = re.fullmatch(r"/api/v1/(\w+)/([^/]+)/([^/]+)/([^/]+)/([^/]+)", step["request"]["path"])
    if step["request"]["method"] != "GET" or match is None or match[1] not in READ or step["expect"]["status"] != 200:
        return 0
    kind, rows, parts = READ[match[1]]
    expected = json_format.ParseDict(_plain(step["expect"]["json"]), kind())
    stored = getattr(registry, rows)[match.group(2, 3, 4, 5)]
    if match[1] == "launch_plans":
        assert parts(stored) == parts(expected), step["id"]
    else:
        assert [stored] == parts(expected), step["id"]
    return 1


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_case(path: Path) -> None:
    case = _load(path)
    registry, compared = Registry(), 0
    for name in case.get("setup", []):
        for step in _fixture_steps(name):
            assert _create(registry, step) is None
    for step in case["steps"]:
        if "expect" not in step or "request" not in step:
            continue
        status, answer = step["expect"]["status"], step["expect"].get("json")
        told = _one_blank(answer.get("message", "")) if isinstance(answer, dict) and status != 200 else ""
        if (path.stem, step["id"]) in PANICS:
            refused = _create(registry, step)
            assert refused is not None
            assert "Code: UnrecognizedValue, Node Id: n0, Description: Unrecognized value [<nil>]." in refused
        elif status == 200:
            assert _create(registry, step) is None, step["id"]
            compared += _check_read(registry, step) or (step["request"]["path"] in CREATE)
        elif OURS.match(told):
            refused = _create(registry, step)
            assert refused is not None, step["id"]
            if FIRST_LINE.match(told):
                told, refused = told.split("\n")[0], refused.split("\n")[0]
            assert _one_blank(refused) == told, step["id"]
            compared += 1
    assert compared, "a case in which nothing is compared tests nothing"

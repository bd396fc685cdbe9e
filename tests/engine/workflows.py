"""Tasks and workflows for the in-process tests of the engine, written down shortly."""

from __future__ import annotations

from typing import Any

from flyteidl.admin import launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import dynamic_job_pb2, identifier_pb2, interface_pb2
from flyteidl.core import workflow_pb2 as core_workflow_pb2

from tests.compiler.shapes import a_type, bound, variables
from tests.support.builders import an_id

Node = core_workflow_pb2.Node


def task(
    name: str, inputs: dict[str, str] | None = None, outputs: dict[str, str] | None = None, **metadata: Any
) -> task_pb2.TaskCreateRequest:
    """A container task. metadata: fields of core.TaskMetadata; `type` and `config` are those of the template."""
    request = task_pb2.TaskCreateRequest(id=an_id(identifier_pb2.TASK, name))
    template = request.spec.template
    template.id.CopyFrom(request.id)
    template.type = metadata.pop("type", "python-task")
    template.config.update(metadata.pop("config", {}))
    retries = metadata.pop("retries", 0)
    for field, value in metadata.items():
        setattr(template.metadata, field, value)
    template.metadata.retries.retries = retries
    template.interface.CopyFrom(
        interface_pb2.TypedInterface(inputs=variables(inputs or {}), outputs=variables(outputs or {}))
    )
    if template.type == "python-task":
        template.container.image = "image"
        template.container.args.append("run")
    return request


def task_node(id: str, name: str, *, after: tuple[str, ...] = (), **inputs: object) -> Node:
    """A node of a task; inputs are numbers, or `n0.o` for an output and `.a` for an input of the workflow."""
    node = Node(id=id, upstream_node_ids=after)
    node.task_node.reference_id.CopyFrom(an_id(identifier_pb2.TASK, name))
    return bind(node, **inputs)


def bind(node: Node, **inputs: object) -> Node:
    for name, source in inputs.items():
        node.inputs.add(var=name, binding=bound(source))  # type: ignore[arg-type]
    return node


def with_metadata(node: Node, *, retries: int = 0, timeout_seconds: float = 0.0) -> Node:
    node.metadata.retries.retries = retries
    node.metadata.timeout.FromNanoseconds(int(timeout_seconds * 1e9))
    return node


def sub_workflow_node(id: str, workflow: str, **inputs: object) -> Node:
    node = Node(id=id)
    node.workflow_node.sub_workflow_ref.CopyFrom(an_id(identifier_pb2.WORKFLOW, workflow))
    return bind(node, **inputs)


def launch_plan_node(id: str, plan: str, **inputs: object) -> Node:
    node = Node(id=id)
    node.workflow_node.launchplan_ref.CopyFrom(an_id(identifier_pb2.LAUNCH_PLAN, plan))
    return bind(node, **inputs)


def branch_node(id: str, variable: str, limit: int, then: Node, otherwise: Node, **inputs: object) -> Node:
    """A branch on `variable > limit`."""
    node = Node(id=id)
    block = node.branch_node.if_else
    comparison = block.case.condition.comparison
    comparison.operator = comparison.GT
    comparison.left_value.var = variable
    comparison.right_value.primitive.integer = limit
    block.case.then_node.CopyFrom(then)
    block.else_node.CopyFrom(otherwise)
    return bind(node, **inputs)


def array_node(id: str, element: Node, *, min_success_ratio: float | None = None, **inputs: object) -> Node:
    node = Node(id=id)
    node.array_node.node.CopyFrom(element)
    # flytekit maps a task by the lists in the task's own interface, and a launch plan by that of its single execution.
    node.array_node.is_original_sub_node_interface.value = element.HasField("workflow_node")
    if min_success_ratio is not None:
        node.array_node.min_success_ratio = min_success_ratio
    return bind(node, **inputs)


def approval(id: str, **inputs: object) -> Node:
    """A gate that waits for the signal of its own id."""
    node = Node(id=id)
    node.gate_node.approve.signal_id = id
    return bind(node, **inputs)


def sleep(id: str, seconds: float) -> Node:
    node = Node(id=id)
    node.gate_node.sleep.duration.FromNanoseconds(int(seconds * 1e9))
    return node


def template(
    name: str,
    *nodes: Node,
    inputs: dict[str, str] | None = None,
    outputs: dict[str, tuple[str, str]] | None = None,
    failure_node: Node | None = None,
    lenient: bool = False,
) -> core_workflow_pb2.WorkflowTemplate:
    """A workflow. outputs: name → (type, source). lenient: run on after a failure as far as possible."""
    made = core_workflow_pb2.WorkflowTemplate(id=an_id(identifier_pb2.WORKFLOW, name), nodes=nodes)
    made.interface.inputs.CopyFrom(variables(inputs or {}))
    for output, (written, source) in (outputs or {}).items():
        made.interface.outputs.variables[output].type.CopyFrom(a_type(written))
        made.outputs.add(var=output, binding=bound(source))
    if failure_node is not None:
        made.failure_node.CopyFrom(failure_node)
    if lenient:
        made.metadata.on_failure = made.metadata.FAIL_AFTER_EXECUTABLE_NODES_COMPLETE
    return made


def workflow(
    main: core_workflow_pb2.WorkflowTemplate, *sub_workflows: core_workflow_pb2.WorkflowTemplate
) -> workflow_pb2.WorkflowCreateRequest:
    request = workflow_pb2.WorkflowCreateRequest(id=main.id)
    request.spec.template.CopyFrom(main)
    request.spec.sub_workflows.extend(sub_workflows)
    return request


def launch_plan(name: str) -> launch_plan_pb2.LaunchPlanCreateRequest:
    """The launch plan of the workflow of the same name."""
    request = launch_plan_pb2.LaunchPlanCreateRequest(id=an_id(identifier_pb2.LAUNCH_PLAN, name))
    request.spec.workflow_id.CopyFrom(an_id(identifier_pb2.WORKFLOW, name))
    return request


def job(*nodes: Node, **outputs: str) -> dynamic_job_pb2.DynamicJobSpec:
    """The nodes that a dynamic task asks for, with the sources of its outputs."""
    spec = dynamic_job_pb2.DynamicJobSpec(nodes=nodes)
    for output, source in outputs.items():
        spec.outputs.add(var=output, binding=bound(source))
    return spec

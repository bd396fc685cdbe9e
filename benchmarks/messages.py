"""What the benchmark registers and launches: messages of the sizes that flytekit makes.

A task is 0.6 kB as protobuf, a workflow of six nodes 17 kB as JSON.
"""

from __future__ import annotations

from flyteidl.admin import execution_pb2, launch_plan_pb2, project_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2, interface_pb2, types_pb2
from flyteidl.core import tasks_pb2 as core_tasks
from flyteidl.core import workflow_pb2 as core_workflow

PROJECT, DOMAIN = "flytesnacks", "development"
NODES = 6
PIPELINE = "pipelines.training.pipeline"
STEP = "pipelines.training.step"
COMMAND = (
    *("pyflyte-execute", "--inputs", "{{.input}}", "--output-prefix", "{{.outputPrefix}}"),
    *("--raw-output-data-prefix", "{{.rawOutputDataPrefix}}", "--checkpoint-path", "{{.checkpointOutputPrefix}}"),
    *("--prev-checkpoint", "{{.prevCheckpointPrefix}}", "--resolver"),
    *("flytekit.core.python_auto_container.default_task_resolver", "--"),
)


def identifier(resource_type: int, name: str, version: str) -> identifier_pb2.Identifier:
    """An identifier in the project and domain of the benchmark."""
    return identifier_pb2.Identifier(
        resource_type=resource_type, project=PROJECT, domain=DOMAIN, name=name, version=version
    )


def project() -> project_pb2.ProjectRegisterRequest:
    """The project, which a server makes at its first start otherwise."""
    return project_pb2.ProjectRegisterRequest(project=project_pb2.Project(id=PROJECT, name=PROJECT))


def _variable(kind: int, description: str) -> interface_pb2.Variable:
    return interface_pb2.Variable(type=types_pb2.LiteralType(simple=kind), description=description)


def task(name: str, version: str) -> task_pb2.TaskCreateRequest:
    """A container task x: int -> o0: int, as `pyflyte register` sends it."""
    request = task_pb2.TaskCreateRequest(id=identifier(identifier_pb2.TASK, name, version))
    template = request.spec.template
    template.id.CopyFrom(request.id)
    template.type = "python-task"
    template.metadata.runtime.type = core_tasks.RuntimeMetadata.FLYTE_SDK
    template.metadata.runtime.version = "1.16.8"
    template.metadata.runtime.flavor = "python"
    template.metadata.retries.retries = 2
    template.interface.inputs.variables["x"].CopyFrom(_variable(types_pb2.INTEGER, "x"))
    template.interface.outputs.variables["o0"].CopyFrom(_variable(types_pb2.INTEGER, "o0"))
    container = template.container
    container.image = "cr.flyte.org/flyteorg/flytekit:py3.11-1.16.8"
    container.args.extend([*COMMAND, "task-module", name.rpartition(".")[0], "task-name", name.rpartition(".")[2]])
    for kind, value in ((core_tasks.Resources.CPU, "1"), (core_tasks.Resources.MEMORY, "500Mi")):
        container.resources.requests.add(name=kind, value=value)
        container.resources.limits.add(name=kind, value=value)
    container.env.add(key="FLYTE_INTERNAL_IMAGE", value=container.image)
    return request


def workflow(
    name: str, version: str, *, task_version: str = "v0", sub_workflow: bool = False
) -> workflow_pb2.WorkflowCreateRequest:
    """A workflow x: int -> o0: int of six nodes in a row, each a task of its own; the last may be a sub-workflow."""
    request = workflow_pb2.WorkflowCreateRequest(id=identifier(identifier_pb2.WORKFLOW, name, version))
    request.spec.template.id.CopyFrom(request.id)
    _chain(request.spec.template, NODES - sub_workflow, task_version)
    if sub_workflow:
        below = request.spec.sub_workflows.add()
        below.id.CopyFrom(identifier(identifier_pb2.WORKFLOW, f"{name}_inner", version))
        _chain(below, 1, task_version)
        template = request.spec.template
        node = template.nodes.add(id=f"n{NODES - 1}")
        node.metadata.name = below.id.name
        node.workflow_node.sub_workflow_ref.CopyFrom(below.id)
        node.inputs.add(var="x").binding.promise.MergeFrom(template.outputs[0].binding.promise)
        template.outputs[0].binding.promise.node_id = node.id
    return request


def _chain(template: core_workflow.WorkflowTemplate, nodes: int, task_version: str) -> None:
    template.metadata.SetInParent()
    template.metadata_defaults.SetInParent()
    template.interface.inputs.variables["x"].CopyFrom(_variable(types_pb2.INTEGER, "where the training starts"))
    template.interface.outputs.variables["o0"].CopyFrom(_variable(types_pb2.INTEGER, "o0"))
    source, variable = "start-node", "x"
    for number in range(nodes):
        node = template.nodes.add(id=f"n{number}")
        node.metadata.name = f"step_{number}"
        node.metadata.retries.retries = 2
        node.task_node.reference_id.CopyFrom(identifier(identifier_pb2.TASK, f"{STEP}_{number}", task_version))
        promise = node.inputs.add(var="x").binding.promise
        promise.node_id, promise.var = source, variable
        source, variable = node.id, "o0"
    promise = template.outputs.add(var="o0").binding.promise
    promise.node_id, promise.var = source, variable


def launch_plan(name: str, version: str) -> launch_plan_pb2.LaunchPlanCreateRequest:
    """The launch plan of the workflow version of this name, as registering makes it."""
    request = launch_plan_pb2.LaunchPlanCreateRequest(id=identifier(identifier_pb2.LAUNCH_PLAN, name, version))
    request.spec.workflow_id.CopyFrom(identifier(identifier_pb2.WORKFLOW, name, version))
    request.spec.labels.values["team"] = "research"
    return request


def execution(name: str, launch_plan_name: str, version: str) -> execution_pb2.ExecutionCreateRequest:
    """A launch of that launch plan with x = 3; name "" asks the server for one."""
    request = execution_pb2.ExecutionCreateRequest(project=PROJECT, domain=DOMAIN, name=name)
    request.spec.launch_plan.CopyFrom(identifier(identifier_pb2.LAUNCH_PLAN, launch_plan_name, version))
    request.spec.labels.values["team"] = "research"
    request.inputs.literals["x"].scalar.primitive.integer = 3
    return request

"""The WorkflowSpec and NodeSpec of a FlyteWorkflow object, from a compiled workflow.

Some fields are proto JSON and some are Go's JSON of the generated struct, as FlytePropeller's types read them.
Source: flytepropeller/pkg/compiler/transformers/k8s (node.go, workflow.go), pkg/apis/flyteworkflow/v1alpha1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flyteidl.core import compiler_pb2, identifier_pb2, interface_pb2, tasks_pb2, workflow_pb2

from app.engine.kubernetes.interfaces import strip_interface
from app.wire.go.go_struct import to_go_struct
from app.wire.go.goparse import go_duration
from app.wire.go.quantity import Quantity
from app.wire.render import to_set_fields
from app.wire.text import text

START_NODE, END_NODE = "start-node", "end-node"

Tasks = Mapping[str, tasks_pb2.TaskTemplate]


class InvalidWorkflow(Exception):
    """A compiled workflow that FlytePropeller cannot run. The text is the reason."""


def object_key(id: identifier_pb2.Identifier) -> str:
    """Return the text by which an object refers to a task or subworkflow that it contains."""
    return text(id)


class SpecBuilder:
    """Builds the WorkflowSpec objects of one FlyteWorkflow.

    Args:
        tasks: The tasks of the closure by `object_key`.
        gpu_resource: The name of the GPU resource in Kubernetes.
    """

    def __init__(self, tasks: Tasks, *, gpu_resource: str) -> None:
        self._tasks = tasks
        self._resource_names = {
            tasks_pb2.Resources.CPU: "cpu",
            tasks_pb2.Resources.MEMORY: "memory",
            # Deviates: upstream always writes nvidia.com/gpu, which a cluster with other GPUs does not have.
            tasks_pb2.Resources.GPU: gpu_resource,
            tasks_pb2.Resources.EPHEMERAL_STORAGE: "ephemeral-storage",
        }

    def workflow(self, compiled: compiler_pb2.CompiledWorkflow) -> dict[str, Any]:
        """Return the WorkflowSpec of a compiled workflow.

        Raises:
            InvalidWorkflow: A node has no target, or names a task that the closure lacks.
        """
        template = compiled.template
        nodes: dict[str, Any] = {}
        for node in template.nodes:
            for made in self._node(node):
                id = made["id"]
                if nodes.setdefault(id, made) != made:
                    raise InvalidWorkflow(f"node id {id} is used by two different nodes")
        connections = compiled.connections
        downstream = {id: list(connections.downstream[id].ids) for id in connections.downstream}
        upstream = {id: list(connections.upstream[id].ids) for id in connections.upstream}
        if START_NODE not in nodes or not downstream.get(START_NODE):
            raise InvalidWorkflow(f"workflow {template.id.name} has no node after {START_NODE}")
        spec: dict[str, Any] = {
            "id": ":".join((template.id.project, template.id.domain, template.id.name)),
            "nodes": nodes,
            "connections": downstream,
            "edges": {"downstream": downstream, "upstream": upstream},
        }
        if template.HasField("failure_node"):
            spec["onFailure"] = next(self._node(template.failure_node))
        interface = interface_pb2.TypedInterface()
        interface.CopyFrom(template.interface)
        strip_interface(interface)
        spec["outputs"] = {"variables": to_set_fields(interface.outputs).get("variables", {})}
        if not interface.HasField("outputs") or not interface.outputs.variables:
            spec["outputs"] = {}
        if template.outputs:
            spec["outputBindings"] = [to_set_fields(binding) for binding in template.outputs]
        policy = template.metadata.on_failure
        if policy:
            spec["onFailurePolicy"] = workflow_pb2.WorkflowMetadata.OnFailurePolicy.Name(policy)
        return spec

    def _node(self, node: workflow_pb2.Node) -> Iterator[dict[str, Any]]:
        """Yield the NodeSpec of a node, then those of the nodes inside its branches."""
        kind = node.WhichOneof("target")
        if kind is None and node.id not in (START_NODE, END_NODE):
            raise InvalidWorkflow(f"node {node.id} has no target")
        overrides = node.task_node.overrides
        spec: dict[str, Any] = {"id": node.id}
        if node.metadata.name:
            spec["name"] = node.metadata.name
        spec["resources"] = self._resources(overrides.resources)
        inside: list[dict[str, Any]] = []
        match kind:
            case "task_node":
                spec |= {"kind": "task", "task": self._task_key(node)}
            case "workflow_node":
                spec |= {"kind": "workflow", "workflow": _workflow_target(node)}
            case "branch_node":
                spec |= {"kind": "branch", "branch": self._branch(node.branch_node.if_else, inside)}
            case "gate_node":
                spec |= {"kind": "gate", "gate": _gate(node.gate_node)}
            case "array_node":
                spec |= {"kind": "array", "array": self._array(node.array_node)}
            case None:
                spec["kind"] = "start" if node.id == START_NODE else "end"
            case _:
                raise InvalidWorkflow(f"node {node.id} has a target that FlytePropeller does not know: {kind}")
        spec |= self._settings(node)
        yield spec
        yield from inside

    def _settings(self, node: workflow_pb2.Node) -> dict[str, Any]:
        """Return the fields that follow the target: inputs, retries, deadlines and overrides."""
        metadata, overrides = node.metadata, node.task_node.overrides
        settings: dict[str, Any] = {}
        if node.inputs:
            settings["inputBindings"] = [to_set_fields(binding) for binding in node.inputs]
        retries = metadata.retries.retries
        if not retries and node.HasField("task_node"):
            # Parity: retries 0 of a node do not replace those of its task.
            retries = self._tasks[self._task_key(node)].metadata.retries.retries
        if retries:
            settings["retry"] = {"minAttempts": retries + 1}
        if node.output_aliases:
            settings["outputAlias"] = [to_go_struct(alias) for alias in node.output_aliases]
        if overrides.HasField("extended_resources"):
            settings["extendedResources"] = to_set_fields(overrides.extended_resources)
        if metadata.HasField("timeout"):
            nanos = metadata.timeout.ToNanoseconds()
            settings["executionDeadline"] = go_duration(nanos)
            settings["activeDeadline"] = go_duration(2 * nanos)
        if metadata.HasField("interruptible"):
            settings["interruptible"] = metadata.interruptible
        if overrides.container_image:
            settings["containerImage"] = overrides.container_image
        if overrides.HasField("pod_template"):
            settings["podTemplate"] = to_go_struct(overrides.pod_template)
        return settings

    def _task_key(self, node: workflow_pb2.Node) -> str:
        key = object_key(node.task_node.reference_id)
        if key not in self._tasks:
            raise InvalidWorkflow(f"node {node.id} runs a task that the workflow's closure lacks: {key}")
        return key

    def _resources(self, resources: tasks_pb2.Resources) -> dict[str, Any]:
        """Return the ResourceRequirements of the overrides of a node."""
        requirements = {}
        for part in ("limits", "requests"):
            amounts = {}
            for entry in getattr(resources, part):
                name = self._resource_names.get(entry.name)
                try:
                    amount = Quantity.parse(entry.value)
                except ValueError as error:
                    raise InvalidWorkflow(f"{part} of a node: {entry.value!r} is no quantity: {error}") from error
                if name is not None and amount.value:
                    amounts[name] = amount.text
            if amounts:
                requirements[part] = amounts
        return requirements

    def _branch(self, if_else: workflow_pb2.IfElseBlock, inside: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the BranchNodeSpec; append the nodes of all cases to `inside`."""

        def block(case: workflow_pb2.IfBlock) -> dict[str, Any]:
            inside.extend(self._node(case.then_node))
            return {"condition": to_set_fields(case.condition), "then": case.then_node.id}

        branch: dict[str, Any] = {"if": block(if_else.case)}
        if if_else.other:
            branch["elseIf"] = [block(case) for case in if_else.other]
        match if_else.WhichOneof("default"):
            case "else_node":
                inside.extend(self._node(if_else.else_node))
                branch["else"] = if_else.else_node.id
            case "error":
                branch["elseFail"] = to_go_struct(if_else.error)
        return branch

    def _array(self, array: workflow_pb2.ArrayNode) -> dict[str, Any]:
        spec: dict[str, Any] = {"SubNodeSpec": next(self._node(array.node))}
        # Parallelism 0 means no limit; without a value the limit of the execution holds.
        if array.WhichOneof("parallelism_option"):
            spec["Parallelism"] = array.parallelism
        match array.WhichOneof("success_criteria"):
            case "min_successes":
                spec["MinSuccesses"] = array.min_successes
            case "min_success_ratio":
                spec["MinSuccessRatio"] = to_set_fields(array)["minSuccessRatio"]
        if array.bound_inputs:
            spec["BoundInputs"] = list(array.bound_inputs)
        return spec


def _workflow_target(node: workflow_pb2.Node) -> dict[str, Any]:
    match node.workflow_node.WhichOneof("reference"):
        case "launchplan_ref":
            return {"launchPlanRefId": to_set_fields(node.workflow_node.launchplan_ref)}
        case "sub_workflow_ref":
            return {"subWorkflowRef": object_key(node.workflow_node.sub_workflow_ref)}
    raise InvalidWorkflow(f"workflow node {node.id} names neither a launch plan nor a subworkflow")


def _gate(gate: workflow_pb2.GateNode) -> dict[str, Any]:
    kind = gate.WhichOneof("condition")
    return {} if kind is None else {"kind": kind, kind: to_set_fields(getattr(gate, kind))}

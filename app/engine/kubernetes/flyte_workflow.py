"""The FlyteWorkflow object of an execution, from rows that were read before: no database, no network.

Source: flyteadmin/pkg/workflowengine/impl (k8s_executor.go, prepare_execution.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from flyteidl.admin import matchable_resource_pb2
from flyteidl.core import compiler_pb2, identifier_pb2, literals_pb2

from app.engine.kubernetes.task_specs import task_spec
from app.engine.kubernetes.workflow_spec import InvalidWorkflow, SpecBuilder, object_key
from app.services.task_resources import Amounts, Platform
from app.wire.go.go_struct import to_go_struct
from app.wire.render import to_set_fields

API_VERSION, KIND = "flyte.lyft.com/v1alpha1", "FlyteWorkflow"
FINALIZER = "flyte.org/finalizer"
SHARDS = 32
_LABEL_LENGTH_MAX = 63
_RESOURCES = {"CPU": "CPU", "MEMORY": "Memory", "EPHEMERAL_STORAGE": "EphemeralStorage", "STORAGE": "Storage"}
_NOT_IN_LABELS = re.compile(r"[^-a-z0-9]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """The settings that affect objects.

    Attributes:
        role_name_key: The annotation that carries the IAM role; "" writes none.
        event_version: The version of the events that FlytePropeller sends.
        console_url: The address of the console, "" for none.
        gpu_resource: The name of the GPU resource in Kubernetes.
    """

    role_name_key: str
    event_version: int
    console_url: str
    gpu_resource: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchData:
    """The data from which an object is made.

    Attributes:
        id: The execution.
        workflow_name: The name of its workflow.
        workflow_key: Identifies the closure among all that were registered.
        closure: The compiled workflow; None sends `closure_uri` instead.
        closure_uri: The address of the stored workflow closure.
        inputs: The inputs with defaults; None sends `inputs_uri` instead.
        inputs_uri: The address of the stored inputs.
        config: The merged configuration of the launch.
        platform: The platform's defaults and limits of task resources.
        project_labels: Labels of the project, for keys that `config` lacks.
        child_queue: The queue of tasks that tasks start, "" for none.
        plugin_overrides: The plugins that run the tasks of some types.
        recovered: The execution that this one recovers.
        namespace: The namespace of the object.
        accepted_at: The time of the launch.
    """

    id: identifier_pb2.WorkflowExecutionIdentifier
    workflow_name: str
    workflow_key: tuple[Any, ...]
    closure: compiler_pb2.CompiledWorkflowClosure | None
    closure_uri: str
    inputs: literals_pb2.LiteralMap | None
    inputs_uri: str
    config: matchable_resource_pb2.WorkflowExecutionConfig
    platform: Platform
    project_labels: Mapping[str, str]
    child_queue: str
    plugin_overrides: Sequence[matchable_resource_pb2.PluginOverride]
    recovered: identifier_pb2.WorkflowExecutionIdentifier | None
    namespace: str
    accepted_at: datetime


def workflow_parts(data: LaunchData, options: ObjectOptions) -> dict[str, Any]:
    """Return the parts of an object that are equal for all launches with an equal `parts_key`.

    Raises:
        InvalidWorkflow: FlytePropeller could not run it.
    """
    parts = _workflow(data, options) | _tasks(data, options)
    if data.closure is not None:
        check_object(parts)
    return parts


def parts_key(data: LaunchData) -> tuple[Any, ...]:
    """Return all that the parts of an object depend on, besides the settings."""
    amounts = (data.platform.defaults, data.platform.limits)
    texts = tuple(tuple(sorted((name, amount.text) for name, amount in part.items())) for part in amounts)
    return (*data.workflow_key, data.child_queue, texts)


def flyte_workflow(data: LaunchData, options: ObjectOptions, parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object, with its fields in the order in which upstream writes them.

    Args:
        data: The launch.
        options: The settings.
        parts: The result of `workflow_parts`, maybe as JSON.
    """
    config = data.config
    run_as = config.security_context.run_as
    document: dict[str, Any] = {"kind": KIND, "apiVersion": API_VERSION, "metadata": _metadata(data, options)}
    document["spec"] = parts["spec"]
    document["workflowMeta"] = {"eventVersion": options.event_version} if options.event_version else {}
    if data.inputs is not None:
        document["inputs"] = to_set_fields(data.inputs)
        document["inputs"].setdefault("literals", {})
        if not data.inputs.literals:
            document["inputs"] = {}
    document["executionId"] = to_go_struct(data.id)
    document |= {name: part for name, part in parts.items() if name != "spec"}
    defaults = data.closure.primary.template.metadata_defaults if data.closure is not None else None
    document["node-defaults"] = {"interruptible": True} if defaults is not None and defaults.interruptible else {}
    document["acceptedAt"] = data.accepted_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if run_as.k8s_service_account:
        document["serviceAccountName"] = run_as.k8s_service_account
    document["securityContext"] = to_go_struct(config.security_context)
    document["status"] = {"phase": 0}
    document["rawOutputDataConfig"] = to_go_struct(config.raw_output_data_config)
    document["executionConfig"] = _execution_config(data)
    if data.closure is None:
        document["workflowClosureReference"] = data.closure_uri
    if options.console_url:
        document["consoleUrl"] = options.console_url
    if data.inputs is None:
        document["offloadedInputs"] = data.inputs_uri
    return document


def check_object(document: Mapping[str, Any]) -> None:
    """Check what FlytePropeller dereferences without looking: an object that lacks it ends FlytePropeller's process.

    Raises:
        InvalidWorkflow: A part is missing; the message names it.
    """
    tasks, sub_workflows = document.get("tasks") or {}, document.get("subWorkflows") or {}
    for spec in (document["spec"], *sub_workflows.values()):
        nodes = {**spec["nodes"]}
        if "onFailure" in spec:
            nodes[spec["onFailure"]["id"]] = spec["onFailure"]
        for side in ("downstream", "upstream"):
            for id, neighbours in spec["edges"][side].items():
                missing = {id, *neighbours} - nodes.keys()
                if missing:
                    raise InvalidWorkflow(f"{spec['id']}: the {side} edges of {id} name nodes that it lacks: {missing}")
        for node in nodes.values():
            _check_references(spec["id"], node, tasks, sub_workflows)


def _check_references(
    workflow: str, node: Mapping[str, Any], tasks: Mapping[str, Any], sub_workflows: Mapping[str, Any]
) -> None:
    if "array" in node:
        _check_references(workflow, node["array"]["SubNodeSpec"], tasks, sub_workflows)
    if "task" in node and node["task"] not in tasks:
        raise InvalidWorkflow(f"{workflow}: node {node['id']} names a task that the object lacks: {node['task']}")
    reference = node.get("workflow", {}).get("subWorkflowRef")
    if reference is not None and reference not in sub_workflows:
        raise InvalidWorkflow(f"{workflow}: node {node['id']} names a workflow that the object lacks: {reference}")


def shard_key(name: str) -> str:
    """Return the label by which several FlytePropellers share executions: FNV-1a of the name, modulo 32."""
    digest = 0x811C9DC5
    for byte in name.encode():
        digest = (digest ^ byte) * 0x01000193 & 0xFFFFFFFF
    return str(digest % SHARDS)


def workflow_label(name: str) -> str:
    """Return a workflow's name as a label's value (SanitizeLabelValue of flytepropeller/pkg/utils/k8s.go)."""
    return _NOT_IN_LABELS.sub("-", name.lower())[:_LABEL_LENGTH_MAX].strip("-")


def _metadata(data: LaunchData, options: ObjectOptions) -> dict[str, Any]:
    config, id = data.config, data.id
    system = {
        "domain": id.domain,
        "execution-id": id.name,
        "project": id.project,
        "shard-key": shard_key(id.name),
        "workflow-name": workflow_label(data.workflow_name),
    }
    # Deviates: in upstream labels of users replace those of the system, by which FlytePropeller finds its work.
    labels = {**data.project_labels, **config.labels.values, **system}
    annotations = dict(config.annotations.values)
    role = config.security_context.run_as.iam_role
    # Deviates: without a key upstream writes an annotation with an empty name, and Kubernetes refuses the object.
    if role and options.role_name_key:
        annotations = {options.role_name_key: role, **annotations}
    metadata: dict[str, Any] = {"name": id.name, "namespace": data.namespace, "labels": dict(sorted(labels.items()))}
    if annotations:
        metadata["annotations"] = dict(sorted(annotations.items()))
    return {**metadata, "finalizers": [FINALIZER]}


def _templates(closure: compiler_pb2.CompiledWorkflowClosure) -> dict[str, Any]:
    return {object_key(task.template.id): task.template for task in closure.tasks}


def _workflow(data: LaunchData, options: ObjectOptions) -> dict[str, Any]:
    if data.closure is None:
        return {"spec": None}
    builder = SpecBuilder(_templates(data.closure), gpu_resource=options.gpu_resource)
    return {"spec": builder.workflow(data.closure.primary)}


def _tasks(data: LaunchData, options: ObjectOptions) -> dict[str, Any]:
    """Return the tasks and the subworkflows."""
    if data.closure is None:
        return {"tasks": None}
    templates = _templates(data.closure)
    parts: dict[str, Any] = {
        "tasks": {
            key: task_spec(template, data.platform, data.child_queue) for key, template in sorted(templates.items())
        }
    }
    if data.closure.sub_workflows:
        builder = SpecBuilder(templates, gpu_resource=options.gpu_resource)
        parts["subWorkflows"] = {
            object_key(compiled.template.id): builder.workflow(compiled) for compiled in data.closure.sub_workflows
        }
    return parts


def _execution_config(data: LaunchData) -> dict[str, Any]:
    config = data.config
    execution: dict[str, Any] = {
        "TaskPluginImpls": {
            override.task_type: {
                "PluginIDs": list(override.plugin_id) or None,
                "MissingPluginBehavior": override.missing_plugin_behavior,
            }
            for override in data.plugin_overrides
        },
        "MaxParallelism": config.max_parallelism,
        "RecoveryExecution": to_go_struct(data.recovered) if data.recovered is not None else {},
        "TaskResources": {
            "Requests": _resources(data.platform.defaults),
            "Limits": _resources(data.platform.limits),
        },
        "Interruptible": config.interruptible.value if config.HasField("interruptible") else None,
        "OverwriteCache": config.overwrite_cache,
        "EnvironmentVariables": None,
    }
    if config.envs.values:
        execution["EnvironmentVariables"] = {pair.key: pair.value for pair in config.envs.values}
    return execution


def _resources(amounts: Amounts) -> dict[str, str]:
    names = {**_RESOURCES, "GPU": "GPU"}
    return {name: amounts[kind].text if kind in amounts else "0" for kind, name in names.items()}

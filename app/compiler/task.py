"""Checks of a task's container or pod.

Source: compiler.CompileTask.
"""

from __future__ import annotations

import re
from itertools import chain

from flyteidl.admin import task_pb2
from flyteidl.core import compiler_pb2, tasks_pb2

from app.compiler.compile_errors import Problems
from app.wire.go.quantity import Quantity

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def compile_task(template: tasks_pb2.TaskTemplate) -> compiler_pb2.CompiledTask:
    """Return the compiled task, which holds the unchanged template.

    Raises:
        CompileErrors: All problems of its container or pod.
    """
    problems = Problems()
    if not template.HasField("id"):
        problems.value_required("root", "Id")
    match template.WhichOneof("target"):
        case "container":
            _check_container(template, problems)
        case "k8s_pod":
            _check_pod(template.k8s_pod, problems)
    compiled = compiler_pb2.CompiledTask(template=template)
    problems.check_depth("root", lambda: _listed(compiled))
    problems.raise_any()
    return compiled


def _listed(compiled: compiler_pb2.CompiledTask) -> task_pb2.TaskList:
    return task_pb2.TaskList(tasks=[task_pb2.Task(closure=task_pb2.TaskClosure(compiled_task=compiled))])


def _check_container(template: tasks_pb2.TaskTemplate, problems: Problems) -> None:
    container, interface = template.container, template.interface
    if (interface.inputs.variables or interface.outputs.variables) and not container.command and not container.args:
        # Without a command nothing could read the inputs or write the outputs.
        problems.value_required("container", "command")
    if not container.image:
        problems.value_required("container", "image")
    entries = chain(container.resources.requests, container.resources.limits)
    names = tasks_pb2.Resources.ResourceName
    for number, value in dict.fromkeys((entry.name, entry.value) for entry in entries):
        try:
            Quantity.parse(value)
        except ValueError:
            name = names.Name(number) if number in names.values() else str(number)
            problems.add("UnrecognizedValue", f"resources.{name}", f"Unrecognized value [{value}].")


def _check_pod(pod: tasks_pb2.K8sPod, problems: Problems) -> None:
    """Check the names of the containers. Kubernetes checks the rest of a pod spec."""
    containers = pod.pod_spec.fields.get("containers")
    kind = containers.WhichOneof("kind") if containers is not None else "null_value"
    if kind == "null_value" and pod.HasField("pod_spec"):
        return
    if kind != "list_value" or any(
        value.WhichOneof("kind") not in ("struct_value", "null_value") for value in containers.list_value.values
    ):
        problems.add("InvalidValue", "root", "Invalid value [k8s pod spec].")
        return
    for value in containers.list_value.values:
        name = value.struct_value.fields.get("name")
        if name is None or not _LABEL.fullmatch(name.string_value):
            problems.add("InvalidValue", "root", "Invalid value [k8s pod spec container name].")

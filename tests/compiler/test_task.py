"""What can be wrong with a task by itself."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import tasks_pb2
from google.protobuf import json_format

from app.compiler import CompileErrors, compile_task

ID = {"resource_type": "TASK", "project": "p", "domain": "d", "name": "t", "version": "v"}
INPUT = {"inputs": {"variables": {"x": {"type": {"simple": "INTEGER"}}}}}


def task(**fields: Any) -> tasks_pb2.TaskTemplate:
    return json_format.ParseDict({"id": ID, **fields}, tasks_pb2.TaskTemplate())


def container(**fields: Any) -> dict[str, Any]:
    return {"image": "i", "args": ["run"], **fields}


def pod(*names: Any) -> dict[str, Any]:
    return {"pod_spec": {"containers": [{"name": name} for name in names]}}


COMMAND = ("ValueRequired", "container", "Value required [command].")
POD_SPEC = ("InvalidValue", "root", "Invalid value [k8s pod spec].")
POD_NAME = ("InvalidValue", "root", "Invalid value [k8s pod spec container name].")


def unreadable(name: str, value: str) -> tuple[str, str, str]:
    return ("UnrecognizedValue", f"resources.{name}", f"Unrecognized value [{value}].")


@pytest.mark.parametrize(
    ("template", "problems"),
    [
        (tasks_pb2.TaskTemplate(), [("ValueRequired", "root", "Value required [Id].")]),
        (task(container={}), [("ValueRequired", "container", "Value required [image].")]),
        (task(interface=INPUT, container={"image": "i"}), [COMMAND]),
        (task(interface={"outputs": INPUT["inputs"]}, container={"image": "i"}), [COMMAND]),
        (
            task(
                container=container(
                    resources={
                        "requests": [{"name": "CPU", "value": "lots"}, {"name": "MEMORY", "value": "1Gi"}],
                        "limits": [{"name": "STORAGE", "value": "much"}, {"name": 77, "value": "1 GB"}],
                    }
                )
            ),
            [unreadable("77", "1 GB"), unreadable("CPU", "lots"), unreadable("STORAGE", "much")],
        ),
        (task(k8s_pod=pod("a", "Not_A_Label")), [POD_NAME]),
        (task(k8s_pod=pod("a" * 64)), [POD_NAME]),
        (task(k8s_pod=pod("")), [POD_NAME]),
        (task(k8s_pod={"pod_spec": {"containers": [{}]}}), [POD_NAME]),
        (task(k8s_pod={}), [POD_SPEC]),
        (task(k8s_pod={"pod_spec": {"containers": "a"}}), [POD_SPEC]),
        (task(k8s_pod={"pod_spec": {"containers": ["a"]}}), [POD_SPEC]),
    ],
)
def test_refused(template: tasks_pb2.TaskTemplate, problems: list[tuple[str, str, str]]) -> None:
    with pytest.raises(CompileErrors) as error:
        compile_task(template)
    assert [tuple(problem) for problem in error.value.problems] == problems


@pytest.mark.parametrize(
    "template",
    [
        task(),
        task(container={"image": "i"}),
        task(interface=INPUT, container=container()),
        task(interface=INPUT, container={"image": "i", "command": ["run"]}),
        task(container=container(resources={"requests": [{"name": "CPU", "value": "500m"}]})),
        task(k8s_pod=pod("a" * 63, "a-1")),
        task(k8s_pod={"pod_spec": {}}),
        task(k8s_pod={"pod_spec": {"containers": None}}),
        task(interface=INPUT, sql={"statement": "select 1"}),
    ],
)
def test_accepted(template: tasks_pb2.TaskTemplate) -> None:
    assert compile_task(template).template == template

"""The text about what changed in a registration, against upstream's own for the same pairs of messages."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.admin import launch_plan_pb2
from flyteidl.core import compiler_pb2, workflow_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from app.errors import MESSAGE_BYTES_MAX
from app.wire.go.diff import different_structure


def task(**template: Any) -> compiler_pb2.CompiledTask:
    return json_format.ParseDict({"template": template}, compiler_pb2.CompiledTask())


def plan(**spec: Any) -> launch_plan_pb2.LaunchPlanSpec:
    return json_format.ParseDict(spec, launch_plan_pb2.LaunchPlanSpec())


def number(value: float) -> compiler_pb2.CompiledTask:
    return task(custom={"n": value})


NODE = {"id": "n0", "branch_node": {"if_else": {"error": {"message": "a"}}}}
PAIRS: dict[str, tuple[Message, Message, str]] = {
    "an argument": (
        task(container={"image": "i", "command": ["a", "b"]}),
        task(container={"image": "i", "command": ["c", "b"]}),
        "/template/Target/Container/command/0:\n\t- a \n\t+ c",
    ),
    "an enum": (
        task(interface={"inputs": {"variables": {"x": {"type": {"simple": "INTEGER"}}}}}),
        task(interface={"inputs": {"variables": {"x": {"type": {"simple": "STRING"}}}}}),
        "/template/interface/inputs/variables/x/type/Type/Simple:\n\t- 1 \n\t+ 3",
    ),
    "another kind of target": (
        task(container={"image": "i"}),
        task(k8s_pod={"data_config": {"format": 1}}),
        "/template/Target/Container:\n\t- map[image:i] \n\t+ <nil>\n"
        "/template/Target/K8SPod:\n\t- <nil> \n\t+ map[data_config:map[format:1]]",
    ),
    "no target": (
        task(container={"image": "i", "args": ["a", "b"]}),
        task(),
        "/template/Target:\n\t- map[Container:map[args:[a b] image:i]] \n\t+ <nil>",
    ),
    "more and fewer elements are not told": (
        task(container={"args": ["a", "b"]}),
        task(container={"args": ["a", "b", "c"]}),
        "",
    ),
    "a changed element of a longer list is": (
        task(container={"args": ["a", "b"]}),
        task(container={"args": ["z"]}),
        "/template/Target/Container/args/0:\n\t- a \n\t+ z",
    ),
    "a wrapper and a time": (
        task(metadata={"timeout": "3s", "interruptible": False}),
        task(metadata={"timeout": "4.5s", "interruptible": True}),
        "/template/metadata/InterruptibleValue/Interruptible:\n\t- false \n\t+ true\n"
        "/template/metadata/timeout/nanos:\n\t- <nil> \n\t+ 5e+08\n"
        "/template/metadata/timeout/seconds:\n\t- 3 \n\t+ 4",
    ),
    "slashes and tildes in a name": (
        task(config={"a/b~c": "1"}),
        task(config={"a/b~c": "2"}),
        "/template/config/a~1b~0c:\n\t- 1 \n\t+ 2",
    ),
    "plain data": (
        task(custom={"a": [1, None, {"b": True}], "c": "x"}),
        task(custom={"a": [1, "y", {"b": False}], "c": 3}),
        "/template/custom/a/1:\n\t- <nil> \n\t+ y\n"
        "/template/custom/a/2/b:\n\t- true \n\t+ false\n"
        "/template/custom/c:\n\t- x \n\t+ 3",
    ),
    "a zero is not there": (
        task(task_type_version=1),
        task(task_type_version=0),
        "/template/task_type_version:\n\t- 1 \n\t+ <nil>",
    ),
    "a schedule": (
        plan(entity_metadata={"schedule": {"rate": {"value": 5, "unit": "HOUR"}}}),
        plan(entity_metadata={"schedule": {"rate": {"value": 5, "unit": "DAY"}}}),
        "/entity_metadata/schedule/ScheduleExpression/Rate/unit:\n\t- 1 \n\t+ 2",
    ),
    "a default": (
        plan(default_inputs={"parameters": {"x": {"required": True}}}),
        plan(default_inputs={"parameters": {"x": {"default": {"scalar": {"primitive": {"integer": "1"}}}}}}),
        "/default_inputs/parameters/x/Behavior/Default:\n"
        "\t- <nil> \n\t+ map[Value:map[Scalar:map[Value:map[Primitive:map[Value:map[Integer:1]]]]]]\n"
        "/default_inputs/parameters/x/Behavior/Required:\n\t- true \n\t+ <nil>",
    ),
    "bytes": (
        plan(fixed_inputs={"literals": {"x": {"scalar": {"binary": {"value": "AAE="}}}}}),
        plan(fixed_inputs={"literals": {"x": {"scalar": {"binary": {"value": "AAI="}}}}}),
        "/fixed_inputs/literals/x/Value/Scalar/Value/Binary/value:\n\t- AAE= \n\t+ AAI=",
    ),
    "a node": (
        json_format.ParseDict({"nodes": [NODE]}, workflow_pb2.WorkflowTemplate()),
        json_format.ParseDict({"nodes": [{**NODE, "id": "n1"}]}, workflow_pb2.WorkflowTemplate()),
        "/nodes/0/id:\n\t- n0 \n\t+ n1",
    ),
    "nothing": (task(type="a"), task(type="a"), ""),
}


@pytest.mark.parametrize(("old", "new", "entries"), PAIRS.values(), ids=PAIRS)
def test_entries(old: Message, new: Message, entries: str) -> None:
    text = different_structure("task", "t", old, new)
    first, _, rest = text.partition("\n")
    assert first == "t task with different structure already exists. (Please register a new version of the task):"
    assert rest == entries


# Numbers as Go prints them with %v.
NUMBERS = {
    1.0: "1",
    21.0: "21",
    -2.25: "-2.25",
    999999.0: "999999",
    1e6: "1e+06",
    1234567.0: "1.234567e+06",
    1234567.5: "1.2345675e+06",
    123456789.0: "1.23456789e+08",
    1e21: "1e+21",
    0.1: "0.1",
    0.0001: "0.0001",
    0.00001: "1e-05",
    123456.789: "123456.789",
    5e-324: "5e-324",
    1.7976931348623157e308: "1.7976931348623157e+308",
}


@pytest.mark.parametrize(("value", "printed"), NUMBERS.items())
def test_numbers(value: float, printed: str) -> None:
    text = different_structure("task", "t", number(value), number(7))
    assert text.endswith(f"/template/custom/n:\n\t- {printed} \n\t+ 7")


@pytest.mark.parametrize("kind", ["task", "workflow", "launch plan"])
def test_first_line(kind: str) -> None:
    text = different_structure(kind, "a.b", task(), task())
    assert text == (
        f"a.b {kind} with different structure already exists. (Please register a new version of the {kind}):\n"
    )


def test_a_long_list_of_changes_ends_where_nobody_reads_further() -> None:
    old = task(config={f"k{i}": "a" for i in range(5_000)})
    new = task(config={f"k{i}": "b" for i in range(5_000)})
    text = different_structure("task", "t", old, new)
    assert MESSAGE_BYTES_MAX < len(text) < 2 * MESSAGE_BYTES_MAX

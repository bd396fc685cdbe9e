"""Which commands stand for task types without a container."""

from __future__ import annotations

import json
from pathlib import Path

from flyteidl.core import compiler_pb2, identifier_pb2, tasks_pb2
from google.protobuf import json_format

from app.engine.local.nodes.task_types import with_command
from app.settings.engine import LocalEngine

CUSTOM = {"sensor_module": "mine", "sensor_name": "Mine", "sensor_config": {"a": 1}, "inputs": None}
FAST = ["pyflyte-fast-execute", "--additional-distribution", "s3://b/code.tar.gz", "--dest-dir", "/root", "--"]


def a_task(name: str, *args: str, version: str = "v1", type: str = "python-task") -> compiler_pb2.CompiledTask:
    task = compiler_pb2.CompiledTask()
    task.template.id.CopyFrom(identifier_pb2.Identifier(project="p", domain="d", name=name, version=version))
    task.template.type = type
    if args:
        task.template.container.args.extend(args)
    return task


def a_sensor() -> tasks_pb2.TaskTemplate:
    sensor = a_task("sensor", type="sensor").template
    json_format.ParseDict(CUSTOM, sensor.custom)
    return sensor


def test_a_sensor_is_a_command_of_flytekit() -> None:
    sensor, settings = a_sensor(), LocalEngine(python_path="/mine", sensor_interval_seconds=3)
    beside = [a_task("other", "pyflyte-execute"), a_task("old", *FAST, version="v0"), a_task("noop")]
    made = with_command(sensor, beside, settings)
    assert made.container.args[:2] == ["pyflyte-execute", "--inputs"]
    env = {pair.key: pair.value for pair in made.container.env}
    given = json.loads(env["FLYTEADMIN_SENSOR"])
    assert (given["sensor_module"], given["sensor_name"], given["sensor_config"]) == ("mine", "Mine", {"a": 1})
    assert given["interval_seconds"] == 3
    assert "engine.local.pythonPath" in given["code"]
    taskside, own = env["PYTHONPATH"].split(":")
    assert (Path(taskside) / "flyteadmin_sensors.py").exists()
    assert own == "/mine"
    assert sensor == a_sensor()


def test_its_code_is_that_of_a_task_beside_it() -> None:
    made = with_command(a_sensor(), [a_task("old", *FAST, version="v0"), a_task("same", *FAST)], LocalEngine())
    assert made.container.args[:6] == [*FAST[:4], ".", "--"]
    assert made.container.args[6] == "pyflyte-execute"


def test_other_tasks_stay_what_they_are() -> None:
    for task in (a_task("t", "echo").template, a_task("q", type="snowflake").template):
        assert with_command(task, [], LocalEngine()) is task
    own = a_sensor()
    own.container.args.append("mine")
    assert with_command(own, [], LocalEngine()) is own

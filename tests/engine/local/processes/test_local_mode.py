"""Tasks that Kubernetes would run as clusters or pods: settings of Spark reach pyspark, and missing parts are named."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from flyteidl.core import tasks_pb2
from google.protobuf.json_format import ParseDict

from app.engine.local.processes import local_mode


def a_task(type: str, **fields: Any) -> tasks_pb2.TaskTemplate:
    task = tasks_pb2.TaskTemplate(type=type)
    task.id.name = "t"
    return ParseDict(fields, task)


CONTAINER = {"image": "i", "args": ["pyflyte-execute"]}


def test_settings_of_spark_become_arguments_of_pyspark() -> None:
    conf = {
        "spark.driver.memory": "500M",
        "spark.app.name": 'two words; "quoted"',
        "spark.executor.instances": "3",
        "spark.kubernetes.namespace": "x",
        "spark.driver.host": "10.0.0.1",
        "spark.driver.extraJavaOptions": "-Da=b",
    }
    variables = local_mode.variables_of(a_task("spark", container=CONTAINER, custom={"sparkConf": conf}), "/tmp/own")
    words = shlex.split(variables["PYSPARK_SUBMIT_ARGS"])
    assert words[-1] == "pyspark-shell"
    given = dict(word.split("=", 1) for word in words[1:-1:2])
    assert set(words[:-1:2]) == {"--conf"}
    assert given["spark.driver.memory"] == "500M"
    assert given["spark.app.name"] == 'two words; "quoted"'
    assert given["spark.driver.host"] == "10.0.0.1"
    # Java does not read TMPDIR: its folders would stay after the task.
    assert given["spark.driver.extraJavaOptions"] == "-Djava.io.tmpdir=/tmp/own -Da=b"
    assert variables["SPARK_LOCAL_DIRS"] == "/tmp/own"
    assert given["spark.driver.bindAddress"] == "127.0.0.1"
    assert not [name for name in given if name.startswith(("spark.kubernetes", "spark.executor.instances"))]


@pytest.mark.parametrize("custom", [{}, {"sparkConf": "text"}, {"sparkConf": [1]}, {"sparkConf": {"a": {"b": 1}}}])
def test_strange_settings_of_spark_do_no_harm(custom: dict[str, Any]) -> None:
    words = shlex.split(
        local_mode.variables_of(a_task("spark", container=CONTAINER, custom=custom), "/tmp/own")["PYSPARK_SUBMIT_ARGS"]
    )
    assert words[-1] == "pyspark-shell"


def test_other_tasks_get_no_variables_and_no_notices() -> None:
    plain = a_task("python-task", container=CONTAINER, custom={"sparkConf": {"a": "b"}})
    assert (local_mode.variables_of(plain, ""), local_mode.notices_of(plain)) == ({}, ())
    assert local_mode.variables_of(a_task("spark"), "") == {}


@pytest.mark.parametrize("type", ["spark", "ray", "dask", "mpi", "pytorch", "tensorflow"])
def test_a_task_of_a_cluster_says_that_none_is_made(type: str) -> None:
    (notice,) = local_mode.notices_of(a_task(type, container=CONTAINER))
    assert f"task type [{type}]: no cluster is made here" in notice
    assert "engine.kind: kubernetes" in notice


def test_parts_of_a_pod_without_effect_are_named() -> None:
    main = {
        "name": "main",
        "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s"}}}],
        "envFrom": [{"secretRef": {"name": "s"}}],
    }
    spec = {
        "containers": [main, *({"name": f"side{number}"} for number in range(30))],
        "initContainers": [{"name": "first"}],
        "volumes": [{"name": "scratch", "emptyDir": {}}, "nonsense"],
    }
    config = {"primary_container_name": "main"}
    (notice,) = local_mode.notices_of(a_task("sidecar", k8sPod={"podSpec": spec}, config=config))
    assert "containers [side0, side1, " in notice
    assert "side19, …]" in notice
    for words in ("init containers [first]", "volumes [scratch]", "fields [B]", "envFrom. Only its primary container"):
        assert words in notice
    plain = {"containers": [{"name": "main", "env": [{"name": "A", "value": "1"}]}]}
    assert local_mode.notices_of(a_task("sidecar", k8sPod={"podSpec": plain}, config=config)) == ()

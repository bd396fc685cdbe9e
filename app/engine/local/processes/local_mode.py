"""Kinds of tasks that run elsewhere on Kubernetes: variables for their local mode, and notices about missing parts."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any

from flyteidl.core import tasks_pb2
from google.protobuf.json_format import MessageToDict

from app.engine.local.processes.commands import PRIMARY_CONTAINER_KEY

# Types for which an operator of Kubernetes makes a cluster.
_CLUSTERS = frozenset({"spark", "ray", "dask", "mpi", "pytorch", "tensorflow"})
_SPARK = "spark"
_SUBMIT_ARGUMENTS = "PYSPARK_SUBMIT_ARGS"
_JAVA_OPTIONS = "spark.driver.extraJavaOptions"
_LOOPBACK = "127.0.0.1"
# Settings of Spark that name machines of a cluster.
_OF_CLUSTERS = ("spark.kubernetes.", "spark.submit.", "spark.executor.instances", "spark.dynamicAllocation.")
# Parts of a pod that have no effect on this machine.
_POD_PARTS = {"initContainers": "init containers", "volumes": "volumes", "ephemeralContainers": "ephemeral containers"}
_SHOWN_MAX, _CHARACTERS_MAX = 20, 100


def variables_of(task: tasks_pb2.TaskTemplate, temporary: str) -> dict[str, str]:
    """Return variables that a task needs in its plugin's local mode. The task and its launch may override them.

    On Kubernetes the settings of Spark are arguments of spark-submit, which a variable gives to pyspark here.

    Args:
        task: The template.
        temporary: The task's folder for temporary files. Java does not read TMPDIR.
    """
    if task.type != _SPARK or task.WhichOneof("target") != "container":
        return {}
    written: Any = MessageToDict(task.custom).get("sparkConf", {})
    settings: Mapping[str, Any] = written if isinstance(written, dict) else {}
    given = {name: str(value) for name, value in sorted(settings.items()) if not name.startswith(_OF_CLUSTERS)}
    # Other machines do not connect, and the address of this one may have no name.
    given.setdefault("spark.driver.bindAddress", _LOOPBACK)
    given.setdefault("spark.driver.host", _LOOPBACK)
    given.setdefault("spark.ui.enabled", "false")
    given[_JAVA_OPTIONS] = f"-Djava.io.tmpdir={temporary} {given.get(_JAVA_OPTIONS, '')}".strip()
    words = [word for name, value in given.items() for word in ("--conf", f"{name}={value}")]
    return {
        _SUBMIT_ARGUMENTS: shlex.join([*words, "pyspark-shell"]),
        "SPARK_LOCAL_DIRS": temporary,
        "SPARK_LOCAL_IP": _LOOPBACK,
    }


def notices_of(task: tasks_pb2.TaskTemplate) -> tuple[str, ...]:
    """Return notices about parts of a task that have no effect on this machine."""
    found = []
    if task.type in _CLUSTERS:
        found.append(
            f"task type [{task.type}]: no cluster is made here: the command runs as one process, in the local mode of "
            "its plugin. FlytePropeller makes clusters (engine.kind: kubernetes)"
        )
    if task.WhichOneof("target") == "k8s_pod":
        parts = "; ".join(_missing_parts(task))
        if parts:
            found.append(f"pod of task [{task.id.name}]: no effect here: {parts}. Only its primary container runs")
    return tuple(found)


def _missing_parts(task: tasks_pb2.TaskTemplate) -> Iterable[str]:
    """Yield the parts of a pod that have no effect, with their names."""
    spec = MessageToDict(task.k8s_pod.pod_spec)
    primary = task.config.get(PRIMARY_CONTAINER_KEY, "")
    containers = _tables(spec.get("containers"))
    others = [one for one in containers if one.get("name") != primary]
    for label, tables in (
        ("containers", others),
        *((label, _tables(spec.get(key))) for key, label in _POD_PARTS.items()),
    ):
        if tables:
            yield f"{label} {_names(tables)}"
    for container in containers:
        if container.get("name") == primary:
            unset = [one for one in _tables(container.get("env")) if "valueFrom" in one]
            if unset:
                yield f"variables of secrets, config maps and fields {_names(unset)}"
            if container.get("envFrom"):
                yield "envFrom"


def _tables(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _names(tables: list[dict[str, Any]]) -> str:
    shown = [str(one.get("name", ""))[:_CHARACTERS_MAX] for one in tables[:_SHOWN_MAX]]
    return f"[{', '.join(shown)}{', …' if len(tables) > _SHOWN_MAX else ''}]"

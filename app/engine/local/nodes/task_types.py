"""Add a container to tasks of types without one, so that they run as processes.

`commands.container_of` refuses a task without container whose type is not in the table below.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from flyteidl.core import compiler_pb2, tasks_pb2
from google.protobuf.json_format import MessageToDict

from app.engine.local.processes.commands import SENSOR
from app.engine.local.processes.forkserver.preload import FAST
from app.settings.engine import LocalEngine

_TASKSIDE = Path(__file__).parent / "taskside"
_DISTRIBUTION = "--additional-distribution"


def with_command(
    task: tasks_pb2.TaskTemplate, beside: Iterable[compiler_pb2.CompiledTask], settings: LocalEngine
) -> tasks_pb2.TaskTemplate:
    """Return the template with a container that runs it, or unchanged when it has one or its type is not known.

    Args:
        task: The template.
        beside: The tasks of the same workflow. One of the same version names the archive of a fast registration.
        settings: The settings of the engine.
    """
    make = _CONTAINERS.get(task.type)
    if make is None or task.WhichOneof("target") is not None:
        return task
    made = tasks_pb2.TaskTemplate()
    made.CopyFrom(task)
    made.container.CopyFrom(make(task, distribution_of(task, beside), settings))
    return made


def distribution_of(task: tasks_pb2.TaskTemplate, beside: Iterable[compiler_pb2.CompiledTask]) -> str:
    """Return the archive of code that was registered together with a task; "" without one."""
    for other in beside:
        id, args = other.template.id, list(other.template.container.args)
        same = (id.project, id.domain, id.version) == (task.id.project, task.id.domain, task.id.version)
        if same and FAST in args[:1] and _DISTRIBUTION in args[:-1]:
            return str(args[args.index(_DISTRIBUTION) + 1])
    return ""


def _sensor(task: tasks_pb2.TaskTemplate, distribution: str, settings: LocalEngine) -> tasks_pb2.Container:
    """Return flytekit's command for tasks, with the resolver of taskside/flyteadmin_sensors.py, which loads sensors."""
    custom = MessageToDict(task.custom)
    code = (
        f"Its code was unpacked from {distribution}"
        if distribution
        else "No task beside it was registered with an archive of code; engine.local.pythonPath is searched"
    )
    given = {
        "sensor_module": str(custom.get("sensor_module", "")),
        "sensor_name": str(custom.get("sensor_name", "")),
        "sensor_config": custom.get("sensor_config"),
        "interval_seconds": settings.sensor_interval_seconds,
        "code": code,
    }
    container = tasks_pb2.Container()
    if distribution:
        container.args.extend([FAST, _DISTRIBUTION, distribution, "--dest-dir", ".", "--"])
    container.args.extend(
        [
            *("pyflyte-execute", "--inputs", "{{.input}}", "--output-prefix", "{{.outputPrefix}}"),
            *("--raw-output-data-prefix", "{{.rawOutputDataPrefix}}"),
            *("--resolver", "flyteadmin_sensors.resolver", "--", SENSOR),
        ]
    )
    path = os.pathsep.join(filter(None, (str(_TASKSIDE), settings.python_path)))
    for key, value in (("FLYTEADMIN_SENSOR", json.dumps(given)), ("PYTHONPATH", path)):
        container.env.add(key=key, value=value)
    return container


_CONTAINERS: Mapping[str, Callable[[tasks_pb2.TaskTemplate, str, LocalEngine], tasks_pb2.Container]] = {SENSOR: _sensor}

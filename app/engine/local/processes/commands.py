"""The command line of a task: the container in its template, and the values of the {{.variables}} in its command.

Proto: flyteidl/core/tasks.proto (Container, K8sPod).
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from flyteidl.core import literals_pb2, tasks_pb2
from google.protobuf.json_format import MessageToDict

from app.engine.local.processes.forkserver.preload import FAST
from app.engine.local.processes.task_attempt import CannotBuild, TaskAttempt, bad_task
from app.wire.go import gotext
from app.wire.go.quantity import Quantity
from app.wire.text import text

PRIMARY_CONTAINER_KEY = "primary_container_name"
_Resource = tasks_pb2.Resources.ResourceName
ECHO = "echo"
SENSOR = "sensor"

_variable = re.compile(
    r"{{\s*[.$](Input|InputPrefix|OutputPrefix|RawOutputDataPrefix|CheckpointOutputPrefix|PrevCheckpointPrefix"
    r"|PerRetryUniqueKey|TaskTemplatePath)\s*}}",
    re.IGNORECASE,
)
_namespace = re.compile(r"{{\s*[.$]Namespace\s*}}", re.IGNORECASE)
# A name excludes "{", so that a text with many "{{" and no "}}" is searched in linear time.
_input_value = re.compile(r"{{\s*[.$]Inputs\.([^{}\s]+)\s*}}", re.IGNORECASE)


class _NoTextForm(Exception):
    """A literal that has no text form in a command."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container of a task, without what has no effect on this machine, such as resources.

    Attributes:
        name: Its name in error messages.
        image: The image that the task names.
        command: The command with its arguments.
        env: Its environment variables.
        data_config: The configuration of the copilot; None if it is not enabled.
        memory_bytes_max: The limit of its memory; 0 for none.
        cpus_max: The limit of its CPUs, as a whole number; 0 for none.
        memory_requested: The memory that it requests, or its limit; 0 for neither.
        gpus: The number of graphics cards that it requests.
    """

    name: str
    image: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    data_config: tasks_pb2.DataLoadingConfig | None
    memory_bytes_max: int = 0
    cpus_max: int = 0
    memory_requested: int = 0
    gpus: int = 0


def container_of(task: tasks_pb2.TaskTemplate, generated_name: str) -> Container:
    """Return the container of a task, the primary one of a pod. Its command still contains {{.variables}}.

    Args:
        task: The template.
        generated_name: The name of the attempt, which a container outside a pod has too.

    Raises:
        CannotBuild: The task has no container, or a pod without its primary container.
    """
    target = task.WhichOneof("target")
    if target == "container":
        container = task.container
        return Container(
            name=generated_name,
            image=container.image,
            command=(*container.command, *container.args),
            env={pair.key: pair.value for pair in container.env},
            data_config=_data_config(container),
            **_resources(_named(container.resources.requests), _named(container.resources.limits)),
        )
    if target != "k8s_pod" or not task.k8s_pod.HasField("pod_spec"):
        raise bad_task(
            f"task type [{task.type}] of task [{task.id.name}] has no container, so it cannot run on this machine: "
            "the local engine runs tasks with a container or a pod, and those of the types [container_array, echo, "
            "sensor]. Services run other types: plugins.connector-service, engine.local.connectors.service; or let "
            "FlytePropeller run it (engine.kind: kubernetes)"
        )
    if PRIMARY_CONTAINER_KEY not in task.config:
        config = " ".join(f"{key}:{value}" for key, value in sorted(task.config.items()))
        raise bad_task(f"invalid TaskSpecification, config missing [{PRIMARY_CONTAINER_KEY}] key in [map[{config}]]")
    return _primary_container(task)


def _primary_container(task: tasks_pb2.TaskTemplate) -> Container:
    name = task.config[PRIMARY_CONTAINER_KEY]
    spec = MessageToDict(task.k8s_pod.pod_spec)
    for container in spec.get("containers", ()):
        if container.get("name") == name:
            return Container(
                name=name,
                image=str(container.get("image", "")),
                command=(*map(str, container.get("command", ())), *map(str, container.get("args", ()))),
                # Without Kubernetes there are no values from secrets, config maps or fields of the pod.
                env={pair["name"]: str(pair["value"]) for pair in container.get("env", ()) if "value" in pair},
                data_config=_data_config(task.k8s_pod),
                **_resources(
                    container.get("resources", {}).get("requests", {}), container.get("resources", {}).get("limits", {})
                ),
            )
    raise bad_task(f"invalid TaskSpecification, primary container [{name}] not defined")


def _named(entries: Iterable[tasks_pb2.Resources.ResourceEntry]) -> dict[str, str]:
    return {_Resource.Name(entry.name).lower(): entry.value for entry in entries}


def _resources(requests: Mapping[str, Any], limits: Mapping[str, Any]) -> dict[str, int]:
    """Return the fields of a container about resources, by their names in a task or in a pod."""
    cards = ("gpu", "nvidia.com/gpu")
    memory = _quantity(limits, "memory")
    return {
        "memory_bytes_max": memory,
        "cpus_max": _quantity(limits, "cpu"),
        "memory_requested": _quantity(requests, "memory") or memory,
        "gpus": max(_quantity(written, name) for written in (requests, limits) for name in cards),
    }


def _quantity(written: Mapping[str, Any], name: str) -> int:
    value = written.get(name)
    return _parsed_quantity(str(value)) if value else 0


@functools.lru_cache(maxsize=1000)
def _parsed_quantity(text: str) -> int:
    """Return a quantity as a whole number. As with upstream, one that cannot be parsed counts as absent."""
    try:
        return max(0, Quantity.parse(text).rounded)
    except ValueError:
        return 0


def _data_config(holder: tasks_pb2.Container | tasks_pb2.K8sPod) -> tasks_pb2.DataLoadingConfig | None:
    return holder.data_config if holder.data_config.enabled else None


def uses_inputs(command: tuple[str, ...]) -> bool:
    """Return whether the command contains values of inputs, which must be read to render it."""
    return any(_input_value.search(element) for element in command)


def uses_template(command: tuple[str, ...]) -> bool:
    """Return whether the command contains the path of a file with the task template."""
    return any(
        match.group(1).lower() == "tasktemplatepath" for element in command for match in _variable.finditer(element)
    )


def task_template_path(attempt: TaskAttempt) -> str:
    """Return the path of the file with the task template."""
    return f"{attempt.input_uri.rpartition('/')[0]}/task.pb"


def render(command: tuple[str, ...], attempt: TaskAttempt, inputs: literals_pb2.LiteralMap) -> tuple[str, ...]:
    """Return the command with the values of all known variables. Unknown variables and empty elements stay.

    Source: flyteplugins template.Render.

    Raises:
        CannotBuild: Inputs are missing or have no text form; the message names each of them.
    """
    values = _values(attempt)
    return tuple(_render(element, values, attempt.namespace, inputs) for element in command)


def unpacked_here(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command with the working directory of the attempt as the target of a fast registration's code.

    Deviates: `pyflyte register` names /root, a directory in flytekit's images. On this machine it is the home of a user
    or not accessible, and attempts with different code would overwrite each other's.
    """
    try:
        end = argv.index("--")
        position = argv.index("--dest-dir", 0, end) + 1
    except ValueError:
        return argv
    if os.path.basename(argv[0]) != FAST or not argv[position].startswith(("/", "~", "..")):
        return argv
    return (*argv[:position], ".", *argv[position + 1 :])


def _values(attempt: TaskAttempt) -> Mapping[str, str]:
    unique_key = re.sub(r"^[^a-zA-Z_]+", "a", attempt.generated_name)
    return {
        "input": attempt.input_uri,
        "inputprefix": attempt.input_uri.rpartition("/")[0],
        "outputprefix": attempt.given_prefix or attempt.output_prefix,
        "rawoutputdataprefix": attempt.raw_output_prefix,
        "checkpointoutputprefix": attempt.checkpoint_prefix,
        # Parity: flytekit takes two quotes for "no checkpoint".
        "prevcheckpointprefix": attempt.prev_checkpoint or '""',
        "perretryuniquekey": re.sub(r"[^a-zA-Z0-9_]+", "_", unique_key),
        "tasktemplatepath": task_template_path(attempt),
    }


def _render(element: str, values: Mapping[str, str], namespace: str, inputs: literals_pb2.LiteralMap) -> str:
    rendered = _variable.sub(lambda match: values[match.group(1).lower()], element)
    # A prefix that a user chose may contain the namespace variable, so this is replaced last.
    rendered = _namespace.sub(lambda _: namespace, rendered)
    # Parity: variables of inputs stay if there are no inputs at all.
    if not inputs.literals or not _input_value.search(rendered):
        return rendered
    errors: list[str] = []

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in inputs.literals:
            errors.append(f"input template [{match.group(0)}]: requested input is not found [{name}]")
            return ""
        try:
            return literal_text(inputs.literals[name])
        except _NoTextForm as error:
            errors.append(
                f"input template [{match.group(0)}]: failed to bind a value to inputName [{name}]: "
                f"received an unexpected {error}"
            )
            return ""

    rendered = _input_value.sub(replace, rendered)
    if errors:
        raise CannotBuild("".join(f"{index}: {error}\r\n" for index, error in enumerate(errors)))
    return rendered


def literal_text(literal: literals_pb2.Literal) -> str:
    """Return a literal as text in a command: numbers, text, times, addresses, and lists of these in brackets.

    Raises:
        _NoTextForm: Any other literal.
    """
    match literal.WhichOneof("value"):
        case "scalar":
            return _scalar_text(literal.scalar)
        case "collection":
            return f"[{','.join(literal_text(item) for item in literal.collection.literals)}]"
    raise _NoTextForm(f"primitive type [*core.Literal_{_go_name(literal.WhichOneof('value'))}]")


def _scalar_text(scalar: literals_pb2.Scalar) -> str:
    match scalar.WhichOneof("value"):
        case "primitive":
            return _primitive_text(scalar.primitive)
        case "blob":
            return str(scalar.blob.uri)
        case "schema":
            return str(scalar.schema.uri)
    raise _NoTextForm(f"scalar type [*core.Scalar_{_go_name(scalar.WhichOneof('value'))}]")


_PRIMITIVES: Mapping[str, Callable[[literals_pb2.Primitive], str]] = {
    "integer": lambda value: str(value.integer),
    "string_value": lambda value: value.string_value,
    "boolean": lambda value: "true" if value.boolean else "false",
    "float_value": lambda value: gotext.float_text(value.float_value),
    "datetime": lambda value: gotext.time_text(value.datetime.seconds, value.datetime.nanos),
    "duration": lambda value: text(value.duration),
}


def _primitive_text(primitive: literals_pb2.Primitive) -> str:
    kind = primitive.WhichOneof("value")
    if kind is None:
        raise _NoTextForm("primitive type [<nil>]")
    return _PRIMITIVES[kind](primitive)


def _go_name(field: str | None) -> str:
    return "".join(part.title() for part in (field or "nil").split("_"))


def echo(task: tasks_pb2.TaskTemplate, inputs: literals_pb2.LiteralMap) -> literals_pb2.LiteralMap:
    """Return the outputs of a task of type `echo`: its input under the name of its output.

    Raises:
        CannotBuild: There is more than one input, or the number of outputs differs.
    """
    names, outputs = sorted(task.interface.inputs.variables), sorted(task.interface.outputs.variables)
    if len(names) != len(outputs):
        raise bad_task(f"the number of input [{len(names)}] and output [{len(outputs)}] variables does not match")
    if len(names) > 1:
        raise bad_task("this plugin does not currently support more than one input variable")
    result = literals_pb2.LiteralMap()
    for name, output in zip(names, outputs, strict=True):
        result.literals[output].CopyFrom(inputs.literals[name])
    return result

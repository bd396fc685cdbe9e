"""The rules of array nodes: number of elements, number that must succeed, inputs, outputs and errors.

Proto: core.ArrayNode, plugins.ArrayJob. Source: flytepropeller pkg/controller/nodes/array/handler.go;
flyteplugins errorcollector.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2, workflow_pb2
from flyteidl.plugins import array_job_pb2
from google.protobuf import json_format

from app.engine.local.execution_error import MESSAGE_BYTES_MAX, error_of

_MORE = "... and many more."
_LIMIT = "the limit is FLYTEADMIN__ENGINE__LOCAL__ARRAY_SIZE_MAX"
# Ratios are 32 bit floats, in which 0.3 is a little more than three tenths.
_RATIO_ERROR = 1e-6


class BadArray(Exception):
    """The array node cannot run. `error` is the error of the node."""

    def __init__(self, code: str, message: str) -> None:
        self.error = error_of(code, message)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class ArrayShape:
    """The shape of a map: how many elements, how many at once, how many must succeed.

    Attributes:
        element: The node that runs for each element.
        bound: The inputs that each element gets whole.
        parallelism: The number of elements that may run at a time; 0 means no limit.
        min_successes: The number of elements that must succeed; None if a ratio or all must.
        min_success_ratio: The ratio of elements that must succeed; None for a number or all.
        size: The number of elements; None if the inputs decide.
        appends_index: Whether the command appends the index to the output prefix, as old versions of flytekit do.
        single_inputs: Whether the command reads the inputs of its element from a separate file, as plain tasks do.
    """

    element: workflow_pb2.Node
    bound: frozenset[str]
    parallelism: int
    min_successes: int | None
    min_success_ratio: float | None
    size: int | None = None
    appends_index: bool = False
    single_inputs: bool = False

    def needed(self, size: int) -> int:
        """Return how many of `size` elements must succeed.

        Deviates: a ratio of 0.3 means 3 of 10. Upstream requires 4, because its 0.3 is a little more than 0.3.
        """
        if self.min_successes is not None:
            return self.min_successes
        if self.min_success_ratio is not None:
            return math.ceil(self.min_success_ratio * size * (1 - _RATIO_ERROR))
        return size


def shape_of(node: workflow_pb2.ArrayNode) -> ArrayShape:
    """Return the shape of the map in an array node."""
    criterion = node.WhichOneof("success_criteria")
    return ArrayShape(
        element=node.node,
        bound=frozenset(node.bound_inputs),
        parallelism=node.parallelism,
        min_successes=node.min_successes if criterion == "min_successes" else None,
        min_success_ratio=node.min_success_ratio if criterion == "min_success_ratio" else None,
        single_inputs=node.data_mode == workflow_pb2.ArrayNode.INDIVIDUAL_INPUT_FILES,
    )


def shape_of_job(node: workflow_pb2.Node, task: tasks_pb2.TaskTemplate) -> ArrayShape:
    """Return the shape of the map in a task of type `container_array`.

    Raises:
        BadArray: The custom part of the task is not an ArrayJob.
    """
    job = array_job_pb2.ArrayJob()
    try:
        json_format.ParseDict(json_format.MessageToDict(task.custom), job, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise BadArray(
            "BadTaskSpecification", f"the custom part of task [{task.id.name}] is no ArrayJob: {error}"
        ) from error
    criterion = job.WhichOneof("success_criteria")
    element = workflow_pb2.Node(id=node.id, task_node=node.task_node)
    element.metadata.retries.CopyFrom(node.metadata.retries)
    return ArrayShape(
        element=element,
        bound=frozenset(),
        parallelism=max(0, job.parallelism),
        min_successes=job.min_successes if criterion == "min_successes" else None,
        min_success_ratio=job.min_success_ratio if criterion == "min_success_ratio" else None,
        size=job.size if task.task_type_version == 0 else None,
        appends_index=True,
    )


def size_of(shape: ArrayShape, inputs: literals_pb2.LiteralMap, size_max: int) -> int:
    """Return the number of elements: the one in the shape, or the length of the collections in the inputs.

    Raises:
        BadArray: The collections differ in length, there is no collection, or there are too many elements.
    """
    size = _length(shape, inputs) if shape.size is None else shape.size
    if not 0 <= size <= size_max:
        message = f"the array has {size} indices, allowed are 0 to {size_max}; {_LIMIT}"
        raise BadArray("InvalidArrayLength", message)
    return size


def _length(shape: ArrayShape, inputs: literals_pb2.LiteralMap) -> int:
    size = None
    for name in sorted(inputs.literals):
        literal = inputs.literals[name]
        if name in shape.bound or literal.WhichOneof("value") != "collection":
            continue
        length = len(literal.collection.literals)
        if size is not None and size != length:
            message = f"input arrays have different lengths: expecting '{size}' found '{length}'"
            raise BadArray("InvalidArrayLength", message)
        size = length
    if size is not None:
        return size
    if len(shape.bound) != len(inputs.literals):
        raise BadArray("InvalidArrayLength", "no input array provided")
    return 1


def element_inputs(shape: ArrayShape, inputs: literals_pb2.LiteralMap, index: int) -> literals_pb2.LiteralMap:
    """Return the inputs of one element: its items of the collections, and all other inputs whole."""
    result = literals_pb2.LiteralMap()
    for name, literal in inputs.literals.items():
        whole = name in shape.bound or literal.WhichOneof("value") != "collection"
        result.literals[name].CopyFrom(literal if whole else literal.collection.literals[index])
    return result


def collected(outputs: Sequence[literals_pb2.LiteralMap | None], variables: Iterable[str]) -> literals_pb2.LiteralMap:
    """Return the outputs of all elements as collections, with None for an element without the output."""
    names = {*variables}.union(*(one.literals for one in outputs if one is not None))
    result = literals_pb2.LiteralMap()
    for name in sorted(names):
        collection = result.literals[name].collection
        collection.SetInParent()
        for one in outputs:
            literal = collection.literals.add()
            if one is not None and name in one.literals:
                literal.CopyFrom(one.literals[name])
            else:
                literal.scalar.none_type.SetInParent()
    return result


def summary(messages: Mapping[str, Iterable[int]]) -> str:
    """Return the messages of failed elements, each with the ranges of their indices: `[0-2][5]: boom`.

    # Parity: sorted by message, and truncated with a note (ErrorMessageCollector.Summary).
    """
    bytes_max = MESSAGE_BYTES_MAX - len(_MORE)
    text, size = [], 0
    for message in sorted(messages):
        line = f"{_ranges(messages[message])}: {message}\n"
        text.append(line)
        size += len(line.encode())
        if size >= bytes_max:
            text.append(_MORE)
            break
    return "".join(text)


def _ranges(indices: Iterable[int]) -> str:
    ranges: list[list[int]] = []
    for index in sorted(indices):
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    return "".join(f"[{first}]" if first == last else f"[{first}-{last}]" for first, last in ranges)


def failure(messages: Mapping[str, Iterable[int]]) -> execution_pb2.ExecutionError:
    """Return the error of the node. Parity: it has a message, but neither code nor kind."""
    if not messages:
        return error_of("ArrayNodeFailing", "Unknown reason", execution_pb2.ExecutionError.UNKNOWN)
    return error_of("", summary(messages), execution_pb2.ExecutionError.UNKNOWN)

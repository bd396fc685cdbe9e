"""The rules of array nodes: size, how many must succeed, inputs of one index, outputs and errors of all."""

from __future__ import annotations

from typing import Any

import pytest
from flyteidl.core import execution_pb2, tasks_pb2, workflow_pb2

from app.engine.local.execution_error import MESSAGE_BYTES_MAX
from app.engine.local.nodes.arrays.rules import (
    BadArray,
    collected,
    element_inputs,
    failure,
    shape_of,
    shape_of_job,
    size_of,
    summary,
)
from tests.engine.conftest import literal_map


def node(**fields: Any) -> workflow_pb2.ArrayNode:
    return workflow_pb2.ArrayNode(**fields)


@pytest.mark.parametrize(
    ("inputs", "bound", "size"),
    [
        ({"x": [1, 2, 3]}, [], 3),
        ({"x": []}, [], 0),
        ({"x": [1, 2], "y": [3, 4], "whole": 5}, [], 2),
        ({"x": [1, 2], "all": [1, 2, 3]}, ["all"], 2),
        ({"all": [1, 2, 3]}, ["all"], 1),
    ],
)
def test_there_are_as_many_indices_as_the_lists_have_elements(
    inputs: dict[str, Any], bound: list[str], size: int
) -> None:
    assert size_of(shape_of(node(bound_inputs=bound)), literal_map(inputs), 3) == size


@pytest.mark.parametrize(
    ("inputs", "bound", "message"),
    [
        ({"a": [1], "b": [1, 2]}, [], "input arrays have different lengths: expecting '1' found '2'"),
        ({"a": 1}, [], "no input array provided"),
        ({"a": [1], "b": 2}, ["a"], "no input array provided"),
        ({"a": [1, 2, 3, 4]}, [], r"the array has 4 indices, allowed are 0 to 3; .*ARRAY_SIZE_MAX"),
    ],
)
def test_without_one_length_there_is_no_array(inputs: dict[str, Any], bound: list[str], message: str) -> None:
    with pytest.raises(BadArray, match=message) as raised:
        size_of(shape_of(node(bound_inputs=bound)), literal_map(inputs), 3)
    assert (raised.value.error.code, raised.value.error.kind) == (
        "InvalidArrayLength",
        execution_pb2.ExecutionError.USER,
    )


@pytest.mark.parametrize(
    ("fields", "size", "needed"),
    [
        ({}, 10, 10),
        ({"min_successes": 3}, 10, 3),
        ({"min_success_ratio": 0.5}, 3, 2),
        ({"min_success_ratio": 0.3}, 10, 3),
        ({"min_success_ratio": 0.7}, 10, 7),
        ({"min_success_ratio": 0.31}, 10, 4),
        ({"min_success_ratio": 1.0}, 100_000, 100_000),
        ({"min_success_ratio": 0.0}, 10, 0),
    ],
)
def test_how_many_must_succeed(fields: dict[str, Any], size: int, needed: int) -> None:
    assert shape_of(node(**fields)).needed(size) == needed


def test_an_index_gets_its_elements_and_all_else_whole() -> None:
    shape = shape_of(node(bound_inputs=["all"]))
    inputs = literal_map({"x": [1, 2], "all": [7, 8, 9], "flag": True})
    assert element_inputs(shape, inputs, 1) == literal_map({"x": 2, "all": [7, 8, 9], "flag": True})


def test_outputs_are_lists_in_the_order_of_the_indices() -> None:
    outputs = [literal_map({"o0": 1}), None, literal_map({"o0": 3})]
    assert collected(outputs, {"o0"}) == literal_map({"o0": [1, None, 3]})
    assert collected([], {"o0"}) == literal_map({"o0": []})
    assert collected([literal_map({})], {"o0"}) == literal_map({"o0": [None]})


def test_equal_messages_are_listed_once_with_their_indices() -> None:
    assert summary({"odd": [5, 0, 2, 1], "boom": [7]}) == "[7]: boom\n[0-2][5]: odd\n"


def test_messages_are_cut_where_they_grow_too_long() -> None:
    text = summary({f"{number:06} {'x' * 1000}": [number] for number in range(5000)})
    assert text.endswith("\n... and many more.")
    assert len(text) < MESSAGE_BYTES_MAX + 2000
    error = failure({"x" * 10 * MESSAGE_BYTES_MAX: [3]})
    assert len(error.message) < MESSAGE_BYTES_MAX + 100
    assert (error.code, error.kind) == ("", execution_pb2.ExecutionError.UNKNOWN)


def test_a_map_that_cannot_succeed_has_an_error() -> None:
    assert failure({}).code == "ArrayNodeFailing"


def test_old_maps_are_described_by_their_custom_part() -> None:
    task = tasks_pb2.TaskTemplate(task_type_version=1)
    task.custom.update({"parallelism": "4", "minSuccessRatio": 0.5, "unknown": 1})
    element = workflow_pb2.Node(id="n0")
    element.metadata.retries.retries = 2
    element.metadata.timeout.seconds = 9
    shape = shape_of_job(element, task)
    assert (shape.parallelism, shape.min_success_ratio, shape.size, shape.appends_index) == (4, 0.5, None, True)
    # The timeout is the whole node's, the retries are each index's.
    assert (shape.element.metadata.retries.retries, shape.element.metadata.timeout.seconds) == (2, 0)
    task.task_type_version = 0
    task.custom.update({"size": "3"})
    assert size_of(shape_of_job(element, task), literal_map({"x": 1}), 3) == 3
    task.custom.update({"parallelism": "many"})
    with pytest.raises(BadArray, match="no ArrayJob"):
        shape_of_job(element, task)


@pytest.mark.parametrize("size", [4, 2**63 - 1, -1])
def test_an_old_map_has_no_more_indices_than_allowed(size: int) -> None:
    task = tasks_pb2.TaskTemplate()
    task.custom.update({"size": str(size)})
    with pytest.raises(BadArray, match=f"the array has {size} indices, allowed are 0 to 3"):
        size_of(shape_of_job(workflow_pb2.Node(id="n0"), task), literal_map({"x": 1}), 3)

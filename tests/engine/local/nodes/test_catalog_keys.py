"""The keys of cached outputs: those that upstream's data catalog computes, and what changes them."""

from __future__ import annotations

import math
from typing import Any

import pytest
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, types_pb2

from app.engine.local.nodes.catalog_keys import dataset_id, index_interface, key_of
from app.errors import InvalidArgument
from app.services.catalog import CacheKey
from tests.engine.conftest import literal, literal_map

TASK = identifier_pb2.Identifier(
    resource_type=identifier_pb2.TASK, project="p", domain="d", name="wf.double", version="v7"
)
INTEGER = types_pb2.LiteralType(simple=types_pb2.INTEGER)


def interface(inputs: dict[str, Any], outputs: dict[str, Any]) -> interface_pb2.TypedInterface:
    made = interface_pb2.TypedInterface()
    for variables, types in ((made.inputs.variables, inputs), (made.outputs.variables, outputs)):
        for name, kind in types.items():
            variables[name].type.CopyFrom(kind)
    return made


PLAIN = interface({"x": INTEGER}, {"o0": INTEGER})


def key(
    inputs: dict[str, Any] | None = None,
    *,
    of: interface_pb2.TypedInterface = PLAIN,
    version: str = "1.0",
    ignored: tuple[str, ...] = (),
) -> CacheKey:
    values = literal_map({"x": 3} if inputs is None else inputs)
    return key_of(TASK, of, values, version=version, ignored=ignored)


class TestWhatUpstreamComputes:
    """Values of a run of FlytePropeller v1.16.8."""

    def test_dataset_and_tag_of_a_plain_task(self) -> None:
        assert key() == (
            *("p", "d", "flyte_task-wf.double", "1.0-BgPQX4Pd-PmK8qF6C"),
            "flyte_cached--AVfAEAm0NEd4FA8EqwJBYAE8mrSI02h36cFEK8vp7U",
        )

    @pytest.mark.parametrize(
        ("inputs", "expected"),
        [
            ({}, "GKw-c0PwFokMUQ6T-TUmEWnZ4_VlQ2Qpgw-vCTT0-OQ"),
            ({"f": 2.0, "b": False, "s": "", "n": None}, "BkEj6nu8dKrzuM1fU13e_a8AG9KrtUV-TjFPyE9l52Q"),
        ],
    )
    def test_tags(self, inputs: dict[str, Any], expected: str) -> None:
        assert key(inputs).tag == f"flyte_cached-{expected}"

    def test_an_interface_without_variables(self) -> None:
        assert key(of=interface({}, {})).dataset_version == "1.0-GKw-c0Pw-GKw-c0Pw"

    def test_an_index_of_a_map(self) -> None:
        numbers = types_pb2.LiteralType(collection_type=INTEGER)
        mapped = index_interface(interface({"x": numbers}, {"o0": numbers}))
        assert key(of=mapped).dataset_version == "1.0-12y3_A09-PmK8qF6C"
        assert key(of=mapped).tag == key().tag

    def test_the_dataset_in_events(self) -> None:
        named = dataset_id(key())
        assert identifier_pb2.ResourceType.Name(named.resource_type) == "DATASET"
        assert (named.project, named.domain, named.name) == ("p", "d", "flyte_task-wf.double")
        assert (key().task, key(version="1-a").version) == ("wf.double", "1-a")


class TestWhatMakesNoDifference:
    def test_the_version_of_the_task_and_blanks_around_that_of_the_cache(self) -> None:
        newer = identifier_pb2.Identifier(project="p", domain="d", name="wf.double", version="v8")
        assert key_of(newer, PLAIN, literal_map({"x": 3}), version=" 1.0 ") == key()

    def test_ignored_inputs(self) -> None:
        assert key({"x": 3, "y": 1}, ignored=("y",)) == key({"x": 3, "y": 2}, ignored=("y",)) == key()
        assert key({"x": 3, "y": 1}, ignored=("z",)) != key()

    def test_descriptions_metadata_and_annotations_of_types(self) -> None:
        described = interface({"x": INTEGER}, {"o0": INTEGER})
        variable = described.inputs.variables["x"]
        variable.description = "a number"
        variable.type.metadata.update({"a": "b"})
        variable.type.annotation.annotations.update({"c": "d"})
        assert key(of=described) == key()

    def test_metadata_deep_inside_of_types(self) -> None:
        def nested(inner: types_pb2.LiteralType) -> interface_pb2.TypedInterface:
            dataset = types_pb2.LiteralType()
            dataset.structured_dataset_type.columns.add(name="c").literal_type.CopyFrom(inner)
            union = types_pb2.LiteralType()
            union.union_type.variants.add().CopyFrom(inner)
            record = types_pb2.LiteralType(simple=types_pb2.STRUCT)
            record.structure.dataclass_type["f"].CopyFrom(inner)
            lists = types_pb2.LiteralType(map_value_type=types_pb2.LiteralType(collection_type=inner))
            return interface({"a": dataset, "b": union, "c": record, "d": lists}, {})

        marked = types_pb2.LiteralType(simple=types_pb2.INTEGER)
        marked.metadata.update({"a": "b"})
        assert key(of=nested(marked)) == key(of=nested(INTEGER))
        assert key(of=nested(types_pb2.LiteralType(simple=types_pb2.FLOAT))) != key(of=nested(INTEGER))

    def test_values_whose_literals_have_a_hash(self) -> None:
        one, other = literal([1, 2]), literal("three")
        one.hash = other.hash = "h"
        assert key({"x": one}) == key({"x": other})
        assert key({"x": [one]}) == key({"x": [other]})
        assert key({"x": {"k": one}}) == key({"x": {"k": other}})
        other.hash = "another"
        assert key({"x": one}) != key({"x": other})
        assert key({"x": one}) != key({"x": [1, 2]})

    def test_an_offloaded_literal_counts_by_its_hash(self) -> None:
        here, there = literals_pb2.Literal(hash="h"), literals_pb2.Literal(hash="h")
        here.offloaded_metadata.uri, there.offloaded_metadata.uri = "/a", "/b"
        assert key({"x": here}) == key({"x": there})


class TestWhatMakesADifference:
    def test_inputs_versions_and_interfaces(self) -> None:
        others = [
            key({"x": 4}),
            key({"y": 3}),
            key({"x": 3.0}),
            key({"x": "3"}),
            key(version="1.1"),
            key(of=interface({"x": INTEGER}, {"o1": INTEGER})),
            key(of=interface({"x": types_pb2.LiteralType(simple=types_pb2.FLOAT)}, {"o0": INTEGER})),
        ]
        assert len({key(), *others}) == len(others) + 1

    def test_an_annotation_for_the_cache_key(self) -> None:
        marked = interface({"x": INTEGER}, {"o0": INTEGER})
        marked.inputs.variables["x"].type.annotation.annotations.update({"cache-key-metadata": {"a": "b"}})
        assert key(of=marked) != key()


class TestWhatHasNoKey:
    @pytest.mark.parametrize("version", ["", "   "])
    def test_an_empty_version(self, version: str) -> None:
        with pytest.raises(InvalidArgument, match="cache version"):
            key(version=version)

    def test_inputs_without_a_json_form(self) -> None:
        value = literals_pb2.Literal()
        value.scalar.generic.update({"x": math.nan})
        with pytest.raises(InvalidArgument, match="NaN"):
            key({"x": value})


def test_nothing_that_is_given_is_changed() -> None:
    marked = interface({"x": INTEGER}, {"o0": types_pb2.LiteralType(collection_type=INTEGER)})
    marked.inputs.variables["x"].type.metadata.update({"a": "b"})
    before = marked.SerializeToString(deterministic=True)
    value = literal([1])
    value.collection.literals[0].hash = "h"
    given = value.SerializeToString(deterministic=True)
    key({"x": value}, of=index_interface(marked))
    assert marked.SerializeToString(deterministic=True) == before
    assert value.SerializeToString(deterministic=True) == given

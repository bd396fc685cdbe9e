"""Bindings become literals: promises, attribute paths through every kind of literal, and what cannot be resolved."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from flyteidl.core import literals_pb2

from app.engine.local.graph import bindings
from app.engine.local.graph.failures import BindingFailed
from tests.engine.conftest import literal, literal_map


def promise(*path: str | int, var: str = "v", node: str = "n0") -> literals_pb2.BindingData:
    binding = literals_pb2.BindingData()
    binding.promise.node_id, binding.promise.var = node, var
    for step in path:
        binding.promise.attr_path.add(**{"string_value" if isinstance(step, str) else "int_value": step})
    return binding


def resolved(binding: literals_pb2.BindingData, value: Any, contents: dict[str, Any] | None = None) -> Any:
    """Resolve a binding to the output `v` of n0, which has this value."""
    known = {"n0": literal_map({"v": value}), "start-node": literal_map({"given": 5})}
    read = {uri: literal(one) for uri, one in (contents or {}).items()}
    given = [literals_pb2.Binding(var="x", binding=binding)]
    return bindings.resolve(given, known.get, read).literals["x"]


def packed(value: Any) -> literals_pb2.Literal:
    found = literals_pb2.Literal()
    found.scalar.binary.value, found.scalar.binary.tag = msgpack.packb(value), "msgpack"
    return found


def struct(value: dict[str, Any]) -> literals_pb2.Literal:
    found = literals_pb2.Literal()
    found.scalar.generic.update(value)
    return found


def offloaded(uri: str) -> literals_pb2.Literal:
    found = literals_pb2.Literal()
    found.offloaded_metadata.uri = uri
    return found


@pytest.mark.parametrize(
    ("value", "path", "expected"),
    [
        (7, (), 7),
        ({"a": [1, 2]}, ("a", 1), 2),
        ([{"a": "b"}], (0, "a"), "b"),
        (packed({"a": {"b": [1, 2.5, "t", True]}}), ("a", "b", 0), 1),
        (packed({"a": {"b": [1, 2.5, "t", True]}}), ("a", "b", 1), 2.5),
        (packed({"a": {"b": [1, 2.5, "t", True]}}), ("a", "b", 3), True),
        (packed({"a": None}), ("a",), packed(None)),
        (packed([{"a": [{"b": "deep"}]}]), (0, "a", 0, "b"), "deep"),
        ([packed({"a": [4]})], (0, "a", 0), 4),
        (packed({"a": {"b": 1}}), ("a",), packed({"b": 1})),
        (packed({"a": [1, 2]}), ("a",), [packed(1), packed(2)]),
        (struct({"a": {"b": 3}}), ("a", "b"), 3.0),
        (struct({"a": ["t", True]}), ("a",), ["t", True]),
        (struct({"a": {"b": 3}}), ("a",), struct({"b": 3})),
        # Parity: the rest of a path is ignored where nothing has parts.
        (7, ("a",), 7),
    ],
)
def test_attribute_paths(value: Any, path: tuple[str | int, ...], expected: Any) -> None:
    assert resolved(promise(*path), value) == literal(expected)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": 1}, ("b",)),
        ({"a": 1}, (0,)),
        ([1], (1,)),
        ([1], (-1,)),
        ([1], ("a",)),
        (packed({"a": [1]}), ("a", 1)),
        (packed({"a": 1}), ("b",)),
        (packed({"a": 1}), ("a", "b")),
        (packed({1: 2}), (1,)),
        (packed({"a": "text"}), ("a", 0)),
        (struct({"a": 1}), ("b",)),
        (struct({"a": [1]}), ("a", 1)),
    ],
)
def test_a_path_that_leads_nowhere_names_the_variable(value: Any, path: tuple[str | int, ...]) -> None:
    with pytest.raises(
        BindingFailed, match=r"binding of \[x\]: PromiseAttributeResolveError: .*(not exist|out of range)"
    ):
        resolved(promise(*path), value)


def test_binaries_that_are_no_msgpack_have_no_attributes() -> None:
    value = packed({"a": 1})
    value.scalar.binary.value = b"\xc1"
    with pytest.raises(BindingFailed, match="no valid msgpack"):
        resolved(promise("a"), value)
    value.scalar.binary.tag = "other"
    with pytest.raises(BindingFailed, match=r"tag \[other\] have no attributes"):
        resolved(promise("a"), value)


def test_a_number_that_no_literal_can_hold() -> None:
    with pytest.raises(BindingFailed, match=r"\[9223372036854775808\] is too large"):
        resolved(promise("a"), packed({"a": 2**63}))


def test_collections_and_maps_of_bindings() -> None:
    binding = literals_pb2.BindingData()
    binding.collection.bindings.append(promise())
    nested = binding.collection.bindings.add()
    nested.map.bindings["k"].CopyFrom(promise(var="given", node=""))
    nested.map.bindings["fixed"].scalar.CopyFrom(literal("t").scalar)
    binding.collection.bindings.add().collection.SetInParent()
    assert resolved(binding, 7) == literal([7, {"k": 5, "fixed": "t"}, []])


def test_a_legacy_index_in_the_name_of_a_variable() -> None:
    assert resolved(promise(var="[1].v"), [4, 5]) == literal(5)


def test_a_binding_to_a_missing_output_fails() -> None:
    with pytest.raises(BindingFailed, match=r"node \[n0\] has no output \[w\]"):
        resolved(promise(var="w"), 1)
    with pytest.raises(BindingFailed, match=r"node \[n9\] has no outputs"):
        resolved(promise(node="n9"), 1)
    with pytest.raises(BindingFailed, match="the binding is empty"):
        resolved(literals_pb2.BindingData(), 1)


def test_an_offloaded_literal_is_read_only_where_a_path_leads_into_it() -> None:
    assert resolved(promise(), offloaded("/a")) == offloaded("/a")
    with pytest.raises(bindings.Offloaded) as raised:
        resolved(promise(0, "k"), offloaded("/a"))
    assert raised.value.uri == "/a"
    with pytest.raises(bindings.Offloaded) as raised:
        resolved(promise(0, "k"), offloaded("/a"), {"/a": [offloaded("/b")]})
    assert raised.value.uri == "/b"
    assert resolved(promise(0, "k"), offloaded("/a"), {"/a": [offloaded("/b")], "/b": {"k": 3}}) == literal(3)

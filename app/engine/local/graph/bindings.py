"""Resolve bindings to literals: promises with attribute paths, scalars, collections, maps.

An offloaded literal, which lies in a file of its own because it is large, is passed on unread, unless an attribute path
leads into it.

Proto: core.BindingData. Source: flytepropeller pkg/controller/nodes (resolve.go, attr_path_resolver.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgpack
from flyteidl.core import literals_pb2
from google.protobuf import struct_pb2

from app.engine.local.graph.failures import BindingFailed

Outputs = Callable[[str], "literals_pb2.LiteralMap | None"]
Contents = Mapping[str, literals_pb2.Literal]
_NOTHING: Contents = MappingProxyType({})

_INDEXED = re.compile(r"^\[([0-9]+)\]\.(.+)$")


class Offloaded(Exception):
    """An attribute path leads into an offloaded literal, which the caller has to read first."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        super().__init__(uri)


def resolve(
    bindings: Iterable[literals_pb2.Binding], outputs_of: Outputs, contents: Contents = _NOTHING
) -> literals_pb2.LiteralMap:
    """Return the literals of bindings.

    Args:
        bindings: The bindings.
        outputs_of: Returns the outputs of a node of the same graph, None while it has none.
        contents: Contents of offloaded literals, by URI.

    Raises:
        BindingFailed: A binding has no value; the message names the variable.
        Offloaded: `contents` lacks an offloaded literal.
    """
    resolved = literals_pb2.LiteralMap()
    for binding in bindings:
        try:
            resolved.literals[binding.var].CopyFrom(_data(binding.binding, outputs_of, contents))
        except BindingFailed as error:
            raise BindingFailed(f"failed to resolve binding of [{binding.var}]: {error}") from error
    return resolved


def _data(data: literals_pb2.BindingData, outputs_of: Outputs, contents: Contents) -> literals_pb2.Literal:
    kind = data.WhichOneof("value")
    if kind == "scalar":
        return literals_pb2.Literal(scalar=data.scalar)
    if kind == "promise":
        return _promise(data.promise, outputs_of, contents)
    if kind == "collection":
        literal = literals_pb2.Literal()
        literal.collection.SetInParent()
        literal.collection.literals.extend(_data(one, outputs_of, contents) for one in data.collection.bindings)
        return literal
    if kind == "map":
        literal = literals_pb2.Literal()
        literal.map.SetInParent()
        for key, one in data.map.bindings.items():
            literal.map.literals[key].CopyFrom(_data(one, outputs_of, contents))
        return literal
    raise BindingFailed("the binding is empty")


def _promise(promise: Any, outputs_of: Outputs, contents: Contents) -> literals_pb2.Literal:
    source = promise.node_id or "start-node"
    outputs = outputs_of(source)
    if outputs is None:
        raise BindingFailed(f"node [{source}] has no outputs")
    index, var = None, promise.var
    match = _INDEXED.match(var)
    if match:
        index, var = int(match.group(1)), match.group(2)
    if var not in outputs.literals:
        raise BindingFailed(f"node [{source}] has no output [{var}]")
    literal = outputs.literals[var]
    if index is not None:
        literal = _at(literal, [index], contents)
    path = [
        one.string_value if one.WhichOneof("value") == "string_value" else one.int_value for one in promise.attr_path
    ]
    return _at(literal, path, contents)


def _at(literal: literals_pb2.Literal, path: Sequence[str | int], contents: Contents) -> literals_pb2.Literal:
    """Return the literal at the end of an attribute path.

    Parity: the path is ignored on literals that have no parts (resolveAttrPathInPromise).
    """
    for index, step in enumerate(path):
        kind = literal.WhichOneof("value")
        if kind == "offloaded_metadata":
            uri = literal.offloaded_metadata.uri
            if uri not in contents:
                raise Offloaded(uri)
            literal, kind = contents[uri], contents[uri].WhichOneof("value")
        if kind == "map":
            literal = _into(literal.map.literals, step)
        elif kind == "collection":
            literal = _into(literal.collection.literals, step)
        elif kind == "scalar" and literal.scalar.WhichOneof("value") == "generic":
            return _of_struct(literal.scalar.generic, path[index:])
        elif kind == "scalar" and literal.scalar.WhichOneof("value") == "binary":
            return _of_msgpack(literal.scalar.binary, path[index:])
    return literal


def _into(container: Any, step: str | int) -> Any:
    """Return one element of a mapping by its key, or of a list by its index."""
    if isinstance(container, Mapping):
        if not isinstance(step, str) or step not in container:
            raise BindingFailed(f"PromiseAttributeResolveError: key [{step}] does not exist")
    elif isinstance(container, Sequence) and not isinstance(container, str | bytes):
        if not isinstance(step, int) or not 0 <= step < len(container):
            raise BindingFailed(f"PromiseAttributeResolveError: index [{step}] is out of range [0, {len(container)})")
    else:
        raise BindingFailed(f"PromiseAttributeResolveError: [{step}] does not exist in a {type(container).__name__}")
    return container[step]


def _of_struct(struct: struct_pb2.Struct, path: Sequence[str | int]) -> literals_pb2.Literal:
    """Return the literal at a path in a Struct. Parity: every number in it becomes a float."""
    value = struct_pb2.Value(struct_value=struct)
    for step in path:
        kind = value.WhichOneof("kind")
        inner = value.struct_value.fields if kind == "struct_value" else value.list_value.values
        if kind in ("struct_value", "list_value"):
            value = _into(inner, step)
    return _of_value(value)


def _of_value(value: struct_pb2.Value) -> literals_pb2.Literal:
    kind = value.WhichOneof("kind")
    literal = literals_pb2.Literal()
    if kind == "number_value":
        literal.scalar.primitive.float_value = value.number_value
    elif kind == "string_value":
        literal.scalar.primitive.string_value = value.string_value
    elif kind == "bool_value":
        literal.scalar.primitive.boolean = value.bool_value
    elif kind == "list_value":
        literal.collection.SetInParent()
        literal.collection.literals.extend(_of_value(one) for one in value.list_value.values)
    elif kind == "struct_value":
        literal.scalar.generic.CopyFrom(value.struct_value)
    else:
        literal.scalar.none_type.SetInParent()
    return literal


def _of_msgpack(binary: literals_pb2.Binary, path: Sequence[str | int]) -> literals_pb2.Literal:
    if binary.tag != "msgpack":
        raise BindingFailed(f"PromiseAttributeResolveError: binary literals with tag [{binary.tag}] have no attributes")
    try:
        value = msgpack.unpackb(binary.value, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise BindingFailed(f"PromiseAttributeResolveError: the literal is no valid msgpack: {error}") from error
    for step in path:
        value = _into(value, step)
    literal = literals_pb2.Literal()
    primitive = literal.scalar.primitive
    if isinstance(value, bool):
        primitive.boolean = value
    elif isinstance(value, int):
        if value >= 2**63:
            raise BindingFailed(f"PromiseAttributeResolveError: [{value}] is too large for an integer")
        primitive.integer = value
    elif isinstance(value, float):
        primitive.float_value = value
    elif isinstance(value, str):
        primitive.string_value = value
    elif isinstance(value, list):
        literal.collection.SetInParent()
        literal.collection.literals.extend(map(_binary, value))
    else:
        literal = _binary(value)
    return literal


def _binary(value: Any) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value = msgpack.packb(value)
    literal.scalar.binary.tag = "msgpack"
    return literal

"""Bindings to literals: promises with attribute paths, scalars, collections, maps. Pure.

Proto: core.BindingData. Source: flytepropeller pkg/controller/nodes (resolve.go, attr_path_resolver.go).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgpack
from flyteidl.core import literals_pb2
from google.protobuf import struct_pb2

from app.engine.local.failures import BindingFailed

Outputs = Callable[[str], "literals_pb2.LiteralMap | None"]

_INDEXED = re.compile(r"^\[([0-9]+)\]\.(.+)$")


def resolve(bindings: Iterable[literals_pb2.Binding], outputs_of: Outputs) -> literals_pb2.LiteralMap:
    """The literals of bindings; outputs_of gives what a node of the same workflow has put out.

    errors: BindingFailed naming the variable
    """
    resolved = literals_pb2.LiteralMap()
    for binding in bindings:
        try:
            resolved.literals[binding.var].CopyFrom(_data(binding.binding, outputs_of))
        except BindingFailed as error:
            raise BindingFailed(f"failed to resolve binding of [{binding.var}]: {error}") from error
    return resolved


def _data(data: literals_pb2.BindingData, outputs_of: Outputs) -> literals_pb2.Literal:
    kind = data.WhichOneof("value")
    if kind == "scalar":
        return literals_pb2.Literal(scalar=data.scalar)
    if kind == "promise":
        return _promise(data.promise, outputs_of)
    if kind == "collection":
        literal = literals_pb2.Literal()
        literal.collection.SetInParent()
        literal.collection.literals.extend(_data(one, outputs_of) for one in data.collection.bindings)
        return literal
    if kind == "map":
        literal = literals_pb2.Literal()
        literal.map.SetInParent()
        for key, one in data.map.bindings.items():
            literal.map.literals[key].CopyFrom(_data(one, outputs_of))
        return literal
    raise BindingFailed("the binding is empty")


def _promise(promise: Any, outputs_of: Outputs) -> literals_pb2.Literal:
    source = promise.node_id or "start-node"
    known = outputs_of(source)
    if known is None:
        raise BindingFailed(f"node [{source}] has no outputs")
    index, var = None, promise.var
    match = _INDEXED.match(var)
    if match:
        index, var = int(match.group(1)), match.group(2)
    if var not in known.literals:
        raise BindingFailed(f"node [{source}] has no output [{var}]")
    literal = known.literals[var]
    if index is not None:
        literal = _at(literal, index)
    for element in promise.attr_path:
        step: str | int = element.string_value if element.WhichOneof("value") == "string_value" else element.int_value
        literal = _at(literal, step)
    return literal


def _at(literal: literals_pb2.Literal, step: str | int) -> literals_pb2.Literal:
    """One step of an attribute path. Parity: on any other literal the step is ignored."""
    kind = literal.WhichOneof("value")
    if kind == "map":
        if step not in literal.map.literals:
            raise BindingFailed(f"PromiseAttributeResolveError: key [{step}] does not exist")
        return literal.map.literals[str(step)]
    if kind == "collection":
        items = literal.collection.literals
        if not isinstance(step, int) or not 0 <= step < len(items):
            raise BindingFailed(f"PromiseAttributeResolveError: index [{step}] is out of range [0, {len(items)})")
        return items[step]
    if kind == "scalar" and literal.scalar.WhichOneof("value") == "generic":
        return _of_struct(_into(literal.scalar.generic.fields, step))
    if kind == "scalar" and literal.scalar.WhichOneof("value") == "binary":
        return _of_msgpack(literal.scalar.binary, step)
    return literal


def _into(container: Any, step: str | int) -> Any:
    try:
        return container[step]
    except (KeyError, IndexError, TypeError) as error:
        raise BindingFailed(f"PromiseAttributeResolveError: [{step}] does not exist") from error


def _of_struct(value: struct_pb2.Value) -> literals_pb2.Literal:
    """Parity: every number of a Struct becomes a float."""
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
        literal.collection.literals.extend(_of_struct(one) for one in value.list_value.values)
    elif kind == "struct_value":
        literal.scalar.generic.CopyFrom(value.struct_value)
    else:
        literal.scalar.none_type.SetInParent()
    return literal


def _of_msgpack(binary: literals_pb2.Binary, step: str | int) -> literals_pb2.Literal:
    if binary.tag != "msgpack":
        raise BindingFailed(f"PromiseAttributeResolveError: binary literals with tag [{binary.tag}] have no attributes")
    try:
        value = msgpack.unpackb(binary.value, strict_map_key=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise BindingFailed(f"PromiseAttributeResolveError: the literal is no valid msgpack: {error}") from error
    return _packed(_into(value, step))


def _packed(value: Any) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    if isinstance(value, bool):
        literal.scalar.primitive.boolean = value
    elif isinstance(value, int):
        literal.scalar.primitive.integer = value
    elif isinstance(value, float):
        literal.scalar.primitive.float_value = value
    elif isinstance(value, str):
        literal.scalar.primitive.string_value = value
    elif value is None:
        literal.scalar.none_type.SetInParent()
    elif isinstance(value, list):
        literal.collection.SetInParent()
        for one in value:
            literal.collection.literals.add().CopyFrom(_binary(one))
    else:
        literal = _binary(value)
    return literal


def _binary(value: Any) -> literals_pb2.Literal:
    literal = literals_pb2.Literal()
    literal.scalar.binary.value = msgpack.packb(value)
    literal.scalar.binary.tag = "msgpack"
    return literal

"""Convert literals to plain JSON and back, and describe their types in words, for language models.

Source: flyteidl/core/{literals,types}.proto; MessagePack in a binary is how flytekit passes dicts and dataclasses.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
from flyteidl.core import interface_pb2, literals_pb2, types_pb2
from google.protobuf import json_format

from app.errors import InvalidArgument
from app.wire import msgpack_values
from app.wire.render import to_value

_SIMPLE = types_pb2.SimpleType
_WORDS = {
    _SIMPLE.NONE: "none",
    _SIMPLE.INTEGER: "integer",
    _SIMPLE.FLOAT: "number",
    _SIMPLE.STRING: "text",
    _SIMPLE.BOOLEAN: "true or false",
    _SIMPLE.DATETIME: "time (2026-01-31T12:00:00Z)",
    _SIMPLE.DURATION: "duration in seconds (90s)",
    _SIMPLE.BINARY: "bytes (base64)",
    _SIMPLE.ERROR: "error",
    _SIMPLE.STRUCT: "object",
}
_DURATION = re.compile(r"-?[0-9]+(\.[0-9]{1,9})?s")
_INTEGER_MAX = 2**63


def plain_values(literals: Mapping[str, literals_pb2.Literal]) -> dict[str, Any]:
    """Return literals as plain JSON, by name."""
    return {name: plain_value(literal) for name, literal in sorted(literals.items())}


def plain_value(literal: literals_pb2.Literal) -> Any:
    """Return a literal as plain JSON; a reference to data (files, data frames) is an object with the uri."""
    match literal.WhichOneof("value"):
        case "collection":
            return [plain_value(one) for one in literal.collection.literals]
        case "map":
            return plain_values(literal.map.literals)
        case "offloaded_metadata":
            return {"uri": literal.offloaded_metadata.uri, "bytes": literal.offloaded_metadata.size_bytes}
        case "scalar":
            return _scalar(literal.scalar)
    return None


def _scalar(scalar: literals_pb2.Scalar) -> Any:
    match scalar.WhichOneof("value"):
        case "primitive":
            kind = scalar.primitive.WhichOneof("value")
            if kind == "integer":
                return scalar.primitive.integer
            return next(iter(to_value(scalar.primitive, camel=False).values()), None)
        case "union":
            return plain_value(scalar.union.value)
        case "generic":
            return to_value(scalar.generic, camel=False)
        case "blob" | "schema" | "structured_dataset" as kind:
            return {"uri": getattr(scalar, kind).uri}
        case "error":
            return {"error": scalar.error.message, "failed_node": scalar.error.failed_node_id}
        case "binary":
            return _binary(scalar.binary)
    return None


def _binary(binary: literals_pb2.Binary) -> Any:
    if binary.tag == msgpack_values.TAG:
        with contextlib.suppress(ValueError):
            return msgpack_values.decode(binary.value)
    return {"bytes": len(binary.value), "tag": binary.tag}


def describe_types(variables: Mapping[str, interface_pb2.Variable]) -> dict[str, str]:
    """Return the types of variables in words, by name."""
    return {name: describe_type(variable.type) for name, variable in sorted(variables.items())}


def describe_type(type: types_pb2.LiteralType) -> str:
    """Return a type in words, such as "integer", "list of text", "one of red, green" or "integer or none"."""
    match type.WhichOneof("type"):
        case "simple":
            return _WORDS.get(type.simple, "value")
        case "collection_type":
            return f"list of {describe_type(type.collection_type)}"
        case "map_value_type":
            return f"object with values of {describe_type(type.map_value_type)}"
        case "enum_type":
            return f"one of {', '.join(type.enum_type.values)}"
        case "union_type":
            return " or ".join(describe_type(one) for one in type.union_type.variants)
        case "blob":
            kind = "folder" if type.blob.dimensionality else "file"
            return f"{kind} (uri{f', {type.blob.format}' if type.blob.format else ''})"
        case "structured_dataset_type" | "schema":
            return "table (uri)"
    return "value"


def to_literal(type: types_pb2.LiteralType, given: Any, where: str) -> literals_pb2.Literal:
    """Return plain JSON as a literal of a type. Raises INVALID_ARGUMENT, with the path `where` in its message."""
    made = literals_pb2.Literal()
    match type.WhichOneof("type"):
        case "simple":
            _simple(made.scalar, type.simple, given, where)
        case "collection_type":
            made.collection.SetInParent()
            for index, one in enumerate(_a(list, given, "a list", where)):
                made.collection.literals.append(to_literal(type.collection_type, one, f"{where}[{index}]"))
        case "map_value_type":
            made.map.SetInParent()
            for key, one in _a(dict, given, "an object", where).items():
                made.map.literals[key].CopyFrom(to_literal(type.map_value_type, one, f"{where}[{key!r}]"))
        case "enum_type":
            if given not in type.enum_type.values:
                raise _unfit(f"one of {', '.join(type.enum_type.values)}", given, where)
            made.scalar.primitive.string_value = given
        case "union_type":
            made.scalar.union.CopyFrom(_union(type.union_type, given, where))
        case "blob":
            made.scalar.blob.uri = _uri(given, where)
            made.scalar.blob.metadata.type.CopyFrom(type.blob)
        case "structured_dataset_type":
            made.scalar.structured_dataset.uri = _uri(given, where)
            made.scalar.structured_dataset.metadata.structured_dataset_type.CopyFrom(type.structured_dataset_type)
        case "schema":
            made.scalar.schema.uri = _uri(given, where)
            made.scalar.schema.type.CopyFrom(type.schema)
        case _:
            raise InvalidArgument(f"{where}: values of this type are given as literals, in inputs")
    return made


def _simple(scalar: literals_pb2.Scalar, simple: int, given: Any, where: str) -> None:
    primitive = scalar.primitive
    match simple:
        case _SIMPLE.NONE:
            if given is not None:
                raise _unfit("null", given, where)
            scalar.none_type.SetInParent()
        case _SIMPLE.INTEGER:
            whole = isinstance(given, float) and given.is_integer()
            number = int(given) if whole else _a(int, given, "a whole number", where)
            if not -_INTEGER_MAX <= number < _INTEGER_MAX:
                raise _unfit("a number of 64 bits", given, where)
            primitive.integer = number
        case _SIMPLE.FLOAT:
            primitive.float_value = _a((int, float), given, "a number", where)
        case _SIMPLE.STRING:
            primitive.string_value = _a(str, given, "a text", where)
        case _SIMPLE.BOOLEAN:
            primitive.boolean = _a(bool, given, "true or false", where)
        case _SIMPLE.DATETIME:
            _parsed(primitive.datetime.FromJsonString, given, "a time such as 2026-01-31T12:00:00Z", where)
        case _SIMPLE.DURATION:
            text = f"{given}s" if isinstance(given, int) and not isinstance(given, bool) else given
            if not isinstance(text, str) or not _DURATION.fullmatch(text):
                raise _unfit("a duration such as 90s", given, where)
            _parsed(primitive.duration.FromJsonString, text, "a duration such as 90s", where)
        case _SIMPLE.STRUCT:
            scalar.binary.value = msgpack.packb(_a((dict, list), given, "an object", where))
            scalar.binary.tag = msgpack_values.TAG
        case _:
            raise InvalidArgument(f"{where}: values of this type are given as literals, in inputs")


def _union(union: types_pb2.UnionType, given: Any, where: str) -> literals_pb2.Union:
    """Return the value as the first variant that it fits."""
    for variant in union.variants:
        try:
            made = to_literal(variant, given, where)
        except InvalidArgument:
            continue
        return literals_pb2.Union(value=made, type=variant)
    raise _unfit(" or ".join(describe_type(one) for one in union.variants), given, where)


def _a(kind: Any, given: Any, wanted: str, where: str) -> Any:
    # In Python, bool is a subclass of int; in JSON, true is no number.
    if not isinstance(given, kind) or (isinstance(given, bool) and kind is not bool):
        raise _unfit(wanted, given, where)
    return given


def _uri(given: Any, where: str) -> str:
    found = given.get("uri") if isinstance(given, dict) else given
    return str(_a(str, found, "a uri", where))


def _parsed(parse: Callable[[str], None], given: Any, wanted: str, where: str) -> None:
    try:
        parse(_a(str, given, wanted, where))
    except (ValueError, json_format.ParseError) as error:
        raise _unfit(wanted, given, where) from error


def _unfit(wanted: str, given: Any, where: str) -> InvalidArgument:
    return InvalidArgument(f"{where}: {wanted} is wanted, not {str(given)[:60]!r}")

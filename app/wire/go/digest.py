"""Digests of messages, stored with every entity. A second registration with an equal digest changes nothing.

Upstream converts a message to JSON, parses that, and hashes the data with the object hash of the Certificate
Transparency tools: SHA-256 of a letter for the kind and the content, dictionaries sorted by the hashes of their keys.
Here encoders, made once per message type, walk the message directly; the result is the same.
"""

from __future__ import annotations

import json
import math
from base64 import b64encode
from collections.abc import Callable
from functools import cache, lru_cache
from hashlib import sha256
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from app.cache import ByteCache
from app.errors import InvalidArgument
from app.wire.text import shortest_float32

# Requests nest at most 100 levels. The limit is for messages built by code, which must not raise RecursionError.
_DEPTH_MAX = 200

Encoder = Callable[[Any, int], bytes]

# Workflows contain copies of their tasks, so the hashes of tasks are cached by the bytes of the task. The depth at
# which a task lies does not matter, because it is far below the limit.
_KEPT_TYPE = "flyteidl.core.CompiledTask"
_KEPT_BYTES_MAX = 4 * 1024 * 1024
_kept = ByteCache(_KEPT_BYTES_MAX)


def digest(message: Message) -> bytes:
    """Return 32 bytes that are equal for equal messages, whatever the order of map entries.

    Raises:
        FlyteError: INVALID_ARGUMENT for a message without a JSON form: a time or number out of range, or too deep.

    Source: pbhash.ComputeHash.
    """
    return _encoder(message.DESCRIPTOR)(message, 0)


def _hash(kind: bytes, content: bytes = b"") -> bytes:
    return sha256(kind + content).digest()


_NULL, _FALSE, _TRUE = _hash(b"n"), _hash(b"b", b"0"), _hash(b"b", b"1")


@lru_cache(maxsize=8192)
def _short_text(value: str) -> bytes:
    return _hash(b"u", value.encode())


def _text(value: str, _: int = 0) -> bytes:
    # Names occur thousands of times in a workflow; long texts do not, so they are not cached.
    return _short_text(value) if len(value) <= 128 else _hash(b"u", value.encode())


@lru_cache(maxsize=4096)
def _number(value: float) -> bytes:
    """Return the hash of a number: of its sign, exponent, and the binary digits of a mantissa in (0.5, 1]."""
    if value == 0:
        return _hash(b"f", b"+0:")
    mantissa, exponent = math.frexp(abs(value))
    if mantissa == 0.5:
        # A power of two has the mantissa 1.
        mantissa, exponent = 1.0, exponent - 1
    digits = []
    while mantissa:
        digits.append("1" if mantissa >= 1 else "0")
        mantissa = (mantissa - (mantissa >= 1)) * 2
    return _hash(b"f", f"{'+' if value > 0 else '-'}{exponent}:{''.join(digits)}".encode())


def _list(elements: list[bytes]) -> bytes:
    return _hash(b"l", b"".join(elements))


def _dictionary(pairs: list[bytes]) -> bytes:
    """Hash a dictionary. Each pair is the hash of a key followed by that of its value, so sorting pairs sorts keys."""
    pairs.sort()
    return sha256(b"d" + b"".join(pairs)).digest()


def _plain(value: Any, depth: int) -> bytes:
    """Hash data of the types that `json.loads` returns."""
    _check_depth(depth)
    match value:
        case None:
            return _NULL
        case bool():
            return _TRUE if value else _FALSE
        case str():
            return _text(value)
        case int() | float():
            return _number(float(value))
        case list():
            return _list([_plain(element, depth + 1) for element in value])
        case _:
            return _dictionary([_text(key) + _plain(element, depth + 1) for key, element in value.items()])


def _check_depth(depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise InvalidArgument(f"message nests deeper than {_DEPTH_MAX} levels")


@cache
def _encoder(descriptor: Descriptor) -> Encoder:
    name = descriptor.full_name
    if name in _STRUCTS:
        return _STRUCTS[name]
    if name.startswith("google.protobuf."):
        return _well_known
    fields: dict[FieldDescriptor, tuple[bytes, Encoder]] = {}

    def encode(message: Message, depth: int) -> bytes:
        _check_depth(depth)
        pairs = []
        for field, value in message.ListFields():
            if field not in fields:
                # Made at the first use, because types contain themselves.
                fields[field] = _text(field.json_name), _field_encoder(field)
            name, encode_value = fields[field]
            pairs.append(name + encode_value(value, depth + 1))
        return _dictionary(pairs)

    return _with_cache(encode) if name == _KEPT_TYPE else encode


def _with_cache(encode: Encoder) -> Encoder:
    """Return the encoder with a cache by the bytes of the message."""

    def encode_once(message: Message, depth: int) -> bytes:
        key = (message.SerializeToString(),)
        found = _kept.get(key)
        if found is None:
            found = encode(message, depth)
            _kept.put(key, found)
        return found

    return encode_once


def _field_encoder(field: FieldDescriptor) -> Encoder:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        key = _map_key(field.message_type.fields_by_name["key"])
        of_value = _value_encoder(field.message_type.fields_by_name["value"])
        return lambda values, depth: _dictionary([key(name) + of_value(values[name], depth) for name in values])
    of_element = _value_encoder(field)
    if field.is_repeated:
        return lambda values, depth: _list([of_element(value, depth) for value in values])
    return of_element


def _map_key(field: FieldDescriptor) -> Callable[[Any], bytes]:
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return lambda key: _text("true" if key else "false")
    return lambda key: _text(str(key))


def _value_encoder(field: FieldDescriptor) -> Encoder:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return _encoder(field.message_type)
        case FieldDescriptor.CPPTYPE_BOOL:
            return lambda value, _: _TRUE if value else _FALSE
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return lambda value, _: _text(b64encode(value).decode())
        case FieldDescriptor.CPPTYPE_STRING:
            return _text
        case FieldDescriptor.CPPTYPE_ENUM if field.enum_type is not None:
            names = {number: _text(value.name) for number, value in field.enum_type.values_by_number.items()}
            return lambda number, _: names[number] if number in names else _number(float(number))
        case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
            # JSON has 64-bit integers as text.
            return lambda value, _: _text(str(value))
        case FieldDescriptor.CPPTYPE_FLOAT:
            return lambda value, _: _float(shortest_float32(value))
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return lambda value, _: _float(value)
    return lambda value, _: _number(float(value))


def _float(value: float) -> bytes:
    if math.isfinite(value):
        return _number(value)
    return _text("NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity")


def _well_known(message: Message, depth: int) -> bytes:
    """Hash a time, duration, wrapper or Any, whose JSON is not an object of its fields."""
    try:
        return _plain(json.loads(json_format.MessageToJson(message)), depth)
    except (json_format.Error, ValueError, TypeError) as error:
        raise InvalidArgument(f"{message.DESCRIPTOR.full_name} has no JSON form: {error}") from error


def _struct(message: Any, depth: int) -> bytes:
    _check_depth(depth)
    return _dictionary([_text(key) + _value(value, depth + 1) for key, value in message.fields.items()])


def _list_value(message: Any, depth: int) -> bytes:
    _check_depth(depth)
    return _list([_value(value, depth + 1) for value in message.values])


def _value(message: Any, depth: int) -> bytes:
    match message.WhichOneof("kind"):
        case "string_value":
            return _text(message.string_value)
        case "number_value":
            if not math.isfinite(message.number_value):
                raise InvalidArgument("google.protobuf.Value cannot have Inf or NaN")
            return _number(message.number_value)
        case "bool_value":
            return _TRUE if message.bool_value else _FALSE
        case "struct_value":
            return _struct(message.struct_value, depth)
        case "list_value":
            return _list_value(message.list_value, depth)
    return _NULL


_STRUCTS: dict[str, Encoder] = {
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list_value,
    "google.protobuf.Value": _value,
}

"""Protobuf messages as one line of text, as Go prints them inside error messages.

Go writes the fields in the order of declaration, without defaults: `project:"p" domain:"d"`. Between fields Go writes
one or two spaces, depending on the build; here it is always one, so that texts are stable.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from app.wire.go.goparse import go_float

_SHORT_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def text(message: Message | None) -> str:
    """Return a message on one line; `<nil>` for an absent message, "" for an empty one.

    Source: prototext.MarshalOptions.Format of protobuf-go, which Message.String() uses.
    """
    return "<nil>" if message is None else " ".join(_parts(message))


def prototext_quote(value: str | bytes) -> str:
    """Quote a string or bytes like prototext: only control characters are escaped. `go_quote` is strconv.Quote."""
    # A byte that is no UTF-8 becomes a lone surrogate here, which _escaped turns into an escape.
    letters = value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
    if letters.isprintable() and '"' not in letters and "\\" not in letters:
        return f'"{letters}"'
    return '"' + "".join(map(_escaped, letters)) + '"'


def _escaped(letter: str) -> str:
    point = ord(letter)
    if letter in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[letter]
    if point < 0x20 or point == 0x7F:
        return f"\\x{point:02x}"
    if 0x80 <= point <= 0x9F:
        return f"\\u{point:04x}"
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    return letter


def _parts(message: Message) -> Iterator[str]:
    if isinstance(message, AnyMessage) and (inner := unpacked(message)) is not None:
        yield f"[{message.type_url}]:{{{text(inner)}}}"
        return
    for field, value in sorted(message.ListFields(), key=_declared):
        name, write = field.name, _writer(field)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key_field, value_field = field.message_type.fields
            write_key, write_value = _writer(key_field), _writer(value_field)
            for key in sorted(value):
                yield f"{name}:{{key:{write_key(key)} value:{write_value(value[key])}}}"
        elif field.is_repeated:
            for element in value:
                yield f"{name}:{write(element)}"
        else:
            yield f"{name}:{write(value)}"
    yield from _unknown(UnknownFieldSet(message))


def _declared(item: tuple[FieldDescriptor, Any]) -> int:
    return item[0].index


def unpacked(message: AnyMessage) -> Message | None:
    """Return the message inside an Any; None for an unknown type or bytes that are not of that type."""
    try:
        descriptor = descriptor_pool.Default().FindMessageTypeByName(message.type_url.rpartition("/")[2])
        return message_factory.GetMessageClass(descriptor).FromString(message.value)
    except (KeyError, DecodeError):
        return None


def _writer(field: FieldDescriptor) -> Callable[[Any], str]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return _write_message
        case FieldDescriptor.CPPTYPE_STRING:
            return prototext_quote
        case FieldDescriptor.CPPTYPE_BOOL:
            return _write_bool
        case FieldDescriptor.CPPTYPE_ENUM:
            return partial(_write_enum, field.enum_type)
        case FieldDescriptor.CPPTYPE_DOUBLE:
            return _write_double
        case FieldDescriptor.CPPTYPE_FLOAT:
            return lambda value: _write_double(shortest_float32(value))
    return str


def _write_enum(enum: Any, number: int) -> str:
    value = enum.values_by_number.get(number)
    return str(number) if value is None else value.name


def _write_message(message: Message) -> str:
    return f"{{{text(message)}}}"


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def shortest_float32(value: float) -> float:
    """Return the double with the fewest digits that rounds to this 32-bit float: 0.1 instead of 0.10000000149."""
    if math.isnan(value) or math.isinf(value):
        return value
    for digits in (6, 7, 8):
        candidate = float(f"{value:.{digits}g}")
        if struct.unpack("f", struct.pack("f", candidate))[0] == value:
            return candidate
    return float(f"{value:.9g}")


def _write_double(value: float) -> str:
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return go_float(value)


def _unknown(fields: Any) -> Iterator[str]:
    for field in fields:
        number = field.field_number
        match field.wire_type:
            case 0:  # varint
                yield f"{number}:{field.data}"
            case 1 | 5:  # 64 or 32 bits
                yield f"{number}:0x{field.data:x}"
            case 3:  # group
                yield f"{number}:{{{' '.join(_unknown(field.data))}}}"
            case _:  # length-delimited
                yield f"{number}:{prototext_quote(field.data)}"

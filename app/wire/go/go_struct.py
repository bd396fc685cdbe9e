"""Protobuf messages as Go's encoding/json writes the structs that protoc-gen-go generates.

Some fields of a FlyteWorkflow object have this form: names of the proto file, enums and 64-bit integers as numbers,
Timestamp and Duration as seconds and nanos, empty fields left out. FlytePropeller reads it back with encoding/json.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from app.wire.render import is_map, to_set_fields


def to_go_struct(message: Message) -> dict[str, Any]:
    """Return the JSON object of a message; a Struct is the JSON object that it holds.

    Only messages without a oneof are supported: Go writes the wrapper types of a oneof, which it cannot read back.
    """
    if isinstance(message, Struct):
        held: dict[str, Any] = to_set_fields(message)
        return held
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> Any:
    if is_map(field):
        assert field.message_type is not None
        element = field.message_type.fields_by_name["value"]
        return {str(key): _value(element, value[key]) for key in value}
    if field.is_repeated:
        return [_value(field, element) for element in value]
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is not None:
        return to_go_struct(value)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return b2a_base64(value, newline=False).decode()
    return value

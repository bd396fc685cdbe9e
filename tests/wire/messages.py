"""Random messages of every type that the services of flyteidl can carry."""

import random
from typing import Any

from flyteidl.service import admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from app.wire.render import is_map

STRINGS = ["", "a", 'x"y\\z', "é\u0085", "\n\r\t\x00\x7f", "日本𝄞", "</script>&", "\u2028\ufeff\ufffd", "0", "1.0s"]
FLOATS = [0.0, -0.0, 1.0, 0.1, -1.5, 1e-7, 123456789.0, 1e21, float("inf"), float("-inf"), float("nan"), 1 / 3]
INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: [0, 1, -1, 2**31 - 1, -(2**31)],
    FieldDescriptor.CPPTYPE_INT64: [0, 1, -1, 2**63 - 1, -(2**63), 10**16],
    FieldDescriptor.CPPTYPE_UINT32: [0, 1, 2**32 - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1, 2**64 - 1],
}
DEPTH_MAX = 5


def reachable() -> list[Descriptor]:
    """Every message type that a request or a response of a service contains."""
    found: dict[str, Descriptor] = {}

    def visit(descriptor: Descriptor) -> None:
        if descriptor.full_name not in found:
            found[descriptor.full_name] = descriptor
            for field in descriptor.fields:
                if field.message_type is not None:
                    visit(field.message_type)

    for module in (admin_pb2, auth_pb2, dataproxy_pb2, identity_pb2, signal_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                visit(method.input_type)
                visit(method.output_type)
    return [descriptor for descriptor in found.values() if not descriptor.GetOptions().map_entry]


def new(descriptor: Descriptor) -> Message:
    return message_factory.GetMessageClass(descriptor)()


def filled(descriptor: Any, rng: random.Random) -> Message:
    """A message in which each field is set with a chance of one half."""
    message = new(descriptor)
    _fill(message, rng, 0)
    return message


def _fill(message: Any, rng: random.Random, depth: int) -> None:
    name = message.DESCRIPTOR.full_name
    if name == "google.protobuf.Timestamp":
        message.seconds = rng.choice([0, 1614852005, -62135596800, 253402300799, -1])
        message.nanos = rng.choice([0, 5, 500_000_000, 123_000, 999_999_999])
    elif name == "google.protobuf.Duration":
        sign = rng.choice([-1, 1])
        message.seconds = sign * rng.choice([0, 1, 60, 315_575_999_999])
        message.nanos = sign * rng.choice([0, 5, 500_000_000, 123_000, 999_999_999])
    elif name == "google.protobuf.Value":
        _fill_value(message, rng, depth)
    elif name != "google.protobuf.Any":
        for field in message.DESCRIPTOR.fields:
            if rng.random() < 0.5 and (field.message_type is None or depth < DEPTH_MAX):
                _fill_field(message, field, rng, depth)


def _fill_field(message: Any, field: FieldDescriptor, rng: random.Random, depth: int) -> None:
    value = getattr(message, field.name)
    if field.message_type is not None and is_map(field):
        key_field, value_field = field.message_type.fields
        for _ in range(rng.randint(0, 3)):
            if value_field.message_type is not None:
                _fill(value[_scalar(key_field, rng)], rng, depth + 1)
            else:
                value[_scalar(key_field, rng)] = _scalar(value_field, rng)
    elif field.is_repeated:
        for _ in range(rng.randint(0, 2)):
            if field.message_type is not None:
                _fill(value.add(), rng, depth + 1)
            else:
                value.append(_scalar(field, rng))
    elif field.message_type is not None:
        value.SetInParent()
        _fill(value, rng, depth + 1)
    else:
        setattr(message, field.name, _scalar(field, rng))


def _fill_value(message: Any, rng: random.Random, depth: int) -> None:
    kind = rng.choice(["null", "number", "string", "bool"] + ["struct", "list"] * (depth < DEPTH_MAX))
    match kind:
        case "null":
            message.null_value = 0
        case "number":
            message.number_value = rng.choice([0.0, 1.0, -1.5, 1e21, 1e-7])
        case "string":
            message.string_value = rng.choice(STRINGS)
        case "bool":
            message.bool_value = rng.random() < 0.5
        case _:
            inner = getattr(message, f"{kind}_value")
            inner.SetInParent()
            _fill(inner, rng, depth + 1)


def _scalar(field: FieldDescriptor, rng: random.Random) -> Any:
    if field.enum_type is not None:
        return rng.choice([*field.enum_type.values_by_number, 77])
    if field.cpp_type in INTEGERS:
        return rng.choice(INTEGERS[field.cpp_type])
    if field.cpp_type in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return rng.choice(FLOATS)
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if field.type == FieldDescriptor.TYPE_BYTES:
        return rng.choice([b"", b"abc", b"\xff\x00", b"\xfb\xef\xbe"])
    return rng.choice(STRINGS)

"""Request bodies to messages: JSON as protobuf defines it, and binary.

JSON is read twice where necessary:

1. orjson parses the body, `_Arguments` turns the JSON values into Python values, and the message's constructor (in C)
   checks their types. All bodies of usual clients end here.
2. A body that this rejects is read again by app/wire/protojson.py, which accepts every form that protobuf allows
   (a number as 50e-1) and reports errors with upstream's text, line and column.

So step 1 refuses nothing by itself, and it accepts nothing that step 2 would refuse. It pays for itself: a body of
POST /tasks (1.4 kB) takes 62 µs of CPU in step 1 and 390 µs in step 2, one of POST /workflows (3.5 kB) 180 µs and
1,250 µs, which is a sixth of that route.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import orjson
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError, EncodeError, Message
from google.protobuf.struct_pb2 import ListValue, Struct
from google.protobuf.timestamp_pb2 import Timestamp

from app import errors
from app.wire import protojson
from app.wire.go.gojson import JsonError, first_value
from app.wire.go.goparse import FLOAT32_MAX, parse_base64, parse_json_duration, parse_rfc3339
from app.wire.render import WRAPPERS, is_map

M = TypeVar("M", bound=Message)
# Turns a JSON value into an argument of a message's constructor.
_Convert = Callable[[Any], Any]
# The proto name of a field, the conversion of its value, and the name of its oneof.
_Field = tuple[str, _Convert | None, str | None]

_BLANKS = b" \t\r\n"
_BLANK_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
# Escapes of the characters that end a key: quote, space, colon.
_ESCAPED_KEY_ENDS = (b"\\u0022", b"\\u0020", b"\\u003a", b"\\u003A")


class _NotSimple(Exception):
    """The value needs the exact reader."""


def from_binary(type_: type[M], body: bytes) -> M:
    """Parse a binary message. Raises INVALID_ARGUMENT for other bytes, and for messages nested too deeply."""
    try:
        return type_.FromString(body)
    except DecodeError as error:
        raise errors.InvalidArgument("proto: cannot parse invalid wire-format data") from error


def from_json(type_: type[M], body: bytes, *, strict: bool) -> M:
    """Return the message of the first JSON value in body; an empty message where there is none.

    With strict, unknown fields and enum names are errors; otherwise they are ignored.

    Raises:
        FlyteError: INVALID_ARGUMENT with upstream's text.
    """
    message = _read_simple(type_, body, strict)
    if message is not None:
        return message
    try:
        span = (len(body) - len(body.lstrip(_BLANKS)), len(body)) if _is_json(body) else first_value(body)
        if span is None:
            return type_()
        value = body[span[0] : span[1]]
        # Bytes behind the first value may be the only reason why the body is not simple.
        message = _read_simple(type_, value, strict) if len(value) < len(body) else None
        return _read_exactly(type_, value, strict) if message is None else message
    except JsonError as error:
        raise errors.InvalidArgument(str(error)) from error


def _is_json(body: bytes) -> bool:
    """Return whether the body is one JSON value: a hundred times faster than `first_value`."""
    try:
        _loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _loads(body: bytes) -> Any:
    """Return the value of a JSON text.

    The cycle collector is off meanwhile: a new value has no cycles, and a collection would double the time in which
    no other thread runs. orjson holds the interpreter lock, so no other thread runs with the collector off.

    Raises:
        orjson.JSONDecodeError: The text is not one JSON value.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if collecting:
            gc.enable()


def _read_exactly(type_: type[M], value: bytes, strict: bool) -> M:
    message = type_()
    protojson.decode(message, value, strict=strict)
    try:
        return _checked(type_, message)
    except (DecodeError, EncodeError) as error:
        raise JsonError("proto: exceeded max recursion depth") from error


def _read_simple(type_: type[M], body: bytes, strict: bool) -> M | None:
    """Return the message, or None where the exact reader must read the body."""
    try:
        value = _loads(body)
        if type(value) is not dict or _is_well_known(type_.DESCRIPTOR) or _may_repeat_keys(body, value):
            return None
        arguments = _ARGUMENTS[strict].message(type_.DESCRIPTOR, value)
        return _checked(type_, type_(**arguments))
    except (
        *(_NotSimple, ValueError, TypeError, OverflowError, RecursionError),
        *(DecodeError, EncodeError, orjson.JSONEncodeError),
    ):
        return None


def _checked(type_: type[M], message: M) -> M:
    """Return the message as it is read from its binary form, which fails for a message nested too deeply."""
    return type_.FromString(message.SerializeToString())


def _may_repeat_keys(body: bytes, value: Any) -> bool:
    """Return whether an object in body may have a key twice; orjson keeps only the last of them.

    Written as JSON again, the value has as many ends of keys as the body, unless a key was dropped.
    """
    if any(escape in body for escape in _ESCAPED_KEY_ENDS):
        return True
    count = _key_ends if any(pair in body for pair in _BLANK_COLONS) else _plain_key_ends
    return count(orjson.dumps(value)) != count(body)


def _plain_key_ends(text: bytes) -> int:
    return text.count(b'":')


def _key_ends(text: bytes) -> int:
    """Count the ends of keys, also those with blanks before the colon, one by one, so that other threads run."""
    return sum(1 for _ in _KEY_END.finditer(text))


class _Arguments:
    """Turns JSON objects into arguments of message constructors, by one table per message type.

    Args:
        strict: Refuse unknown fields instead of ignoring them.
    """

    def __init__(self, *, strict: bool) -> None:
        self._strict = strict
        self._tables: dict[str, dict[str, _Field]] = {}

    def message(self, descriptor: Any, value: Any) -> dict[str, Any]:
        """Return the constructor's arguments for one JSON object.

        Raises:
            _NotSimple: The value needs the exact reader.
        """
        table = self._tables.get(descriptor.full_name)
        if table is None:
            # Threads that meet here build equal tables.
            table = self._tables[descriptor.full_name] = self._table(descriptor)
        arguments: dict[str, Any] = {}
        oneofs: set[str] = set()
        for spelling, element in _object(value).items():
            field = table.get(spelling)
            if field is None:
                if self._strict:
                    raise _NotSimple
                continue
            name, convert, oneof = field
            if name in arguments:
                raise _NotSimple
            if element is None:
                arguments[name] = None
                continue
            if oneof is not None:
                if oneof in oneofs:
                    raise _NotSimple
                oneofs.add(oneof)
            arguments[name] = element if convert is None else convert(element)
        return arguments

    def _table(self, descriptor: Any) -> dict[str, _Field]:
        return {
            spelling: (
                field.name,
                self._field(field),
                None if field.containing_oneof is None else field.containing_oneof.name,
            )
            for spelling, field in protojson.fields_by_spelling(descriptor).items()
        }

    def _field(self, field: FieldDescriptor) -> _Convert | None:
        """Return the conversion of a field's JSON value; None where the constructor takes the value as it is."""
        if field.message_type is not None and is_map(field):
            key_field, value_field = field.message_type.fields
            if key_field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
                return _not_simple
            return _map_of(self._value(value_field))
        convert = self._value(field)
        return _list_of(convert) if field.is_repeated else convert

    def _value(self, field: FieldDescriptor) -> _Convert | None:
        """Return the conversion of one value of the field's type."""
        type_: Any = field.message_type
        if type_ is not None:
            if type_.full_name in WRAPPERS:
                return self._wrapper(type_)
            if _is_well_known(type_):
                convert: _Convert = _WELL_KNOWN.get(type_.full_name, _not_simple)
                return convert
            return partial(self.message, type_)
        if field.enum_type is not None:
            return _enum
        return _SCALARS.get(field.type, _integer)

    def _wrapper(self, descriptor: Any) -> _Convert:
        convert = self._value(descriptor.fields_by_name["value"])
        class_: Any = message_factory.GetMessageClass(descriptor)
        return lambda value: class_(value=value if convert is None else convert(value))


def _is_well_known(descriptor: Any) -> bool:
    """Return whether the JSON of a type may be something other than an object of its fields."""
    return bool(descriptor.file.package == "google.protobuf")


def _list_of(convert: _Convert | None) -> _Convert:
    if convert is None:
        return _array
    return lambda value: [convert(element) for element in _array(value)]


def _map_of(convert: _Convert | None) -> _Convert:
    if convert is None:
        return _object
    return lambda value: {key: convert(element) for key, element in _object(value).items()}


def _not_simple(value: Any) -> Any:
    raise _NotSimple


def _enum(value: Any) -> str | int:
    # The constructor refuses unknown names and numbers beyond 32 bits.
    return value if type(value) is str else _integer(value)


def _integer(value: Any) -> int:
    if type(value) is int:
        return value
    # Only the shortest spelling; protojson.py reads all others. The constructor refuses numbers that are too large.
    if type(value) is str and str(int(value)) == value:
        return int(value)
    raise _NotSimple


def _float(value: Any) -> float:
    # NaN and the infinities are text in JSON; doubles beyond 32-bit floats are rare.
    if type(value) in (int, float) and abs(value) < FLOAT32_MAX:
        return float(value)
    raise _NotSimple


def _timestamp(value: Any) -> Timestamp:
    seconds, nanos = parse_rfc3339(_text(value))
    if not protojson.TIMESTAMP_SECONDS_MIN <= seconds <= protojson.TIMESTAMP_SECONDS_MAX:
        raise _NotSimple
    return Timestamp(seconds=seconds, nanos=nanos)


def _duration(value: Any) -> Duration:
    seconds, nanos = parse_json_duration(_text(value))
    if abs(seconds) > protojson.DURATION_SECONDS_MAX:
        raise _NotSimple
    return Duration(seconds=seconds, nanos=nanos)


def _struct(value: Any) -> Struct:
    struct = Struct()
    struct.update(_object(value))
    return struct


def _list_value(value: Any) -> ListValue:
    elements = ListValue()
    elements.extend(_array(value))
    return elements


def _text(value: Any) -> str:
    if type(value) is str:
        return value
    raise _NotSimple


def _bool(value: Any) -> bool:
    if type(value) is bool:
        return value
    raise _NotSimple


def _array(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    raise _NotSimple


def _object(value: Any) -> dict[str, Any]:
    if type(value) is dict:
        return value
    raise _NotSimple


# The well-known types that JSON bodies of this API hold; others are left to the exact reader.
_WELL_KNOWN: dict[str, _Convert] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list_value,
}
# All other scalars are whole numbers. None: the constructor refuses values other than text by itself.
_SCALARS: dict[int, _Convert | None] = {
    FieldDescriptor.TYPE_STRING: None,
    FieldDescriptor.TYPE_BYTES: lambda value: parse_base64(_text(value)),
    FieldDescriptor.TYPE_BOOL: _bool,
    FieldDescriptor.TYPE_DOUBLE: _float,
    FieldDescriptor.TYPE_FLOAT: _float,
}
_ARGUMENTS = {strict: _Arguments(strict=strict) for strict in (False, True)}

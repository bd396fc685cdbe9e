"""Bodies into messages: JSON as protobuf defines it, and binary.

JSON is read by orjson and written out again in protobuf's binary form by writers compiled once per message type; the
protobuf library then reads that, so both encodings enter through one door. Whatever does not fit at once (an unknown
field, a number written as 50e-1) is read again by app/wire/protojson.py, which knows all that is allowed and says
exactly what is wrong. So this module refuses nothing by itself, and takes nothing that protojson would refuse.
"""

from __future__ import annotations

import gc
import math
import re
import struct
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeVar

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, EncodeError, Message

from app import errors
from app.wire import protojson
from app.wire.go.gojson import JsonError, first_value
from app.wire.go.goparse import FLOAT32_MAX, parse_base64, parse_json_duration, parse_rfc3339
from app.wire.render import WRAPPERS, is_map

M = TypeVar("M", bound=Message)
# Turns a JSON value into a scalar's or a message's bytes, without tag and length.
Write = Callable[[Any], bytes]
# Adds a field's tag, length and bytes for one JSON value to a list.
Put = Callable[[Any, list[bytes]], None]
# How a field is put; its bits in the set of what must not come twice; those of them that count when it is null.
Row = tuple[Put, int, int]

_LENGTHS = tuple(bytes([number]) for number in range(128))
_double, _float = struct.Struct("<d").pack, struct.Struct("<f").pack
_BLANKS = b" \t\r\n"
_BLANK_COLONS = (b" :", b"\n:", b"\t:", b"\r:")
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
# Escapes that print as a part of the end of a key: quote, blank, colon.
_ESCAPED_KEY_ENDS = (b"\\u0022", b"\\u0020", b"\\u003a", b"\\u003A")
# Where doubles stop telling whole numbers apart.
_EXACT_FLOAT_MAX = 2.0**53
# Wire types of protobuf's encoding.
_WIRE_VARINT, _WIRE_64_BITS, _WIRE_SIZED, _WIRE_32_BITS = 0, 1, 2, 5


class _Unfit(Exception):
    """The value needs the exact reader."""


def from_binary(type_: type[M], body: bytes) -> M:
    """errors: INVALID_ARGUMENT for bytes that are no such message, among them messages nested too deeply"""
    try:
        return type_.FromString(body)
    except DecodeError as error:
        raise errors.InvalidArgument("proto: cannot parse invalid wire-format data") from error


def from_json(type_: type[M], body: bytes, *, strict: bool) -> M:
    """The message of the first JSON value in body; an empty message where there is none.

    strict: refuse unknown fields and enum names. errors: INVALID_ARGUMENT in upstream's words
    """
    message = _quickly(type_, body, strict)
    if message is not None:
        return message
    try:
        place = (len(body) - len(body.lstrip(_BLANKS)), len(body)) if _is_json(body) else first_value(body)
        if place is None:
            return type_()
        value = body[place[0] : place[1]]
        # The syntax is fine, so what follows the value may be all that was in the way.
        message = _quickly(type_, value, strict) if len(value) < len(body) else None
        return _exactly(type_, value, strict) if message is None else message
    except JsonError as error:
        raise errors.InvalidArgument(str(error)) from error


def _is_json(body: bytes) -> bool:
    """Whether the body is one JSON value, which is found a hundred times faster than where a value ends."""
    try:
        _loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _loads(body: bytes) -> Any:
    """Return the value of a JSON text.

    The cycle collector is off meanwhile: a new value has no cycles, and looking for them doubles the time in which no
    other thread runs. orjson keeps the interpreter lock, so that other threads do not see the collector switched off.

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


def _exactly(type_: type[M], value: bytes, strict: bool) -> M:
    message = type_()
    protojson.decode(message, value, strict=strict)
    try:
        # What is nested too deeply to be read back must not get in.
        return type_.FromString(message.SerializeToString())
    except (DecodeError, EncodeError) as error:
        raise JsonError("proto: exceeded max recursion depth") from error


def _quickly(type_: type[M], body: bytes, strict: bool) -> M | None:
    """The message, or None where the exact reader must look."""
    try:
        value = _loads(body)
        if type(value) is not dict or _may_repeat_keys(body, value):
            return None
        return type_.FromString(_WRITERS[strict].writer(type_.DESCRIPTOR)(value))
    except (_Unfit, ValueError, DecodeError, RecursionError, orjson.JSONEncodeError):
        return None


def _may_repeat_keys(body: bytes, value: Any) -> bool:
    """Whether an object in body could have a key twice, of which orjson keeps the last.

    Printed again, the value has as many ends of keys as the body, unless one was lost.
    """
    if any(escape in body for escape in _ESCAPED_KEY_ENDS):
        return True
    count = _key_ends if any(pair in body for pair in _BLANK_COLONS) else _plain_key_ends
    return count(orjson.dumps(value)) != count(body)


def _plain_key_ends(text: bytes) -> int:
    return text.count(b'":')


def _key_ends(text: bytes) -> int:
    """Count the ends of keys, also those with blanks before the colon; one at a time, so that other threads run."""
    return sum(1 for _ in _KEY_END.finditer(text))


class _Writers:
    """The compiled writers for bodies in which unknown fields are refused, or for those where they are passed over."""

    def __init__(self, *, strict: bool) -> None:
        self.strict = strict
        self.messages: dict[str, Write] = dict(_SPECIAL)
        # Only what is compiled to the end, because large bodies are read in threads.
        self.finished: dict[str, Write] = {}
        self.compiling = Lock()

    def writer(self, descriptor: Any) -> Write:
        """The writer of this type's body, compiled at its first use."""
        write = self.finished.get(descriptor.full_name)
        if write is None:
            with self.compiling:
                write = self.message(descriptor)
            self.finished[descriptor.full_name] = write
        return write

    def message(self, descriptor: Any) -> Write:
        name = descriptor.full_name
        if name not in self.messages:
            if name in WRAPPERS:
                self.messages[name] = _wrapper_writer(self.put(descriptor.fields_by_name["value"]))
            else:
                # Types contain themselves, so the writer is there before its table is filled.
                table: dict[str, Row] = {}
                self.messages[name] = _message_writer(table, strict=self.strict)
                self.fill(table, descriptor)
        return self.messages[name]

    def fill(self, table: dict[str, Row], descriptor: Any) -> None:
        oneof_bits = {oneof.name: 1 << index for index, oneof in enumerate(descriptor.oneofs)}
        for name, field in protojson.fields_by_spelling(descriptor).items():
            spelling = 0 if field.name == field.json_name else 1 << (len(oneof_bits) + field.index)
            oneof = 0 if field.containing_oneof is None else oneof_bits[field.containing_oneof.name]
            table[name] = (self.put(field), spelling | oneof, spelling)

    def put(self, field: FieldDescriptor) -> Put:
        if field.message_type is not None and is_map(field):
            key_field, value_field = field.message_type.fields
            if key_field.cpp_type != FieldDescriptor.CPPTYPE_STRING:
                return _put_unfit
            return _put_map(_tag(field, _WIRE_SIZED), self.put(value_field))
        put = self.put_one(field)
        return _put_each(put) if field.is_repeated else put

    def put_one(self, field: FieldDescriptor) -> Put:
        """How one value of the field's type is put, whatever its cardinality."""
        if field.message_type is not None:
            return _put_sized(_tag(field, _WIRE_SIZED), self.message(field.message_type))
        if field.enum_type is not None:
            encoded = {name: _varint(value.number) for name, value in field.enum_type.values_by_name.items()}
            return _put_plain(_tag(field, _WIRE_VARINT), _enum_writer(encoded))
        match field.type:
            case FieldDescriptor.TYPE_STRING:
                return _put_string(_tag(field, _WIRE_SIZED))
            case FieldDescriptor.TYPE_BYTES:
                return _put_sized(_tag(field, _WIRE_SIZED), _write_bytes)
            case FieldDescriptor.TYPE_BOOL:
                return _put_plain(_tag(field, _WIRE_VARINT), _write_bool)
            case FieldDescriptor.TYPE_DOUBLE:
                return _put_plain(_tag(field, _WIRE_64_BITS), _write_double)
            case FieldDescriptor.TYPE_FLOAT:
                return _put_plain(_tag(field, _WIRE_32_BITS), _write_float)
            case FieldDescriptor.TYPE_INT32 | FieldDescriptor.TYPE_INT64 | FieldDescriptor.TYPE_UINT32:
                limits = protojson.INTEGER_LIMITS[field.cpp_type]
                return _put_plain(_tag(field, _WIRE_VARINT), _integer_writer(*limits))
            case FieldDescriptor.TYPE_UINT64:
                limits = protojson.INTEGER_LIMITS[field.cpp_type]
                return _put_plain(_tag(field, _WIRE_VARINT), _integer_writer(*limits))
        # No message of the API has fields of fixed size or zigzag encoding.
        return _put_unfit


def _message_writer(table: dict[str, Row], *, strict: bool) -> Write:
    """table: how the fields are put, by either spelling"""
    row_of = table.get

    def write(value: Any) -> bytes:
        if type(value) is not dict:
            raise _Unfit
        out: list[bytes] = []
        seen = 0
        for name, element in value.items():
            row = row_of(name)
            if row is None:
                if strict:
                    raise _Unfit
                continue
            put, bits, null_bits = row
            if element is None:
                bits = null_bits
            if bits:
                if seen & bits:
                    raise _Unfit
                seen |= bits
            if element is not None:
                put(element, out)
        return b"".join(out)

    return write


def _wrapper_writer(put: Put) -> Write:
    def write(value: Any) -> bytes:
        out: list[bytes] = []
        put(value, out)
        return b"".join(out)

    return write


def _put_string(tag: bytes) -> Put:
    def put(value: Any, out: list[bytes]) -> None:
        if type(value) is not str:
            raise _Unfit
        raw = value.encode()
        size = len(raw)
        out += (tag, _LENGTHS[size] if size < 128 else _varint(size), raw)

    return put


def _put_sized(tag: bytes, write: Write) -> Put:
    def put(value: Any, out: list[bytes]) -> None:
        raw = write(value)
        size = len(raw)
        out += (tag, _LENGTHS[size] if size < 128 else _varint(size), raw)

    return put


def _put_plain(tag: bytes, write: Write) -> Put:
    def put(value: Any, out: list[bytes]) -> None:
        out += (tag, write(value))

    return put


def _put_each(put: Put) -> Put:
    def put_each(value: Any, out: list[bytes]) -> None:
        if type(value) is not list:
            raise _Unfit
        for element in value:
            put(element, out)

    return put_each


def _put_map(tag: bytes, put_value: Put) -> Put:
    put_key = _put_string(b"\x0a")

    def put(value: Any, out: list[bytes]) -> None:
        if type(value) is not dict:
            raise _Unfit
        for key, element in value.items():
            entry: list[bytes] = []
            put_key(key, entry)
            put_value(element, entry)
            raw = b"".join(entry)
            size = len(raw)
            out += (tag, _LENGTHS[size] if size < 128 else _varint(size), raw)

    return put


def _put_unfit(value: Any, out: list[bytes]) -> None:
    raise _Unfit


def _tag(field: FieldDescriptor, wire_type: int) -> bytes:
    return _varint(field.number << 3 | wire_type)


def _varint(number: int) -> bytes:
    number &= 0xFFFF_FFFF_FFFF_FFFF
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _enum_writer(encoded: dict[str, bytes]) -> Write:
    number = _integer_writer(*protojson.INTEGER_LIMITS[FieldDescriptor.CPPTYPE_INT32])

    def write(value: Any) -> bytes:
        if type(value) is not str:
            return number(value)
        known = encoded.get(value)
        if known is None:
            raise _Unfit
        return known

    return write


def _integer_writer(smallest: int, largest: int) -> Write:
    def write(value: Any) -> bytes:
        kind = type(value)
        if kind is str:
            # A number as text in its plainest form; all other forms are for the exact reader.
            if len(value) > 20 or str(int(value)) != value:
                raise _Unfit
            value = int(value)
        elif kind is float:
            if not value.is_integer() or abs(value) >= _EXACT_FLOAT_MAX:
                raise _Unfit
            value = int(value)
        elif kind is not int:
            raise _Unfit
        if not smallest <= value <= largest:
            raise _Unfit
        return _varint(value)

    return write


def _write_bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise _Unfit
    return parse_base64(value)


def _write_bool(value: Any) -> bytes:
    if type(value) is not bool:
        raise _Unfit
    return b"\x01" if value else b"\x00"


def _write_double(value: Any) -> bytes:
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _Unfit
    return _double(value)


def _write_float(value: Any) -> bytes:
    if type(value) not in (int, float) or not abs(value) < FLOAT32_MAX:
        raise _Unfit
    return _float(value)


def _write_timestamp(value: Any) -> bytes:
    if type(value) is not str:
        raise _Unfit
    seconds, nanos = parse_rfc3339(value)
    if not protojson.TIMESTAMP_SECONDS_MIN <= seconds <= protojson.TIMESTAMP_SECONDS_MAX:
        raise _Unfit
    return b"\x08" + _varint(seconds) + b"\x10" + _varint(nanos)


def _write_duration(value: Any) -> bytes:
    if type(value) is not str:
        raise _Unfit
    seconds, nanos = parse_json_duration(value)
    if abs(seconds) > protojson.DURATION_SECONDS_MAX:
        raise _Unfit
    return b"\x08" + _varint(seconds) + b"\x10" + _varint(nanos)


def _write_value(value: Any) -> bytes:
    """google.protobuf.Value, whose fields are null_value 1, number_value 2 … list_value 6."""
    kind = type(value)
    if kind is str:
        return _sized(b"\x1a", value.encode())
    if kind is dict:
        return _sized(b"\x2a", _write_struct(value))
    if kind is list:
        return _sized(b"\x32", _write_list(value))
    if kind is bool:
        return b"\x20\x01" if value else b"\x20\x00"
    return b"\x08\x00" if value is None else b"\x11" + _write_double(value)


def _write_struct(value: Any) -> bytes:
    if type(value) is not dict:
        raise _Unfit
    entries = (_sized(b"\x0a", key.encode()) + _sized(b"\x12", _write_value(element)) for key, element in value.items())
    return b"".join(_sized(b"\x0a", entry) for entry in entries)


def _write_list(value: Any) -> bytes:
    if type(value) is not list:
        raise _Unfit
    return b"".join(_sized(b"\x0a", _write_value(element)) for element in value)


def _sized(tag: bytes, raw: bytes) -> bytes:
    size = len(raw)
    return tag + (_LENGTHS[size] if size < 128 else _varint(size)) + raw


def _write_unfit(value: Any) -> bytes:
    raise _Unfit


_SPECIAL: dict[str, Write] = {
    "google.protobuf.Timestamp": _write_timestamp,
    "google.protobuf.Duration": _write_duration,
    "google.protobuf.Struct": _write_struct,
    # Null is a value of this type, not the absence of one, and no message of the API has it outside of a Struct.
    "google.protobuf.Value": _write_unfit,
    "google.protobuf.ListValue": _write_list,
    "google.protobuf.Any": _write_unfit,
    "google.protobuf.FieldMask": _write_unfit,
    "google.protobuf.Empty": _write_unfit,
}
_WRITERS = {strict: _Writers(strict=strict) for strict in (False, True)}

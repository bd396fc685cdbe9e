"""The exact reader of protobuf's JSON: accepts every form that protojson accepts, and has protojson's error texts.

app/wire/decode.py uses it for the bodies that its faster reader rejects. google.protobuf.json_format cannot replace it:
its errors have neither line, column nor value, and it accepts more than protojson (a number with spaces around it).
Fields are read in the order of the text, so that the first error in the text is reported, as upstream does.
It takes about 0.35 µs of CPU per byte.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from app.wire.go.gojson import JsonError, JsonToken, JsonTokens
from app.wire.go.goparse import (
    FLOAT32_MAX,
    go_quote,
    parse_base64,
    parse_int,
    parse_json_duration,
    parse_rfc3339,
    parse_uint,
)
from app.wire.render import WRAPPERS, is_map

# Messages inside messages. protobuf's binary form, in which every message is stored, allows no more.
MESSAGE_DEPTH_MAX = 100
# An Any is scanned to its end for its type, once more for each Any around it. No request needs more than one.
ANYS_MAX = 3
TIMESTAMP_SECONDS_MIN, TIMESTAMP_SECONDS_MAX = -62_135_596_800, 253_402_300_799
DURATION_SECONDS_MAX = 315_576_000_000

INTEGER_LIMITS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
KIND_NAMES = {
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_FIXED64: "fixed64",
    FieldDescriptor.TYPE_FIXED32: "fixed32",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_ENUM: "enum",
    FieldDescriptor.TYPE_SFIXED32: "sfixed32",
    FieldDescriptor.TYPE_SFIXED64: "sfixed64",
    FieldDescriptor.TYPE_SINT32: "sint32",
    FieldDescriptor.TYPE_SINT64: "sint64",
}
# protojson parses the first number in a string and ignores the rest, unless the rest would continue the number.
_NUMBER_IN_STRING = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![-+._a-zA-Z0-9])")
_NAMED_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_IGNORED = object()


def decode(message: Any, value: bytes, *, strict: bool) -> None:
    """Read one JSON value, which `gojson.first_value` has accepted, into the empty message. Raises JsonError.

    With strict, unknown fields and enum names are errors; otherwise they are ignored.
    """
    _Decoder(JsonTokens(value), strict=strict).message(message, 0)


class _Decoder:
    def __init__(self, tokens: JsonTokens, *, strict: bool) -> None:
        self.tokens = tokens
        self.strict = strict
        self.anys = 0
        self.special: dict[str, Callable[[Any, int], None]] = {
            "google.protobuf.Any": self.any,
            "google.protobuf.Timestamp": self.timestamp,
            "google.protobuf.Duration": self.duration,
            "google.protobuf.Struct": self.struct,
            "google.protobuf.ListValue": self.list_value,
            "google.protobuf.Value": self.value,
            "google.protobuf.FieldMask": self.field_mask,
            "google.protobuf.Empty": self.empty,
        } | dict.fromkeys(WRAPPERS, self.wrapper)

    def message(self, message: Any, depth: int, *, inside_any: bool = False) -> None:
        """Read the next value into message. Inside an Any, the key "@type" is ignored."""
        if depth >= MESSAGE_DEPTH_MAX:
            raise JsonError("proto: exceeded max recursion depth")
        special = self.special.get(message.DESCRIPTOR.full_name)
        if special is not None:
            special(message, depth)
            return
        self.opened("{")
        fields = fields_by_spelling(message.DESCRIPTOR)
        seen: set[int] = set()
        oneofs: set[str] = set()
        while (name := self.tokens.next()).kind != "}":
            if inside_any and name.text == "@type":
                self.tokens.next()
                continue
            field = fields.get(name.text)
            if field is None:
                self.unknown(name)
                continue
            if field.number in seen:
                raise self.tokens.error(name.start, f"duplicate field {name.raw}")
            seen.add(field.number)
            if self.tokens.peek().kind == "n" and not takes_null(field):
                self.tokens.next()
                continue
            oneof = field.containing_oneof
            if oneof is not None:
                if oneof.name in oneofs:
                    problem = f"error parsing {name.raw}, oneof {oneof.full_name} is already set"
                    raise self.tokens.error(name.start, problem)
                oneofs.add(oneof.name)
            self.field(message, field, depth)

    def field(self, message: Any, field: FieldDescriptor, depth: int) -> None:
        if is_map(field):
            self.map(getattr(message, field.name), field, depth)
        elif field.is_repeated:
            self.list(getattr(message, field.name), field, depth)
        elif field.message_type is not None:
            inner = getattr(message, field.name)
            inner.SetInParent()
            self.message(inner, depth + 1)
        elif (value := self.scalar(field)) is not _IGNORED:
            setattr(message, field.name, value)

    def list(self, elements: Any, field: FieldDescriptor, depth: int) -> None:
        self.opened("[")
        while self.tokens.peek().kind != "]":
            if field.message_type is not None:
                self.message(elements.add(), depth + 1)
            elif (value := self.scalar(field)) is not _IGNORED:
                elements.append(value)
        self.tokens.next()

    def map(self, entries: Any, field: FieldDescriptor, depth: int) -> None:
        assert field.message_type is not None
        key_field, value_field = field.message_type.fields
        self.opened("{")
        while (name := self.tokens.next()).kind != "}":
            key = self.map_key(name, key_field)
            if key in entries:
                raise self.tokens.error(name.start, f"duplicate map key {name.raw}")
            if value_field.message_type is not None:
                # The entry is a message of its own in the binary form.
                self.message(entries[key], depth + 2)
            elif (value := self.scalar(value_field)) is not _IGNORED:
                entries[key] = value

    def map_key(self, name: JsonToken, field: FieldDescriptor) -> Any:
        try:
            match field.cpp_type:
                case FieldDescriptor.CPPTYPE_STRING:
                    return name.text
                case FieldDescriptor.CPPTYPE_BOOL:
                    return {"true": True, "false": False}[name.text]
                case FieldDescriptor.CPPTYPE_INT32 | FieldDescriptor.CPPTYPE_INT64 as kind:
                    return parse_int(name.text, 32 if kind == FieldDescriptor.CPPTYPE_INT32 else 64)
                case kind:
                    return parse_uint(name.text, 32 if kind == FieldDescriptor.CPPTYPE_UINT32 else 64)
        except (KeyError, ValueError) as error:
            problem = f"invalid value for {KIND_NAMES[field.type]} key: {name.raw}"
            raise self.tokens.error(name.start, problem) from error

    def scalar(self, field: FieldDescriptor) -> Any:
        """Return the next token as a value of the field's type; _IGNORED for an unknown enum name."""
        token = self.tokens.next()
        try:
            return self.scalar_value(token, field)
        except (ValueError, InvalidOperation) as error:
            problem = f"invalid value for {KIND_NAMES[field.type]} field {field.json_name}: {token.raw}"
            raise self.tokens.error(token.start, problem) from error

    def scalar_value(self, token: JsonToken, field: FieldDescriptor) -> Any:
        if field.enum_type is not None:
            return self.enum(token, field)
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_BOOL if token.kind in "tf":
                return token.kind == "t"
            case FieldDescriptor.CPPTYPE_STRING if token.kind == '"':
                return parse_base64(token.text) if field.type == FieldDescriptor.TYPE_BYTES else token.text
            case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
                return _float(token, 32 if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else 64)
            case kind if kind in INTEGER_LIMITS:
                return _integer(_number_text(token), *INTEGER_LIMITS[kind])
        raise ValueError("a value of another type")

    def enum(self, token: JsonToken, field: FieldDescriptor) -> Any:
        enum = field.enum_type
        assert enum is not None
        if token.kind == '"':
            value = enum.values_by_name.get(token.text)
            if value is not None:
                return value.number
            if not self.strict:
                return _IGNORED
        if token.kind == "0":
            return _integer(token.raw, *INTEGER_LIMITS[FieldDescriptor.CPPTYPE_INT32])
        if token.kind == "n" and enum.full_name == "google.protobuf.NullValue":
            return 0
        raise ValueError("no such name")

    def opened(self, kind: str) -> None:
        token = self.tokens.next()
        if token.kind != kind:
            raise self.tokens.unexpected(token)

    def unknown(self, name: JsonToken) -> None:
        if self.strict:
            raise self.tokens.error(name.start, f"unknown field {name.raw}")
        self.tokens.skip()

    def string(self) -> JsonToken:
        token = self.tokens.next()
        if token.kind != '"':
            raise self.tokens.unexpected(token)
        return token

    def wrapper(self, message: Any, depth: int) -> None:
        value = self.scalar(message.DESCRIPTOR.fields_by_name["value"])
        message.value = value

    def empty(self, message: Any, depth: int) -> None:
        self.opened("{")
        while (name := self.tokens.next()).kind != "}":
            self.unknown(name)

    def timestamp(self, message: Any, depth: int) -> None:
        token = self.string()
        name = message.DESCRIPTOR.full_name
        try:
            seconds, nanos = parse_rfc3339(token.text)
        except ValueError as error:
            raise self.tokens.error(token.start, f"invalid {name} value {token.raw}") from error
        if not TIMESTAMP_SECONDS_MIN <= seconds <= TIMESTAMP_SECONDS_MAX:
            raise self.tokens.error(token.start, f"{name} value out of range: {token.raw}")
        message.seconds, message.nanos = seconds, nanos

    def duration(self, message: Any, depth: int) -> None:
        token = self.string()
        name = message.DESCRIPTOR.full_name
        try:
            seconds, nanos = parse_json_duration(token.text)
        except ValueError as error:
            raise self.tokens.error(token.start, f"invalid {name} value {token.raw}") from error
        if abs(seconds) > DURATION_SECONDS_MAX:
            raise self.tokens.error(token.start, f"{name} value out of range: {token.raw}")
        message.seconds, message.nanos = seconds, nanos

    def struct(self, message: Any, depth: int) -> None:
        self.map(message.fields, message.DESCRIPTOR.fields_by_name["fields"], depth)

    def list_value(self, message: Any, depth: int) -> None:
        self.list(message.values, message.DESCRIPTOR.fields_by_name["values"], depth)

    def value(self, message: Any, depth: int) -> None:
        token = self.tokens.peek()
        match token.kind:
            case "{":
                message.struct_value.SetInParent()
                self.struct(message.struct_value, depth + 1)
                return
            case "[":
                message.list_value.SetInParent()
                self.list_value(message.list_value, depth + 1)
                return
        self.tokens.next()
        match token.kind:
            case "n":
                message.null_value = 0
            case "t" | "f":
                message.bool_value = token.kind == "t"
            case '"':
                message.string_value = token.text
            case _:
                number = float(token.raw)
                if math.isinf(number):
                    raise self.tokens.error(token.start, f"invalid google.protobuf.Value: {token.raw}")
                message.number_value = number

    def field_mask(self, message: Any, depth: int) -> None:
        token = self.string()
        for path in token.text.strip().split(",") if token.text.strip() else ():
            snake = re.sub("[A-Z]", lambda match: "_" + match.group().lower(), path)
            if "_" in path or not re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*", snake, re.ASCII):
                problem = f"google.protobuf.FieldMask.paths contains invalid path: {go_quote(path)}"
                raise self.tokens.error(token.start, problem)
            message.paths.append(snake)

    def any(self, message: Any, depth: int) -> None:
        """Read an Any. Its "@type" may follow the fields, so the type is searched first."""
        start = self.tokens.peek()
        if start.kind != "{":
            raise self.tokens.unexpected(start)
        type_token = self.type_of_any(start)
        if type_token is None:
            self.tokens.skip()
            return
        try:
            descriptor = descriptor_pool.Default().FindMessageTypeByName(type_token.text.rpartition("/")[2])
        except KeyError as error:
            problem = f'unable to resolve {type_token.raw}: "not found"'
            raise self.tokens.error(type_token.start, problem) from error
        inner: Message = message_factory.GetMessageClass(descriptor)()
        if descriptor.full_name in self.special:
            self.value_of_any(inner, depth)
        else:
            self.message(inner, depth + 1, inside_any=True)
        message.type_url, message.value = type_token.text, inner.SerializeToString(deterministic=True)

    def type_of_any(self, start: JsonToken) -> JsonToken | None:
        """Return the token of the type's name, found by a scan of the whole object; None for an empty Any."""
        if self.anys >= ANYS_MAX:
            raise JsonError("proto: exceeded max recursion depth")
        self.anys += 1
        ahead = JsonTokens(self.tokens.value, start.start)
        ahead.next()
        found: JsonToken | None = None
        empty = True
        while (name := ahead.next()).kind != "}":
            empty = False
            if name.text != "@type":
                ahead.skip()
                continue
            token = ahead.next()
            if found is not None:
                raise self.tokens.error(name.start, 'duplicate "@type" field')
            if token.kind != '"':
                raise self.tokens.error(token.start, f"@type field value is not a string: {token.raw}")
            if not token.text:
                raise self.tokens.error(token.start, "@type field contains empty value")
            found = token
        if found is None and not empty and self.strict:
            raise self.tokens.error(start.start, 'missing "@type" field')
        return found

    def value_of_any(self, inner: Any, depth: int) -> None:
        """Read the key "value" of an Any with a well-known type."""
        self.opened("{")
        found = False
        while (name := self.tokens.next()).kind != "}":
            if name.text == "@type":
                self.tokens.next()
            elif name.text != "value":
                self.unknown(name)
            elif found:
                raise self.tokens.error(name.start, 'duplicate "value" field')
            else:
                self.message(inner, depth + 1)
                found = True
        if not found and inner.DESCRIPTOR.full_name != "google.protobuf.Empty":
            raise self.tokens.error(name.start, 'missing "value" field')


@cache
def fields_by_spelling(descriptor: Any) -> dict[str, FieldDescriptor]:
    """Return the fields by both of their spellings; the JSON spelling wins where two fields have the same."""
    by_json_name = {field.json_name: field for field in descriptor.fields}
    return {**descriptor.fields_by_name, **by_json_name}


def takes_null(field: FieldDescriptor) -> bool:
    """Return whether null is a value of the field; for other fields it means absence."""
    if field.enum_type is not None:
        return bool(field.enum_type.full_name == "google.protobuf.NullValue")
    return field.message_type is not None and bool(field.message_type.full_name == "google.protobuf.Value")


def _number_text(token: JsonToken) -> str:
    if token.kind == "0":
        return token.raw
    match = _NUMBER_IN_STRING.match(token.text) if token.kind == '"' and token.text == token.text.strip() else None
    if match is None:
        raise ValueError("not a number")
    return match.group()


def _integer(text: str, smallest: int, largest: int) -> int:
    """Return a whole number from any of its forms: 5, 5.0, 50e-1."""
    number = Decimal(text)
    # The size is checked first, because int() of 1e999999 would take long.
    if number and (number.adjusted() > 20 or number != number.to_integral_value()):
        raise ValueError("not a whole number, or too large")
    if not smallest <= number <= largest:
        raise ValueError("out of range")
    return int(number)


def _float(token: JsonToken, bits: int) -> float:
    if token.kind == '"' and token.text in _NAMED_FLOATS:
        return _NAMED_FLOATS[token.text]
    number = float(_number_text(token))
    if abs(number) >= (FLOAT32_MAX if bits == 32 else math.inf):
        raise ValueError("out of range")
    return number

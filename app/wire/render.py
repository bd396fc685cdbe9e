"""Protobuf messages as JSON, in the two spellings of upstream's gateway, and errors as bodies.

Both spellings print every field: defaults, null for an unset message, nothing for an unset member of a oneof. An
encoder is compiled once per message type into a Python function that is a single dict display;
google.protobuf.json_format, which walks the descriptor for every message, takes four to five times as long.
"""

from __future__ import annotations

import keyword
import math
from binascii import b2a_base64
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from enum import Enum
from functools import lru_cache
from threading import Lock
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message
from google.rpc import status_pb2

from app.cache import ByteCache, size_of_row
from app.errors import FlyteError
from app.wire.page import Page
from app.wire.text import shortest_float32, unpacked

Encoder = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1)
_SECONDS_MIN, _SECONDS_MAX = -62_135_596_800, 253_402_300_799  # 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z
_EXACT_INTEGER_MAX = 2**53
# Ours: asks for lowerCamelCase by name. Without it a request with a JSON body is answered in snake_case.
CAMEL_TYPE = "application/json; names=camel"


class Encoding(Enum):
    """How a body is written. Both JSON forms have the same content type; only the spelling of names differs."""

    PROTO_NAMES = "application/json"
    CAMEL_NAMES = "*"
    BINARY = "application/octet-stream"

    @property
    def content_type(self) -> str:
        return "application/octet-stream" if self is Encoding.BINARY else "application/json"


def to_bytes(reply: Message | Page[Message], encoding: Encoding, kept: ByteCache) -> bytes:
    """The body of a successful answer; what stands in kept is not printed again. errors: DecodeError of a row"""
    if encoding is Encoding.BINARY:
        return (reply.message() if isinstance(reply, Page) else reply).SerializeToString()
    compiler = _CAMEL if encoding is Encoding.CAMEL_NAMES else _PROTO
    if isinstance(reply, Page):
        return _page(reply, compiler, kept)
    descriptor: Any = reply.DESCRIPTOR
    listed = _listed(descriptor)
    if listed is None:
        return _printed(reply, compiler.function(descriptor), kept)
    # The pages of a list differ more than what is listed.
    encode = compiler.function(listed.message_type)
    if _is_flat(listed.message_type):
        # Printed sooner than found.
        return orjson.dumps(compiler.function(descriptor)(reply))
    rows = [_printed(row, encode, kept) for row in getattr(reply, listed.name)]
    return _joined(compiler.key(listed), rows, reply)


def _page(listed: Page[Message], compiler: _Compiler, kept: ByteCache) -> bytes:
    """A page of rows as JSON: what is kept of a row spares its message too."""
    descriptor: Any = listed.page.DESCRIPTOR
    field, shown = descriptor.fields[0], listed.shown
    encode = compiler.function(field.message_type)
    rows = []
    for row in listed.rows:
        # Rows of other columns may hold the same values.
        key = (encode, shown, row._fields, row)
        printed = kept.get(key)
        if printed is None:
            printed = orjson.dumps(encode(shown(row)))
            kept.put(key, printed)
        rows.append(printed)
    return _joined(compiler.key(field), rows, listed.page)


def _joined(name: str, rows: list[bytes], page: Any) -> bytes:
    return b'{"%b":[%b],"token":%b}' % (name.encode(), b",".join(rows), orjson.dumps(page.token))


def _printed(message: Message, encode: Encoder, kept: ByteCache) -> bytes:
    """The JSON that an encoder makes, which belongs to one type and spelling: the same for the same bytes."""
    key = (encode, message.SerializeToString())
    printed = kept.get(key)
    if printed is None:
        printed = orjson.dumps(encode(message))
        kept.put(key, printed)
    return printed


def size(reply: Message | Page[Message]) -> int:
    """About how many bytes the answer has; of a page from its first row, since measuring is as dear as writing."""
    if isinstance(reply, Page):
        return len(reply.rows) * size_of_row(reply.rows[0]) if reply.rows else 0
    message, listed = reply, _listed(reply.DESCRIPTOR)
    if listed is None:
        return message.ByteSize()
    rows = getattr(message, listed.name)
    return len(rows) * rows[0].ByteSize() if rows else 0


@lru_cache(maxsize=256)
def _listed(descriptor: Any) -> FieldDescriptor | None:
    """What the pages of a list hold, for a message that is such a page: rows and a token, nothing else."""
    fields = list(descriptor.fields)
    if len(fields) != 2 or fields[1].name != "token" or fields[0].message_type is None:
        return None
    return fields[0] if fields[0].is_repeated and not is_map(fields[0]) else None


@lru_cache(maxsize=256)
def _is_flat(descriptor: Any) -> bool:
    return all(field.message_type is None for field in descriptor.fields)


def to_json(message: Message, *, camel: bool) -> bytes:
    """The message as JSON; camel chooses lowerCamelCase names over those of the proto file."""
    return orjson.dumps(to_value(message, camel=camel))


def to_value(message: Message, *, camel: bool) -> Any:
    """The same as Python objects, for callers that put it into a larger document."""
    return (_CAMEL if camel else _PROTO).function(message.DESCRIPTOR)(message)


def status_bytes(error: FlyteError, encoding: Encoding) -> bytes:
    """The body of a failed answer: google.rpc.Status, or its JSON with the details' fields beside their "@type"."""
    if encoding is not Encoding.BINARY:
        details = details_value(error, camel=encoding is Encoding.CAMEL_NAMES)
        return orjson.dumps({"code": error.code, "message": error.message, "details": details})
    body: bytes = to_status(error).SerializeToString()
    return body


def details_value(error: FlyteError, *, camel: bool) -> list[dict[str, Any]]:
    """The details of an error as Python objects: their fields beside their "@type"."""
    return [
        {"@type": f"type.googleapis.com/{detail.DESCRIPTOR.full_name}", **to_value(detail, camel=camel)}
        for detail in error.details
    ]


def to_status(error: FlyteError) -> status_pb2.Status:
    """The error as google.rpc.Status, as it travels in binary bodies and in gRPC's grpc-status-details-bin."""
    status = status_pb2.Status(code=error.code, message=error.message)
    for detail in error.details:
        status.details.add().Pack(detail)
    return status


class _Compiler:
    """Writes and compiles the encoders of one spelling. Every function sees the others in `names`, its globals."""

    def __init__(self, *, camel: bool) -> None:
        self.camel = camel
        self.names: dict[str, Any] = {
            "_base64": _base64,
            "_number": _number,
            "_float32": _float32,
            "_bool": _map_key_bool,
        }
        # Empty lists and maps are shared: what an encoder returns is only ever printed.
        self.names |= {"_EMPTY_LIST": [], "_EMPTY_MAP": {}}
        self.compiled: dict[str, str] = {}
        # Only what is compiled to the end, because large answers are printed in threads.
        self.finished: dict[str, Encoder] = {}
        self.compiling = Lock()

    def function(self, descriptor: Any) -> Encoder:
        """The encoder of this type, compiled at its first use."""
        function = self.finished.get(descriptor.full_name)
        if function is None:
            with self.compiling:
                function = self.names[self.compile(descriptor)]
            self.finished[descriptor.full_name] = function
        return function

    def compile(self, descriptor: Any) -> str:
        """The name of the type's encoder in `names`, made now if need be."""
        known = self.compiled.get(descriptor.full_name)
        if known is not None:
            return known
        name = f"encode_{len(self.compiled)}"
        self.compiled[descriptor.full_name] = name
        special = self.special(descriptor)
        if special is not None:
            self.names[name] = special
            return name
        if descriptor.full_name in WRAPPERS:
            lines = [f" return {self.value(descriptor.fields_by_name['value'], 'm.value')}"]
        else:
            lines = [*self.body(descriptor)]
        source = "\n".join([f"def {name}(m):", *lines])
        # The source is made of field names of protobuf descriptors only, as dataclasses makes its __init__.
        exec(compile(source, f"<encoder of {descriptor.full_name}>", "exec"), self.names)
        return name

    def special(self, descriptor: Descriptor) -> Encoder | None:
        """The encoder of a well-known type, whose JSON is not an object of its fields."""
        if descriptor.full_name == "google.protobuf.Any":
            return self.any
        return _WELL_KNOWN.get(descriptor.full_name)

    def body(self, descriptor: Descriptor) -> Iterator[str]:
        fields = [field for field in descriptor.fields if field.containing_oneof is None]
        entries = ", ".join(f"{self.key(field)!r}: {self.entry(field)}" for field in fields)
        if any(field.message_type is not None and not field.is_repeated for field in fields):
            yield " has = m.HasField"
        if not descriptor.oneofs:
            yield f" return {{{entries}}}"
            return
        yield f" out = {{{entries}}}"
        for oneof in descriptor.oneofs:
            yield from self.oneof(oneof)
        yield " return out"

    def oneof(self, oneof: OneofDescriptor) -> Iterator[str]:
        """Statements that add the member that is set, if one is."""
        if len(oneof.fields) == 1:
            field = oneof.fields[0]
            yield f" if m.HasField({field.name!r}): out[{self.key(field)!r}] = {self.value(field, _get(field))}"
            return
        yield f" which = m.WhichOneof({oneof.name!r})"
        for field in oneof.fields:
            yield f" if which == {field.name!r}: out[{self.key(field)!r}] = {self.value(field, _get(field))}"

    def key(self, field: FieldDescriptor) -> str:
        return field.json_name if self.camel else field.name

    def entry(self, field: FieldDescriptor) -> str:
        """The expression for a field that is not a member of a oneof; such fields are always printed."""
        get = _get(field)
        if field.message_type is not None and is_map(field):
            key_field, value_field = field.message_type.fields
            # Iterating over the keys is quicker than items(): upb makes a view for each call of that.
            pairs = f"{_map_key(key_field)}: {self.value(value_field, 'r[k]')} for k in r"
            return f"{{{pairs}}} if (r := {get}) else _EMPTY_MAP"
        if field.is_repeated:
            element = self.value(field, "x")
            elements = "r[:]" if element == "x" else f"[{element} for x in r]"
            return f"{elements} if (r := {get}) else _EMPTY_LIST"
        if field.message_type is not None:
            return f"{self.value(field, get)} if has({field.name!r}) else None"
        return self.value(field, get)

    def value(self, field: FieldDescriptor, get: str) -> str:
        """The expression for one value of the field's type, whatever its cardinality."""
        if field.message_type is not None:
            return f"{self.compile(field.message_type)}({get})"
        if field.enum_type is not None:
            if field.enum_type.full_name == "google.protobuf.NullValue":
                return "None"
            return f"{self.enum(field)}[{get}]"
        match field.cpp_type:
            case FieldDescriptor.CPPTYPE_INT64 | FieldDescriptor.CPPTYPE_UINT64:
                return f"str({get})"
            case FieldDescriptor.CPPTYPE_DOUBLE:
                return f"_number({get})"
            case FieldDescriptor.CPPTYPE_FLOAT:
                return f"_float32({get})"
        return f"_base64({get})" if field.type == FieldDescriptor.TYPE_BYTES else get

    def enum(self, field: FieldDescriptor) -> str:
        assert field.enum_type is not None
        name = "enum_" + field.enum_type.full_name.replace(".", "_")
        if name not in self.names:
            self.names[name] = _EnumNames((value.number, value.name) for value in reversed(field.enum_type.values))
        return name

    def any(self, message: Any) -> dict[str, Any]:
        """The fields of the message inside beside its type.

        Deviates: upstream cannot print an answer with an Any of an unknown type at all; here its bytes are printed.
        """
        if not message.type_url:
            return {}
        inner = unpacked(message)
        if inner is None:
            return {"@type": message.type_url, "value": _base64(message.value)}
        descriptor: Any = inner.DESCRIPTOR
        value = self.function(descriptor)(inner)
        if self.special(descriptor) is not None or descriptor.full_name in WRAPPERS:
            return {"@type": message.type_url, "value": value}
        return {"@type": message.type_url, **value}


class _EnumNames(dict[int, str]):
    """Names by number; a number without a name stands for itself."""

    def __missing__(self, number: int) -> int:
        return number


def is_map(field: FieldDescriptor) -> bool:
    """Whether the field is a map, which descriptors show as a list of entries."""
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _get(field: FieldDescriptor) -> str:
    return f"getattr(m, {field.name!r})" if keyword.iskeyword(field.name) else f"m.{field.name}"


def _map_key(field: FieldDescriptor) -> str:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING:
            return "k"
        case FieldDescriptor.CPPTYPE_BOOL:
            return "_bool(k)"
    return "str(k)"


def _map_key_bool(value: bool) -> str:
    return "true" if value else "false"


def _base64(value: bytes) -> str:
    return b2a_base64(value, newline=False).decode()


def _number(value: float) -> float | int | str:
    """A whole number without the ".0" that Python would print, and a name for what JSON cannot say."""
    if (
        value.is_integer()
        and -_EXACT_INTEGER_MAX < value < _EXACT_INTEGER_MAX
        and (value or math.copysign(1, value) > 0)
    ):
        return int(value)
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float32(value: float) -> float | int | str:
    return _number(shortest_float32(value))


@lru_cache(maxsize=8192)
def _second(seconds: int) -> str:
    """Seconds since 1970 as 2021-03-04T10:00:05. Cached: the times in one list of executions share most seconds.

    Deviates: upstream cannot print an answer with a time outside the years 1 to 9999; here it is the nearest inside.
    """
    inside = min(max(seconds, _SECONDS_MIN), _SECONDS_MAX)
    return (_EPOCH + timedelta(seconds=inside)).isoformat()


def _fraction(nanos: int) -> str:
    """Nothing, or a point and 3, 6 or 9 digits."""
    if not nanos:
        return ""
    if nanos % 1000:
        return f".{nanos:09d}"
    return f".{nanos // 1000:06d}" if nanos % 1_000_000 else f".{nanos // 1_000_000:03d}"


def _timestamp(message: Any) -> str:
    return f"{_second(message.seconds)}{_fraction(message.nanos)}Z"


def _duration(message: Any) -> str:
    seconds, nanos = message.seconds, message.nanos
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def _struct(message: Any) -> dict[str, Any]:
    fields = message.fields
    return {key: _value(fields[key]) for key in fields}


def _list(message: Any) -> list[Any]:
    return [_value(value) for value in message.values]


def _value(message: Any) -> Any:
    match message.WhichOneof("kind"):
        case "string_value":
            return message.string_value
        case "number_value":
            return _number(message.number_value)
        case "bool_value":
            return message.bool_value
        case "struct_value":
            return _struct(message.struct_value)
        case "list_value":
            return _list(message.list_value)
    return None


_WELL_KNOWN: dict[str, Encoder] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.Struct": _struct,
    "google.protobuf.ListValue": _list,
    "google.protobuf.Value": _value,
    "google.protobuf.FieldMask": lambda message: message.ToJsonString(),
    "google.protobuf.Empty": lambda message: {},
}
WRAPPERS = frozenset(
    f"google.protobuf.{kind}Value"
    for kind in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)
_PROTO, _CAMEL = _Compiler(camel=False), _Compiler(camel=True)

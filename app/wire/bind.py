"""Binding: sets fields of a request message from path variables and query parameters.

A dotted path names a field in either spelling (sort_by.key, sortBy.key). Unknown names are ignored.

Source: PopulateFieldFromPath and PopulateQueryParameters of grpc-gateway v2.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor

from app import errors
from app.wire.go.goparse import (
    go_quote,
    parse_base64,
    parse_bool,
    parse_float,
    parse_go_duration,
    parse_int,
    parse_rfc3339,
    parse_uint,
)
from app.wire.protojson import TIMESTAMP_SECONDS_MAX, TIMESTAMP_SECONDS_MIN, fields_by_spelling
from app.wire.render import WRAPPERS, is_map

Pairs = list[tuple[str, list[str]]]

_BROKEN_ESCAPE = re.compile(rb"%(?![0-9a-fA-F]{2})")


class FieldPath(NamedTuple):
    """A dotted path, resolved against a message type.

    Attributes:
        names: The proto names of the path's parts.
        parents: The message fields on the way.
        field: The field at the end; None where it does not exist.
        problem: The error for any value of this path, which leads through a field that is no message.
        plain: Whether the field is text outside of any oneof, so that it can be set directly.
    """

    names: tuple[str, ...]
    parents: tuple[FieldDescriptor, ...]
    field: FieldDescriptor | None
    problem: str = ""
    plain: bool = False


@lru_cache(maxsize=4096)
def resolve_path(descriptor: Any, path: str) -> FieldPath:
    """Resolve a dotted path. The cache is bounded, because clients choose the paths."""
    names = tuple(path.split("."))
    proper: list[str] = []
    parents: list[FieldDescriptor] = []
    for index, name in enumerate(names):
        field = descriptor.fields_by_name.get(name) or fields_by_spelling(descriptor).get(name)
        if field is None:
            return FieldPath(names, tuple(parents), None)
        proper.append(field.name)
        if index == len(names) - 1:
            plain = not any(one.containing_oneof for one in (*parents, field)) and _is_text(field)
            return FieldPath(tuple(proper), tuple(parents), field, plain=plain)
        if field.message_type is None or field.is_repeated:
            return FieldPath(names, tuple(parents), field, f"invalid path: {go_quote(name)} is not a message")
        parents.append(field)
        descriptor = field.message_type
    raise AssertionError("split gives one name at least")


def _is_text(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and not field.is_repeated


def put_path(message: Any, path: str, value: str) -> None:
    """Set the field of a path variable. Raises INVALID_ARGUMENT, which names the variable."""
    target = resolve_path(message.DESCRIPTOR, path)
    if target.plain and value.isascii():
        for name in target.names[:-1]:
            message = getattr(message, name)
        setattr(message, target.names[-1], value)
        return
    try:
        if target.field is not None and not target.parents and target.field.enum_type is not None:
            setattr(message, target.field.name, _enum(target.field, value, f"{value} is not valid"))
        else:
            _put(message, target, [value])
    except ValueError as error:
        raise errors.InvalidArgument(f"type mismatch, parameter: {path}, error: {error}") from error


def put_query(message: Any, pairs: Pairs, bound: frozenset[tuple[str, ...]]) -> None:
    """Set fields from query parameters, except those that the path has bound.

    Deviates: upstream misses some of these, so that a query can name another project than its path.

    Raises:
        FlyteError: INVALID_ARGUMENT with upstream's text.
    """
    for key, values in pairs:
        if key.endswith("]") and "[" in key:
            key, _, index = key[:-1].rpartition("[")
            values = [index, *values]
        target = resolve_path(message.DESCRIPTOR, key)
        if any(target.names[: len(path)] == path for path in bound):
            continue
        try:
            _put(message, target, values)
        except ValueError as error:
            raise errors.InvalidArgument(str(error)) from error


def query_pairs(query: bytes) -> Pairs:
    """Return the parameters of a query string or form body in their order, each with all its values.

    Raises:
        FlyteError: INVALID_ARGUMENT for a raw semicolon and for a broken percent escape.
    """
    if not query:
        return []
    values: dict[str, list[str]] = {}
    for part in query.split(b"&"):
        if b";" in part:
            raise errors.InvalidArgument("invalid semicolon separator in query")
        if part:
            key, _, value = part.partition(b"=")
            values.setdefault(_unescaped(key), []).append(_unescaped(value))
    return list(values.items())


def merged(pairs: Iterable[tuple[str, list[str]]]) -> Pairs:
    """Return the pairs of several sources as one list, with the values of each key together."""
    values: dict[str, list[str]] = {}
    for key, more in pairs:
        values.setdefault(key, []).extend(more)
    return list(values.items())


def path_segments(raw: bytes) -> list[str]:
    """Split a path into its decoded segments.

    Deviates: an escaped slash is part of its segment, so that versions and names with slashes can be addressed.
    Upstream decodes the path before splitting it, and answers 404 for such names.

    Args:
        raw: The path as it was sent, which begins with a slash.

    Returns:
        The segments behind the first slash; an empty one stands for an empty text between or behind slashes.

    Raises:
        errors.InvalidArgument: A percent escape is broken.
    """
    if b"%" not in raw:
        return _unquoted(raw)[1:].split("/")
    return list(map(_unquoted, raw[1:].split(b"/")))


def _unescaped(raw: bytes) -> str:
    return _unquoted(raw.replace(b"+", b" "))


def _unquoted(raw: bytes) -> str:
    if b"%" in raw:
        broken = _BROKEN_ESCAPE.search(raw)
        if broken is not None:
            escape = raw[broken.start() : broken.start() + 3].decode("utf-8", "surrogateescape")
            raise errors.InvalidArgument(f"invalid URL escape {go_quote(escape)}")
        raw = unquote_to_bytes(raw)
    return raw.decode("utf-8", "surrogateescape")


def _put(message: Any, target: FieldPath, values: Sequence[str]) -> None:
    """Set a field. Raises ValueError with upstream's text."""
    for parent in target.parents:
        _check_oneof(message, parent)
        message = getattr(message, parent.name)
        message.SetInParent()
    field = target.field
    if field is None:
        return
    _check_oneof(message, field)
    if target.problem:
        raise ValueError(target.problem)
    if field.message_type is not None and is_map(field):
        _put_entry(message, field, values)
    elif field.is_repeated:
        elements = getattr(message, field.name)
        for value in values:
            parsed = _parsed(field, value, "list")
            elements.append(parsed) if field.message_type is None else elements.add().CopyFrom(parsed)
    elif len(values) > 1:
        raise ValueError(f"too many values for field {go_quote(field.name)}: {', '.join(values)}")
    elif field.message_type is not None:
        getattr(message, field.name).CopyFrom(_parsed(field, values[0], "field"))
    else:
        setattr(message, field.name, _parsed(field, values[0], "field"))


def _put_entry(message: Any, field: FieldDescriptor, values: Sequence[str]) -> None:
    assert field.message_type is not None
    if len(values) != 2:
        key = go_quote(values[0])
        raise ValueError(f"more than one value provided for key {key} in map {go_quote(field.full_name)}")
    key_field, value_field = field.message_type.fields
    entries = getattr(message, field.name)
    key = _parsed(key_field, values[0], "map key", field.name)
    value = _parsed(value_field, values[1], "map value", field.name)
    if value_field.message_type is None:
        entries[key] = value
    else:
        entries[key].CopyFrom(value)


def _check_oneof(message: Any, field: FieldDescriptor) -> None:
    oneof = field.containing_oneof
    if oneof is not None:
        other = message.WhichOneof(oneof.name)
        if other is not None and (field.message_type is None or other != field.name):
            raise ValueError(f"field already set for oneof {go_quote(oneof.name)}")


def _parsed(field: FieldDescriptor, value: str, what: str, name: str = "") -> Any:
    try:
        return _value(field, value)
    except ValueError as error:
        raise ValueError(f"parsing {what} {go_quote(name or field.name)}: {error}") from error


def _value(field: FieldDescriptor, value: str) -> Any:
    """Parse one value of the field's type; for a message type the message."""
    if field.message_type is not None:
        return _message(field.message_type, value)
    if field.enum_type is not None:
        return _enum(field, value, f"{go_quote(value)} is not a valid value")
    if field.type == FieldDescriptor.TYPE_STRING:
        if not value.isascii():
            _check_unicode(value)
        return value
    if field.type == FieldDescriptor.TYPE_BYTES:
        return parse_base64(value)
    return _READERS[field.cpp_type](value)


_READERS: dict[int, Callable[[str], Any]] = {
    FieldDescriptor.CPPTYPE_BOOL: parse_bool,
    FieldDescriptor.CPPTYPE_INT32: lambda value: parse_int(value, 32),
    FieldDescriptor.CPPTYPE_INT64: lambda value: parse_int(value, 64),
    FieldDescriptor.CPPTYPE_UINT32: lambda value: parse_uint(value, 32),
    FieldDescriptor.CPPTYPE_UINT64: lambda value: parse_uint(value, 64),
    FieldDescriptor.CPPTYPE_FLOAT: lambda value: parse_float(value, 32),
    FieldDescriptor.CPPTYPE_DOUBLE: lambda value: parse_float(value, 64),
}


def _check_unicode(value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        # Deviates: upstream answers INTERNAL, because it finds the error only when it sends the message on.
        raise errors.InvalidArgument("grpc: error while marshaling: string field contains invalid UTF-8") from error


def _enum(field: FieldDescriptor, value: str, problem: str) -> int:
    """Parse an enum value by name or by number. Raises ValueError with the problem as its text."""
    assert field.enum_type is not None
    # Names are ASCII, and upb raises SystemError for a text that is no UTF-8.
    named = field.enum_type.values_by_name.get(value) if value.isascii() else None
    if named is not None:
        return int(named.number)
    try:
        number = parse_int(value, 32)
    except ValueError as error:
        raise ValueError(problem) from error
    if number not in field.enum_type.values_by_number:
        raise ValueError(problem)
    return number


def _message(descriptor: Any, value: str) -> Any:
    message: Any = message_factory.GetMessageClass(descriptor)()
    match descriptor.full_name:
        case "google.protobuf.Timestamp":
            message.seconds, message.nanos = parse_rfc3339(value)
            if not TIMESTAMP_SECONDS_MIN <= message.seconds <= TIMESTAMP_SECONDS_MAX:
                raise ValueError(f"{value} before 0001-01-01")
        case "google.protobuf.Duration":
            nanos = parse_go_duration(value)
            message.seconds, message.nanos = (abs(nanos) // 10**9, abs(nanos) % 10**9)
            if nanos < 0:
                message.seconds, message.nanos = -message.seconds, -message.nanos
        case name if name in WRAPPERS:
            message.value = _value(descriptor.fields_by_name["value"], value)
        case name:
            raise ValueError(f"unsupported message type: {go_quote(name)}")
    return message

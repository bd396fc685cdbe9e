"""Convert arguments of tools to request messages; an error names the path of the field that does not fit."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from app import errors
from app.wire import decode
from app.wire.protojson import fields_by_spelling
from app.wire.render import WRAPPERS, is_map

M = TypeVar("M", bound=Message)

_SHOWN_LENGTH_MAX = 60
# The search for a refused field reads each part of the arguments once for every level above it.
_LOCATED_BYTES_MAX = 64 * 1024


def to_request(type_: type[M], arguments: Mapping[str, Any]) -> M:
    """Return the message for proto JSON with camelCase or snake_case names.

    Raises:
        InvalidArgument: The message begins with the path of the field that does not fit.
    """
    try:
        body = _json(arguments)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"the arguments are no JSON: {error}") from error
    try:
        return decode.from_json(type_, body, strict=True)
    except errors.InvalidArgument as error:
        located = _locate_problem(type_.DESCRIPTOR, arguments, "") if len(body) <= _LOCATED_BYTES_MAX else ""
        raise errors.InvalidArgument(located or error.message) from error


def _locate_problem(descriptor: Any, value: Mapping[str, Any], path: str) -> str:
    """Return the path of the first field that is refused by itself, with the reason; "" where none is."""
    for name, item in value.items():
        where = f"{path}.{name}" if path else name
        field = descriptor.fields_by_name.get(name) or fields_by_spelling(descriptor).get(name)
        if field is None:
            return f"{where}: there is no such field{_near(name, descriptor)}"
        problem = _problem(descriptor, {name: item})
        if problem:
            return (
                _locate_inside(field, item, where) or f"{where}: {_wanted(field)}, not {_shown(item)}{_reason(problem)}"
            )
    return ""


def _locate_inside(field: FieldDescriptor, item: Any, where: str) -> str:
    """Return the path and reason of a problem inside a field's value; "" where the value itself is refused."""
    if field.message_type is None or field.message_type.full_name in WRAPPERS:
        return ""
    if is_map(field):
        inner = field.message_type.fields_by_name["value"]
        places = [(f"{where}[{key!r}]", one) for key, one in item.items()] if isinstance(item, Mapping) else []
        kind = inner.message_type
    elif field.is_repeated:
        places = [(f"{where}[{index}]", one) for index, one in enumerate(item)] if isinstance(item, list) else []
        kind = field.message_type
    else:
        places, kind = [(where, item)], field.message_type
    if kind is None or kind.full_name.startswith("google.protobuf."):
        return ""
    for place, one in places:
        if not isinstance(one, Mapping):
            return "" if place == where else f"{place}: an object is wanted, not {_shown(one)}"
        found = _locate_problem(kind, one, place) if _problem(kind, one) else ""
        if found:
            return found
    return ""


def _json(value: Any) -> bytes:
    """Return JSON with whole numbers of any size, which the decoder then refuses; raises ValueError for NaN."""
    return json.dumps(value, allow_nan=False).encode()


def _problem(descriptor: Any, value: Mapping[str, Any]) -> str:
    try:
        decode.from_json(GetMessageClass(descriptor), _json(value), strict=True)
    except errors.InvalidArgument as error:
        return error.message
    return ""


def _near(name: str, descriptor: Any) -> str:
    names = [field.name for field in descriptor.fields]
    near = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(names)}" if names else ""


def _wanted(field: FieldDescriptor) -> str:
    if is_map(field):
        return "an object is wanted"
    if field.is_repeated:
        return "a list is wanted"
    if field.enum_type is not None:
        return f"one of {', '.join(value.name for value in field.enum_type.values)} is wanted"
    if field.message_type is not None:
        return _OF_MESSAGE.get(field.message_type.full_name, "an object is wanted")
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "base64 is wanted"
    return _OF_KIND.get(field.cpp_type, "a text is wanted")


_OF_MESSAGE = {
    "google.protobuf.Timestamp": "a time such as 2026-01-31T12:00:00Z is wanted",
    "google.protobuf.Duration": "a duration in seconds such as 90s is wanted",
    "google.protobuf.BoolValue": "true or false is wanted",
}
_OF_KIND = {
    FieldDescriptor.CPPTYPE_INT32: "a whole number is wanted",
    FieldDescriptor.CPPTYPE_INT64: "a whole number is wanted",
    FieldDescriptor.CPPTYPE_UINT32: "a whole number from 0 on is wanted",
    FieldDescriptor.CPPTYPE_UINT64: "a whole number from 0 on is wanted",
    FieldDescriptor.CPPTYPE_DOUBLE: "a number is wanted",
    FieldDescriptor.CPPTYPE_FLOAT: "a number is wanted",
    FieldDescriptor.CPPTYPE_BOOL: "true or false is wanted",
}


def _shown(value: Any) -> str:
    text = _json(value).decode()
    return text if len(text) <= _SHOWN_LENGTH_MAX else f"{text[:_SHOWN_LENGTH_MAX]}…"


def _reason(problem: str) -> str:
    """Return the decoder's reason where the wanted type alone does not explain the error."""
    return " (a member of the same oneof is set already)" if "oneof" in problem else ""

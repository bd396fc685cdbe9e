"""The differences between two versions of a registered entity, for the error about a name that is taken.

Upstream prints its Go structures as JSON, makes a JSON patch in both directions, and lists the paths that occur in
both. So paths have Go's names: fields in snake_case, but a oneof and its variants by their Go names, as in
`/template/Target/Container/command/0`. Unset oneofs are present as null.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from app.errors import MESSAGE_BYTES_MAX
from app.wire.go.gotext import value_text
from app.wire.text import shortest_float32

_WELL_KNOWN_JSON = {"google.protobuf.Struct", "google.protobuf.Value", "google.protobuf.ListValue"}


def different_structure(kind: str, name: str, old: Message, new: Message) -> str:
    """Return the message of the error; kind is "task", "workflow" or "launch plan".

    Source: NewTaskExistsDifferentStructureError and its two siblings.
    """
    text = f"{name} {kind} with different structure already exists. (Please register a new version of the {kind}):\n"
    entries = []
    length = len(text)
    for path, before, after in _differences("", _go_message(old), _go_message(new)):
        entries.append(f"{path}:\n\t- {value_text(before)} \n\t+ {value_text(after)}")
        length += len(entries[-1])
        if length > MESSAGE_BYTES_MAX:
            # Messages are cut at this length, and a large workflow would take long to print.
            break
    return text + "\n".join(entries)


def _differences(path: str, old: Any, new: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield path, old and new value of each difference, in the order of keys.

    Parity: elements behind the end of the shorter list are left out, because a patch names them differently in each
    direction (compareJsons).
    """
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            inside = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
            if key in old and key in new:
                yield from _differences(inside, old[key], new[key])
            else:
                yield inside, old.get(key), new.get(key)
    elif isinstance(old, list) and isinstance(new, list):
        for index, (before, after) in enumerate(zip(old, new, strict=False)):
            yield from _differences(f"{path}/{index}", before, after)
    elif type(old) is not type(new) or old != new:
        yield path, old, new


def _go_message(message: Message) -> dict[str, Any]:
    data: dict[str, Any] = {_go_name(oneof.name): None for oneof in message.DESCRIPTOR.oneofs}
    for field, value in message.ListFields():
        if field.containing_oneof is not None:
            data[_go_name(field.containing_oneof.name)] = {_go_name(field.name): _go_value(field, value)}
        elif not field.is_repeated:
            data[field.name] = _go_value(field, value)
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            of = field.message_type.fields_by_name["value"]
            data[field.name] = {_go_key(key): _go_value(of, value[key]) for key in value}
        else:
            data[field.name] = [_go_value(field, element) for element in value]
    return data


@cache
def _go_name(name: str) -> str:
    """Return the name that protoc-gen-go generates: K8SPod for k8s_pod."""
    letters: list[str] = []
    upper = True
    for index, letter in enumerate(name):
        if letter == "_" and index > 0 and name[index + 1 : index + 2].islower():
            upper = True
        elif letter.isdigit():
            letters.append(letter)
            upper = True
        else:
            letters.append(letter.upper() if upper else letter)
            upper = False
    return "".join(letters)


def _go_key(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _go_value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return MessageToDict(value) if value.DESCRIPTOR.full_name in _WELL_KNOWN_JSON else _go_message(value)
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, str | bool):
        return value
    # Go parses every JSON number as floating point, also enums and 64-bit integers.
    return shortest_float32(value) if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT else float(value)

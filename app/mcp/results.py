"""What tools answer: responses as JSON without what is unset, cut to a bound, and errors that say what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson
from google.protobuf.message import Message
from grpc import StatusCode

from app import errors
from app.wire.render import WRAPPERS, is_map, to_value

# In turn, until a result fits: the longest text and the longest list or map that stay.
_CUTS = ((8_000, 1_000), (2_000, 200), (500, 50), (200, 20), (100, 5), (50, 1))
# No message has more fields, so objects that are no maps stay whole.
_FIELDS_MAX = 25
_NOTES_MAX = 10

# What to do about an error, by gRPC code.
_ADVICE = {
    errors.InvalidArgument.code: "Correct the argument that the message names and call again.",
    errors.NotFound.code: "Check project, domain, name and version; the list tools show what exists.",
    errors.AlreadyExists.code: "Choose another name, or leave it out to get a generated one.",
    errors.FailedPrecondition.code: "Look at the present state first; the same call will fail again until it changes.",
    errors.ResourceExhausted.code: "Ask for less: a smaller limit, a narrower filter, smaller inputs.",
    errors.DeadlineExceeded.code: "Try again, or ask for less.",
    errors.Unavailable.code: "Try again in a moment.",
    errors.Aborted.code: "Try again.",
    errors.Unauthenticated.code: "The server wants a key: set FLYTE_API_KEY where this tool server is started.",
}


def status_name(code: int) -> str:
    """NOT_FOUND for 5."""
    return next((status.name for status in StatusCode if status.value[0] == code), "UNKNOWN")


def error_value(error: errors.FlyteError) -> dict[str, Any]:
    """An error as a model can read it."""
    details = [
        {"@type": f"type.googleapis.com/{one.DESCRIPTOR.full_name}", **to_value(one, camel=False)}
        for one in error.details
    ]
    value = {"code": error.code, "status": status_name(error.code), "message": error.message, "details": details}
    return {**value, "advice": _ADVICE[error.code]} if error.code in _ADVICE else value


def to_json(message: Message) -> dict[str, Any]:
    """A response in proto JSON with proto names, without unset messages, empty lists and empty maps."""
    value = _pruned(message.DESCRIPTOR, to_value(message, camel=False))
    assert isinstance(value, dict)
    return value


def _pruned(descriptor: Any, value: Any) -> Any:
    """Only fields are left out: what users put into a Struct stays, nulls too."""
    if descriptor.full_name.startswith("google.protobuf.") or descriptor.full_name in WRAPPERS:
        return value
    kept: dict[str, Any] = {}
    for name, item in value.items():
        field = descriptor.fields_by_name[name]
        kind = field.message_type
        if is_map(field):
            inner = kind.fields_by_name["value"].message_type
            item = {key: _pruned(inner, one) for key, one in item.items()} if inner is not None else item
            if item:
                kept[name] = item
        elif field.is_repeated:
            if item:
                kept[name] = [_pruned(kind, one) for one in item] if kind is not None else item
        elif item is not None:
            kept[name] = _pruned(kind, item) if kind is not None else item
    return kept


def bounded(value: dict[str, Any], bytes_max: int) -> tuple[dict[str, Any], str]:
    """The value, cut where it is largest until it fits, and one sentence about what was cut; "" where nothing was.

    errors: RESOURCE_EXHAUSTED for what cannot be cut so far
    """
    size = len(orjson.dumps(value))
    if size <= bytes_max:
        return value, ""
    cut: Any = value
    notes: list[str] = []
    for length_max, items_max in _CUTS:
        notes = []
        cut = _cut(value, length_max, items_max, "", notes)
        if len(orjson.dumps(cut)) <= bytes_max:
            break
    else:
        raise errors.ResourceExhausted(f"the result has {size} bytes and cannot be cut to {bytes_max}")
    more = f" and {len(notes) - _NOTES_MAX} more places" if len(notes) > _NOTES_MAX else ""
    return cut, f"Truncated from {size} bytes: {'; '.join(notes[:_NOTES_MAX])}{more}."


def _cut(value: Any, length_max: int, items_max: int, path: str, notes: list[str]) -> Any:
    if isinstance(value, str) and len(value) > length_max:
        notes.append(f"{path} shows {length_max} of {len(value)} characters")
        return value[:length_max]
    if isinstance(value, (list, dict)):
        kept = list(_items(value))
        most = max(items_max, _FIELDS_MAX) if isinstance(value, dict) else items_max
        if len(kept) > most:
            notes.append(f"{path or 'the result'} shows {most} of {len(kept)} entries")
            kept = kept[:most]
        inner = {key: _cut(one, length_max, items_max, _path(path, key), notes) for key, one in kept}
        return list(inner.values()) if isinstance(value, list) else inner
    return value


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value)


def _path(path: str, key: Any) -> str:
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else str(key)

"""Results of tools: responses as JSON without unset fields, truncated to a size, and errors with advice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import orjson
from google.protobuf.message import Message
from google.rpc import code_pb2
from pydantic import BaseModel

from app import errors
from app.runtime.threads import in_thread_if_large
from app.wire.codecs import details_value, size
from app.wire.render import WRAPPERS, is_map, to_value

# Tried in turn until a result fits: the characters that a text keeps, the entries that a list or map keeps.
_CUTS = ((8_000, 1_000), (2_000, 200), (500, 50), (200, 20), (100, 5), (50, 1))
# No message has more fields, so only maps lose entries.
_FIELDS_MAX = 25
_NOTES_MAX = 10

# The advice for an error, by gRPC code.
_ADVICE = {
    errors.InvalidArgument.code: "Correct the argument that the message names and call again.",
    errors.NotFound.code: "Check project, domain, name and version; the list tools show what exists.",
    errors.AlreadyExists.code: "Choose another name, or leave it out to get a generated one.",
    errors.FailedPrecondition.code: "Read the present state first; the same call fails until the state changes.",
    errors.ResourceExhausted.code: "Ask for less: a smaller limit, a narrower filter, smaller inputs.",
    errors.DeadlineExceeded.code: "Try again, or ask for less.",
    errors.Unavailable.code: "Try again in a moment.",
    errors.Aborted.code: "Try again.",
    errors.Unauthenticated.code: "The server requires a key: set FLYTE_API_KEY where this tool server is started.",
}


def error_value(error: errors.FlyteError) -> dict[str, Any]:
    """Return an error as JSON, with advice for the model."""
    value = {
        "code": error.code,
        "status": code_pb2.Code.Name(error.code),
        "message": error.message,
        "details": details_value(error, camel=False),
    }
    return {**value, "advice": _ADVICE[error.code]} if error.code in _ADVICE else value


def to_json(message: Message) -> dict[str, Any]:
    """Return a response as proto JSON with proto names, without unset messages, empty lists and empty maps."""
    value = _pruned(message.DESCRIPTOR, to_value(message, camel=False))
    assert isinstance(value, dict)
    return value


def _pruned(descriptor: Any, value: Any) -> Any:
    """Remove empty fields of messages; the content of a Struct stays, nulls too."""
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


async def from_message(message: Message, bytes_max: int) -> tuple[dict[str, Any], str]:
    """Return a response as JSON, truncated, and the note of `truncate`; a large one is converted in a thread."""
    return await in_thread_if_large(size(message), lambda: truncate(to_json(message), bytes_max))


async def measure(message: Message) -> tuple[dict[str, Any], int]:
    """Return a response as JSON, and its size in bytes."""

    def made() -> tuple[dict[str, Any], int]:
        value = to_json(message)
        return value, json_size(value)

    return await in_thread_if_large(size(message), made)


async def from_model(model: BaseModel, bytes_max: int) -> tuple[dict[str, Any], str]:
    """Return a composite tool's result as JSON, truncated, and the note of `truncate`. Runs in a thread."""
    return await asyncio.to_thread(lambda: truncate(model.model_dump(mode="json", exclude_none=True), bytes_max))


def truncate(value: dict[str, Any], bytes_max: int) -> tuple[dict[str, Any], str]:
    """Return a value with texts and lists shortened until it fits, and a note that names the shortened parts.

    The whole value is measured once; each attempt stops as soon as the result exceeds the limit.

    Returns:
        The value, and the note; "" where nothing was shortened.

    Raises:
        ResourceExhausted: The value does not fit even with the smallest lengths.
    """
    whole = json_size(value)
    if whole <= bytes_max:
        return value, ""
    for length_max, items_max in _CUTS:
        shortener = _Shortener(length_max, items_max, bytes_max)
        try:
            shown = shortener.shorten(value, "")
        except _TooLarge:
            continue
        notes = shortener.notes
        more = f" and {len(notes) - _NOTES_MAX} more places" if len(notes) > _NOTES_MAX else ""
        return shown, f"Truncated from {whole} bytes: {'; '.join(notes[:_NOTES_MAX])}{more}."
    raise errors.ResourceExhausted(f"the result has {whole} bytes and cannot be cut to {bytes_max}")


def json_size(value: Any) -> int:
    """Return the size of a value as JSON, in bytes."""
    return len(orjson.dumps(value))


class _TooLarge(Exception):
    """The shortened value exceeds the limit."""


@dataclass(slots=True)
class _Shortener:
    """One attempt to shorten a value.

    Attributes:
        length_max: Characters that a text keeps.
        items_max: Entries that a list or map keeps.
        bytes_left: Bytes of JSON that the rest of the value may take.
        notes: One phrase for each shortened part.
    """

    length_max: int
    items_max: int
    bytes_left: int
    notes: list[str] = field(default_factory=list)

    def shorten(self, value: Any, path: str) -> Any:
        """Return the shortened value. Raises _TooLarge."""
        if isinstance(value, (list, dict)):
            return self._entries(value, path)
        if isinstance(value, str) and len(value) > self.length_max:
            self.notes.append(f"{path} shows {self.length_max} of {len(value)} characters")
            value = value[: self.length_max]
        self._take(json_size(value))
        return value

    def _entries(self, value: Any, path: str) -> Any:
        most = max(self.items_max, _FIELDS_MAX) if isinstance(value, dict) else self.items_max
        if len(value) > most:
            self.notes.append(f"{path or 'the result'} shows {most} of {len(value)} entries")
        # The brackets, and the commas between the entries.
        self._take(1 + max(1, min(len(value), most)))
        if isinstance(value, list):
            return [self.shorten(one, f"{path}[{index}]") for index, one in enumerate(islice(value, most))]
        kept = {}
        for key, one in islice(value.items(), most):
            self._take(json_size(key) + 1)
            kept[key] = self.shorten(one, f"{path}.{key}" if path else key)
        return kept

    def _take(self, taken: int) -> None:
        self.bytes_left -= taken
        if self.bytes_left < 0:
            raise _TooLarge

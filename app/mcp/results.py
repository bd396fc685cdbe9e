"""What tools answer: responses as JSON without what is unset, cut to a bound, and errors that say what to do next."""

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


def error_value(error: errors.FlyteError) -> dict[str, Any]:
    """An error as a model can read it."""
    value = {
        "code": error.code,
        "status": code_pb2.Code.Name(error.code),
        "message": error.message,
        "details": details_value(error, camel=False),
    }
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


async def of(message: Message, bytes_max: int) -> tuple[dict[str, Any], str]:
    """A response as to_json and bounded make it; a large one in a thread, so that others go on."""
    return await in_thread_if_large(size(message), lambda: bounded(to_json(message), bytes_max))


async def sized(message: Message) -> tuple[dict[str, Any], int]:
    """A whole response as to_json makes it, and its bytes as JSON."""

    def made() -> tuple[dict[str, Any], int]:
        value = to_json(message)
        return value, measured(value)

    return await in_thread_if_large(size(message), made)


async def of_model(model: BaseModel, bytes_max: int) -> tuple[dict[str, Any], str]:
    """An answer of several RPCs, whose size nobody knows yet: always in a thread."""
    return await asyncio.to_thread(lambda: bounded(model.model_dump(mode="json", exclude_none=True), bytes_max))


def bounded(value: dict[str, Any], bytes_max: int) -> tuple[dict[str, Any], str]:
    """The value, cut where it is largest until it fits, and one sentence about what was cut; "" where nothing was.

    The value is measured once, whole; a cut costs no more than what may be left of it.
    errors: RESOURCE_EXHAUSTED for what cannot be cut so far
    """
    whole = measured(value)
    if whole <= bytes_max:
        return value, ""
    for length_max, items_max in _CUTS:
        cut = _Cut(length_max, items_max, bytes_max)
        try:
            shown = cut.of(value, "")
        except _TooLarge:
            continue
        notes = cut.notes
        more = f" and {len(notes) - _NOTES_MAX} more places" if len(notes) > _NOTES_MAX else ""
        return shown, f"Truncated from {whole} bytes: {'; '.join(notes[:_NOTES_MAX])}{more}."
    raise errors.ResourceExhausted(f"the result has {whole} bytes and cannot be cut to {bytes_max}")


def measured(value: Any) -> int:
    """Bytes as JSON."""
    return len(orjson.dumps(value))


class _TooLarge(Exception):
    """What is kept does not fit either."""


@dataclass(slots=True)
class _Cut:
    """One way to cut; notes: what was cut. It gives up as soon as bytes_left are used up."""

    length_max: int
    items_max: int
    bytes_left: int
    notes: list[str] = field(default_factory=list)

    def of(self, value: Any, path: str) -> Any:
        """What stays. errors: _TooLarge"""
        if isinstance(value, (list, dict)):
            return self._entries(value, path)
        if isinstance(value, str) and len(value) > self.length_max:
            self.notes.append(f"{path} shows {self.length_max} of {len(value)} characters")
            value = value[: self.length_max]
        self._take(measured(value))
        return value

    def _entries(self, value: Any, path: str) -> Any:
        most = max(self.items_max, _FIELDS_MAX) if isinstance(value, dict) else self.items_max
        if len(value) > most:
            self.notes.append(f"{path or 'the result'} shows {most} of {len(value)} entries")
        # Brackets, and commas between the entries.
        self._take(1 + max(1, min(len(value), most)))
        if isinstance(value, list):
            return [self.of(one, f"{path}[{index}]") for index, one in enumerate(islice(value, most))]
        kept = {}
        for key, one in islice(value.items(), most):
            self._take(measured(key) + 1)
            kept[key] = self.of(one, f"{path}.{key}" if path else key)
        return kept

    def _take(self, taken: int) -> None:
        self.bytes_left -= taken
        if self.bytes_left < 0:
            raise _TooLarge

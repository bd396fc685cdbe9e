"""Values of the API as text, and text as values of simple types."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from app.wire import msgpack_values

TEXT_MAX = 500


def shown(literal: Mapping[str, Any] | None) -> str:
    """Return a literal, as JSON of the API, as one line for people."""
    text = json.dumps(plain(literal), ensure_ascii=False, default=str)
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"


def plain(literal: Mapping[str, Any] | None) -> Any:
    """Return the value of a literal: files and tables by their address, bytes that are no MessagePack by their size."""
    literal = literal or {}
    if collection := literal.get("collection"):
        return [plain(one) for one in collection.get("literals") or []]
    if mapping := literal.get("map"):
        return {name: plain(one) for name, one in (mapping.get("literals") or {}).items()}
    scalar = literal.get("scalar") or {}
    if primitive := scalar.get("primitive"):
        return _primitive(primitive)
    if union := scalar.get("union"):
        return plain(union.get("value"))
    for kind in ("blob", "schema", "structured_dataset"):
        if scalar.get(kind):
            return scalar[kind].get("uri")
    if scalar.get("generic") is not None:
        return scalar["generic"]
    if binary := scalar.get("binary"):
        return _binary(base64.b64decode(binary.get("value") or ""), binary.get("tag") or "binary")
    if error := scalar.get("error"):
        return error.get("message")
    return None


def _binary(data: bytes, tag: str) -> Any:
    if tag == msgpack_values.TAG:
        with contextlib.suppress(ValueError):
            return msgpack_values.decode(data)
    return f"{len(data)} bytes ({tag})"


def _primitive(primitive: Mapping[str, Any]) -> Any:
    for name, value in primitive.items():
        if value is None:
            continue
        return int(value) if name == "integer" else value
    return None


def literal_of(type: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Return the literal, as JSON of the API, of a text from the command line.

    Raises:
        ValueError: The text is no value of the type; the message has the allowed form.
    """
    simple = str(type.get("simple") or "")
    if simple == "BOOLEAN":
        word = text.lower()
        if word not in ("true", "yes", "1", "false", "no", "0"):
            raise ValueError("allowed are true and false")
        return _scalar("boolean", word in ("true", "yes", "1"))
    if simple == "INTEGER":
        return _scalar("integer", str(int(_checked(text, int, "a whole number"))))
    if simple == "FLOAT":
        return _scalar("float_value", _checked(text, float, "a number"))
    if simple == "STRING":
        return _scalar("string_value", text)
    if simple == "DATETIME":
        moment = _checked(text.replace("Z", "+00:00"), datetime.fromisoformat, "a time such as 2026-01-31T12:00:00Z")
        moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return _scalar("datetime", moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    if simple == "DURATION":
        return _scalar("duration", f"{_checked(text.removesuffix('s'), float, 'seconds such as 90s')}s")
    if simple == "STRUCT":
        value = _checked(text, json.loads, "an object in JSON")
        if not isinstance(value, dict):
            raise ValueError("allowed is an object in JSON")
        return {"scalar": {"generic": value}}
    if values := (type.get("enum_type") or {}).get("values"):
        if text not in values:
            raise ValueError(f"allowed are {', '.join(values)}")
        return _scalar("string_value", text)
    if inner := type.get("collection_type"):
        items = _checked(text, json.loads, "a list in JSON")
        if not isinstance(items, list):
            raise ValueError("allowed is a list in JSON")
        return {"collection": {"literals": [literal_of(inner, _text(item)) for item in items]}}
    raise ValueError("such a value cannot be given as text; set it in the console, or with FlyteRemote.set_signal")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _scalar(kind: str, value: Any) -> dict[str, Any]:
    return {"scalar": {"primitive": {kind: value}}}


def _checked(text: str, convert: Any, allowed: str) -> Any:
    try:
        return convert(text)
    except ValueError as error:
        raise ValueError(f"allowed is {allowed}") from error

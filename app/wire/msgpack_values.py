"""MessagePack in binary literals as plain JSON: how flytekit passes dicts, dataclasses and pydantic models.

Source: flyteidl/core/literals.proto, Binary with the tag "msgpack".
"""

from __future__ import annotations

import math
from typing import Any

import msgpack

TAG = "msgpack"
# Levels of lists and dicts in one value. The JSON encoder for clients allows 254, and literals have levels too.
DEPTH_MAX = 100


def decode(data: bytes) -> Any:
    """Return the value of MessagePack as plain JSON, with what JSON lacks (NaN, bytes, times) as text.

    Raises:
        ValueError: The bytes are no MessagePack, have keys that are lists, or more than DEPTH_MAX levels.
    """
    try:
        return _jsonable(msgpack.unpackb(data, strict_map_key=False), DEPTH_MAX)
    except (TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"no MessagePack: {error}") from error


def _jsonable(found: Any, depth_max: int) -> Any:
    """Return a decoded value with what JSON lacks as text. Raises ValueError for more than depth_max levels."""
    if isinstance(found, (dict, list)):
        if not depth_max:
            raise ValueError("too deep")
        if isinstance(found, dict):
            return {str(key): _jsonable(one, depth_max - 1) for key, one in found.items()}
        return [_jsonable(one, depth_max - 1) for one in found]
    if isinstance(found, float) and not math.isfinite(found):
        # JSON has no such numbers.
        return str(found)
    return found if isinstance(found, (str, int, float, bool, type(None))) else str(found)

"""JSON that has been made once, kept by the very bytes of the message that it shows.

A message that is read again and has not changed since is not printed again; one that has changed in any way has other
bytes and is. So nothing here can be out of date and nothing ever has to be thrown away, but for room.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from google.protobuf.message import Message

# What the objects around the bytes of one entry take, roughly.
_ENTRY_BYTES = 250


class Kept:
    """bytes_max: of all that is kept, messages and their JSON; 0 keeps nothing.

    Room is made by halves: what was not asked for while the second half filled up is dropped.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes_max = bytes_max // 2
        self._recent: dict[Any, bytes] = {}
        self._before: dict[Any, bytes] = {}
        self._recent_bytes = 0

    def json(self, message: Message, encode: Callable[[Any], Any]) -> bytes:
        """The JSON of the Python value that encode makes of a message; encode belongs to one type and spelling."""
        key = (encode, message.SerializeToString())
        printed = self._recent.get(key)
        if printed is not None:
            return printed
        printed = self._before.get(key)
        if printed is None:
            printed = orjson.dumps(encode(message))
        self._keep(key, printed)
        return printed

    def _keep(self, key: tuple[Any, bytes], printed: bytes) -> None:
        size = len(key[1]) + len(printed) + _ENTRY_BYTES
        if self._recent_bytes + size > self._half_bytes_max:
            if size > self._half_bytes_max:
                return
            self._before, self._recent, self._recent_bytes = self._recent, {}, 0
        self._recent[key] = printed
        self._recent_bytes += size

"""A cache of bytes with a limit on its memory; its entries never become stale.

A key holds everything that the value was made of, or names something that never changes: an object that is written
once, or a request for a version that is registered once (`dispatch.cached_reply` names the conditions). So an entry is
dropped only to make room.
"""

from __future__ import annotations

import sys
from typing import Any

# The heap takes up to 16 bytes more than each allocation asks for, and a dict takes at most 100 bytes for an entry.
ALLOCATION_BYTES = 16
ENTRY_BYTES = 100
COLUMN_BYTES = 50


def size_of_row(row: tuple[Any, ...]) -> int:
    """Return an estimate of the size of a database row as JSON, in bytes."""
    return sum(len(part) if isinstance(part, (bytes, str)) else 0 for part in row) + COLUMN_BYTES * len(row)


class ByteCache:
    """Bytes by key.

    Eviction: two generations of half the limit each. When the young one is full, the old one is dropped and the young
    one takes its place. A hit moves an entry to the young one.

    Args:
        bytes_max: The limit for the memory of all keys and values together. 0 stores nothing.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes_max = bytes_max // 2
        self._recent: dict[tuple[Any, ...], bytes] = {}
        self._before: dict[tuple[Any, ...], bytes] = {}
        self._recent_bytes = 0

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        """Return the value of an equal key, or None."""
        found = self._recent.get(key)
        if found is None:
            found = self._before.get(key)
            if found is not None:
                self._store(key, found)
        return found

    def put(self, key: tuple[Any, ...], value: bytes) -> None:
        """Store a value, unless it takes more than half of the limit.

        Args:
            key: Its last part is the large one: bytes, a text or a row.
            value: The bytes; the cache stores a copy of the exact size.
        """
        # orjson returns the end of a larger allocation to the heap. Stored as they are, such values would lie between
        # holes too small for the next one, and take as much memory again. With the copy, trimming the heap when a
        # generation is dropped saves nothing more (54 instead of 55 MiB, at 8 ms on the event loop).
        self._store(key, bytes(memoryview(value)))

    def _store(self, key: tuple[Any, ...], value: bytes) -> None:
        size = self._size(key, value)
        if size > self._half_bytes_max:
            return
        replaced = self._recent.pop(key, None)
        if replaced is not None:
            self._recent_bytes -= self._size(key, replaced)
        if self._recent_bytes + size > self._half_bytes_max:
            self._before, self._recent, self._recent_bytes = self._recent, {}, 0
        self._recent[key] = value
        self._recent_bytes += size

    @staticmethod
    def _size(key: tuple[Any, ...], value: bytes) -> int:
        large = key[-1]
        size = sys.getsizeof(key) + sys.getsizeof(large) + sys.getsizeof(value) + ENTRY_BYTES + 3 * ALLOCATION_BYTES
        if isinstance(large, tuple):
            size += sum(map(sys.getsizeof, large)) + ALLOCATION_BYTES * len(large)
        return size

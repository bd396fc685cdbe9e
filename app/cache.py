"""A cache of bytes with a limit on the memory it takes; entries never go stale.

A key holds all that the value was made of, or names something that never changes: an object that is written once, or
a request for a version that is registered once (call.kept says what would change that). So entries are dropped only
to make room.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

# For each allocation the heap takes up to 16 bytes more than is asked for, and a dict at most 100 for an entry.
ALLOCATION_BYTES = 16
ENTRY_BYTES = 100
COLUMN_BYTES = 50

# Only glibc has it.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def size_of_row(row: tuple[Any, ...]) -> int:
    """About how many bytes a row of the database has as JSON."""
    return sum(len(part) if isinstance(part, (bytes, str)) else 0 for part in row) + COLUMN_BYTES * len(row)


class ByteCache:
    """Bytes by key.

    Eviction: two generations of half the room each. When the young one is full, the old one is dropped and the young
    one takes its place; a hit moves an entry to the young one.

    Args:
        bytes_max: memory of all keys and values together; 0 keeps nothing
    """

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes_max = bytes_max // 2
        self._recent: dict[tuple[Any, ...], bytes] = {}
        self._before: dict[tuple[Any, ...], bytes] = {}
        self._recent_bytes = 0

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        """Return the value of an equal key, None without one."""
        found = self._recent.get(key)
        if found is None:
            found = self._before.get(key)
            if found is not None:
                self._store(key, found)
        return found

    def put(self, key: tuple[Any, ...], value: bytes) -> None:
        """Store a value if there is room for it; the last part of the key is its large one: bytes, a text or a row."""
        # A copy of the exact size: orjson gives back the end of a larger allocation, and what is kept would lie
        # between holes too small for the next one. They took as much memory again as the values.
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
            if _trim is not None:
                # The dropped half lay between other things, so the heap keeps its pages until it is asked for them.
                _trim(0)
        self._recent[key] = value
        self._recent_bytes += size

    @staticmethod
    def _size(key: tuple[Any, ...], value: bytes) -> int:
        large = key[-1]
        size = sys.getsizeof(key) + sys.getsizeof(large) + sys.getsizeof(value) + ENTRY_BYTES + 3 * ALLOCATION_BYTES
        if isinstance(large, tuple):
            size += sum(map(sys.getsizeof, large)) + ALLOCATION_BYTES * len(large)
        return size

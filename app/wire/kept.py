"""What has been made or read once and is wanted again, within bounds.

It is found by what it was made of, whole, or by a name that never means anything else: of an object that is written
once, or a request for a version that is registered once (call.kept says what would change that). So nothing here can
be out of date and nothing ever has to be thrown away, but for room.
"""

from __future__ import annotations

from typing import Any

# What the objects around the bytes of one entry take, roughly, and those of one column of a row.
ENTRY_BYTES = 250
COLUMN_BYTES = 50


def size_of_row(row: tuple[Any, ...]) -> int:
    """About how many bytes a row of the database takes."""
    return sum(len(part) if isinstance(part, (bytes, str)) else 0 for part in row) + COLUMN_BYTES * len(row)


class Kept:
    """Bytes by key. bytes_max: of all keys and values together; 0 keeps nothing.

    Room is made by halves: what was not asked for while the second half filled up is dropped.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half_bytes_max = bytes_max // 2
        self._recent: dict[tuple[Any, ...], bytes] = {}
        self._before: dict[tuple[Any, ...], bytes] = {}
        self._recent_bytes = 0

    def get(self, key: tuple[Any, ...]) -> bytes | None:
        """The bytes that were put for a key that is equal; None without any."""
        found = self._recent.get(key)
        if found is None:
            found = self._before.get(key)
            if found is not None:
                self.put(key, found)
        return found

    def put(self, key: tuple[Any, ...], value: bytes) -> None:
        """Keep a value if there is room for it; the last part of the key is its large one: bytes, or a row."""
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
        return (len(large) if isinstance(large, bytes) else size_of_row(large)) + len(value) + ENTRY_BYTES

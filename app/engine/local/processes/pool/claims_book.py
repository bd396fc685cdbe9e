"""The book of claims of memory and graphics cards: in memory, or in a file that several server processes share."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson

from app import limited_log
from app.system import system


@dataclass(slots=True)
class Taken:
    """One claim that is served.

    Attributes:
        memory: Bytes.
        gpus: The ids of graphics cards.
        pid, stamp: The server process that has claimed, in a shared book.
    """

    memory: int
    gpus: list[str]
    pid: int = 0
    stamp: str = ""


# By the names of claims (claims.name_of).
Entries = dict[str, Taken]


class Book:
    """Claims of one server process."""

    is_shared = False

    def __init__(self) -> None:
        self._entries: Entries = {}

    @contextmanager
    def opened(self) -> Iterator[Entries]:
        """Yield the claims, to read and change them."""
        yield self._entries


class SharedBook(Book):
    """Claims of all server processes of one home, in a file. Nobody else can open it meanwhile.

    A claim whose server process was killed stays until its task has ended, or a server process adopts the task and
    claims again.

    Args:
        path: The file.
        is_running: Returns whether the process of a private folder runs.
    """

    is_shared = True

    def __init__(self, path: Path, is_running: Callable[[Path], bool]) -> None:
        super().__init__()
        self._path = path
        self._is_running = is_running
        self._pid = os.getpid()
        self._stamp = system.stamp(self._pid)

    @contextmanager
    def opened(self) -> Iterator[Entries]:
        """Yield the claims, to read and change them.

        Raises:
            OSError: The file cannot be read or written.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            before = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
            entries = self._read(before)
            yield entries
            for taken in entries.values():
                if not taken.pid:
                    taken.pid, taken.stamp = self._pid, self._stamp
            rows = {name: (taken.memory, taken.gpus, taken.pid, taken.stamp) for name, taken in entries.items()}
            after = orjson.dumps(rows)
            if after != before:
                _write(descriptor, after, before)
        finally:
            os.close(descriptor)

    def _read(self, data: bytes) -> Entries:
        if not data:
            return {}
        try:
            entries = {name: Taken(*row) for name, row in json.JSONDecoder().raw_decode(data.decode())[0].items()}
        except (ValueError, TypeError, AttributeError) as error:
            # The machine may have stopped while it was written. Without this no task would ever start again.
            limited_log.warning("claims_lost", path=str(self._path), error=str(error))
            return {}
        own = self._pid, self._stamp
        owners = {(taken.pid, taken.stamp) for taken in entries.values()}
        running = {owner for owner in owners if owner == own or system.stamp(owner[0]) == owner[1]}
        return {
            name: taken
            for name, taken in entries.items()
            if (taken.pid, taken.stamp) in running or self._is_running(Path(name.rpartition("#")[0]))
        }


def _write(descriptor: int, content: bytes, before: bytes) -> None:
    """Replace the content of a file. Raises OSError where the disk is full; then the file is as before."""
    try:
        written = 0
        # A nearly full disk takes the first part without an error.
        while written < len(content):
            written += os.pwrite(descriptor, content[written:], written)
    except OSError:
        os.pwrite(descriptor, before, 0)
        os.ftruncate(descriptor, len(before))
        raise
    # A process that is killed in between leaves a longer end, which is not read.
    os.ftruncate(descriptor, len(content))

"""Logs of attempts in the object store, where servers with other homes find them after the attempt."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from app import limited_log
from app.blobs import BlobError, BlobMissing, Blobs
from app.engine.local.processes import folders

FOLDER = "logs"
# Beyond its limit a log keeps a note and the end of the output (forkserver/log.py).
_END_BYTES_MAX = 128 * 1024
# Logs that are in memory at once while they are written.
_WRITES_MAX = 2
_CLOSE_SECONDS_MAX = 10.0


class StoredLogs:
    """Copies logs of ended attempts into the store, beside the work of the engine.

    A log that cannot be copied stays in the folder of its attempt, and the failure is logged.

    Args:
        blobs: The store.
        bytes_max: The setting `engine.local.logBytesMax`.
    """

    def __init__(self, blobs: Blobs, bytes_max: int) -> None:
        self._blobs = blobs
        self._bytes_max = bytes_max + _END_BYTES_MAX
        self._semaphore = asyncio.Semaphore(_WRITES_MAX)
        self._writes: set[asyncio.Task[None]] = set()

    def keep(self, path: Path, *, element: bool) -> None:
        """Begin to copy the log of an attempt that has ended.

        Args:
            path: The file.
            element: Whether it is that of an element of a map.
        """
        write = asyncio.create_task(self._write(path, element))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def close(self) -> None:
        """Wait for the copies that have begun."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=_CLOSE_SECONDS_MAX)

    async def _write(self, path: Path, element: bool) -> None:
        async with self._semaphore:
            try:
                uri = uri_of(self._blobs, path.parent, element=element)
                # A second name takes less time than a thread.
                if self._blobs.local and _linked(path, Path(uri)):
                    return
                data = await asyncio.to_thread(_read, path, self._bytes_max)
                if data:
                    await self._blobs.write(uri, data)
            except (OSError, BlobError) as error:
                limited_log.warning("log_not_stored", path=str(path), reason=str(error))


async def read(blobs: Blobs, folder: Path, *, element: bool, bytes_max: int) -> bytes | None:
    """Return the log of an attempt from the store; None without one.

    Args:
        blobs: The store.
        folder: The folder that the attempt would have on this machine.
        element: Whether it is an element of a map.
        bytes_max: The setting `engine.local.logBytesMax`.

    Raises:
        BlobError: The store cannot be read.
    """
    try:
        return await blobs.read(uri_of(blobs, folder, element=element), bytes_max=bytes_max + _END_BYTES_MAX)
    except BlobMissing:
        return None


def uri_of(blobs: Blobs, folder: Path, *, element: bool) -> str:
    """Return the address of the log of an attempt, by the end of its folder's path, which no home is part of."""
    parts = folder.parts[-7:] if element else folder.parts[-5:]
    return "/".join((blobs.base, FOLDER, *parts))


def _linked(path: Path, target: Path) -> bool:
    """Give a log a second name in a local store, which copies nothing; return False where the system cannot."""
    descriptor = folders.open_log(path)
    try:
        if not os.fstat(descriptor).st_size:
            return True
    finally:
        os.close(descriptor)
    try:
        try:
            os.link(path, target, follow_symlinks=False)
        except FileNotFoundError:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.link(path, target, follow_symlinks=False)
    except FileExistsError:
        return True
    except OSError:
        # Home and store lie in different file systems.
        return False
    return True


def _read(path: Path, bytes_max: int) -> bytes:
    with open(folders.open_log(path), "rb") as file:
        return file.read(bytes_max)

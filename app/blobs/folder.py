"""A folder on this machine as a store: plain files, replaced at once or not at all.

Tasks write into the same folder, so what lies there is not trusted: symbolic links that lead out of it, pipes
and devices are not read.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import secrets
import stat
import threading
import time
from types import TracebackType

from app.blobs import problems

# Reading this much from the page cache takes less time than a hop to a thread.
DIRECT_READ_BYTES_MAX = 256 * 1024

# Half-written files lie here until they are renamed; one that a crash left behind goes after a day. No object can
# have this name (names.component).
INCOMING = "~incoming"
INCOMING_AGE_SECONDS_MAX = 24 * 3600

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_HAS_PROC = os.path.isdir("/proc/self/fd")
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_sync = getattr(os, "fdatasync", os.fsync)


class Folder:
    """Files below one absolute path. Keys are absolute paths too."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._real = os.path.realpath(path)

    def prepare(self) -> None:
        """Make the folder and sweep out what interrupted writes left. errors: OSError"""
        os.makedirs(os.path.join(self.path, INCOMING), mode=0o700, exist_ok=True)
        self._real = os.path.realpath(self.path)
        oldest = time.time() - INCOMING_AGE_SECONDS_MAX
        with os.scandir(os.path.join(self.path, INCOMING)) as entries:
            stale = [e.path for e in entries if e.is_file(follow_symlinks=False) and e.stat().st_mtime < oldest]
        for path in stale:
            os.unlink(path)

    def holds(self, path: str) -> bool:
        """Whether a normalised path lies in the folder, by its text alone; what is half written does not count."""
        return path.startswith(self.path + "/") and not path.startswith(f"{self.path}/{INCOMING}/")

    def open(self, path: str, uri: str) -> tuple[int, os.stat_result]:
        """A descriptor of the regular file at path, to be closed by the caller, and its status.

        errors: BlobMissing; BlobOutside where a symbolic link leads out of the folder; BlobUnreadable
        """
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                raise problems.missing(uri) from None
            raise problems.unopened(uri, error) from error
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise problems.missing(uri)
            if not stat.S_ISREG(status.st_mode):
                raise problems.unreadable(uri, "it is not a regular file")
            if not self._holds_open(descriptor, path):
                raise problems.outside(uri)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status

    async def read(self, path: str, uri: str, bytes_max: int) -> bytes:
        """The bytes of the file; bytes_max 0 is no limit. errors: as open, BlobTooLarge"""
        data = self._read(path, uri, bytes_max, DIRECT_READ_BYTES_MAX)
        # A thread opens the file anew: a descriptor handed over could be closed under it when the caller is cancelled.
        return await asyncio.to_thread(self._read_whole, path, uri, bytes_max) if data is None else data

    def _read_whole(self, path: str, uri: str, bytes_max: int) -> bytes:
        data = self._read(path, uri, bytes_max, 0)
        assert data is not None
        return data

    def _read(self, path: str, uri: str, bytes_max: int, at_once_bytes_max: int) -> bytes | None:
        """The bytes of the file; None for one that is larger than at_once_bytes_max (0: no file is)."""
        descriptor, status = self.open(path, uri)
        try:
            if bytes_max and status.st_size > bytes_max:
                raise problems.too_large(uri, status.st_size, bytes_max)
            if at_once_bytes_max and status.st_size > at_once_bytes_max:
                return None
            return _read_all(descriptor, status.st_size, uri)
        finally:
            os.close(descriptor)

    async def size(self, path: str, uri: str) -> int:
        """How many bytes the file has. errors: as open"""
        descriptor, status = self.open(path, uri)
        os.close(descriptor)
        return status.st_size

    async def matches_md5(self, path: str, uri: str, md5: bytes) -> bool:
        """Whether the file's content has this MD5. errors: as open"""
        return await asyncio.to_thread(self._md5_of, path, uri) == md5

    def _md5_of(self, path: str, uri: str) -> bytes:
        descriptor, _ = self.open(path, uri)
        with os.fdopen(descriptor, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()

    async def write(self, path: str, uri: str, data: bytes) -> None:
        """Store data at path, whole or not at all. errors: BlobOutside, BlobUnwritable, StorageFull"""
        await asyncio.to_thread(self._write, path, uri, data)

    async def create(self, path: str, uri: str, data: bytes) -> bool:
        """Store data at path, whole or not at all; False where there is a file. errors: as write"""
        return await asyncio.to_thread(self._write, path, uri, data, replaces=False)

    def _write(self, path: str, uri: str, data: bytes, *, replaces: bool = True) -> bool:
        with Incoming(self, path, uri) as incoming:
            incoming.write(data)
            return incoming.commit(replaces=replaces)

    def place(self, waiting: str, path: str, uri: str, *, replaces: bool = True) -> bool:
        """Give the file `waiting` the name path. errors: BlobOutside, OSError

        Args:
            replaces: Whether a file that has the name is replaced; else it stays, and the result is False. So it is
                on a file system without hard links.
        """
        parent, name = os.path.split(path)
        try:
            descriptor = os.open(parent, _FOLDER_FLAGS)
        except FileNotFoundError:
            if not _below(os.path.realpath(parent), self._real):
                raise problems.outside(uri) from None
            os.makedirs(parent, exist_ok=True)
            descriptor = os.open(parent, _FOLDER_FLAGS)
        try:
            if not self._holds_open(descriptor, parent):
                raise problems.outside(uri)
            if replaces:
                os.replace(waiting, name, dst_dir_fd=descriptor)
                return True
            try:
                os.link(waiting, name, dst_dir_fd=descriptor)
            except OSError as error:
                if error.errno in (errno.EEXIST, *_NO_LINKS):
                    return False
                raise
            os.unlink(waiting)
            return True
        finally:
            os.close(descriptor)

    def _holds_open(self, descriptor: int, path: str) -> bool:
        """Whether what was opened as path lies in the folder, symbolic links followed.

        Asking what was opened costs 4 µs and leaves no time to swap a link; resolving the path costs 60 µs.
        """
        return _below(os.readlink(f"/proc/self/fd/{descriptor}") if _HAS_PROC else os.path.realpath(path), self._real)


def _below(path: str, top: str) -> bool:
    return path == top or path.startswith(top + "/")


def _read_all(descriptor: int, size: int, uri: str) -> bytes:
    pieces: list[bytes] = []
    left = size
    try:
        while left > 0 and (piece := os.read(descriptor, left)):
            pieces.append(piece)
            left -= len(piece)
    except OSError as error:
        raise problems.unopened(uri, error) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class Incoming:
    """An object on its way in: nothing is to be seen at its path before commit, and nothing is left without it.

    Its methods may run in threads; discard waits for one that runs, so a descriptor is never closed under a write.
    """

    def __init__(self, folder: Folder, path: str, uri: str) -> None:
        self._path, self._uri = path, uri
        self._folder = folder
        self._waiting = os.path.join(folder.path, INCOMING, secrets.token_hex(16))
        self._lock = threading.Lock()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size_bytes = 0
        try:
            try:
                self._descriptor = os.open(self._waiting, _WRITE_FLAGS, 0o644)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self._waiting), mode=0o700, exist_ok=True)
                self._descriptor = os.open(self._waiting, _WRITE_FLAGS, 0o644)
        except OSError as error:
            raise problems.unwritable(uri, error) from error

    def __enter__(self) -> Incoming:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def md5(self) -> bytes:
        """The MD5 of what was written so far."""
        return self._md5.digest()

    def write(self, data: bytes | bytearray) -> None:
        """Append data. errors: BlobUnwritable, StorageFull"""
        with self._lock:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                raise problems.unwritable(self._uri, error) from error
            self._md5.update(data)
            self.size_bytes += len(data)

    def commit(self, *, replaces: bool = True) -> bool:
        """Put the object in its place; replaces as in Folder.place. errors: BlobOutside, BlobUnwritable, StorageFull"""
        with self._lock:
            try:
                # Rows that name the object reach the disk sooner or later; its bytes have to be there by then.
                _sync(self._descriptor)
                placed = self._folder.place(self._waiting, self._path, self._uri, replaces=replaces)
            except OSError as error:
                raise problems.unwritable(self._uri, error) from error
            if placed:
                self._waiting = ""
            return placed

    def discard(self) -> None:
        """Close; throw away what was not committed."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._waiting:
                os.unlink(self._waiting)
                self._waiting = ""

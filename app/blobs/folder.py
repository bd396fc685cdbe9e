"""Store objects as plain files in a local folder; a file is replaced atomically.

Tasks write into the same folder, so its content is not trusted: pipes, devices and symbolic links that lead out of the
folder are not read.
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
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from app.blobs import blob_errors
from app.system import system

# Reading a file of this size from the page cache takes less time than starting a thread for it.
DIRECT_READ_BYTES_MAX = 256 * 1024
# The same for writing into the page cache, where nothing waits for the disk.
DIRECT_WRITE_BYTES_MAX = 64 * 1024

# Folder of unfinished files, which are renamed when they are complete. A file that a crash left here is deleted after a
# day. No object can have this name (object_names.component).
INCOMING = "~incoming"
INCOMING_AGE_SECONDS_MAX = 24 * 3600

_READ_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
_FOLDER_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY
_NEW_FOLDER_FLAGS = _FOLDER_FLAGS | os.O_NOFOLLOW
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
_sync = getattr(os, "fdatasync", os.fsync)


class Folder:
    """Objects as files below one absolute path; their keys are absolute paths too."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._real = os.path.realpath(path)

    def prepare(self) -> None:
        """Create the folder, and delete unfinished files of interrupted writes.

        Raises:
            OSError: The folder cannot be used.
        """
        os.makedirs(os.path.join(self.path, INCOMING), mode=0o700, exist_ok=True)
        self._real = os.path.realpath(self.path)
        oldest = time.time() - INCOMING_AGE_SECONDS_MAX
        with os.scandir(os.path.join(self.path, INCOMING)) as entries:
            stale = [e.path for e in entries if e.is_file(follow_symlinks=False) and e.stat().st_mtime < oldest]
        for path in stale:
            os.unlink(path)

    def holds(self, path: str) -> bool:
        """Return whether a normalised path is in the folder, by its text alone; unfinished files are not."""
        return path.startswith(self.path + "/") and not path.startswith(f"{self.path}/{INCOMING}/")

    def open(self, path: str, uri: str) -> tuple[int, os.stat_result]:
        """Return a descriptor of the regular file at `path`, which the caller closes, and its status.

        Raises:
            BlobMissing: There is no file.
            BlobOutside: A symbolic link leads out of the folder.
            BlobUnreadable: The file cannot be opened, or is a pipe or a device.
        """
        try:
            descriptor = os.open(path, _READ_FLAGS)
        except OSError as error:
            if error.errno in _NOTHING_THERE:
                raise blob_errors.missing(uri) from None
            raise blob_errors.unreadable_file(uri, error) from error
        try:
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise blob_errors.missing(uri)
            if not stat.S_ISREG(status.st_mode):
                raise blob_errors.unreadable(uri, "it is not a regular file")
            if not self._is_inside(descriptor, path):
                raise blob_errors.outside(uri)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status

    async def read(self, path: str, uri: str, bytes_max: int, setting: str) -> bytes:
        """Return the bytes of the file; arguments and errors as `Blobs.read`."""
        data = self._read(path, uri, bytes_max, setting, direct_bytes_max=DIRECT_READ_BYTES_MAX)
        if data is not None:
            return data
        # The thread opens the file again: when the caller is cancelled, this function would close its descriptor.
        data = await asyncio.to_thread(self._read, path, uri, bytes_max, setting)
        assert data is not None
        return data

    def _read(self, path: str, uri: str, bytes_max: int, setting: str, *, direct_bytes_max: int = 0) -> bytes | None:
        """Return the bytes of the file; None for a file larger than `direct_bytes_max`, where 0 is no limit."""
        descriptor, status = self.open(path, uri)
        try:
            if bytes_max and status.st_size > bytes_max:
                raise blob_errors.too_large(uri, status.st_size, bytes_max, setting)
            if direct_bytes_max and status.st_size > direct_bytes_max:
                return None
            return _read_all(descriptor, status.st_size, uri)
        finally:
            os.close(descriptor)

    async def size(self, path: str, uri: str) -> int:
        """Return the size of the file in bytes; errors as `open`."""
        descriptor, status = self.open(path, uri)
        os.close(descriptor)
        return status.st_size

    async def matches_md5(self, path: str, uri: str, md5: bytes) -> bool:
        """Return whether the file's content has this MD5; errors as `open`."""
        return await asyncio.to_thread(self._md5_of, path, uri) == md5

    def _md5_of(self, path: str, uri: str) -> bytes:
        descriptor, _ = self.open(path, uri)
        with os.fdopen(descriptor, "rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).digest()

    async def write(self, path: str, uri: str, data: bytes, *, replace: bool, durable: bool = True) -> bool:
        """Store data at `path` completely or not at all; arguments, result and errors as `Blobs.create`."""
        # A file without content has nothing that a power failure could take.
        durable = durable and bool(data)
        if not durable and len(data) <= DIRECT_WRITE_BYTES_MAX:
            return self._write(path, uri, data, replace, durable=False)
        return await asyncio.to_thread(self._write, path, uri, data, replace, durable=durable)

    async def write_all(self, objects: Sequence[tuple[str, str, bytes]]) -> None:
        """Store objects, given as path, location and data, in one thread; errors as `Blobs.write`."""
        await asyncio.to_thread(self._write_all, objects)

    def _write_all(self, objects: Sequence[tuple[str, str, bytes]]) -> None:
        for path, uri, data in objects:
            self._write(path, uri, data, True)

    def _write(self, path: str, uri: str, data: bytes, replace: bool, *, durable: bool = True) -> bool:
        with IncomingFile(self, path, uri) as incoming:
            incoming.write(data)
            return incoming.commit(replace=replace, durable=durable)

    def rename(self, temporary: str, path: str, uri: str, *, replace: bool) -> bool:
        """Give a complete temporary file its name.

        Args:
            temporary: The file's path below INCOMING.
            path: The new path; missing folders are created.
            uri: The location for errors.
            replace: Whether an existing file is replaced.

        Returns:
            Whether the file was renamed. False where `replace` is false and a file exists, or where the file system has
            no hard links.

        Raises:
            BlobOutside: A symbolic link leads out of the folder.
            OSError: The file cannot be renamed.
        """
        parent, name = os.path.split(path)
        descriptor = self._open_folder(parent, uri)
        try:
            if replace:
                os.replace(temporary, name, dst_dir_fd=descriptor)
                return True
            try:
                os.link(temporary, name, dst_dir_fd=descriptor)
            except OSError as error:
                if error.errno in (errno.EEXIST, *_NO_LINKS):
                    return False
                raise
            os.unlink(temporary)
            return True
        finally:
            os.close(descriptor)

    def _open_folder(self, path: str, uri: str) -> int:
        """Return a descriptor of a folder, which the caller closes, after making it with the folders above it.

        Errors as `rename`.
        """
        missing: list[str] = []
        while True:
            try:
                descriptor = os.open(path, _FOLDER_FLAGS)
                break
            except FileNotFoundError:
                if path == self.path:
                    os.makedirs(path)
                else:
                    path, name = os.path.split(path)
                    missing.append(name)
        try:
            # Folders below this one are opened through it and without following links, so they are inside too.
            if not self._is_inside(descriptor, path):
                raise blob_errors.outside(uri)
            for name in reversed(missing):
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=descriptor)
                above, descriptor = descriptor, os.open(name, _NEW_FOLDER_FLAGS, dir_fd=descriptor)
                os.close(above)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _is_inside(self, descriptor: int, path: str) -> bool:
        """Return whether the open file is in the folder, after following symbolic links."""
        return _below(system.path_of(descriptor, path), self._real)


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
        raise blob_errors.unreadable_file(uri, error) from error
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class IncomingFile:
    """A file that is being written. `commit` makes it visible at its path; without `commit` it is deleted.

    Methods may run in threads. A lock keeps `discard` from closing the descriptor during a write.

    Args:
        folder: The store.
        path: The path of the complete file.
        uri: The location for errors.
    """

    def __init__(self, folder: Folder, path: str, uri: str) -> None:
        self._path, self._uri = path, uri
        self._folder = folder
        self._temporary = os.path.join(folder.path, INCOMING, secrets.token_hex(16))
        self._lock = threading.Lock()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size_bytes = 0
        try:
            try:
                self._descriptor = os.open(self._temporary, _WRITE_FLAGS, 0o644)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(self._temporary), mode=0o700, exist_ok=True)
                self._descriptor = os.open(self._temporary, _WRITE_FLAGS, 0o644)
        except OSError as error:
            raise blob_errors.unwritable_file(uri, error) from error

    def __enter__(self) -> IncomingFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    @property
    def md5(self) -> bytes:
        """The MD5 of the bytes written so far."""
        return self._md5.digest()

    def write(self, data: bytes | bytearray) -> None:
        """Append data.

        Raises:
            BlobUnwritable, StorageFull: The data cannot be stored.
        """
        with self._lock:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._descriptor, view) :]
            except OSError as error:
                raise blob_errors.unwritable_file(self._uri, error) from error
            self._md5.update(data)
            self.size_bytes += len(data)

    def commit(self, *, replace: bool = True, durable: bool = True) -> bool:
        """Flush the file to the disk and give it its name; arguments and result as `Folder.rename`.

        Args:
            replace: Whether an existing file is replaced.
            durable: Whether to flush; without it, a power failure soon after may leave a file without content.

        Raises:
            BlobOutside: A symbolic link leads out of the folder.
            BlobUnwritable, StorageFull: The file cannot be stored.
        """
        with self._lock:
            try:
                # Rows that refer to the object may reach the disk at any time; the object must be there before them.
                # A file without content has nothing that could be lost.
                if durable and self.size_bytes:
                    _sync(self._descriptor)
                renamed = self._folder.rename(self._temporary, self._path, self._uri, replace=replace)
            except OSError as error:
                raise blob_errors.unwritable_file(self._uri, error) from error
            if renamed:
                self._temporary = ""
            return renamed

    def discard(self) -> None:
        """Close the file, and delete it unless it was committed."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1
            if self._temporary:
                os.unlink(self._temporary)
                self._temporary = ""

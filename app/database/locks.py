"""Which processes serve a database: each holds a shared lock, and what must not happen under a server takes it alone.

On PostgreSQL it is an advisory lock of the connection that all reads share (pipeline.py), which is taken again when
that connection is replaced. On SQLite it is a lock (flock) on a file beside the database. Both end with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from app import errors

_CONNECT_SECONDS_MAX = 10
# Any number that no other program on the database uses as advisory lock.
_SERVED = 7019305549
SERVER_LOCK_SQL = f"SELECT pg_advisory_lock_shared({_SERVED})"
_ALONE_SQL = f"SELECT pg_try_advisory_lock({_SERVED})"


@contextmanager
def unserved(url: str) -> Iterator[None]:
    """Keep servers from the database while the block runs.

    Args:
        url: sqlite:///absolute/path or postgresql://…

    Raises:
        FailedPrecondition: A server serves the database.
        Unavailable: The database cannot be reached.
    """
    if url.startswith("sqlite"):
        descriptor = _lock_file(url.removeprefix("sqlite:///"), fcntl.LOCK_EX)
        try:
            yield
        finally:
            os.close(descriptor)
        return
    import psycopg

    try:
        plain = url.replace("postgresql+psycopg://", "postgresql://", 1)
        connection = psycopg.connect(plain, autocommit=True, connect_timeout=_CONNECT_SECONDS_MAX)
    except psycopg.Error as error:
        raise errors.Unavailable(f"the database cannot be reached: {str(error).strip()}") from error
    with connection:
        taken = connection.execute(_ALONE_SQL).fetchone()
        if taken is None or not taken[0]:
            raise _served()
        yield


def serve_file(path: str) -> int:
    """Return a descriptor that marks the SQLite database at `path` as served until it is closed.

    Raises:
        FailedPrecondition: The database is being changed by a command that needs it alone.
    """
    return _lock_file(path, fcntl.LOCK_SH)


def make_private(path: str) -> None:
    """Make the SQLite database at `path` readable and writable for its owner alone; create it where it is not there.

    SQLite gives its -wal and -shm files the mode of the database. A file of another owner is left as it is.

    Raises:
        OSError: The file cannot be created or changed.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        for name in (path, f"{path}-wal", f"{path}-shm"):
            with suppress(FileNotFoundError):
                status = os.stat(name)
                if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                    # Not through a descriptor: closing one would end SQLite's own locks in this process.
                    os.chmod(name, 0o600)


def _lock_file(path: str, how: int) -> int:
    descriptor = os.open(f"{path}-served", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        if how == fcntl.LOCK_EX:
            raise _served() from error
        raise errors.FailedPrecondition("a command changes the database now; start again when it has ended") from error
    return descriptor


def _served() -> errors.FailedPrecondition:
    return errors.FailedPrecondition("a flyteadmin serves this database; stop every server that uses it first")

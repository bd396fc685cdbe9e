"""Lock by which commands that need a database for themselves find out whether a server uses it.

Each server holds the lock shared; such a command takes it exclusively. On PostgreSQL it is an advisory lock of the
shared connection (connection_pool.py), and a new shared connection takes it again. On SQLite it is a lock (flock) on a
file beside the database. Both end with the process.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from app import errors

_CONNECT_SECONDS_MAX = 10
# A number that no other program on the database uses as advisory lock.
_LOCK_ID = 7019305549
SERVER_LOCK_SQL = f"SELECT pg_advisory_lock_shared({_LOCK_ID})"
_EXCLUSIVE_SQL = f"SELECT pg_try_advisory_lock({_LOCK_ID})"


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Keep servers from using the database while the block runs.

    Args:
        url: sqlite:///absolute/path or postgresql://…

    Raises:
        FailedPrecondition: A server uses the database.
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
        taken = connection.execute(_EXCLUSIVE_SQL).fetchone()
        if taken is None or not taken[0]:
            raise _used_by_server()
        yield


def share_sqlite(path: str) -> int:
    """Take the shared lock of the SQLite database at `path`. Return its descriptor, which has to stay open.

    Raises:
        FailedPrecondition: A command holds the lock exclusively.
    """
    return _lock_file(path, fcntl.LOCK_SH)


def _lock_file(path: str, mode: int) -> int:
    descriptor = os.open(f"{path}-served", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        if mode == fcntl.LOCK_EX:
            raise _used_by_server() from error
        raise errors.FailedPrecondition(
            "a command is changing the database; start the server when the command has ended"
        ) from error
    return descriptor


def _used_by_server() -> errors.FailedPrecondition:
    return errors.FailedPrecondition("a flyteadmin server uses this database; stop every server of the database first")

"""Permissions of a SQLite database file."""

import os
from contextlib import suppress


def make_private(path: str) -> None:
    """Make the database at `path` readable and writable only for its owner, and create it if it does not exist.

    SQLite gives its -wal and -shm files the mode of the database. A file of another owner is not changed.

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
                    # By name: closing a descriptor of the file would release SQLite's own locks in this process.
                    os.chmod(name, 0o600)

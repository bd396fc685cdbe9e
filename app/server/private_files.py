"""Files that are written whole, with their mode from the first moment: keys, secrets and certificates."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Replace the file atomically. It is never readable for others before it has its mode."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(name, mode)
        os.replace(name, file)
    except BaseException:
        os.unlink(name)
        raise


def create(file: Path, content: bytes, mode: int = 0o600) -> bool:
    """Write a new file. Return False, and write nothing, where the file exists."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except BaseException:
        # A part of a key would be taken for the key by the next start.
        file.unlink()
        raise
    return True

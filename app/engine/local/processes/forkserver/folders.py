"""Removal of the private folders of tasks, in one pass and with few system calls."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def remove_tree(path: str, entries_max: int) -> int:
    """Remove a folder, unless it holds too many entries; then a part of them remains.

    A process that a task has left behind may change the folder meanwhile. So names are looked up below open folders,
    and links are not followed. The log of the fork server names a folder that cannot be removed.

    Returns:
        How many entries less than `entries_max` it has had; 0 if entries remain.
    """
    left = _remove(path, None, entries_max)
    if left > 0 and os.path.lexists(path):
        sys.stderr.write(f"{path} could not be removed completely\n")
    return left


def _remove(name: str, parent: int | None, left: int) -> int:
    with suppress(OSError):
        # Most folders are empty.
        os.rmdir(name, dir_fd=parent)
        return left
    try:
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        return left
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
        for entry in found:
            left -= 1
            if left > 0 and entry.is_dir(follow_symlinks=False):
                left = _remove(entry.name, folder, left)
            elif left > 0:
                with suppress(OSError):
                    os.unlink(entry.name, dir_fd=folder)
            if left <= 0:
                return 0
    except OSError:
        return left
    finally:
        os.close(folder)
    with suppress(OSError):
        os.rmdir(name, dir_fd=parent)
    return left

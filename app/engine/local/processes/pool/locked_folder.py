"""The folders of fork servers, which are locked while the server that uses them runs."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


class LockedFolder:
    """A folder that is locked while its process runs, so that other servers can check whether it is in use."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = -1

    def lock(self) -> None:
        """Create the folder and lock it. Further calls change nothing."""
        while self._descriptor < 0:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.path.exists():
                self._descriptor = descriptor
            else:
                # Another server removed the folder before it was locked.
                os.close(descriptor)

    def remove(self) -> None:
        """Remove the folder and unlock it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def remove_abandoned(directory: Path) -> int:
    """Remove the folders of fork servers whose server was killed.

    Args:
        directory: The folder that holds one folder for each server of the home.

    Returns:
        The number of removed folders.
    """
    removed = 0
    for path in directory.iterdir() if directory.is_dir() else ():
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        else:
            shutil.rmtree(path, ignore_errors=True)
            removed += 1
        finally:
            os.close(descriptor)
    return removed

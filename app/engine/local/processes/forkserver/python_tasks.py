"""Python tasks of a warm fork server: they run in the forked interpreter, with flytekit and maybe their module.

A plain fork server does not import this, so that it stays small: a fork copies the tables of all its pages, and the
program that a task executes releases them again.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from . import flytekit_command, worker
from .imported_module import ImportedModule


class PythonTasks:
    """Runs tasks in processes that were forked from this one.

    Args:
        imported: The module of a user that this process has imported for its tasks; None without one.
    """

    def __init__(self, imported: ImportedModule | None = None) -> None:
        self.imported = imported

    def import_module(self, request: dict[str, Any]) -> ImportedModule:
        """Import the module of a version in this process, which becomes a module server."""
        self.imported = ImportedModule(request)
        return self.imported

    def is_current(self) -> bool:
        """Return whether the files that the import of the module has read are the same as then."""
        return self.imported is None or self.imported.is_current()

    def run(self, request: dict[str, Any]) -> int:
        """Run the command of a task in this process, and return its exit code."""
        return flytekit_command.run(request["argv"], request["env"], self._path, request["image"], self.imported)

    def serve(self, channel: socket.socket, hold: Callable[[str], None]) -> NoReturn:
        """Run tasks one after the other in this process (worker.py)."""
        worker.serve(channel, self._path, self.imported, hold)

    @property
    def _path(self) -> list[str]:
        return sys.path if self.imported is None else self.imported.base_path

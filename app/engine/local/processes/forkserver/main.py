"""The fork server: imports flytekit, reports that to the server, then forks and supervises tasks (supervisor.py)."""

from __future__ import annotations

import socket
import sys
from typing import Any

from app.system import system

from .memory import prepare_forks
from .supervisor import TaskSupervisor


def main() -> None:
    """Serve the socket whose descriptor is the first argument. The second argument is "warm" or "plain"."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    hello: dict[str, Any] = {"warm": False}
    python = None
    if sys.argv[2] == "warm":
        # A plain fork server, which runs no code of users, does without these modules.
        from .flytekit_command import hide_own_modules
        from .preload import preload
        from .python_tasks import PythonTasks

        python = PythonTasks()
        hide_own_modules(psutil=system.is_portable)
        hello = preload(system.native_threads)
    prepare_forks()
    supervisor = TaskSupervisor(connection, python)
    supervisor.send(hello)
    supervisor.run()

"""The folders of attempts on this machine.

Layout: <home>/attempts/<project>/<domain>/<execution>/<node>/<attempt>; an index of a map has <index>/<retry> below.
"""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

from flyteidl.core import identifier_pb2

from app.blobs.object_names import component

LOG = "log"


def execution_folder(home: Path, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path:
    """Return the folder of an execution, below the home of a server."""
    return home.joinpath("attempts", *(component(part) for part in (id.project, id.domain, id.name)))


def home_of(recorded: str, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path | None:
    """Return the home in a launch record if this machine has it with the execution's attempts, else None.

    Args:
        recorded: The host, then the absolute path.
        id: The execution.
    """
    host, slash, path = recorded.partition("/")
    if host != socket.gethostname():
        return None
    home = Path(slash + path)
    return home if os.access(execution_folder(home, id), os.R_OK | os.W_OK | os.X_OK) else None


def node_folder(execution: Path, unique_id: str) -> Path:
    """Return the folder of a node, below the folder of its execution."""
    return execution / component(unique_id)


def attempt_folder(node: Path, attempt: int, *, index: int | None = None, retry: int = 0) -> Path:
    """Return the folder of an attempt, below the folder of its node.

    Args:
        node: The folder of the node.
        attempt: The number of the node's attempt.
        index: The index of a map's element; None for other tasks.
        retry: The number of the element's attempt.
    """
    folder = node / str(attempt)
    return folder if index is None else folder / str(index) / str(retry)


def open_log(path: Path) -> int:
    """Return a descriptor that reads a log.

    Raises:
        OSError: There is no log, or it is not a regular file.
    """
    # The task can write into the folder: in place of the log there may be a link, or a pipe that never ends.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} is no file")
    return descriptor

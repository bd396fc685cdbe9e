"""Where attempts lie on this machine: private folders with what they print and the records of their processes.

Layout: <home>/attempts/<project>/<domain>/<execution>/<node>/<attempt>; an index of a map has <index>/<retry> below.
"""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import tempfile
from pathlib import Path

from flyteidl.core import identifier_pb2

from app.blobs.object_names import component

LOG = "log"
# The temporary folder of macOS has 49 bytes.
_TEMPORARY_ROOT_MAX = 50


def execution_folder(home: Path, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path:
    """The folder of an execution; home: the server's."""
    return home.joinpath("attempts", *(component(part) for part in (id.project, id.domain, id.name)))


def home_of(recorded: str, id: identifier_pb2.WorkflowExecutionIdentifier) -> Path | None:
    """The home that a launch record names, where it is one of this machine and holds attempts of the execution.

    recorded: <host><absolute path>
    """
    host, slash, path = recorded.partition("/")
    if host != socket.gethostname():
        return None
    home = Path(slash + path)
    return home if os.access(execution_folder(home, id), os.R_OK | os.W_OK | os.X_OK) else None


def node_folder(execution: Path, unique_id: str) -> Path:
    """The folder of a node, in its execution's."""
    return execution / component(unique_id)


def attempt_folder(node: Path, attempt: int, *, index: int | None = None, retry: int = 0) -> Path:
    """The folder of an attempt, in its node's; index and retry: of one element of a map task."""
    folder = node / str(attempt)
    return folder if index is None else folder / str(index) / str(retry)


def short_temporary(directory: Path) -> Path:
    """Return the name of the link to an attempt's temporary folder.

    The address of a Unix socket has at most 107 bytes (103 on macOS), and libraries put sockets into folders of their
    own below the temporary one. So its name must be short, whatever the length of the home's and of the node's.
    """
    root = tempfile.gettempdir()
    digest = hashlib.sha256(os.fsencode(directory)).hexdigest()[:16]
    return Path(root if len(root) <= _TEMPORARY_ROOT_MAX else "/tmp") / f"fl-{digest}"


def open_log(path: Path) -> int:
    """A descriptor of a log, to read. errors: OSError where there is none, or something else in its place"""
    # The folder is its task's: what the name leads to may be a link to anything, or never end.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(f"{path} is no file")
    return descriptor

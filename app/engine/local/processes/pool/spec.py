"""The description of a process for the pool (process_pool.py). It has no Flyte message: runner.py builds it."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.engine.local.processes.environment import Environment

# The temporary folder of macOS has 49 bytes.
_TEMPORARY_ROOT_MAX = 50


class NotStarted(Exception):
    """The operating system refused to start the process: memory, descriptors, disk or number of processes."""


class NotExecutable(Exception):
    """The operating system refused to execute the program, as it will every time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of one process with its descendants; 0 means no limit.

    Attributes:
        grace_seconds: Time between SIGTERM and SIGKILL.
        log_bytes_max: Size of the log. Of the output beyond it only the end is kept.
        printed_bytes_max: Size of the output beyond which the process is killed.
        free_bytes_min: Free disk space below which the process is killed, if its own files take as much.
        processes_max: Number of simultaneous processes beyond which all are killed.
        memory_bytes_max: Memory of all processes together beyond which they are killed.
        cpus_max: Number of CPUs that the processes run on.
        memory_claimed: Memory that is counted for the process while it runs.
        gpus: Number of graphics cards that it gets.
        worker_tasks_max: Number of tasks that follow each other in one process.
        worker_idle_seconds: Time for which such a process waits for its next task.
    """

    grace_seconds: float
    log_bytes_max: int
    printed_bytes_max: int
    free_bytes_min: int
    processes_max: int
    memory_bytes_max: int = 0
    cpus_max: int = 0
    memory_claimed: int = 0
    gpus: int = 0
    worker_tasks_max: int = 1
    worker_idle_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessSpec:
    """A process that is ready to start.

    Attributes:
        folder: The private folder of the process: its records, its working folder and its temporary folder.
        program: The file to execute.
        argv: The arguments, beginning with the name of the program.
        variables: All environment variables of the process.
        files: Contents of the private files to write before the start, by absolute path.
        log: The file that receives standard output and standard error.
        data_folders: Folders outside `folder` that the process fills. Their files count against `free_bytes_min`, and
            are deleted if the process was killed because it filled the disk.
        limits: The limits of the process.
        queue: The name of the pool's semaphore whose permit the process needs; "" for none.
        key: The key that takes turns at this semaphore.
        preload: The environment whose flytekit runs `argv`, in an interpreter that has imported flytekit already if
            possible. None executes `program`.
        image: The container image that the task names, for flytekit's `ImageSpec.is_container()`.
        notice: Text at the beginning of the log.
        held: A file that the process locks together with others until it ends; None for none.
        worker: The key of processes that may follow each other in one process; "" for none.
        shared: The variables that processes of the same version have in common, without secrets.
        private: The names of variables that other processes must not see. A new interpreter for flytekit's command
            reads them from a file, because the system shows those with which a program is started.
    """

    folder: Path
    program: str
    argv: tuple[str, ...]
    variables: Mapping[str, str]
    files: Mapping[Path, bytes]
    log: Path
    data_folders: tuple[str, ...]
    limits: Limits
    queue: str
    key: Hashable
    preload: Environment | None
    image: str
    notice: str = ""
    held: Path | None = None
    worker: str = ""
    shared: Mapping[str, str] = field(default_factory=dict)
    private: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=1000)
def temporary_link(folder: Path) -> Path:
    """Return the path of the link to the temporary folder of a process.

    The address of a Unix socket has at most 107 bytes (103 on macOS), and libraries make sockets below the temporary
    folder. So the path of this folder must be short, however long the path of the private folder is.

    Args:
        folder: The private folder of the process.
    """
    root = tempfile.gettempdir()
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(root if len(root) <= _TEMPORARY_ROOT_MAX else "/tmp") / f"fl-{digest}"  # nosec # a taken name is refused

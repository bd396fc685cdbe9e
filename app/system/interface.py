"""The interface of both twins."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping


class System(ABC):
    """Requests to the operating system.

    Attributes:
        is_portable: Whether this is the portable twin.
        reports_leftovers: Whether the supervisor gets SIGCHLD for processes that tasks have left behind. Without it,
            the supervisor looks for them repeatedly.
        memory_seconds: Time between two measurements of the memory of tasks.
        live_files: The beginnings of the paths of files that differ between processes or moments.
    """

    is_portable: bool
    reports_leftovers: bool
    memory_seconds: float
    live_files: tuple[str, ...]

    @abstractmethod
    def stamp(self, pid: int) -> str:
        """Return the start of the process with this pid as text; "" if none runs, or only a zombie.

        A pid and a stamp together identify one process, where a pid alone may be used again.
        """

    @abstractmethod
    def switches(self, pid: int) -> int:
        """Return how often the process has got or given up a CPU.

        The number of a process that waits with a timeout grows; that of a stopped process stays. It is 0 where there is
        no process with this pid, or where the system does not count.
        """

    @abstractmethod
    def open_process(self, pid: int) -> int:
        """Return a descriptor that becomes readable when the process ends; -1 where the system has none.

        Raises:
            ProcessLookupError: There is no such process.
        """

    @abstractmethod
    def send_signal(self, handle: int, pid: int, number: int) -> None:
        """Send a signal to the process of a descriptor, or by its pid where the descriptor is -1.

        Raises:
            ProcessLookupError: There is no such process.
        """

    @abstractmethod
    def adopt_orphans(self) -> None:
        """Make this process the parent of descendants whose own parents have ended, where the system can."""

    @abstractmethod
    def end_with_parent(self) -> None:
        """Make the system send SIGKILL to this process when its parent ends, where the system can."""

    @abstractmethod
    def volunteer_for_oom(self) -> None:
        """Make the kernel kill this process rather than the server when memory runs out, where it can."""

    @abstractmethod
    def oom_kills(self) -> int:
        """Return how many processes the kernel has killed for lack of memory; 0 if it does not count them."""

    @abstractmethod
    def family(self, pid: int, count_max: int) -> list[int]:
        """Return the first process of a task and its descendants; stop looking at `count_max`."""

    @abstractmethod
    def left_behind(self, ended: Mapping[int, str], known: Collection[int]) -> dict[int, int]:
        """Return the processes that tasks have left behind, each with the pid of its task, or 0 if that is unknown.

        Args:
            ended: Tasks whose first processes have ended: pid, and the value of TMPDIR.
            known: Children of this process that are not left behind.
        """

    @abstractmethod
    def memory_of(self, pids: Iterable[int], enough: int) -> int:
        """Return the memory of processes in bytes, without pages of files.

        Pages that processes share take long to measure, so they are measured only where the sum of all pages is above
        `enough`; otherwise this sum is returned.
        """

    @abstractmethod
    def limit_cpus(self, count: int) -> None:
        """Let this process and its children run on so many CPUs only, where the system can; 0 for no limit."""

    @abstractmethod
    def use_huge_pages(self) -> None:
        """Move the memory of this process into huge pages, where the system can: a fork copies fewer page tables."""

    @abstractmethod
    def native_threads(self) -> int:
        """Return the number of this process's threads, including those of C libraries."""

    @abstractmethod
    def limit_descriptors(self, pid: int, limits: tuple[int, int]) -> None:
        """Set the soft and the hard limit of open files of a child process, where the system can."""

    @abstractmethod
    def machine_memory(self) -> int:
        """Return the bytes of memory of this machine, or of the container that this process runs in."""

    @abstractmethod
    def hide_environment(self) -> None:
        """Hide the environment and the memory of this process from others of the same user, where the system can."""

    @abstractmethod
    def path_of(self, descriptor: int, path: str) -> str:
        """Return the path of an open file without symbolic links; "" if `path` has become another file.

        Args:
            descriptor: The file.
            path: The path by which it was opened.
        """

    @abstractmethod
    def refuse_connections(self, listening: socket.socket) -> None:
        """Let a listening socket ignore new connections, where the system can; those in its queue can be accepted."""


def physical_memory() -> int:
    """Return the bytes of memory of this machine."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

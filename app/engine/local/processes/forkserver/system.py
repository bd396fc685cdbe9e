"""Requests of the supervisor to the operating system: attributes of processes, children, kills for lack of memory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
from collections.abc import Iterable

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def adopt_orphans() -> None:
    """Make this process the parent of descendants whose own parents have ended, where the system can."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent() -> None:
    """Make the system send SIGKILL to this process when its parent ends, where the system can."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def volunteer_for_oom() -> None:
    """Make the kernel kill the task rather than the server when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as score:
            score.write("500")
    except OSError:
        # Not Linux, or a container without this file: the system chooses the process to kill by itself.
        return


def hold(path: str) -> None:
    """Lock a file together with others, "" for none. The lock ends with the last process that has its descriptor."""
    if path:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o600)
        os.set_inheritable(descriptor, True)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def oom_kills() -> int:
    """Return how many processes the kernel has killed for lack of memory; 0 if it does not count them."""
    try:
        with open("/proc/vmstat", encoding="ascii") as counters:
            for line in counters:
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    except OSError:
        return 0
    return 0


def children(pid: int) -> list[int]:
    """Return the direct children of a process; none if the system has no list of them."""
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        for thread in threads:
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as listed:
                found += [int(number) for number in listed.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def family(pid: int, count_max: int) -> list[int]:
    """Return a process and its descendants, and stop looking at `count_max`."""
    found = [pid]
    waiting = [pid]
    while waiting and len(found) < count_max:
        below = children(waiting.pop())
        found += below
        waiting += below
    return found


def memory_of(pids: Iterable[int], enough: int) -> int:
    """Return the memory of processes in bytes, without pages of files; 0 if the system has no /proc.

    A page that processes share counts in parts. That takes long to read, so it is read only where the sum of all pages
    is above `enough`; otherwise this sum is returned.
    """
    total = 0
    for pid in pids:
        total += int((_read(f"/proc/{pid}/statm").split() or ["0", "0"])[1]) * _PAGE_BYTES
    if total <= enough:
        return total
    return sum(_own_memory(pid) for pid in pids)


def _own_memory(pid: int) -> int:
    kilobytes = dict.fromkeys(("Pss", "Pss_File"), 0)
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    for line in lines:
        name, _, value = line.partition(":")
        if name in kilobytes:
            kilobytes[name] = int(value.split()[0])
    if kilobytes["Pss"]:
        return (kilobytes["Pss"] - kilobytes["Pss_File"]) * 1024
    # A kernel without this file, or a process that has just ended.
    fields = _read(f"/proc/{pid}/statm").split() or ["0", "0", "0"]
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""


def limit_cpus(count: int) -> None:
    """Let this process and its children run on so many CPUs only, where the system can; 0 for no limit."""
    if not count or sys.platform != "linux":
        return
    allowed = sorted(os.sched_getaffinity(0))
    if count < len(allowed):
        first = os.getpid() % len(allowed)
        os.sched_setaffinity(0, {allowed[(first + number) % len(allowed)] for number in range(count)})


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a blocking descriptor."""
    while data:
        data = data[os.write(descriptor, data) :]

"""The requests on Linux: /proc, prctl, pidfd, cgroups, BPF."""

from __future__ import annotations

import ctypes
import functools
import os
import resource
import signal
import socket
import struct
from collections.abc import Collection, Iterable, Mapping

from app.system.interface import System, physical_memory

_READ_BYTES = 65536
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_HUGE_BYTES = 2 * 1024 * 1024
_MADV_COLLAPSE = 25
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
# The number on Linux; Python's socket module has no name for this option.
_SO_ATTACH_FILTER = 26
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Fields of /proc/<pid>/stat, counted from the third, which follows the name in parentheses.
_STATE, _START, _ENVIRONMENT = 0, 19, (47, 48)


def is_possible() -> bool:
    """Return whether this system has what the class needs; some containers and emulators have only a part of it."""
    try:
        return (
            len(_stat("self")) > _ENVIRONMENT[1]
            and os.path.exists(f"/proc/self/task/{os.getpid()}/children")
            and (
                hasattr(ctypes.CDLL(None), "prctl")
                and hasattr(resource, "prlimit")
                and hasattr(os, "sched_setaffinity")
            )
        )
    except OSError:
        return False


class Linux(System):
    """Requests to Linux."""

    is_portable = False
    reports_leftovers = True
    memory_seconds = 0.1
    live_files = ("/proc/", "/sys/", "/dev/")

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None)
        # Interpreters that were built for old kernels lack it.
        self._has_pidfd = hasattr(os, "pidfd_open") and hasattr(signal, "pidfd_send_signal")

    def stamp(self, pid: int) -> str:
        """See `System`."""
        try:
            fields = _stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            return ""
        return "" if fields[_STATE] in ("Z", "X") else f"{_boot_id()}:{fields[_START]}"

    def switches(self, pid: int) -> int:
        """See `System`."""
        # The name of the process may have any bytes.
        lines = _content_if_any(f"/proc/{pid}/status").splitlines()
        return sum(int(line.split()[1]) for line in lines if b"ctxt_switches:" in line)

    def open_process(self, pid: int) -> int:
        """See `System`."""
        return os.pidfd_open(pid) if self._has_pidfd else -1

    def send_signal(self, handle: int, pid: int, number: int) -> None:
        """See `System`."""
        if handle >= 0:
            signal.pidfd_send_signal(handle, number)
        else:
            os.kill(pid, number)

    def adopt_orphans(self) -> None:
        """See `System`."""
        self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def end_with_parent(self) -> None:
        """See `System`."""
        self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def volunteer_for_oom(self) -> None:
        """See `System`."""
        try:
            descriptor = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(descriptor, b"500")
            finally:
                os.close(descriptor)
        except OSError:
            # A container without this file: the kernel chooses the process to kill by itself.
            return

    def oom_kills(self) -> int:
        """See `System`."""
        # Each task asks for it, and the file has some 200 lines.
        _, _, rest = _content_if_any("/proc/vmstat").partition(b"\noom_kill ")
        return int(rest.split(maxsplit=1)[0]) if rest else 0

    def family(self, pid: int, count_max: int) -> list[int]:
        """See `System`."""
        found = [pid]
        waiting = [pid]
        while waiting and len(found) < count_max:
            below = _children(waiting.pop())
            found += below
            waiting += below
        return found

    def left_behind(self, ended: Mapping[int, str], known: Collection[int]) -> dict[int, int]:
        """See `System`. A task adopts its own orphans, so a child of this process was left by a task that has ended."""
        found = {}
        for pid in _children(os.getpid()):
            if pid not in known:
                session = _session(pid)
                found[pid] = session if session in ended else 0
        return found

    def memory_of(self, pids: Iterable[int], enough: int) -> int:
        """See `System`. A page that processes share counts in parts."""
        measured = list(pids)
        total = sum(int((_read(f"/proc/{pid}/statm").split() or ["0", "0"])[1]) for pid in measured) * _PAGE_BYTES
        return total if total <= enough else sum(_own_memory(pid) for pid in measured)

    def limit_cpus(self, count: int) -> None:
        """See `System`."""
        if count <= 0:
            return
        allowed = sorted(os.sched_getaffinity(0))
        if count < len(allowed):
            first = os.getpid() % len(allowed)
            os.sched_setaffinity(0, {allowed[(first + number) % len(allowed)] for number in range(count)})

    def use_huge_pages(self) -> None:
        """See `System`. Kernels before 6.1 refuse it, and a process that writes to a huge page splits it again."""
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            # Only anonymous memory has no path.
            areas = [area[0] for area in map(str.split, maps) if area[1] == "rw-p" and area[5:] in ([], ["[heap]"])]
        for area in areas:
            start, end = (int(address, 16) for address in area.split("-"))
            for address in range(-(-start // _HUGE_BYTES) * _HUGE_BYTES, end - _HUGE_BYTES + 1, _HUGE_BYTES):
                self._libc.madvise(ctypes.c_void_p(address), ctypes.c_size_t(_HUGE_BYTES), _MADV_COLLAPSE)

    def native_threads(self) -> int:
        """See `System`."""
        return len(os.listdir("/proc/self/task"))

    def limit_descriptors(self, pid: int, limits: tuple[int, int]) -> None:
        """See `System`."""
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        except (ProcessLookupError, PermissionError):
            # The process has ended, or runs as another user; it keeps its limits.
            return

    def machine_memory(self) -> int:
        """See `System`."""
        found = physical_memory()
        for path in _MEMORY_LIMITS:
            text = _read(path).strip()
            if text.isdigit():
                found = min(found, int(text))
        return found

    def hide_environment(self) -> None:
        """See `System`. os.environ and getenv() keep all values; core dumps and debuggers no longer work."""
        fields = _stat("self")
        start, end = (int(fields[place]) for place in _ENVIRONMENT)
        for name, value in os.environ.items():
            # From now on getenv() reads a copy of the C library, not the block.
            os.putenv(name, value)
        ctypes.memset(start, 0, end - start)
        self._libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

    def path_of(self, descriptor: int, path: str) -> str:
        """See `System`. This takes 4 µs and cannot race with a replaced link."""
        return os.readlink(f"/proc/self/fd/{descriptor}")

    def refuse_connections(self, listening: socket.socket) -> None:
        """See `System`. A client that connects meanwhile is refused, after it repeats its SYN."""
        # A filter of the kernel (classic BPF) that drops each segment with SYN and without ACK.
        load_flags, mask, drop_if_syn = (0x30, 0, 0, 13), (0x54, 0, 0, 0x12), (0x15, 0, 1, 0x02)
        drop, accept = (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFFFFFF)
        instructions = [load_flags, mask, drop_if_syn, drop, accept]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in instructions))
        program = struct.pack("HP", len(instructions), ctypes.addressof(code))
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


@functools.cache
def _boot_id() -> str:
    # The start time of a process counts from the start of the machine, so it may repeat after the next one.
    return _read("/proc/sys/kernel/random/boot_id").strip()


def _stat(pid: int | str) -> list[str]:
    # The command name in parentheses may hold blanks and parentheses of its own.
    return _content(f"/proc/{pid}/stat").rpartition(b")")[2].decode("ascii").split()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            found += map(int, _content(f"/proc/{pid}/task/{thread}/children").split())
    except (FileNotFoundError, ProcessLookupError):
        return found
    return found


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0


def _own_memory(pid: int) -> int:
    kilobytes = dict.fromkeys(("Pss", "Pss_File"), 0)
    for line in _read(f"/proc/{pid}/smaps_rollup").splitlines():
        name, _, value = line.partition(":")
        if name in kilobytes:
            kilobytes[name] = int(value.split()[0])
    if kilobytes["Pss"]:
        return (kilobytes["Pss"] - kilobytes["Pss_File"]) * 1024
    # A kernel without this file, or a process that has just ended.
    fields = _read(f"/proc/{pid}/statm").split() or ["0", "0", "0"]
    return (int(fields[1]) - int(fields[2])) * _PAGE_BYTES


def _read(path: str) -> str:
    """Return the text of a file of the kernel; "" if the kernel, the container or the process has none."""
    return _content_if_any(path).decode("ascii")


def _content_if_any(path: str) -> bytes:
    try:
        return _content(path)
    except OSError:
        return b""


def _content(path: str) -> bytes:
    """Return the bytes of a file of the kernel. `open` takes three times as long, and five more system calls."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = b""
        while piece := os.read(descriptor, _READ_BYTES):
            data += piece
        return data
    finally:
        os.close(descriptor)

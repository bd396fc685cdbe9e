"""Stamps of processes: a pid and a stamp together identify one process, where a pid alone may be used again."""

from __future__ import annotations

import functools
import subprocess
import sys


def process_stamp(pid: int) -> str:
    """Return the start of the process with this pid as text; "" if none runs, or only a zombie."""
    if sys.platform != "linux":
        shown = subprocess.run(  # nosec B607 # ps is in different folders on different systems
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        state, _, since = shown.stdout.strip().partition(" ")
        return "" if state.startswith("Z") else since.strip()
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
            # The command name in parentheses may hold blanks and parentheses of its own.
            fields = stat.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in ("Z", "X") else f"{_boot_id()}:{fields[19]}"


@functools.cache
def _boot_id() -> str:
    # The start time of a process counts from the start of the machine, so it may repeat after the next one.
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            return boot.read().strip()
    except OSError:
        return ""

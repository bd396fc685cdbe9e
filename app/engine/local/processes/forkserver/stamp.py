"""When a process began, as text that no other process of this machine ever has together with the same pid."""

from __future__ import annotations

import subprocess
import sys


def started(pid: int) -> str:
    """A stamp of the process, "" when no such process runs (a zombie has ended, so it has none)."""
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
    return "" if fields[0] in ("Z", "X") else f"{_boot()}:{fields[19]}"


def _boot() -> str:
    """Which start of the machine this is, so that a pid and a time of an earlier one do not match by chance."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as boot:
            return boot.read().strip()
    except OSError:
        return ""

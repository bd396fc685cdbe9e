"""The name under which a process holds leases, and whether the process of a name has ended."""

from __future__ import annotations

import os
import socket

from app.system import system


def owner_name() -> str:
    """Return the name of this process, different from that of every other process on every machine."""
    return f"{socket.gethostname()}/{os.getpid()}/{system.stamp(os.getpid())}"


def has_ended(owner: str) -> bool:
    """Return whether the owner was a process of this machine that has ended."""
    host, _, rest = owner.partition("/")
    pid, _, stamp = rest.partition("/")
    return host == socket.gethostname() and pid.isdigit() and system.stamp(int(pid)) != stamp

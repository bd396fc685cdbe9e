"""The limit on open files and sockets of this process, which is often 1,024 although the system allows more."""

from __future__ import annotations

import resource
import sys

# Some systems allow a thousand million, which programs that close all descriptors one by one cannot take.
DESCRIPTORS_MAX = 1_048_576

_at_start = resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_limit() -> None:
    """Raise the soft limit of this process to its hard limit, at most to DESCRIPTORS_MAX."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = DESCRIPTORS_MAX if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            # macOS caps the limit below the hard limit that it reports; the server works with the soft limit too.
            return


def restore_limit(pid: int) -> None:
    """Give a child process the soft limit that this process started with: programs that use select() need it."""
    if sys.platform == "linux":
        try:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, _at_start)
        except (ProcessLookupError, PermissionError):
            # The process has ended, or runs as another user; it keeps the higher limit.
            return

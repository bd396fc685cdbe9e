"""The limit on open files and sockets of this process, which is often 1,024 although the system allows more."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping

from app import limited_log
from app.system import system

# Some systems allow a thousand million, which programs that close all descriptors one by one cannot take.
DESCRIPTORS_MAX = 1_048_576

WATCH_SECONDS = 5.0
# From this part of the limit on, a line in the log warns of its end.
USED_PART_MAX = 0.9

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
    system.limit_descriptors(pid, _at_start)


class DescriptorWatch:
    """The service that logs when this process has almost no descriptors left.

    The event loop resets connections that it has no descriptor for, and reports that to nobody.
    """

    name = "descriptor_watch"

    def __init__(self) -> None:
        self._watching: asyncio.Task[None] | None = None
        self._failure = ""

    async def start(self) -> None:
        """Check every WATCH_SECONDS until `stop`."""
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """Stop checking."""
        if self._watching is not None:
            self._watching.cancel()

    def health(self) -> str:
        """Return "" while descriptors are left."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges: prometheus-client counts the descriptors of the process."""
        return {}

    async def _watch(self) -> None:
        while True:
            await asyncio.to_thread(self.check)
            await asyncio.sleep(WATCH_SECONDS)

    def check(self) -> None:
        """Log a warning where the limit is almost reached."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        try:
            used = len(os.listdir("/dev/fd"))
        except OSError:
            # Listing the descriptors takes one, and none is left.
            used = limit
        self._failure = ""
        if used >= limit * USED_PART_MAX:
            self._failure = f"{used} of {limit} descriptors are in use"
            limited_log.warning("descriptors_almost_used_up", used=used, limit=limit, hint="raise ulimit -n")

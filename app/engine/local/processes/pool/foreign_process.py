"""Processes that are no children of this server: whether they run, signals to them, and their ends.

A fork server may belong to an earlier server, and tasks are children of fork servers, so this server cannot wait for
them with waitpid. Where a descriptor of a process (pidfd) becomes readable at its end, it is watched. On other systems
the state of the process is polled.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass

from app.system import system

_POLL_SECONDS = (0.005, 0.2)


@dataclass(frozen=True, slots=True)
class ForeignProcess:
    """A process, running or ended.

    Attributes:
        pid: Its process id.
        stamp: Its start, as `system.stamp` returns it. A later process with the same pid has another stamp.
    """

    pid: int
    stamp: str

    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return system.stamp(self.pid) == self.stamp

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the process; return False if it has ended."""
        if not self.is_running():
            return False
        try:
            handle = system.open_process(self.pid)
        except ProcessLookupError:
            return False
        try:
            # Checked again: between the first check and open_process another process may have got the pid.
            if not self.is_running():
                return False
            system.send_signal(handle, self.pid, number)
        except ProcessLookupError:
            return False
        finally:
            if handle >= 0:
                os.close(handle)
        return True

    async def wait(self) -> None:
        """Wait until the process has ended."""
        if not self.is_running():
            return
        try:
            handle = system.open_process(self.pid)
        except ProcessLookupError:
            return
        if handle < 0:
            seconds, seconds_max = _POLL_SECONDS
            while self.is_running():
                await asyncio.sleep(seconds)
                seconds = min(seconds * 2, seconds_max)
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        try:
            if self.is_running():
                loop.add_reader(handle, ended.set)
                await ended.wait()
        finally:
            loop.remove_reader(handle)
            os.close(handle)

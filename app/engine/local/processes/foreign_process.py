"""Processes that are no children of this server: whether they run, signals to them, and their ends.

A fork server may belong to an earlier server, and tasks are children of fork servers, so this server cannot wait for
them with waitpid. On Linux a descriptor of the process (pidfd) becomes readable at its end; on other systems its state
is polled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass

from app.engine.local.processes.forkserver.stamp import process_stamp

_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class ForeignProcess:
    """A process, running or ended.

    Attributes:
        pid: Its process id.
        stamp: Its start, as `forkserver.stamp` reads it. A later process with the same pid has another stamp.
    """

    pid: int
    stamp: str

    def is_running(self) -> bool:
        """Return whether it has not ended."""
        return process_stamp(self.pid) == self.stamp

    def send(self, number: signal.Signals) -> bool:
        """Send a signal to the process; return False if it has ended."""
        if not self.is_running():
            return False
        try:
            handle = os.pidfd_open(self.pid) if sys.platform == "linux" else -1
        except ProcessLookupError:
            return False
        try:
            # Checked again: between the first check and pidfd_open another process may have got the pid.
            if not self.is_running():
                return False
            if handle >= 0:
                signal.pidfd_send_signal(handle, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        finally:
            if handle >= 0:
                os.close(handle)
        return True

    async def wait(self) -> None:
        """Wait until the process has ended."""
        if sys.platform != "linux":
            while self.is_running():  # noqa: ASYNC110 - on these systems nothing could set an event.
                await asyncio.sleep(_POLL_SECONDS)
            return
        if not self.is_running():
            return
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
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

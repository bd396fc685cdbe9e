"""Finds supervisors that are stuck, for example after SIGSTOP, and kills them, so that their tasks count as lost.

A supervisor with a task wakes up every second. One that is stuck enforces no limits, does not read the output of its
tasks, so that they wait too, and does not record their ends.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from app.engine.local.processes.pool.foreign_process import ForeignProcess
from app.system import system

log = structlog.get_logger(__name__)

# The checks are counted, not the time: this server may have been stopped as well.
_CHECK_SECONDS = 10.0
_CHECKS_MAX = 6


@dataclass(frozen=True, slots=True)
class _Seen:
    """The result of a check: `system.switches`, and the number of later checks with the same value."""

    switches: int
    checks: int = 0


class SupervisorWatch:
    """Checks the supervisors of the processes for which somebody waits."""

    def __init__(self) -> None:
        self._waiting: Counter[ForeignProcess] = Counter()
        self._checking: asyncio.Task[None] | None = None

    @contextmanager
    def during(self, supervisor: ForeignProcess) -> Iterator[None]:
        """Check the supervisor during the `with` block."""
        self._waiting[supervisor] += 1
        if self._checking is None or self._checking.done():
            self._checking = asyncio.create_task(self._check_repeatedly())
        try:
            yield
        finally:
            self._waiting[supervisor] -= 1
            if not self._waiting[supervisor]:
                del self._waiting[supervisor]

    def close(self) -> None:
        """End the checks."""
        if self._checking is not None:
            self._checking.cancel()

    async def _check_repeatedly(self) -> None:
        seen: dict[ForeignProcess, _Seen] = {}
        while self._waiting:
            await asyncio.sleep(_CHECK_SECONDS)
            seen = {supervisor: _check(supervisor, seen.get(supervisor)) for supervisor in self._waiting}


def _check(supervisor: ForeignProcess, last: _Seen | None) -> _Seen:
    switches = system.switches(supervisor.pid)
    if not switches or last is None or last.switches != switches:
        return _Seen(switches)
    checks = last.checks + 1
    if checks == _CHECKS_MAX and supervisor.send(signal.SIGKILL):
        log.error(
            "supervisor_killed",
            pid=supervisor.pid,
            reason=f"it was stopped or stuck for {_CHECKS_MAX * _CHECK_SECONDS:.0f} s; its tasks are started again",
        )
    return _Seen(switches, checks)

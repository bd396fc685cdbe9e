"""Services that run beside the requests of a process: started in order, stopped in reverse.

A service is an engine, a listener, or a background task. `app.main` makes the list for each process that serves
requests, and `app.cli.main` the list for the process that was started by the user.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

import structlog

from app.runtime.metrics import CallMetrics

# Time between two copies of the gauges to the shared memory.
REPORT_SECONDS = 5.0

log = structlog.get_logger(__name__)


class Service(Protocol):
    """One service of a process.

    Attributes:
        name: Snake case, different from the names of the other services; used in log lines and metrics.
    """

    name: str

    async def start(self) -> None:
        """Begin to work. The service does not count as started when this raises."""

    async def stop(self) -> None:
        """Stop working and give back every resource. Called once for each successful start."""

    def health(self) -> str:
        """Return "" while the service works, otherwise the reason why it does not."""

    def metrics(self) -> Mapping[str, float]:
        """Return the gauges of the service by name; `app.runtime.metrics.GAUGES` lists all of them."""


class Services:
    """The services of one process.

    Args:
        services: In the order in which they start.
        counts: Receives the gauges while the event loop runs, for the process that serves /metrics.
    """

    def __init__(self, services: Iterable[Service], counts: CallMetrics | None = None) -> None:
        self._services = tuple(services)
        self._started: list[Service] = []
        self._counts = counts
        self._reporting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start every service. When one fails, log it, stop those that have started, and raise its error."""
        for service in self._services:
            try:
                await service.start()
            except BaseException as error:
                if isinstance(error, Exception):
                    log.exception("service_not_started", service=service.name)
                await self.stop()
                raise
            self._started.append(service)
        if self._counts is not None:
            self._reporting = asyncio.create_task(self._report(self._counts))

    async def stop(self) -> tuple[str, ...]:
        """Stop every started service, the last one first. Return the names of those that failed; log why."""
        if self._reporting is not None and self._counts is not None:
            self._reporting.cancel()
            self._reporting = None
            self._counts.clear_gauges()
        failed = []
        while self._started:
            service = self._started.pop()
            try:
                await service.stop()
            except Exception:
                # The other services must stop all the same.
                log.exception("service_not_stopped", service=service.name)
                failed.append(service.name)
        return tuple(failed)

    def health(self) -> dict[str, str]:
        """Return each started service's health by name: "" or a reason."""
        return {service.name: service.health() for service in self._started}

    def gauges(self) -> dict[tuple[str, str], float]:
        """Return the gauges of the started services by service and name, `healthy` (0 or 1) among them."""
        found: dict[tuple[str, str], float] = {}
        for service in self._started:
            found[service.name, "healthy"] = float(not service.health())
            found |= {(service.name, name): value for name, value in service.metrics().items()}
        return found

    async def _report(self, counts: CallMetrics) -> None:
        while True:
            try:
                counts.set_gauges(self.gauges())
            except Exception:
                log.exception("service_metrics_not_reported")
            await asyncio.sleep(REPORT_SECONDS)

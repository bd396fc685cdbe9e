"""Readiness of a process: whether its database and its storage answer, and whether it is stopping."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable

import structlog

from app.blobs import Blobs
from app.database import schema
from app.database.base import Database

log = structlog.get_logger(__name__)

# Probes that come sooner receive the result of the check before, so that they cannot load database and storage.
CHECK_SECONDS_MIN = 1.0
DRAINING = "draining"


class Health:
    """The readiness of one process.

    Args:
        timeout_seconds: Time for the database, and for the storage, to answer.

    Attributes:
        draining: Set when the process is about to stop: it still answers, and is no longer ready.
        degraded: Returns the names of receivers outside that cannot be used. The process is ready all the same.
    """

    def __init__(self, database: Database, blobs: Blobs, timeout_seconds: float) -> None:
        self.draining = asyncio.Event()
        self.degraded: Callable[[], Iterable[str]] = tuple
        self._database = database
        self._blobs = blobs
        self._timeout_seconds = timeout_seconds
        self._check: asyncio.Task[tuple[str, ...]] | None = None
        self._checked_at = 0.0
        self._failing: tuple[str, ...] = ()

    async def failing(self) -> tuple[str, ...]:
        """Return why this process is not ready, of "database", "storage" and "draining"; nothing when it is ready."""
        if self.draining.is_set():
            return (DRAINING,)
        now = time.monotonic()
        if self._check is None or (self._check.done() and now - self._checked_at >= CHECK_SECONDS_MIN):
            self._checked_at = now
            self._check = asyncio.create_task(self._run_checks())
        return await asyncio.shield(self._check)

    async def _run_checks(self) -> tuple[str, ...]:
        checks: dict[str, Callable[[], Awaitable[object]]] = {
            "database": self._read_row,
            "storage": self._read_storage,
        }
        reasons = await asyncio.gather(*(self._reason(check) for check in checks.values()))
        failed = {name: reason for name, reason in zip(checks, reasons, strict=True) if reason}
        if tuple(failed) != self._failing:
            if failed:
                log.warning("not_ready", **failed)
            else:
                log.info("ready_again")
        self._failing = tuple(failed)
        return self._failing

    async def _reason(self, check: Callable[[], Awaitable[object]]) -> str:
        """Return why a check failed, "" when it did not."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await check()
        except TimeoutError:
            return f"no answer in {self._timeout_seconds:g} s (server.readinessTimeoutSeconds)"
        except Exception as error:  # noqa: BLE001 - every failure makes the process unready, and its reason is logged
            return str(error) or repr(error)
        return ""

    async def _read_row(self) -> None:
        async with self._database.unit_of_work() as unit:
            await unit.find(schema.SharedValue, columns=("name",), name="storage_id")

    async def _read_storage(self) -> None:
        if self._blobs.local:
            await asyncio.to_thread(os.stat, self._blobs.base)
        else:
            # Whether the object is there does not matter: the bucket has answered.
            await self._blobs.exists(f"{self._blobs.base}/~flyteadmin/storage-id")

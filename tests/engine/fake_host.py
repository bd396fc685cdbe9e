"""A host of executions without leases, for tests of single modules of the engine."""

from __future__ import annotations

from typing import Any

from app.engine.local.graph.failures import LeaseLost


class FakeHost:
    """Implements `Host.hold`. has_lease: False where another server is said to have taken the lease."""

    def __init__(self) -> None:
        self.has_lease = True

    async def hold(self, unit: Any, id: Any) -> None:
        if not self.has_lease:
            raise LeaseLost("another process runs the execution")

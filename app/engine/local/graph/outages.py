"""Decide how long an execution waits while the object store or the database does not answer.

The reason is shown at the open attempts if it is the store.

Processes of tasks continue meanwhile. Attempts that fail because of the store are repeated
(processes/storage_failures.py). An outage has ended when an execution runs longer than two minutes before it fails
again.
"""

from __future__ import annotations

import random
import time

import structlog
from flyteidl.core import execution_pb2, identifier_pb2

from app import errors
from app.blobs import BlobTooLarge
from app.engine.local.graph.events import EventSender
from app.engine.local.graph.failures import ExecutionEnded
from app.engine.local.host import Host
from app.runtime.dispatch import Server
from app.services.execution_ids import execution_key
from app.services.executions.unfinished import OPEN_ATTEMPTS, attempt_event

log = structlog.get_logger(__name__)

Task = execution_pb2.TaskExecution

_PAUSE_SECONDS = 0.5
_PAUSE_SECONDS_MAX = 10.0
# A failure after a longer time without one begins a new outage.
_QUIET_SECONDS = 120.0


def is_transient(error: Exception) -> bool:
    """Return whether a later call may succeed after an error of the store or the database, such as a full disk."""
    if isinstance(error, errors.ResourceExhausted):
        return not isinstance(error, BlobTooLarge)
    return isinstance(error, errors.Unavailable | errors.DeadlineExceeded | errors.Aborted)


class Outage:
    """The failures of store and database of one execution, and the pause before its next try."""

    def __init__(self) -> None:
        self._since = 0.0
        self._last = 0.0
        self._pause = 0.0

    def record_failure(self) -> bool:
        """Record a failure; return whether it is the first of an outage."""
        now = time.monotonic()
        begins = not self._since or now - self._last > _QUIET_SECONDS
        if begins:
            self._since, self._pause = now, 0.0
        self._last = now
        self._pause = min(self._pause * 2 or _PAUSE_SECONDS, _PAUSE_SECONDS_MAX)
        return begins

    @property
    def seconds(self) -> float:
        """Return the seconds from the first to the last failure of the outage."""
        return self._last - self._since

    @property
    def pause_seconds(self) -> float:
        """Return the seconds to wait before the next try, varied so that many executions do not try at once."""
        return self._pause * random.uniform(0.8, 1.2)  # nosec B311 # jitter


async def show(host: Host, server: Server, id: identifier_pb2.WorkflowExecutionIdentifier, reason: str) -> None:
    """Report the reason as a new event of every open attempt of an execution."""
    try:
        async with server.database.unit_of_work() as db:
            rows = await db.all(OPEN_ATTEMPTS, **execution_key(id))
        for row in rows:
            event = attempt_event(
                id,
                row,
                phase=Task.Phase.Value(row.phase),
                phase_version=(row.phase_version or 0) + 1,
                reason=f"waiting for the object store: {reason}",
            )
            await EventSender(server, id, host).send(event)
    except (errors.FlyteError, ExecutionEnded) as error:
        # ExecutionEnded: the attempt ended after the rows were read, or another server runs the execution.
        log.warning("outage_not_shown", execution=id.name, reason=str(error))

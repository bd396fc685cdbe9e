"""The Kubernetes engine: hand launched executions to FlytePropeller as objects, and delete those of aborted ones.

Every server process with `engine.kind: kubernetes` has one. They share the launch records by leases. A record is worked
on when `next_try_at` has come: at the launch, at an abort, and after a call that failed.
Source: flyteadmin/pkg/workflowengine/impl/k8s_executor.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import ColumnElement, bindparam, func, literal, select, true

from app import errors
from app.database import schema
from app.database.statements import Statement
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.placing import Placer
from app.engine.kubernetes.reconcile import Reconciler
from app.engine.owner import has_ended, owner_name
from app.runtime import leases
from app.runtime.dispatch import Server
from app.services import phases
from app.services.execution_ids import EXECUTION_KEY, execution_columns, execution_id, execution_key, same_execution

POLL_SECONDS = 1.0
RENEW_SECONDS = 5.0
# Records that are worked on at once, for each call that a cluster may get at once.
_WORK_PER_CALL = 2

log = structlog.get_logger(__name__)

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)


def _due(condition: ColumnElement[bool]) -> Statement:
    """Return the statement for records that are to be worked on; condition: limits the executions."""
    return Statement(
        select(*execution_columns(_launches))
        .select_from(_launches.join(_executions, same_execution(_launches, _executions)))
        .where(_launches.c.next_try_at <= bindparam("now"), leases.is_free(_launches), condition)
        .order_by(_launches.c.next_try_at)
        .limit(bindparam("rows"))
    )


_cluster = func.coalesce(_executions.c.cluster, "")
_DUE = _due(true())
_DUE_OF_CLUSTER = _due(_cluster == bindparam("cluster"))

Key = tuple[str, str, str]


class KubernetesEngine:
    """Implements `app.engine.port.Engine` and a background service.

    Args:
        server: Holds settings, database and store.

    Attributes:
        clusters: The clusters, open until the engine stops.

    Raises:
        BadSetting: The credentials of a cluster cannot be read.
    """

    name = "kubernetes_engine"

    def __init__(self, server: Server) -> None:
        self._server = server
        section = server.settings.engine.kubernetes
        self.clusters = ClusterApis(server.settings)
        self._placer = Placer(server, self.clusters, works_max=section.requests_max * _WORK_PER_CALL)
        self._leases = leases.Leases(
            server.database, schema.Launch, EXECUTION_KEY, owner=owner_name(), has_ended=has_ended
        )
        self._reconciler = Reconciler(server, self.clusters, self._placer)
        self._first_try_seconds = section.first_try_ms / 1000
        names = list(self.clusters.all())
        # Of executions whose cluster is not configured any more.
        self._due_elsewhere = _due(_cluster.not_in([literal(name) for name in names])) if len(names) > 1 else None
        self._works_max = self._placer.works_max * len(names)
        self._works: dict[Key, asyncio.Task[None]] = {}
        # Executions whose rows changed while they were worked on.
        self._again: set[Key] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._failure = ""
        self._stopping = False

    async def start(self) -> None:
        """Work on due records from now on."""
        self._loops = [asyncio.create_task(self._poll()), asyncio.create_task(self._reconciler.run())]

    async def stop(self) -> None:
        """Stop at once; another process repeats the calls that were interrupted."""
        self._stopping = True
        tasks = [*self._loops, *self._works.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.clusters.close()
        await self._leases.release_if_possible()

    def health(self) -> str:
        """Return why due records cannot be read, "" while they can."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return the number of records that are worked on, and of objects without an execution."""
        return {"working": len(self._works), "unknown_objects": self._reconciler.unknown_objects}

    def launched(
        self, execution: identifier_pb2.WorkflowExecutionIdentifier, *, wait: bool = False
    ) -> Awaitable[None] | None:
        """Create the object of an execution. wait: return an awaitable of the first try."""
        task = self._start_work(execution)
        return self._first_launch(execution, task) if wait and task is not None else None

    def aborted(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> Awaitable[None] | None:
        """Delete the object of an execution; return an awaitable of the first try."""
        task = self._start_work(execution, changed=True)
        return self._first_try(task) if task is not None else None

    def signalled(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Do nothing: FlytePropeller asks for the values of signals itself."""

    async def _first_try(self, task: asyncio.Task[None]) -> None:
        """Wait a short time for the first call.

        Raises:
            errors.Internal: Kubernetes refused the object for good, or did not delete it.
        """
        done, _ = await asyncio.wait((task,), timeout=self._first_try_seconds)
        if done and not task.cancelled() and isinstance(task.exception(), errors.Internal):
            raise errors.Internal(str(task.exception()))

    async def _first_launch(self, id: identifier_pb2.WorkflowExecutionIdentifier, task: asyncio.Task[None]) -> None:
        """Wait a short time for the first call, also where the poll has made it before `launched`.

        Raises:
            errors.Internal: Kubernetes refused the object for good.
        """
        await self._first_try(task)
        if not task.done():
            return
        async with self._server.database.unit_of_work() as db:
            row = await db.find(schema.Execution, columns=("phase", "closure"), **execution_key(id))
        if row is not None and phases.phase_number(phases.Workflow.Phase, row.phase) == phases.Workflow.FAILED:
            raise errors.Internal(execution_pb2.ExecutionClosure.FromString(row.closure).error.message)

    def _start_work(
        self, id: identifier_pb2.WorkflowExecutionIdentifier, *, changed: bool = False
    ) -> asyncio.Task[None] | None:
        """Start to work on an execution; None where the poll will, because too much is being worked on.

        Args:
            id: The execution.
            changed: Whether work that is under way may have read its rows before they changed.
        """
        key = (id.project, id.domain, id.name)
        if self._stopping:
            return None
        running = self._works.get(key)
        if running is not None and not running.done():
            if changed:
                self._again.add(key)
            return running
        if len(self._works) >= self._works_max:
            self._wake.set()
            return None
        task = self._works[key] = asyncio.create_task(self._work(id, key))
        task.add_done_callback(lambda ended: self._ended(key, ended))
        return task

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._works.get(key) is task:
            del self._works[key]
        self._wake.set()
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not isinstance(error, errors.FlyteError):
            log.error("execution_not_worked_on", execution="/".join(key), exc_info=error)

    async def _work(self, id: identifier_pb2.WorkflowExecutionIdentifier, key: Key) -> None:
        """Work on an execution until none of its rows changed meanwhile. Raises the error of the last work."""
        while True:
            self._again.discard(key)
            refusal, released = None, False
            async with self._server.database.unit_of_work() as db:
                if not await self._leases.take(db, key):
                    return
            try:
                released = await self._placer.work(id)
            except errors.Internal as error:
                refusal = error
            finally:
                if not released:
                    await self._leases.release_if_possible(key)
            # No await follows, so that a change is seen here or starts new work.
            if key not in self._again:
                if refusal is not None:
                    raise refusal
                return

    async def _poll(self) -> None:
        """Start due work and renew the leases, until the engine stops."""
        loop = asyncio.get_running_loop()
        renew_at = loop.time()
        while True:
            self._wake.clear()
            try:
                if loop.time() >= renew_at:
                    renew_at = loop.time() + RENEW_SECONDS
                    if self._works:
                        await self._leases.renew()
                    await self._leases.release_ended()
                await self._start_due()
                self._failure = ""
            except errors.FlyteError as error:
                if not self._failure:
                    log.warning("engine_cannot_reach_database", reason=error.message)
                self._failure = error.message or type(error).__name__
            except Exception as error:
                # The loop must survive any exception: without it no launch is repeated.
                log.exception("launches_not_polled")
                self._failure = repr(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
                    await asyncio.sleep(POLL_SECONDS / 5)

    async def _start_due(self) -> None:
        """Start due work; each cluster has its own share, so that one that does not answer delays no other."""
        now = datetime.now(UTC)
        for name in self.clusters.all():
            room = min(self._placer.room(name), self._works_max - len(self._works))
            if self._due_elsewhere is None:
                await self._start_rows(_DUE, room, now=now)
            else:
                await self._start_rows(_DUE_OF_CLUSTER, room, now=now, cluster=name)
        if self._due_elsewhere is not None:
            await self._start_rows(self._due_elsewhere, self._works_max - len(self._works), now=now)

    async def _start_rows(self, due: Statement, room: int, **parameters: Any) -> None:
        if room <= 0:
            return
        async with self._server.database.unit_of_work() as db:
            rows = await db.all(due, rows=room, **parameters)
        for row in rows:
            self._start_work(execution_id(row))

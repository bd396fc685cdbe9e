"""The background service that keeps the resources of projects in step with the templates.

One server process of all does it; the others take over when it ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from app import errors
from app.database import schema
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.resources.sync import ResourceSync, problem_of
from app.engine.owner import has_ended, owner_name
from app.runtime import leases
from app.runtime.dispatch import Server

LEASE = "cluster_resources"
_TURN_SECONDS = 5.0

log = structlog.get_logger(__name__)


class ResourceService:
    """Applies the templates every `refreshInterval`.

    Args:
        server: Holds settings and database.
        clusters: The clusters of the engine, whose connections and limits it shares; None makes and closes its own.

    Raises:
        BadSetting: A configured value is missing, or the credentials of a cluster cannot be read.
    """

    name = "cluster_resources"

    def __init__(self, server: Server, clusters: ClusterApis | None = None) -> None:
        self._own_clusters: ClusterApis | None = None
        if clusters is None:
            clusters = self._own_clusters = ClusterApis(server.settings)
        self._sync = ResourceSync(server, clusters)
        self._interval_seconds = server.settings.cluster_resources.refresh_interval_seconds
        self._leases = leases.Leases(server.database, schema.Lease, ("name",), owner=owner_name(), has_ended=has_ended)
        self._task: asyncio.Task[None] | None = None
        self._problem = ""
        self._failed = 0

    async def start(self) -> None:
        """Apply now and at each interval."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._own_clusters is not None:
            await self._own_clusters.close()
        await self._leases.release_if_possible()

    def health(self) -> str:
        """Return the errors of the last run, "" for none."""
        return self._problem

    def metrics(self) -> Mapping[str, float]:
        """Return the number of objects that the last run could not apply."""
        return {"failed": float(self._failed)}

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                await self._leases.release_ended()
                if await self._leases.acquire(LEASE) and loop.time() >= due:
                    due = loop.time() + self._interval_seconds
                    await self._apply()
                await self._leases.renew()
            except errors.FlyteError as error:
                self._problem = error.message or type(error).__name__
                log.warning("cluster_resources_not_applied", reason=self._problem)
            except Exception as error:
                # A later run may succeed.
                self._problem = repr(error)
                log.exception("cluster_resources_not_applied")
            await asyncio.sleep(min(_TURN_SECONDS, self._interval_seconds))

    async def _apply(self) -> None:
        summary = await self._sync.run()
        problem, self._failed = problem_of(summary), len(summary.errors)
        if problem and problem != self._problem:
            log.warning("cluster_resources_not_applied", reason=problem)
        if summary.created or summary.changed:
            log.info("cluster_resources_applied", result=summary.text())
        self._problem = problem

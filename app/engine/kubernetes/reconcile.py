"""Compare running executions with the objects of the clusters.

Executions that a cluster lost end, and objects without an execution are reported. One process of all compares at a
time. Objects are listed by their metadata, page by page.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import and_, bindparam, exists, literal, or_, select

from app import errors, limited_log
from app.database import schema
from app.database.statements import Statement
from app.engine.kubernetes import calls
from app.engine.kubernetes.api import ApiError, ClusterApi
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.placing import LOST, Placer
from app.engine.owner import has_ended, owner_name
from app.runtime import leases
from app.runtime.dispatch import Server
from app.services import phases
from app.services.execution_ids import execution_columns, execution_id, execution_key, execution_path, same_execution

LEASE = "kubernetes_reconcile"
_SELECTOR = f"{calls.TERMINATED_LABEL} notin ({calls.TERMINATED})"
_ROWS = 500
# Executions that one statement looks for by their keys.
_NAMED_MAX = 100

log = structlog.get_logger(__name__)

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)
_ENDED = [literal(phases.Workflow.Phase.Name(phase)) for phase in sorted(phases.WORKFLOW_TERMINAL)]
_OVER = Statement(
    select(*execution_columns(_launches))
    .where(
        exists().where(same_execution(_launches, _executions), _executions.c.phase.in_(_ENDED)),
        _launches.c.next_try_at.is_(None),
    )
    .limit(_ROWS)
)
_PLACED = Statement(
    select(*execution_columns(_launches), _launches.c.id, _executions.c.cluster, _executions.c.phase)
    .select_from(_launches.join(_executions, same_execution(_launches, _executions)))
    .where(
        _launches.c.placed_at < bindparam("before"),
        _launches.c.next_try_at.is_(None),
        _launches.c.id > bindparam("after_id"),
        _executions.c.phase.not_in(_ENDED),
    )
    .order_by(_launches.c.id)
    .limit(_ROWS)
)


class Reconciler:
    """Compares, until it is cancelled.

    Attributes:
        unknown_objects: Objects with the labels of an execution that the database does not have, at the last look.
    """

    def __init__(self, server: Server, clusters: ClusterApis, placer: Placer) -> None:
        self._server = server
        self._clusters = clusters
        self._placer = placer
        self._section = server.settings.engine.kubernetes
        self._leases = leases.Leases(server.database, schema.Lease, ("name",), owner=owner_name(), has_ended=has_ended)
        self.unknown_objects = 0.0

    async def run(self) -> None:
        """Compare every `reconcileSeconds`."""
        while True:
            await asyncio.sleep(self._section.reconcile_seconds)
            try:
                await self._leases.release_ended()
                if await self._leases.acquire(LEASE):
                    await self.compare()
            except errors.FlyteError as error:
                limited_log.warning("clusters_not_compared", reason=error.message)
            except Exception:
                # A later comparison may succeed.
                log.exception("clusters_not_compared")

    async def compare(self) -> None:
        """Remove records of ended executions, then compare each cluster that answers."""
        await self._remove_ended()
        began = datetime.now(UTC)
        unknown = 0
        for name, api in self._clusters.all().items():
            try:
                found = {
                    (metadata["namespace"], metadata["name"]): metadata
                    async for metadata in api.list_metadata(_SELECTOR)
                }
            except ApiError as error:
                limited_log.warning("cluster_not_compared", key=name, cluster=name, reason=str(error))
                continue
            await self._end_lost(name, api, found, began)
            unknown += await self._report_unknown(name, api, found)
            await self._leases.renew()
        self.unknown_objects = float(unknown)

    async def _remove_ended(self) -> None:
        """Delete the launch records of ended executions; FlytePropeller's last event leaves them."""
        while True:
            async with self._server.database.unit_of_work() as db:
                rows = await db.all(_OVER)
                for row in rows:
                    await db.delete(schema.Launch, **execution_key(execution_id(row)))
                    await db.delete(schema.CatalogReservation, **execution_key(execution_id(row)))
            if len(rows) < _ROWS:
                return

    async def _end_lost(
        self, cluster: str, api: ClusterApi, found: dict[tuple[str, str], Any], began: datetime
    ) -> None:
        """End executions that were placed before the list began and whose object is not there."""
        before, after_id = began - timedelta(seconds=self._section.grace_seconds), 0
        while True:
            async with self._server.database.unit_of_work() as db:
                rows = await db.all(_PLACED, before=before, after_id=after_id)
            for row in rows:
                after_id = row.id
                id = execution_id(row)
                expected = self._server.settings.namespace_mapping.of(id.project, id.domain)
                if (row.cluster or "") != cluster or (expected, id.name) in found:
                    continue
                if await self._is_gone(api, await self._namespace(id, expected), id):
                    log.warning("execution_lost", execution=execution_path(id), cluster=cluster)
                    aborting = row.phase == "ABORTING"
                    await self._placer.end(id, phases.Workflow.ABORTED if aborting else phases.Workflow.FAILED, LOST)
            if len(rows) < _ROWS:
                return

    async def _namespace(self, id: identifier_pb2.WorkflowExecutionIdentifier, expected: str) -> str:
        """Return the namespace of an execution: not the expected one where `namespace_mapping` was changed since."""
        async with self._server.database.unit_of_work() as db:
            row = await db.find(schema.Execution, columns=("spec",), **execution_key(id))
        spec = execution_pb2.ExecutionSpec.FromString(row.spec or b"") if row is not None else None
        return (spec.metadata.system_metadata.namespace if spec is not None else "") or expected

    async def _is_gone(self, api: ClusterApi, namespace: str, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        """Ask for one object. An object that has ended is there, and FlytePropeller has sent its last event."""
        try:
            await api.get(namespace, id.name)
        except ApiError as error:
            return error.status == 404
        return False

    async def _report_unknown(self, cluster: str, api: ClusterApi, found: dict[tuple[str, str], Any]) -> int:
        """Count and report objects of executions that the database does not have; delete them where that is set."""
        before = datetime.now(UTC) - timedelta(seconds=self._section.grace_seconds)
        named = [(place, key) for place, metadata in found.items() if (key := _execution_of(metadata, before))]
        unknown = 0
        for start in range(0, len(named), _NAMED_MAX):
            page = named[start : start + _NAMED_MAX]
            async with self._server.database.unit_of_work() as db:
                rows = await db.all(_named([key for _, key in page]))
            known = {tuple(row) for row in rows}
            for (namespace, name), key in page:
                if key in known:
                    continue
                unknown += 1
                object_name = f"{namespace}/{name}"
                limited_log.warning("object_without_execution", key=cluster, cluster=cluster, object=object_name)
                if self._section.delete_unknown_objects:
                    await self._delete_unknown(cluster, api, found[namespace, name])
        return unknown

    async def _delete_unknown(self, cluster: str, api: ClusterApi, metadata: Mapping[str, Any]) -> None:
        try:
            await api.delete(metadata["namespace"], metadata["name"], uid=metadata.get("uid", ""))
        except ApiError as error:
            limited_log.warning("unknown_object_not_deleted", key=cluster, cluster=cluster, reason=str(error))


def _execution_of(metadata: Any, before: datetime) -> tuple[str, str, str] | None:
    """Return the execution that the labels of an object name; None without labels, or for one made after `before`."""
    labels = metadata.get("labels") or {}
    key = labels.get("project", ""), labels.get("domain", ""), labels.get("execution-id", "")
    created = metadata.get("creationTimestamp")
    if not all(key) or not created or datetime.fromisoformat(created) > before:
        return None
    return key


def _named(keys: list[tuple[str, str, str]]) -> Statement:
    columns = execution_columns(_executions)
    # SQLite compares rows of values in another form than PostgreSQL.
    each = [and_(*(column == literal(part) for column, part in zip(columns, key, strict=True))) for key in keys]
    return Statement(select(*columns).where(or_(*each)))

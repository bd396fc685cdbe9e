"""Work on one launch record: create the object of its execution, or delete it, and record what came of it.

The record and the execution's row are committed before. Calls are idempotent by the object's name, so a process that
ends between the commit and the call, or between the call and its record, is followed by another one that repeats it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import structlog
from flyteidl.admin import execution_pb2
from flyteidl.core import execution_pb2 as core_execution_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import bindparam, case, func, null, select, update

from app import errors, limited_log
from app.blobs import BlobError
from app.cache import ByteCache
from app.database import schema
from app.database.statements import Statement
from app.engine.closures import ClosureCache
from app.engine.kubernetes import calls
from app.engine.kubernetes.api import ApiError, ClusterApi
from app.engine.kubernetes.clusters import ClusterApis
from app.engine.kubernetes.flyte_workflow import LaunchData, ObjectOptions, flyte_workflow, parts_key, workflow_parts
from app.engine.kubernetes.launch_data import launch_data
from app.engine.kubernetes.workflow_spec import InvalidWorkflow
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.runtime.threads import in_thread_if_large
from app.services import events, phases
from app.services.execution_ids import execution_columns, execution_key, execution_path, of_execution, same_execution
from app.services.executions import orphans
from app.wire.text import text

NOT_CREATED = "failed to create workflow in propeller"
LOST = "execution lost by its cluster"
# Memory for the parts of objects that are equal for all executions of a workflow, as JSON.
_PARTS_BYTES_MAX = 32 * 1024 * 1024
_PARTS = ("spec", "tasks", "subWorkflows")

_launches, _executions = schema.table(schema.Launch), schema.table(schema.Execution)
_workflows, _projects = schema.table(schema.Workflow), schema.table(schema.Project)
# An execution with its launch record, its workflow and the labels of its project.
_WORK = Statement(
    select(
        *(_executions.c[name] for name in ("phase", "cluster", "abort_cause", "spec", "inputs_uri")),
        func.coalesce(_executions.c.execution_created_at, _executions.c.created_at).label("accepted_at"),
        *(_launches.c[name] for name in ("tries", "placed_at", "removed_at", "next_try_at", "object_uid", "config")),
        _launches.c.created_at.label("launched_at"),
        *(_workflows.c[name].label(f"workflow_{name}") for name in ("id", "project", "domain", "name")),
        *(_workflows.c[name] for name in ("remote_closure_identifier", "digest")),
        _projects.c.labels.label("project_labels"),
    )
    .select_from(
        _launches.join(_executions, same_execution(_launches, _executions))
        .outerjoin(_workflows, _workflows.c.id == _executions.c.workflow_id)
        .outerjoin(_projects, _projects.c.identifier == _launches.c.execution_project)
    )
    .where(*of_execution(_launches)),
    quick=True,
)
# Nothing is to be done any more, unless an abort asked for work since the record was read.
_PLACED = Statement(
    update(_launches)
    .values(
        placed_at=bindparam("new_placed_at"),
        object_uid=bindparam("new_object_uid"),
        tries=0,
        problem=None,
        owner=None,
        leased_until=None,
        next_try_at=case((_launches.c.next_try_at == bindparam("seen"), null()), else_=_launches.c.next_try_at),
    )
    .where(*(column == bindparam(f"key_{column.name}") for column in execution_columns(_launches)))
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """One execution with the columns of its rows.

    Attributes:
        row: Columns of the execution's row and of those around it.
        api: The API of its cluster.
        namespace: The namespace of its object.
        cause: Why it is aborted, "" for no reason.
    """

    id: identifier_pb2.WorkflowExecutionIdentifier
    row: Any
    api: ClusterApi
    namespace: str
    cause: str


class Placer:
    """Works on launch records that this process has the lease of.

    Args:
        server: Holds settings, database and store.
        clusters: The clusters.
        works_max: Records of one cluster that are worked on at once.
    """

    def __init__(self, server: Server, clusters: ClusterApis, *, works_max: int) -> None:
        self._server = server
        self._clusters = clusters
        self.works_max = works_max
        self._working: Counter[str] = Counter()
        settings = server.settings
        self._section = settings.engine.kubernetes
        self._made = ByteCache(_PARTS_BYTES_MAX)
        self._closures = ClosureCache(server.blobs, bytes_max=settings.storage.limits.closure_bytes_max)
        self._options = ObjectOptions(
            role_name_key=settings.flyteadmin.role_name_key,
            event_version=settings.flyteadmin.event_version,
            console_url=settings.flyteadmin.console_url,
            gpu_resource=settings.plugins.k8s.gpu_resource_name,
        )
        self._namespaces_follow = bool(settings.cluster_resources.template_path)

    def room(self, cluster: str) -> int:
        """Return the number of further records of a cluster that can be worked on now."""
        return self.works_max - self._working[cluster]

    async def work(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> bool:
        """Do what the rows of an execution ask for; nothing where its cluster has no room, so that a later poll does.

        Returns:
            Whether the lease of the record was released too.

        Raises:
            errors.Internal: Kubernetes refused the object for good, or the deletion failed for now.
            errors.FlyteError: The database does not answer.
        """
        async with self._server.database.unit_of_work() as db:
            row = await db.one(_WORK, **execution_key(id))
        if row is None:
            return False
        phase = phases.phase_number(phases.Workflow.Phase, row.phase)
        if phase in phases.WORKFLOW_TERMINAL:
            await self._forget(id)
            return True
        spec = execution_pb2.ExecutionSpec.FromString(row.spec or b"")
        try:
            api = self._clusters.of(row.cluster or "")
        except errors.Internal as error:
            limited_log.error("cluster_is_not_configured", key=row.cluster, cluster=row.cluster)
            if phase != phases.Workflow.ABORTING and row.placed_at is None and self._is_too_late(row):
                await self._fail(id, "Internal", f"{NOT_CREATED} {error.message}")
            else:
                await self._later(id, 60.0, error.message)
            raise
        cluster, namespace = row.cluster or "", spec.metadata.system_metadata.namespace
        if self.room(cluster) <= 0:
            return False
        work = Work(id, row, api, namespace, row.abort_cause or "")
        self._working[cluster] += 1
        try:
            if phase == core_execution_pb2.WorkflowExecution.ABORTING:
                await self._delete(work)
            elif row.placed_at is None:
                return await self._create(work)
            else:
                await self._done(work)
            return False
        finally:
            self._working[cluster] -= 1

    # Creation.

    async def _create(self, work: Work) -> bool:
        """Create the object; return whether it exists and the record is released."""
        try:
            document = await self._document(work)
        except BlobError as error:
            # The storage may answer later.
            await self._not_created(work, ApiError(str(error)), temporary=True)
            return False
        except (InvalidWorkflow, errors.NotFound) as error:
            await self._fail(work.id, "Unknown", str(error))
            return False
        try:
            created = await work.api.create(work.namespace, document)
        except ApiError as error:
            if error.status == 409 and error.reason == "AlreadyExists":
                return await self._existing(work, error)
            temporary = calls.is_temporary(error, namespaces_follow=self._namespaces_follow)
            await self._not_created(work, error, temporary=temporary)
            return False
        await self._placed(work, created)
        return True

    async def _document(self, work: Work) -> bytes:
        """Return the object as JSON; with addresses instead of contents where it is too large."""
        content = b""
        for offload in (False, True):
            read = partial(
                launch_data, row=work.row, namespace=work.namespace, closures=self._closures, offload=offload
            )
            data = await perform(self._server, read, work.id)
            content = orjson.dumps(flyte_workflow(data, self._options, await self._parts(data)))
            if len(content) <= self._section.object_bytes_max:
                break
        return content

    async def _parts(self, data: LaunchData) -> dict[str, Any]:
        """Return the parts that all launches of the workflow share, from the cache or made now."""
        if data.closure is None:
            return workflow_parts(data, self._options)
        key = parts_key(data)
        known = {name: self._made.get((*key, name)) for name in _PARTS}
        if known["spec"] is None or known["tasks"] is None:
            made = await in_thread_if_large(data.closure.ByteSize(), workflow_parts, data, self._options)
            contents = {name: orjson.dumps(part) for name, part in made.items()}
            for name, content in contents.items():
                self._made.put((*key, name), content)
            known = {**contents}
        return {name: orjson.Fragment(content) for name, content in known.items() if content is not None}

    async def _existing(self, work: Work, error: ApiError) -> bool:
        """Look at the object that has the name; return whether it is that of the execution, as after a lost answer.

        An object that has ended is waited for: its deletion, or FlytePropeller's collection, frees the name.
        """
        try:
            found = await work.api.get(work.namespace, work.id.name)
        except ApiError:
            # Gone meanwhile, or unknown: the creation is repeated.
            found = None
        is_over = found is None or calls.is_over(found)
        if found is not None and not is_over and calls.belongs_to(found, work.id):
            await self._placed(work, found)
            return True
        await self._not_created(work, error, temporary=is_over)
        return False

    async def _placed(self, work: Work, found: Mapping[str, Any]) -> None:
        """Record the object, and release the record, in one statement."""
        key = {f"key_{name}": value for name, value in execution_key(work.id).items()}
        new = {"new_placed_at": datetime.now(UTC), "new_object_uid": found.get("metadata", {}).get("uid")}
        async with self._server.database.unit_of_work() as db:
            await db.run(_PLACED, **key, **new, seen=work.row.next_try_at)

    async def _not_created(self, work: Work, error: ApiError, *, temporary: bool) -> None:
        if not temporary or self._is_too_late(work.row):
            await self._fail(work.id, "Internal", f"{NOT_CREATED} {error}")
            raise errors.Internal(f"{NOT_CREATED} {error}")
        await self._again(work, error, "execution_not_placed")

    def _is_too_late(self, row: Any) -> bool:
        """Return whether a creation that failed is not repeated any more."""
        waited = datetime.now(UTC) - row.launched_at
        return bool(waited.total_seconds() > self._section.launch_retry_seconds)

    async def _fail(self, id: identifier_pb2.WorkflowExecutionIdentifier, code: str, message: str) -> None:
        log.warning("execution_refused", execution=execution_path(id), reason=message)
        await self.end(id, phases.Workflow.FAILED, message, code=code)

    # Deletion.

    async def _delete(self, work: Work) -> None:
        row, is_gone = work.row, False
        try:
            is_gone = await self._is_replaced(work)
            if not is_gone:
                # Also where no creation is recorded: a process may have ended between the creation and its record.
                # Parity: by its name alone, as upstream does.
                await work.api.delete(work.namespace, work.id.name)
        except ApiError as error:
            if error.status != 404:
                await self._again(work, error, "execution_not_deleted")
                if error.retry_after:
                    # Parity: Kubernetes' client for Go repeats such a call itself, and the caller sees no failure.
                    return
                raise errors.Internal(f"failed to terminate execution: {text(work.id)} with err {error}") from error
            is_gone = True
        if is_gone and (row.placed_at is None or self._grace_is_over(row.removed_at)):
            await self.end(work.id, phases.Workflow.ABORTED, work.cause or LOST)
            return
        removed_at = row.removed_at or datetime.now(UTC)
        await self._later(work.id, self._section.grace_seconds, None, removed_at=removed_at)

    async def _is_replaced(self, work: Work) -> bool:
        """Return whether the name belongs to a later object, which must not be deleted."""
        if not work.row.object_uid:
            return False
        try:
            found = await work.api.get(work.namespace, work.id.name)
        except ApiError:
            # The deletion reports the same failure.
            return False
        return bool(found.get("metadata", {}).get("uid") != work.row.object_uid)

    def _grace_is_over(self, removed_at: datetime | None) -> bool:
        """Return whether FlytePropeller has had the time to send the last event of a deleted object."""
        if removed_at is None:
            return False
        return datetime.now(UTC) - removed_at >= timedelta(seconds=self._section.grace_seconds)

    async def end(
        self, id: identifier_pb2.WorkflowExecutionIdentifier, phase: Any, cause: str, *, code: str = "Internal"
    ) -> None:
        """End an execution that has no object, by the same event as FlytePropeller's; its open parts become ABORTED.

        Args:
            id: The execution.
            phase: FAILED or ABORTED.
            cause: The reason, which a FAILED execution has as its error.
            code: The code of that error.
        """

        async def record(ctx: Context, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
            await orphans.end_parts(ctx, id, cause)
            request = orphans.end_event(ctx, id, phase)
            if phase == phases.Workflow.FAILED:
                request.event.error.code, request.event.error.message = code, cause
                request.event.error.kind = core_execution_pb2.ExecutionError.SYSTEM
            await events.create_workflow_event(ctx, request)
            await ctx.db.delete(schema.Launch, **execution_key(id))

        await perform(self._server, record, id)

    # Records.

    async def _done(self, work: Work) -> None:
        """Record that nothing is to be done, unless an abort asked for work since the record was read."""
        key = {**execution_key(work.id), "next_try_at": work.row.next_try_at}
        async with self._server.database.unit_of_work() as db:
            await db.update(schema.Launch, key, next_try_at=None)

    async def _again(self, work: Work, error: ApiError, event: str) -> None:
        """Repeat a call that failed after a pause; log the event."""
        limited_log.warning(event, key=error.status, execution=execution_path(work.id), reason=str(error))
        tries = work.row.tries or 0
        await self._later(work.id, calls.pause_seconds(tries, error), str(error), tries=tries + 1)

    async def _later(
        self,
        id: identifier_pb2.WorkflowExecutionIdentifier,
        seconds: float,
        problem: str | None,
        **values: Any,
    ) -> None:
        next_try_at = datetime.now(UTC) + timedelta(seconds=seconds)
        async with self._server.database.unit_of_work() as db:
            await db.update(schema.Launch, execution_key(id), next_try_at=next_try_at, problem=problem, **values)

    async def _forget(self, id: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        async with self._server.database.unit_of_work() as db:
            await db.delete(schema.Launch, **execution_key(id))

"""The rows of tasks that services have accepted, by which a restarted server asks for them again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2
from sqlalchemy import bindparam, delete, exists, select

from app.database import schema
from app.database.base import Database
from app.database.connector_tables import ConnectorJob
from app.database.statements import Statement
from app.engine.local.connectors.reports import ConnectorTask
from app.services.execution_ids import execution_key, of_execution, same_execution

_jobs, _launches = schema.table(ConnectorJob), schema.table(schema.Launch)
_OPEN = Statement(select(_jobs).where(*of_execution(_jobs), _jobs.c.reply.is_(None)))
_ORPHANS = Statement(
    delete(_jobs).where(
        ~exists(select(_launches.c.id).where(same_execution(_launches, _jobs))), _jobs.c.id <= bindparam("last")
    )
)


@dataclass(frozen=True, slots=True)
class Job:
    """A task that a service has accepted.

    Attributes:
        execution: The execution.
        generated_name: The name of the attempt.
        node_id: The unique id of the node.
        plugin: connector-service or agent-service.
        deployment: The id of the service.
        task_type: The type under which the service accepted the task.
        version: Its version.
        meta: Bytes of the service that name the task.
        reply: The last reply without its outputs; None before the task has ended.
        created_at: When the service accepted the task, in seconds since 1970.
    """

    execution: identifier_pb2.WorkflowExecutionIdentifier
    generated_name: str
    node_id: str
    plugin: str
    deployment: str
    task_type: str
    version: int
    meta: bytes
    reply: agent_pb2.Resource | None
    created_at: float

    @property
    def category(self) -> agent_pb2.TaskCategory:
        """Return type and version as requests carry them."""
        return agent_pb2.TaskCategory(name=self.task_type, version=self.version)


class JobTable:
    """Reads and writes the rows.

    Args:
        database: The database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, task: ConnectorTask) -> Job | None:
        """Return the job of an attempt; None where no service has accepted it."""
        async with self._database.unit_of_work() as db:
            row = await db.find(ConnectorJob, **_key(task.execution, task.attempt.generated_name))
        return None if row is None else _job(row)

    async def open_jobs(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> list[Job]:
        """Return the jobs of an execution that have not ended."""
        async with self._database.unit_of_work() as db:
            rows = await db.all(_OPEN, **execution_key(execution))
        return [_job(row) for row in rows]

    async def insert(self, job: Job) -> None:
        """Store a job. A row of the same attempt is replaced."""
        key = _key(job.execution, job.generated_name)
        values: dict[str, Any] = {
            "node_id": job.node_id,
            "plugin": job.plugin,
            "deployment": job.deployment,
            "task_type": job.task_type,
            "task_type_version": job.version,
            "resource_meta": job.meta,
            "reply": None if job.reply is None else job.reply.SerializeToString(),
        }
        async with self._database.unit_of_work() as db:
            if await db.insert_if_absent(ConnectorJob, **key, **values) is None:
                await db.update(ConnectorJob, key, **values)

    async def ended(self, job: Job, reply: agent_pb2.Resource) -> None:
        """Store the last reply of a job."""
        async with self._database.unit_of_work() as db:
            key = _key(job.execution, job.generated_name)
            await db.update(ConnectorJob, key, reply=reply.SerializeToString())

    async def forget(self, execution: identifier_pb2.WorkflowExecutionIdentifier) -> None:
        """Delete the jobs of an execution."""
        async with self._database.unit_of_work() as db:
            await db.delete(ConnectorJob, **execution_key(execution))

    async def delete_orphans(self) -> int:
        """Delete the jobs of executions without a launch record; return their number."""
        async with self._database.unit_of_work() as db:
            rows = await db.find_all(ConnectorJob, columns=("id",))
            return await db.run(_ORPHANS, last=max(row.id for row in rows)) if rows else 0


def _key(execution: identifier_pb2.WorkflowExecutionIdentifier, generated_name: str) -> dict[str, Any]:
    return {**execution_key(execution), "generated_name": generated_name}


def _job(row: Any) -> Job:
    created: datetime = row.created_at
    return Job(
        execution=identifier_pb2.WorkflowExecutionIdentifier(
            project=row.execution_project, domain=row.execution_domain, name=row.execution_name
        ),
        generated_name=row.generated_name,
        node_id=row.node_id,
        plugin=row.plugin,
        deployment=row.deployment,
        task_type=row.task_type,
        version=row.task_type_version,
        meta=bytes(row.resource_meta),
        reply=None if row.reply is None else agent_pb2.Resource.FromString(bytes(row.reply)),
        created_at=created.timestamp(),
    )

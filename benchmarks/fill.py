"""The data of the benchmark: some of it registered through the services, the rest copies of those rows and objects.

A copy differs from its template where two real ones do, in its name, in the identifiers inside its closure, in its
times; each workflow version has an object of its own in the blob store. Only the digest, which nobody reads who does
not register a version again, stays that of the template.
"""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from flyteidl.admin import event_pb2, execution_pb2, launch_plan_pb2, task_pb2, workflow_pb2
from flyteidl.core import execution_pb2 as core_execution
from flyteidl.core import identifier_pb2

from app.auth.identity import ANONYMOUS
from app.blobs import Blobs
from app.database import schema
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime.context import Context
from app.services import launch_plans, projects, tasks, workflows
from app.services.checks import version_key
from app.services.events import workflow_events
from app.services.execution_ids import execution_key
from app.services.executions import launch
from app.settings import Settings
from benchmarks import messages

VERSIONS = 10
TASK_NAMES, WORKFLOW_NAMES, EXECUTIONS = 2_000, 600, 3_000
Values = dict[str, Any]
START = datetime(2026, 1, 1, tzinfo=UTC)


def task_name(number: int) -> str:
    """The name of a registered task, number < TASK_NAMES; the first ones are the nodes of the workflows."""
    return f"{messages.STEP}_{number}"


def workflow_name(number: int) -> str:
    """The name of a registered workflow and of its launch plan, number < WORKFLOW_NAMES."""
    return f"{messages.PIPELINE}_{number}"


def execution_name(number: int) -> str:
    """The name of an execution, number < EXECUTIONS; larger numbers are newer."""
    return f"f{number:019d}"


class Filler:
    """One database of the benchmark and the store beside it."""

    def __init__(self, url: str, storage: Path) -> None:
        self._url = url
        self._settings = Settings.model_validate({"home": storage.parent, "storage": {"url": str(storage)}})
        self._blobs = Blobs(self._settings)
        self._database = database_at(url, connections_max=2, busy_timeout_seconds=20, statement_timeout_seconds=60)

    @asynccontextmanager
    async def _context(self, now: datetime = START) -> AsyncIterator[Context]:
        async with self._database.unit_of_work() as unit:
            yield Context(
                identity=ANONYMOUS, now=now, settings=self._settings, db=unit, blobs=self._blobs, engine=NoEngine()
            )

    async def fill(self) -> None:
        """Register the templates, then copy them."""
        await self._database.open()
        try:
            async with self._context() as ctx:
                await register_templates(ctx)
                name = workflow_name(0)
                await launch.create_execution(ctx, messages.execution(execution_name(0), name, "v0"))
            for phase in (core_execution.WorkflowExecution.RUNNING, core_execution.WorkflowExecution.SUCCEEDED):
                async with self._context(START + timedelta(seconds=phase)) as ctx:
                    await workflow_events.create_workflow_event(ctx, _event(execution_name(0), phase))
            async with self._context() as ctx:
                copies: list[tuple[type[schema.Base], Iterator[Values]]] = [
                    (schema.Task, await self._tasks(ctx)),
                    (schema.Workflow, await self._workflows(ctx)),
                    (schema.LaunchPlan, await self._launch_plans(ctx)),
                    (schema.Execution, await self._executions(ctx)),
                    (schema.ExecutionTag, _tags()),
                ]
        finally:
            await self._database.close()
        insert(self._url, copies)

    async def _tasks(self, ctx: Context) -> Iterator[Values]:
        row = await row_of(ctx, schema.Task, version_key(_id(identifier_pb2.TASK, task_name(0), 0)))
        closure = task_pb2.TaskClosure.FromString(row["closure"])

        def copy(id: identifier_pb2.Identifier) -> Values:
            closure.compiled_task.template.id.CopyFrom(id)
            return row | version_key(id) | {"closure": closure.SerializeToString()}

        return map(copy, _versions(identifier_pb2.TASK, task_name, TASK_NAMES, registered=messages.NODES))

    async def _workflows(self, ctx: Context) -> Iterator[Values]:
        row = await row_of(ctx, schema.Workflow, version_key(_id(identifier_pb2.WORKFLOW, workflow_name(0), 0)))
        raw = await self._blobs.read(row["remote_closure_identifier"], bytes_max=0)
        closure = workflow_pb2.WorkflowClosure.FromString(raw)

        def copy(id: identifier_pb2.Identifier) -> Values:
            closure.compiled_workflow.primary.template.id.CopyFrom(id)
            prefix = self._settings.flyteadmin.metadata_storage_prefix
            uri = self._blobs.uri(*prefix, id.project, id.domain, id.name, id.version)
            # Not Blobs.write, which waits for the disk each time.
            Path(uri).parent.mkdir(parents=True, exist_ok=True)
            Path(uri).write_bytes(closure.SerializeToString(deterministic=True))
            return row | version_key(id) | {"remote_closure_identifier": uri}

        return map(copy, _versions(identifier_pb2.WORKFLOW, workflow_name, WORKFLOW_NAMES))

    async def _launch_plans(self, ctx: Context) -> Iterator[Values]:
        row = await row_of(ctx, schema.LaunchPlan, version_key(_id(identifier_pb2.LAUNCH_PLAN, workflow_name(0), 0)))
        spec = launch_plan_pb2.LaunchPlanSpec.FromString(row["spec"])

        def copy(id: identifier_pb2.Identifier) -> Values:
            spec.workflow_id.name, spec.workflow_id.version = id.name, id.version
            return row | version_key(id) | {"spec": spec.SerializeToString(deterministic=True)}

        return map(copy, _versions(identifier_pb2.LAUNCH_PLAN, workflow_name, WORKFLOW_NAMES))

    async def _executions(self, ctx: Context) -> Iterator[Values]:
        id = identifier_pb2.WorkflowExecutionIdentifier(project=messages.PROJECT, domain=messages.DOMAIN)
        id.name = execution_name(0)
        row = await row_of(ctx, schema.Execution, execution_key(id))
        closure = execution_pb2.ExecutionClosure.FromString(row["closure"])

        def copy(number: int) -> Values:
            at = START + timedelta(minutes=number)
            ended = at + timedelta(seconds=9)
            closure.created_at.FromDatetime(at)
            closure.updated_at.FromDatetime(ended)
            times = {"created_at": at, "execution_created_at": at, "started_at": at + timedelta(seconds=1)}
            times |= dict.fromkeys(("updated_at", "execution_updated_at"), ended)
            return row | times | {"execution_name": execution_name(number), "closure": closure.SerializeToString()}

        return map(copy, range(1, EXECUTIONS))


async def register_templates(ctx: Context) -> None:
    """Register a project, the tasks of a workflow, the workflow, and its launch plan."""
    await projects.register_project(ctx, messages.project())
    for number in range(messages.NODES):
        await tasks.create_task(ctx, messages.task(task_name(number), "v0"))
    await workflows.create_workflow(ctx, messages.workflow(workflow_name(0), "v0"))
    await launch_plans.create_launch_plan(ctx, messages.launch_plan(workflow_name(0), "v0"))


def _tags() -> Iterator[Values]:
    where = {"execution_project": messages.PROJECT, "execution_domain": messages.DOMAIN}
    for number in range(1, EXECUTIONS):
        yield {**where, "execution_name": execution_name(number), "key": "team", "value": "research"}


def _versions(
    kind: int, name: Callable[[int], str], names: int, *, registered: int = 1
) -> Iterator[identifier_pb2.Identifier]:
    """All versions of all names but for version 0 of those that were registered through the services."""
    for number in range(names):
        for version in range(1 if number < registered else 0, VERSIONS):
            yield _id(kind, name(number), version)


def insert(url: str, copies: list[tuple[type[schema.Base], Iterator[Values]]], *, link: bool = True) -> None:
    """Insert rows at the speed of COPY. link: give each launch plan the row of the workflow with its name."""
    if url.startswith("sqlite:///"):
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as lite:
            for model, rows in copies:
                names, tuples = _tuples(rows)
                marks = ", ".join("?" * len(names))
                table = schema.table(model).name
                lite.executemany(f"INSERT INTO {table} ({_quoted(names)}) VALUES ({marks})", tuples)
            if link:
                lite.execute(_LINK)
            lite.execute("ANALYZE")
            lite.commit()
        return
    with psycopg.connect(url, autocommit=True) as connection:
        for model, rows in copies:
            names, tuples = _tuples(rows)
            copy = f"COPY {schema.table(model).name} ({_quoted(names)}) FROM STDIN"
            with connection.cursor().copy(copy.encode()) as stream:
                for values in tuples:
                    stream.write_row(values)
        if link:
            connection.execute(_LINK)
        connection.execute("VACUUM ANALYZE")


_LINK = """
UPDATE launch_plans SET workflow_id = (
    SELECT id FROM workflows WHERE workflows.project = launch_plans.project AND workflows.domain = launch_plans.domain
    AND workflows.name = launch_plans.name AND workflows.version = launch_plans.version
)
"""


def _quoted(names: tuple[str, ...]) -> str:
    """One column is called user."""
    return ", ".join(f'"{name}"' for name in names)


def _tuples(rows: Iterator[Values]) -> tuple[tuple[str, ...], Iterator[tuple[Any, ...]]]:
    """The columns of rows, and the rows in that order with times as text, which both databases take."""
    first = next(rows)

    def values(row: Values) -> tuple[Any, ...]:
        found = (row[name] for name in first)
        return tuple(v.isoformat(" ", "microseconds") if isinstance(v, datetime) else v for v in found)

    return tuple(first), map(values, itertools.chain([first], rows))


def _id(kind: int, name: str, version: int) -> identifier_pb2.Identifier:
    return messages.identifier(kind, name, f"v{version}")


async def row_of(ctx: Context, model: type[schema.Base], key: dict[str, Any]) -> dict[str, Any]:
    """The values of a row but for those that the database numbers."""
    columns = tuple(column.name for column in schema.table(model).columns if column.name != "id")
    row = await ctx.db.find(model, columns=columns, **key)
    assert row is not None, f"no {model.__name__} with {key}"
    return {column: getattr(row, column) for column in columns}


def _event(name: str, phase: int) -> event_pb2.WorkflowExecutionEventRequest:
    request = event_pb2.WorkflowExecutionEventRequest(request_id=f"{name}-{phase}")
    event = request.event
    event.execution_id.project, event.execution_id.domain, event.execution_id.name = (
        messages.PROJECT,
        messages.DOMAIN,
        name,
    )
    event.phase = phase
    event.producer_id = "propeller"
    event.occurred_at.FromDatetime(START + timedelta(seconds=phase))
    if phase == core_execution.WorkflowExecution.SUCCEEDED:
        event.output_data.literals["o0"].scalar.primitive.integer = 4
    return request

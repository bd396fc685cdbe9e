"""Fills a migrated database with as many executions as years of use leave behind.

The first rows are made by the service functions themselves; all others are copies of those bytes with other names,
times and references, so that a load always holds what this version of the server writes.

    python -m benchmarks.load postgresql://… --storage /path --executions 1000000 --versions 50000

Nine of ten executions belong to project `busy`, the others to `quiet0` … `quiet8`, all of them in domain
`production`. Each has five node executions, one of them inside another, and two attempts. A name has 25 versions, but
a tenth of all versions belongs to the one name `flows.many`. 5 % of the executions failed, 1 % is archived, the last
twenty are running. One execution more, `wide`, is running and has 10,000 nodes with an attempt each.
"""

from __future__ import annotations

import argparse
import asyncio
import sqlite3
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from flyteidl.admin import (
    common_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    task_execution_pb2,
    task_pb2,
)
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2

from app.database import migrations
from benchmarks.seed import BUSY, DOMAIN, NODES, QUIET, START, Templates, seed_wide
from benchmarks.seed import seed as made_by_the_server

VERSIONS_PER_NAME = 25
# The slot, of ten, whose versions all have one name.
MANY_SLOT, MANY = 5, "flows.many"
SECONDS_APART = 10
RUNNING = 20
WIDE = "wide"
USERS = 20

_RUN = ("execution_project", "execution_domain", "execution_name")
_NAME = ("project", "domain", "name", "version")
_TIMES = ("created_at", "updated_at")


@dataclass(frozen=True, slots=True)
class Size:
    """How many rows: executions, and versions of each of tasks, workflows and launch plans.

    wide: nodes of one execution more, WIDE; each has an attempt.
    """

    executions: int
    versions: int
    wide: int = 10_000


# What a version and an execution are, by their number.


def slot_project(number: int) -> str:
    """Every tenth version belongs to one of the quiet projects."""
    return BUSY if number % 10 else QUIET[number // 10 % len(QUIET)]


def version_key(number: int) -> tuple[str, str, str, str]:
    """Project, domain, name and version of the version with this number, from 0."""
    slot, base = number % 10, number // 10
    name = MANY if slot == MANY_SLOT else f"flows.w{slot}_{base // VERSIONS_PER_NAME}"
    version = base if slot == MANY_SLOT else base % VERSIONS_PER_NAME
    return slot_project(number), DOMAIN, name, f"v{version}"


def is_active(size: Size, number: int) -> bool:
    """Whether the launch plan with this number is the newest of its name."""
    slot, base = number % 10, number // 10
    last = base + 1 >= size.versions // 10
    return last or (slot != MANY_SLOT and base % VERSIONS_PER_NAME == VERSIONS_PER_NAME - 1)


def version_of(size: Size, execution: int) -> int:
    """The number of the version that an execution runs; both belong to one project."""
    return execution % 10 + execution // 10 * 7 % (size.versions // 10) * 10


def execution_name(execution: int) -> str:
    """Names are random in life, so their order is not that of creation here either."""
    return f"a{execution * 2654435761 % 2**32:08x}{execution:011x}"


def phase_of(size: Size, execution: int) -> str:
    if execution >= size.executions - RUNNING:
        return "RUNNING"
    return "FAILED" if execution % 20 == 7 else "ABORTED" if execution % 50 == 3 else "SUCCEEDED"


def moment(execution: int) -> datetime:
    return START + timedelta(seconds=execution * SECONDS_APART)


# All other rows, as tuples in the order of their columns.


def _text(when: datetime) -> str:
    """As both databases read it, and as SQLite compares it."""
    return when.isoformat(" ", "microseconds")


def _versions(size: Size, seed: Templates, table: str) -> Iterator[tuple[Any, ...]]:
    row = seed.rows[table]
    constant = {c: getattr(row, c) for c in row._fields if c not in (*_NAME, *_TIMES, "id", "state", "schedule_type")}
    names = COLUMNS[table]
    for number in range(size.versions):
        key = dict(zip(_NAME, version_key(number), strict=True))
        created = _text(START + timedelta(seconds=number * 60))
        values = {**constant, **key, "id": number + 2, "created_at": created, "updated_at": created}
        if table == "tasks":
            closure = task_pb2.TaskClosure()
            closure.compiled_task.template.id.MergeFrom(identifier_pb2.Identifier(**key))
            values["closure"] = row.closure + closure.SerializeToString()
        elif table == "launch_plans":
            spec = launch_plan_pb2.LaunchPlanSpec(workflow_id=identifier_pb2.Identifier(**key))
            values["spec"] = row.spec + spec.SerializeToString()
            values |= {"workflow_id": number + 2, "state": int(is_active(size, number))}
            values["schedule_type"] = "CRON" if number % 200 == 1 else "NONE"
        yield tuple(values[name] for name in names)


def _descriptions(size: Size) -> Iterator[tuple[Any, ...]]:
    for number in range(size.versions):
        created = _text(START + timedelta(seconds=number * 60))
        yield (number + 1, created, created, identifier_pb2.WORKFLOW, *version_key(number), "What it does.", b"", "")


def _name_states(size: Size) -> Iterator[tuple[Any, ...]]:
    """Every hundredth name is archived."""
    names = sorted({version_key(number)[:3] for number in range(size.versions)})
    created = _text(START)
    for number, key in enumerate(names[::100]):
        yield (number + 1, created, created, identifier_pb2.WORKFLOW, *key, "", common_pb2.NAMED_ENTITY_ARCHIVED)


def _executions(size: Size, seed: Templates) -> Iterator[tuple[Any, ...]]:
    row = seed.rows["executions"]
    spec = execution_pb2.ExecutionSpec.FromString(row.spec)
    closure = execution_pb2.ExecutionClosure.FromString(row.closure)
    for name in ("created_at", "updated_at", "started_at", "phase", "duration"):
        closure.ClearField(name)
    spec_bytes, closure_bytes = spec.SerializeToString(), closure.SerializeToString()
    for number in range(size.executions):
        version = version_of(size, number)
        key = version_key(version)
        phase, when = phase_of(size, number), moment(number)
        created, started = _text(when), _text(when + timedelta(seconds=1))
        seconds = 0 if phase == "RUNNING" else number % 600
        id = identifier_pb2.Identifier(
            resource_type=identifier_pb2.LAUNCH_PLAN, project=key[0], domain=key[1], name=key[2], version=key[3]
        )
        more = execution_pb2.ExecutionClosure(phase=phases.WorkflowExecution.Phase.Value(phase))
        more.created_at.seconds = more.updated_at.seconds = more.started_at.seconds = int(when.timestamp())
        more.duration.seconds = seconds
        single = number % 50 == 11
        yield (
            *(number + 2, created, created, key[0], DOMAIN),
            execution_name(number),
            *(0 if single else version + 2, version + 2, version + 2 if single else 0, phase),
            closure_bytes + more.SerializeToString(),
            spec_bytes + execution_pb2.ExecutionSpec(launch_plan=id).SerializeToString(),
            *(started, created, started, seconds * 10**9, "", int(number % 5 < 2), 0, 0, "propeller"),
            *(f"s3://bucket/metadata/{number}/inputs", f"s3://bucket/metadata/{number}/user_inputs"),
            "USER" if phase == "FAILED" else None,
            "RetriesExhausted|User" if phase == "FAILED" else None,
            *(f"user{number % USERS}", int(number % 100 == 99), "task" if single else "launch_plan"),
        )


def _tags(size: Size) -> Iterator[tuple[Any, ...]]:
    """Every tenth execution has a label of its hour."""
    for index, number in enumerate(range(4, size.executions, 10)):
        created = _text(moment(number))
        project = slot_project(version_of(size, number))
        hour = f"{moment(number):%Y-%m-%dT%H}"
        yield (index + 2, created, created, project, DOMAIN, execution_name(number), "hour", hour)


def _nodes(size: Size, seed: Templates) -> Iterator[tuple[Any, ...]]:
    cleared = ("created_at", "updated_at", "started_at")
    parts = []
    for position, (name, (parent, _)) in enumerate(NODES.items()):
        row = seed.nodes[name]
        closure = node_execution_pb2.NodeExecutionClosure.FromString(row.closure)
        for field in cleared:
            closure.ClearField(field)
        parts.append((position, name, bool(parent), closure.SerializeToString(), row))
    for number in range(size.executions):
        when = moment(number)
        project, execution = slot_project(version_of(size, number)), execution_name(number)
        more = node_execution_pb2.NodeExecutionClosure()
        more.created_at.seconds = more.updated_at.seconds = more.started_at.seconds = int(when.timestamp())
        times = more.SerializeToString()
        first = len(NODES) * (number + 1) + 1
        for position, name, nested, closure_bytes, row in parts:
            created = _text(when + timedelta(seconds=position))
            yield (
                *(first + position, created, created, project, DOMAIN, execution, name),
                *(row.phase, row.input_uri, closure_bytes + times, created, created, created, 10**9),
                row.node_execution_metadata,
                # The parent is the row before.
                *(first + position - 1 if nested else None, row.internal_data),
            )


def _wide_nodes(size: Size, seed: Templates) -> Iterator[tuple[Any, ...]]:
    """The nodes of the execution WIDE, one after the other."""
    row = seed.nodes["n0"]
    first = len(NODES) * (size.executions + 1) + 1
    for number in range(size.wide):
        created = _text(moment(size.executions) + timedelta(seconds=number))
        metadata = node_execution_pb2.NodeExecutionMetaData(spec_node_id=f"n{number}")
        yield (
            *(first + number, created, created, BUSY, DOMAIN, WIDE, f"n{number}"),
            *(row.phase, row.input_uri, row.closure, created, created, created, 10**9),
            *(row.node_execution_metadata + metadata.SerializeToString(), None, row.internal_data),
        )


def _attempts(size: Size, seed: Templates) -> Iterator[tuple[Any, ...]]:
    running = [(name, seed.nodes[f"{name}/task"]) for name, (_, runs_task) in NODES.items() if runs_task]
    parts = []
    for position, (name, row) in enumerate(running):
        closure = task_execution_pb2.TaskExecutionClosure.FromString(row.closure)
        for field in ("created_at", "updated_at", "started_at"):
            closure.ClearField(field)
        parts.append((position, name, closure.SerializeToString(), row))
    for number in range(size.executions):
        version, when = version_of(size, number), moment(number)
        key, execution = version_key(version), execution_name(number)
        more = task_execution_pb2.TaskExecutionClosure()
        more.created_at.seconds = more.updated_at.seconds = more.started_at.seconds = int(when.timestamp())
        times, created = more.SerializeToString(), _text(when)
        for position, name, closure_bytes, row in parts:
            yield (
                *(len(parts) * (number + 1) + position + 1, created, created, *key),
                *(key[0], DOMAIN, execution, name, 0, row.phase, 0, row.input_uri, closure_bytes + times),
                *(created, created, created, 10**9),
            )


def _wide_attempts(size: Size, seed: Templates) -> Iterator[tuple[Any, ...]]:
    """One attempt of each node of the execution WIDE."""
    row = seed.nodes["n0/task"]
    key = tuple(getattr(row, name) for name in _NAME)
    tried = sum(runs_task for _, runs_task in NODES.values())
    for number in range(size.wide):
        created = _text(moment(size.executions) + timedelta(seconds=number))
        yield (
            *(tried * (size.executions + 1) + number + 1, created, created, *key),
            *(BUSY, DOMAIN, WIDE, f"n{number}", 0, row.phase, 0, row.input_uri, row.closure),
            *(created, created, created, 10**9),
        )


_NODE_TIMES = ("started_at", "node_execution_created_at", "node_execution_updated_at", "duration")
_TASK_TIMES = ("started_at", "task_execution_created_at", "task_execution_updated_at", "duration")
COLUMNS: dict[str, tuple[str, ...]] = {
    "tasks": ("id", *_TIMES, *_NAME, "closure", "digest", "type", "short_description"),
    "workflows": (
        *("id", *_TIMES, *_NAME),
        *("typed_interface", "remote_closure_identifier", "digest", "short_description"),
    ),
    "launch_plans": (
        *("id", *_TIMES, *_NAME, "spec", "workflow_id", "closure", "state", "digest", "schedule_type"),
        "launch_condition_type",
    ),
    "description_entities": (
        *("id", *_TIMES, "resource_type", *_NAME, "short_description", "long_description", "link"),
    ),
    "named_entity_metadata": ("id", *_TIMES, "resource_type", *_NAME[:3], "description", "state"),
    "executions": (
        *("id", *_TIMES, *_RUN, "launch_plan_id", "workflow_id", "task_id", "phase", "closure", "spec", "started_at"),
        *("execution_created_at", "execution_updated_at", "duration", "abort_cause", "mode", "source_execution_id"),
        *("parent_node_execution_id", "cluster", "inputs_uri", "user_inputs_uri", "error_kind", "error_code", "user"),
        *("state", "launch_entity"),
    ),
    "execution_tags": ("id", *_TIMES, *_RUN, "key", "value"),
    "node_executions": (
        *("id", *_TIMES, *_RUN, "node_id", "phase", "input_uri", "closure", *_NODE_TIMES),
        *("node_execution_metadata", "parent_id", "internal_data"),
    ),
    "task_executions": (
        *("id", *_TIMES, *_NAME, *_RUN, "node_id", "retry_attempt", "phase", "phase_version", "input_uri", "closure"),
        *_TASK_TIMES,
    ),
}


def rows_of(size: Size, seed: Templates) -> dict[str, Iterator[tuple[Any, ...]]]:
    """The rows of every table, in the order of COLUMNS; nothing is made before it is asked for."""
    return {
        **{table: _versions(size, seed, table) for table in ("tasks", "workflows", "launch_plans")},
        "description_entities": _descriptions(size),
        "named_entity_metadata": _name_states(size),
        "executions": _executions(size, seed),
        "execution_tags": _tags(size),
        "node_executions": chain(_nodes(size, seed), _wide_nodes(size, seed)),
        "task_executions": chain(_attempts(size, seed), _wide_attempts(size, seed)),
    }


# Into the databases: without indexes, which are made again when the rows are there.


def _into_postgres(url: str, rows: dict[str, Iterator[tuple[Any, ...]]], report: Any) -> None:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET maintenance_work_mem = '512MB'; SET timezone = 'UTC'")
        for table, generator in rows.items():
            keys = connection.execute(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass", (table,)
            ).fetchall()
            named = [key[0] for key in keys]
            indexes = connection.execute(
                "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s AND NOT indexname = ANY(%s)",
                (table, named),
            ).fetchall()
            for name in named:
                connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
            for name, _ in indexes:
                connection.execute(f"DROP INDEX {name}".encode())
            columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as copy,
            ):
                for row in generator:
                    copy.write_row(row)
            report(f"{table}: rows")
            for name, definition in keys:
                connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}".encode())
            for _, definition in indexes:
                connection.execute(definition.encode())
            sequence = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            connection.execute(sequence.encode())
            connection.execute(f"VACUUM ANALYZE {table}".encode())
            report(f"{table}: indexes")
        # Triggers have filled it beside the versions.
        connection.execute("VACUUM ANALYZE registered_names")


def _into_sqlite(path: str, rows: dict[str, Iterator[tuple[Any, ...]]], report: Any) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=OFF")
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("PRAGMA cache_size=-262144")
    connection.execute("PRAGMA threads=2")
    # The statistics of an index go with it.
    statistics = connection.execute("SELECT tbl, idx, stat FROM sqlite_stat1").fetchall()
    for table, generator in rows.items():
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL"
        indexes = connection.execute(query, (table,)).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        columns = ", ".join(f'"{column}"' for column in COLUMNS[table])
        marks = ", ".join("?" * len(COLUMNS[table]))
        connection.execute("BEGIN")
        connection.executemany(f"INSERT INTO {table} ({columns}) VALUES ({marks})", generator)
        connection.execute("COMMIT")
        report(f"{table}: rows")
        for _, definition in indexes:
            connection.execute(definition)
        report(f"{table}: indexes")
    connection.execute("DELETE FROM sqlite_stat1")
    connection.executemany("INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES (?, ?, ?)", statistics)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def load(url: str, storage: Path, size: Size, report: Any = lambda _text: None) -> None:
    """Migrate an empty database and fill it.

    shape:  url as in FLYTEADMIN_DATABASE_URL; storage: a folder for the objects; size.versions a multiple of 250
    """
    if size.versions % (10 * VERSIONS_PER_NAME) or size.executions % 50:
        raise ValueError(f"versions must be a multiple of {10 * VERSIONS_PER_NAME}, executions of 50")
    storage.mkdir(parents=True, exist_ok=True)
    migrations.run(url)
    rows = rows_of(size, asyncio.run(made_by_the_server(url, storage)))
    if url.startswith("sqlite:///"):
        _into_sqlite(url.removeprefix("sqlite:///"), rows, report)
    else:
        _into_postgres(url, rows, report)
    asyncio.run(seed_wide(url, storage, size.wide, WIDE))
    report(f"an execution with {size.wide:,} nodes")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--executions", type=int, default=1_000_000)
    parser.add_argument("--versions", type=int, default=50_000)
    arguments = parser.parse_args()
    started = time.monotonic()

    def report(text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - started:7.1f} s  {text}\n")
        sys.stdout.flush()

    load(arguments.url, arguments.storage, Size(arguments.executions, arguments.versions), report)


if __name__ == "__main__":
    main()

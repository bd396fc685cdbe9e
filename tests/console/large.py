"""A server with large executions, written as rows: 1,000 and 10,000 nodes, a map of 100,000 indices, a log of 100 MB.

Another domain can have a million executions.

`python -m tests.console.large --port 31090` starts one and keeps it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flyteidl.admin import (
    event_pb2,
    execution_pb2,
    launch_plan_pb2,
    node_execution_pb2,
    project_pb2,
    task_execution_pb2,
    task_pb2,
    workflow_pb2,
)
from flyteidl.core import execution_pb2 as phases
from flyteidl.core import identifier_pb2, types_pb2
from flyteidl.event import event_pb2 as events_pb2

from app.blobs import Blobs
from app.database import migrations
from app.database.connect import database_at
from app.engine.local.processes import folders
from app.engine.port import NoEngine
from app.runtime.dispatch import Server, perform
from app.services import events, executions, launch_plans, projects, tasks, workflows
from app.settings import Settings
from benchmarks.load import COLUMNS
from tests.support.browser import beside_playwright
from tests.support.servers import Running, run, serving

PROJECT, DOMAIN, VERSION = "flytesnacks", "development", "v1"
SCOPE = f"/console/projects/{PROJECT}/domains/{DOMAIN}"
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
LAYERED_NODES, CHAINS, CHAIN_NODES, INDICES = 1_000, 100, 100, 100_000
LOG_BYTES = 100_000_000
MANY, MANY_DOMAIN = 1_000_000, "production"
_NodePhase = phases.NodeExecution
_TaskPhase = phases.TaskExecution


@dataclass(frozen=True)
class Shape:
    """An execution: the ids of its nodes in order, each with those of its parents.

    Attributes:
        failed: The node that failed; "" where the execution succeeded.
    """

    name: str
    parents: dict[str, tuple[str, ...]]
    failed: str = ""


def layered() -> Shape:
    """1,000 nodes with two parents each, of those 12 before it."""
    draw = random.Random(1)
    parents: dict[str, tuple[str, ...]] = {}
    for number in range(LAYERED_NODES):
        before = list(parents)[-12:]
        parents[f"n{number}"] = tuple(draw.sample(before, min(2, len(before))))
    return Shape("layered", parents, f"n{LAYERED_NODES - 1}")


def chains() -> Shape:
    """10,000 nodes in 100 chains."""
    parents = {
        f"n{chain}x{step}": (f"n{chain}x{step - 1}",) if step else ()
        for chain in range(CHAINS)
        for step in range(CHAIN_NODES)
    }
    return Shape("chains", parents)


MAP = Shape("map", {"n0": ()}, "n0")
LOG = Shape("log", {"n0": ()})


def _identifier(kind: int, name: str) -> identifier_pb2.Identifier:
    return identifier_pb2.Identifier(resource_type=kind, project=PROJECT, domain=DOMAIN, name=name, version=VERSION)


def _task() -> task_pb2.TaskCreateRequest:
    request = task_pb2.TaskCreateRequest(id=_identifier(identifier_pb2.TASK, "large.task"))
    request.spec.template.type = "python-task"
    request.spec.template.metadata.runtime.version = "1.16.8"
    request.spec.template.interface.SetInParent()
    request.spec.template.container.image = "registry.example/large:1"
    request.spec.template.container.args.append("run")
    return request


def _mapped_task() -> task_pb2.TaskCreateRequest:
    request = _task()
    request.id.name = "large.mapped"
    request.spec.template.interface.inputs.variables["x"].type.simple = types_pb2.INTEGER
    return request


def _workflow(shape: Shape) -> workflow_pb2.WorkflowCreateRequest:
    request = workflow_pb2.WorkflowCreateRequest(id=_identifier(identifier_pb2.WORKFLOW, f"large.{shape.name}"))
    request.spec.template.interface.SetInParent()
    for name, parents in shape.parents.items():
        node = request.spec.template.nodes.add(id=name, upstream_node_ids=parents)
        node.metadata.name = f"step_{name}"
        node.task_node.reference_id.CopyFrom(_identifier(identifier_pb2.TASK, "large.task"))
    if shape is MAP:
        node = request.spec.template.nodes[0]
        node.array_node.node.task_node.reference_id.CopyFrom(_identifier(identifier_pb2.TASK, "large.mapped"))
        node.array_node.node.id = "n0"
        node.array_node.is_original_sub_node_interface.value = True
        binding = node.inputs.add(var="x").binding
        for number in range(3):
            binding.collection.bindings.add().scalar.primitive.integer = number
    return request


async def _run(server: Server, shape: Shape) -> None:
    """Register the workflow and launch it; report its beginning and its end."""
    await perform(server, workflows.create_workflow, _workflow(shape))
    plan = launch_plan_pb2.LaunchPlanCreateRequest(id=_identifier(identifier_pb2.LAUNCH_PLAN, f"large.{shape.name}"))
    plan.spec.workflow_id.CopyFrom(_identifier(identifier_pb2.WORKFLOW, f"large.{shape.name}"))
    await perform(server, launch_plans.create_launch_plan, plan)
    launch = execution_pb2.ExecutionCreateRequest(project=PROJECT, domain=DOMAIN, name=shape.name)
    launch.spec.launch_plan.CopyFrom(plan.id)
    await perform(server, executions.create_execution, launch)
    end = phases.WorkflowExecution.FAILED if shape.failed else phases.WorkflowExecution.SUCCEEDED
    for seconds, phase in ((0, phases.WorkflowExecution.RUNNING), (3600, end)):
        request = event_pb2.WorkflowExecutionEventRequest()
        request.event.execution_id.CopyFrom(
            identifier_pb2.WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=shape.name)
        )
        request.event.phase, request.event.producer_id = phase, "propeller"
        request.event.occurred_at.FromDatetime(START + timedelta(seconds=seconds))
        if phase == phases.WorkflowExecution.FAILED:
            request.event.error.message, request.event.error.code = "ValueError: the shape is wrong", "USER:ValueError"
        await perform(server, events.create_workflow_event, request)


async def _register(settings: Settings, url: str, shapes: tuple[Shape, ...]) -> None:
    database = database_at(url, connections_max=2, busy_timeout_seconds=10, statement_timeout_seconds=600)
    await database.open()
    try:
        server = Server(settings, database, Blobs(settings), NoEngine())
        project = project_pb2.Project(id=PROJECT, name=PROJECT)
        await perform(server, projects.register_project, project_pb2.ProjectRegisterRequest(project=project))
        for task in (_task(), _mapped_task()):
            await perform(server, tasks.create_task, task)
        for shape in shapes:
            await _run(server, shape)
    finally:
        await database.close()


def _text(when: datetime) -> str:
    return when.isoformat(" ", "microseconds")


def _rows(shape: Shape) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]]]:
    """Return the rows of nodes and of attempts."""
    nodes, attempts = [], []
    depth: dict[str, int] = {}
    for name, parents in shape.parents.items():
        depth[name] = max((depth[one] for one in parents), default=-1) + 1
        failed = name == shape.failed
        begin = START + timedelta(seconds=10 * depth[name])
        seconds = 3 + len(nodes) % 7
        end = begin + timedelta(seconds=seconds)
        closure = node_execution_pb2.NodeExecutionClosure(phase=_NodePhase.FAILED if failed else _NodePhase.SUCCEEDED)
        attempt = task_execution_pb2.TaskExecutionClosure(phase=_TaskPhase.FAILED if failed else _TaskPhase.SUCCEEDED)
        for one in (closure, attempt):
            one.created_at.FromDatetime(begin - timedelta(seconds=1))
            one.started_at.FromDatetime(begin)
            one.updated_at.FromDatetime(end)
            one.duration.seconds = seconds
            if failed:
                one.error.message, one.error.code = "ValueError: the shape is wrong", "USER:ValueError"
        attempt.task_type = "python-task"
        if shape is MAP:
            attempt.task_type = "python-task"
            attempt.metadata.external_resources.extend(_indices())
        if shape is LOG:
            # The console reads a log from its own server, whatever host the link names.
            attempt.logs.add(name="Task log", uri=f"http://localhost/logs/{PROJECT}/{DOMAIN}/{shape.name}/{name}/0")
        meta = node_execution_pb2.NodeExecutionMetaData(spec_node_id=name, is_array=shape is MAP)
        phase = "FAILED" if failed else "SUCCEEDED"
        times = _text(begin), _text(begin - timedelta(seconds=1)), _text(end), seconds * 10**9
        key = (*times[1:3], PROJECT, DOMAIN, shape.name)
        nodes.append((*key, name, phase, "", closure.SerializeToString(), *times, meta.SerializeToString(), None, None))
        task = "large.mapped" if shape is MAP else "large.task"
        names = PROJECT, DOMAIN, task, VERSION, PROJECT, DOMAIN, shape.name, name
        attempts.append((*times[1:3], *names, 0, phase, 0, "", attempt.SerializeToString(), *times))
    return nodes, attempts


def _indices() -> Iterator[events_pb2.ExternalResourceInfo]:
    """Yield the indices of the map: one of a thousand failed."""
    for index in range(INDICES):
        phase = _TaskPhase.FAILED if index % 1000 == 7 else _TaskPhase.SUCCEEDED
        yield events_pb2.ExternalResourceInfo(external_id=f"map-n0-{index}", index=index, phase=phase)


def _insert(path: Path, shapes: tuple[Shape, ...]) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    for shape in shapes:
        for table, rows in zip(("node_executions", "task_executions"), _rows(shape), strict=True):
            columns = [name for name in COLUMNS[table] if name != "id"]
            names, marks = ", ".join(f'"{one}"' for one in columns), ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)
    connection.execute("COMMIT")
    connection.close()


def _insert_many(path: Path, count: int) -> None:
    """Copy one execution to another domain, a second apart, the last one now."""
    columns = [name for name in COLUMNS["executions"] if name != "id"]
    other = {
        "execution_name": "printf('f%07d', number)",
        "execution_domain": f"'{MANY_DOMAIN}'",
        "created_at": f"strftime('%Y-%m-%d %H:%M:%f000', 'now', (number - {count}) || ' seconds')",
    }
    other["execution_created_at"] = other["created_at"]
    names = ", ".join(f'"{one}"' for one in columns)
    values = ", ".join(other.get(one, f'"{one}"') for one in columns)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(
        f"INSERT INTO executions ({names}) WITH RECURSIVE numbers(number) AS "
        f"(SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < {count}) "
        f"SELECT {values} FROM numbers, executions WHERE execution_name = '{LOG.name}'"
    )
    connection.close()


def _write_log(home: Path) -> None:
    """Write the log of the attempt of LOG, as the local engine keeps it on the machine where the attempt ran."""
    id = identifier_pb2.WorkflowExecutionIdentifier(project=PROJECT, domain=DOMAIN, name=LOG.name)
    folder = folders.attempt_folder(folders.node_folder(folders.execution_folder(home, id), "n0"), 0)
    folder.mkdir(parents=True)
    line = b"epoch %09d loss 0.5 \x1b[32mok\x1b[0m " + b"x" * 60 + b"\n"
    with (folder / folders.LOG).open("wb") as file:
        for number in range(LOG_BYTES // len(line % 0)):
            file.write(line % number)
        file.write(b"the last line\n")


@contextmanager
def server(home: Path, *arguments: str, many: int = 0) -> Iterator[Running]:
    """Yield a server without an engine and with the large executions.

    Args:
        home: The folder of the server's data.
        *arguments: Further arguments of `flyteadmin serve`.
        many: Number of executions in MANY_DOMAIN.
    """
    done = run(home, "migrate", "run")
    assert done.returncode == 0, done.stdout + done.stderr
    path = home / "flyteadmin.db"
    url = f"sqlite:///{path}"
    settings = Settings.model_validate(
        {"home": home, "engine": {"kind": "none"}, "registration": {"max_workflow_nodes": 0}}
    )
    migrations.run(url)
    shapes = (layered(), chains(), MAP, LOG)
    beside_playwright(lambda: asyncio.run(_register(settings, url, shapes)))
    _insert(path, shapes)
    _write_log(home)
    if many:
        _insert_many(path, many)
    with serving(home, *arguments) as running:
        yield running


def main() -> None:
    """Start a server and keep it until it is interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="31090")
    parser.add_argument("--many", type=int, default=0, help="executions in the domain production")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "home", "--port", given.port, many=given.many) as running,
    ):
        for name in ("layered", "chains", "map", "log"):
            print(f"{running.web}{SCOPE}/executions/{name}", flush=True)  # noqa: T201
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()

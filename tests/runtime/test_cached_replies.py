"""Replies about immutable things: given once, they come without the database; nothing else is kept, nothing mixed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from flyteidl.admin import common_pb2, task_pb2, workflow_pb2
from flyteidl.core import identifier_pb2
from google.protobuf import json_format
from google.protobuf.message import Message

from app.api.grpc.app import GrpcApp
from app.api.grpc.protocol import frame
from app.api.rest.router import RestRouter, routes_of
from app.api.routers import ALL
from app.blobs import Blobs
from app.database.connect import database_at
from app.engine.port import NoEngine
from app.runtime import metrics
from app.runtime.dispatch import Server
from app.settings import Settings
from tests.api.asgi import Answer, ask
from tests.api.edge import ADMIN
from tests.conftest import DATABASES
from tests.support.builders import a_project, a_task, a_workflow, an_id

JSON = {"accept": "application/json"}
BINARY = {"accept": "application/octet-stream"}
TRAILERS = {"extensions": {"http.response.trailers": {}}}
TASK = "/api/v1/tasks/p/development/inc/v1"
WORKFLOW = "/api/v1/workflows/p/development/wf/v1"


class Process:
    """What one server process has: a server with its own memory, both transports, and how often it took a database."""

    def __init__(self, url: str, folder: Path, **limits: int) -> None:
        settings = Settings(home=folder, storage={"url": str(folder / "objects")}, limits=limits)
        database = database_at(url, connections_max=4, busy_timeout_seconds=20, statement_timeout_seconds=30)
        self.counts = metrics.CallMetrics([name for _, name in metrics.rpcs()])
        self.server = Server(settings, database, Blobs(settings), NoEngine(), self.counts)
        self.units, self._unit_of_work = 0, database.unit_of_work
        database.unit_of_work = self._counted  # type: ignore[method-assign]
        self.rest, self.grpc = RestRouter(self.server, routes_of(ALL)), GrpcApp(self.server, ALL)

    def _counted(self) -> AbstractAsyncContextManager[Any]:
        self.units += 1
        return self._unit_of_work()

    async def get(self, target: str, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return await ask(self.rest, "GET", target, JSON if headers is None else headers, **more)

    async def post(self, path: str, message: Message) -> None:
        headers = {"content-type": "application/octet-stream"}
        answer = await ask(self.rest, "POST", path, headers, message.SerializeToString())
        assert answer.status == 200, answer.body

    async def call(self, name: str, message: Message, headers: dict[str, str] | None = None) -> Answer:
        headers = {"content-type": "application/grpc", "te": "trailers", **(headers or {})}
        body = frame(message.SerializeToString())
        return await ask(self.grpc, "POST", f"/{ADMIN}/{name}", headers, body, http_version="2", scope=TRAILERS)


Scenario = Callable[[Process, Process], Coroutine[Any, Any, None]]


@pytest.fixture(params=DATABASES)
def processes(
    request: pytest.FixtureRequest, emptied_database: Callable[[str], str], tmp_path: Path
) -> Callable[..., None]:
    """Runs a scenario with two processes on one database, in which there is one task and one workflow."""
    url = emptied_database(request.param)

    def run(scenario: Scenario, **limits: int) -> None:
        async def main() -> None:
            a, b = Process(url, tmp_path, **limits), Process(url, tmp_path, **limits)
            for one in (a, b):
                await one.server.database.open()
            try:
                await a.post("/api/v1/projects", a_project())
                await a.post("/api/v1/tasks", a_task())
                await a.post("/api/v1/workflows", a_workflow())
                await asyncio.wait_for(scenario(a, b), 60)
            finally:
                for one in (a, b):
                    await one.server.database.close()

        asyncio.run(main())

    return run


def of(id: identifier_pb2.Identifier) -> common_pb2.ObjectGetRequest:
    return common_pb2.ObjectGetRequest(id=id)


THINGS: list[tuple[str, str, type[Message], identifier_pb2.Identifier]] = [
    (TASK, "GetTask", task_pb2.Task, an_id(identifier_pb2.TASK, "inc")),
    (WORKFLOW, "GetWorkflow", workflow_pb2.Workflow, an_id(identifier_pb2.WORKFLOW, "wf")),
]


def test_from_the_second_time_on_the_database_is_not_asked_and_the_answer_is_the_same(
    processes: Callable[..., None],
) -> None:
    async def scenario(_: Process, b: Process) -> None:
        for path, name, _type, id in THINGS:
            first, call = await b.get(path), await b.call(name, of(id))
            units, counted = b.units, b.counts.codes(name)[0]
            assert (first.status, call.trailers, units > 0, counted) == (200, {"grpc-status": "0"}, True, 2)
            assert await b.get(path) == first
            assert await b.call(name, of(id)) == call
            assert b.units == units
            assert b.counts.codes(name)[0] == 4, "a kept reply is counted like any other"
            chunked = await b.get(path, {**JSON, "te": "trailers"})
            assert (chunked.body, "content-length" in chunked.headers) == (first.body, False)
        await b.server.database.close()
        assert (await b.get(TASK)).status == 200

    processes(scenario)


def test_encodings_and_transports_do_not_mix(processes: Callable[..., None]) -> None:
    async def scenario(_: Process, b: Process) -> None:
        for path, name, type_, id in THINGS:
            for _round in range(2):
                proto, camel, binary = await b.get(path), await b.get(path, {}), await b.get(path, BINARY)
                call = await b.call(name, of(id))
                expected = type_.FromString(binary.body)
                assert b'"short_description"' in proto.body
                assert b'"shortDescription"' in camel.body
                assert json_format.Parse(proto.body, type_()) == json_format.Parse(camel.body, type_()) == expected
                assert frame(binary.body) == call.body
                types = [one.headers["content-type"] for one in (proto, camel, binary, call)]
                assert types == ["application/json"] * 2 + ["application/octet-stream", "application/grpc"]

    processes(scenario)


def test_what_is_not_there_is_asked_for_again(processes: Callable[..., None]) -> None:
    async def scenario(a: Process, b: Process) -> None:
        for path, name, make, kind in (
            ("/api/v1/tasks", "GetTask", a_task, identifier_pb2.TASK),
            ("/api/v1/workflows", "GetWorkflow", a_workflow, identifier_pb2.WORKFLOW),
        ):
            message, request = make("late", "v7"), of(an_id(kind, "late", "v7"))
            for _round in range(2):
                assert (await b.get(f"{path}/p/development/late/v7")).status == 404
                assert (await b.call(name, request)).trailers["grpc-status"] == "5"
            await a.post(path, message)
            answer, call = await b.get(f"{path}/p/development/late/v7"), await b.call(name, request)
            assert answer.json["id"]["version"] == "v7"
            assert call.trailers == {"grpc-status": "0"}

    processes(scenario)


def test_other_targets_and_other_verbs_are_told_apart(processes: Callable[..., None]) -> None:
    async def scenario(a: Process, b: Process) -> None:
        await a.post("/api/v1/tasks", a_task(version="v2", args=("other",)))
        first = await b.get(TASK)
        assert (await b.get("/api/v1/tasks/p/development/inc/v2")).json["id"]["version"] == "v2"
        assert (await b.get(WORKFLOW)).status == 200
        for _round in range(2):
            assert (await b.get(f"{WORKFLOW}?id.resource_type=TASK")).status == 400
        assert (await b.get("/api/v1/tasks/p/development/inc?limit=9")).json["tasks"][1:]
        assert (await ask(b.rest, "HEAD", TASK, JSON)).status == 501
        assert (await b.get(TASK, {**JSON, "grpc-timeout": "-1S"})).status == 504
        assert (await b.get(TASK, {**JSON, "grpc-timeout": "nonsense"})).status == 400
        assert (await b.call("GetTask", of(THINGS[0][3]), {"grpc-timeout": "0S"})).trailers["grpc-status"] == "4"
        assert await b.get(TASK) == first

    processes(scenario)


def test_what_changes_is_never_kept_and_the_bound_holds(processes: Callable[..., None]) -> None:
    async def scenario(a: Process, b: Process) -> None:
        units = b.units
        for path in ("/api/v1/task_ids/p/development?limit=9", "/api/v1/tasks/p/development/inc?limit=9", TASK):
            for _round in range(2):
                assert (await b.get(path)).status == 200
        assert b.units == units + 6

    processes(scenario, kept_json_bytes_max=0)


def test_only_what_has_no_rpc_that_changes_it_is_marked() -> None:
    assert {rpc.name for rpc in ALL if rpc.immutable} == {"GetTask", "GetWorkflow"}
    writers = {rpc.name for rpc in ALL if rpc.writes and rpc.name.endswith(("Task", "Workflow"))}
    assert writers == {"CreateTask", "CreateWorkflow"}, "an RPC that changes a version must see to kept replies"

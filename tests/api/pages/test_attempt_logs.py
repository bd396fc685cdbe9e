"""The logs of attempts over HTTP: parts, ends, growth, and names that lead nowhere."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from flyteidl.core import identifier_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette

from app.api.pages import attempt_logs
from app.blobs import Blobs
from app.database.connect import database_at
from app.engine.local.processes import folders
from app.engine.local.processes.stored_logs import StoredLogs, uri_of
from app.engine.port import NoEngine
from app.runtime.dispatch import Server
from app.settings import Settings
from app.settings.engine import EngineSection, LocalEngine
from app.system import system

ID = identifier_pb2.WorkflowExecutionIdentifier(project="p", domain="d", name="ex1")
URL = "/logs/p/d/ex1/n0/0"
Get = Callable[..., httpx.Response]


def server_at(home: Path, **sections: Any) -> Server:
    """Return the objects of a process whose home is this folder."""
    known = Settings(home=home, **sections)
    database = database_at(
        f"sqlite:///{home}/x.db", connections_max=1, busy_timeout_seconds=1, statement_timeout_seconds=1
    )
    return Server(known, database, Blobs(known), NoEngine())


@pytest.fixture
def get(tmp_path: Path) -> Get:
    """A request to the route of a home below tmp_path."""
    app = Starlette(routes=attempt_logs.routes(server_at(tmp_path)))

    def call(url: str, method: str = "GET", **headers: str) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
                return await client.request(method, url, headers=headers)

        return asyncio.run(send())

    return call


def write(home: Path, content: bytes, node: str = "n0", attempt: int = 0, **element: int) -> Path:
    folder = folders.node_folder(folders.execution_folder(home, ID), node)
    path = folders.attempt_folder(folder, attempt, **element) / folders.LOG
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.heavy
@given(content=st.binary(max_size=400), first=st.integers(0, 500), length=st.integers(0, 500))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_ranges_are_slices(get: Get, tmp_path: Path, content: bytes, first: int, length: int) -> None:
    write(tmp_path, content)
    whole = get(URL)
    assert (whole.status_code, whole.content) == (200, content)
    for header, part in (
        (f"bytes={first}-{first + length}", content[first : first + length + 1]),
        (f"bytes={first}-", content[first:]),
        (f"bytes=-{length}", content[len(content) - min(length, len(content)) :] if length else b""),
    ):
        answer = get(URL, range=header)
        if not part:
            assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(content)}")
        else:
            assert answer.content == part
            assert answer.status_code == (200 if part == content else 206)
            assert answer.headers["content-length"] == str(len(part))


@pytest.mark.heavy
@given(
    lines=st.lists(st.sampled_from(["", "a", "bb", "ü"]), max_size=12), ended=st.booleans(), count=st.integers(1, 15)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tail_is_the_last_lines(get: Get, tmp_path: Path, lines: list[str], ended: bool, count: int) -> None:
    text = "\n".join(lines) + ("\n" if ended and lines else "")
    write(tmp_path, text.encode())
    assert get(f"{URL}?tail={count}").text == "".join(text.splitlines(keepends=True)[-count:])


def test_a_tail_of_a_big_log_spans_pieces(get: Get, tmp_path: Path) -> None:
    lines = [f"{number:06d}" + "x" * 100 for number in range(10_000)]
    write(tmp_path, ("\n".join(lines) + "\n").encode())
    assert get(f"{URL}?tail=5000").text.splitlines() == lines[5000:]
    assert get(f"{URL}?tail=0").text == ""


def test_elements_of_maps_have_logs_of_their_own(get: Get, tmp_path: Path) -> None:
    write(tmp_path, b"whole")
    write(tmp_path, b"third", index=3, retry=1)
    assert get(URL).text == "whole"
    assert get(f"{URL}?index=3&retry=1").text == "third"
    assert get(f"{URL}?index=3").status_code == 404


def test_head_tells_the_size(get: Get, tmp_path: Path) -> None:
    write(tmp_path, b"12345")
    answer = get(URL, "HEAD")
    assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "5", b"")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_an_empty_log_is_a_log(get: Get, tmp_path: Path) -> None:
    write(tmp_path, b"")
    assert (get(URL).status_code, get(URL).content) == (200, b"")


@pytest.mark.parametrize("node", ["a/b", "..", "../../../etc", "%2e%2e", "n 0", "ü", "x" * 300])
def test_every_node_id_has_a_folder_inside(get: Get, tmp_path: Path, node: str) -> None:
    path = write(tmp_path, b"mine", node=node)
    assert path.parent.resolve().is_relative_to(tmp_path / "attempts" / "p" / "d" / "ex1")
    quoted = "".join(f"%{byte:02x}" for byte in node.encode())
    assert get(f"/logs/p/d/ex1/{quoted}/0").text == "mine"


@pytest.mark.parametrize(
    "url",
    [
        "/logs/p/d/%2e%2e/n0/0",
        "/logs/%2e%2e/%2e%2e/%2e%2e/secret/0",
        "/logs/p/d/ex1/%2e%2e%2f%2e%2e/0",
        "/logs/p/d/ex1/n0/1",
        "/logs/p/d/ex1/%00/0",
    ],
)
def test_names_lead_nowhere_else(get: Get, tmp_path: Path, url: str) -> None:
    write(tmp_path, b"mine")
    for outside in (tmp_path / "log", tmp_path / "attempts" / "log", tmp_path / "secret" / "0" / "log"):
        outside.parent.mkdir(parents=True, exist_ok=True)
        outside.write_bytes(b"secret")
    answer = get(url)
    assert (answer.status_code, "secret" in answer.text.replace("/secret/", "")) == (404, False)


def test_a_link_in_the_place_of_a_log_is_not_followed(get: Get, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    path = write(tmp_path, b"")
    path.unlink()
    path.symlink_to(tmp_path / "secret")
    assert get(URL).status_code == 404


def test_a_pipe_or_a_folder_in_the_place_of_a_log_is_none(get: Get, tmp_path: Path) -> None:
    path = write(tmp_path, b"")
    path.unlink()
    os.mkfifo(path)
    # With somebody at its other end, so that whoever opens it does not wait.
    other = os.open(path, os.O_RDWR)
    assert get(URL).status_code == 404
    os.close(other)
    path.unlink()
    path.mkdir()
    assert get(URL).status_code == 404


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("/logs/p/d/ex1/n0/first", "attempt=first"),
        ("/logs/p/d/ex1/n0/-1", "attempt=-1"),
        (f"{URL}?tail=many", "tail=many"),
        (f"{URL}?tail=100001", "tail=100001"),
        (f"{URL}?index=-1", "index=-1"),
        (f"{URL}?index=0&retry=x", "retry=x"),
    ],
)
def test_what_is_no_number_is_named(get: Get, tmp_path: Path, url: str, named: str) -> None:
    write(tmp_path, b"mine")
    answer = get(url)
    assert answer.status_code == 400
    assert answer.text.startswith(f"{named} is not a number")


def test_a_log_that_grows_while_it_is_sent_does_not_make_the_answer_longer(tmp_path: Path) -> None:
    path = write(tmp_path, b"x" * 1_000_000)
    app = Starlette(routes=attempt_logs.routes(server_at(tmp_path)))
    sent: list[bytes] = []

    async def serve() -> int:
        scope = {
            "type": "http",
            "method": "GET",
            "path": URL,
            "headers": [],
            "query_string": b"",
            "http_version": "1.1",
        }
        status = {}

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.start":
                status.update(dict(message["headers"]))  # type: ignore[call-overload]
            else:
                sent.append(message.get("body", b""))  # type: ignore[arg-type]
                with path.open("ab") as file:
                    file.write(b"y" * 100_000)

        await app(scope, receive, send)  # type: ignore[arg-type]
        return int(status[b"content-length"])

    assert asyncio.run(serve()) == 1_000_000
    assert b"".join(sent) == b"x" * 1_000_000


@pytest.mark.parametrize(
    ("url", "query"),
    [
        ("/logs/p/d/ex1/n0/0", "node=n0&attempt=1&panel=log"),
        ("/logs/p/d/ex1/n1/2?index=7&retry=1", "node=n1&attempt=3&panel=indices&index=7"),
    ],
)
def test_a_browser_is_sent_to_the_attempt_in_the_console(url: str, query: str, get: Get, tmp_path: Path) -> None:
    """Attempts count from 0 in the API and from 1 in the console."""
    write(tmp_path, b"line")
    reply = get(url, accept="text/html,application/xhtml+xml,*/*;q=0.8")
    assert (reply.status_code, reply.headers["vary"]) == (303, "accept")
    assert reply.headers["location"] == f"/console/projects/p/domains/d/executions/ex1?{query}"


def test_an_address_with_raw_is_the_text_in_browsers_too(get: Get, tmp_path: Path) -> None:
    write(tmp_path, b"line")
    assert get(f"{URL}?raw=1", accept="text/html").text == "line"


def test_a_bad_attempt_is_not_redirected(get: Get) -> None:
    assert get("/logs/p/d/ex1/n0/x", accept="text/html").status_code == 400


def test_without_a_console_browsers_get_the_text(tmp_path: Path) -> None:
    server = server_at(tmp_path)
    server.settings = Settings.model_validate({"home": tmp_path, "console": {"enabled": False}})
    write(tmp_path, b"line")

    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(Starlette(routes=attempt_logs.routes(server)))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(URL, headers={"accept": "text/html"})

    assert asyncio.run(send()).text == "line"


def in_loop(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a coroutine as a test."""

    @functools.wraps(test)
    def call(*arguments: Any, **more: Any) -> None:
        asyncio.run(test(*arguments, **more))

    return call


class TestFollow:
    """`?follow`, on a real socket: httpx.ASGITransport returns a reply when it has all of it."""

    @in_loop
    async def test_the_reply_grows_and_ends_with_the_attempt(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"one\n")
        alive(path)
        async with following(tmp_path) as (client, _), client.stream("GET", f"{URL}?follow") as reply:
            assert reply.status_code == 200
            assert "content-length" not in reply.headers
            pieces = reply.aiter_raw()
            assert await anext(pieces) == b"one\n"
            with path.open("ab") as file:
                file.write(b"two\n")
            assert await anext(pieces) == b"two\n"
            with path.open("ab") as file:
                file.write(b"three\n")
            (path.parent / "exit.json").write_text("{}")
            assert [piece async for piece in pieces] == [b"three\n"]

    @in_loop
    async def test_tail_and_range_choose_where_it_begins(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"one\ntwo\nthree\n")
        (path.parent / "exit.json").write_text("{}")
        async with following(tmp_path) as (client, _):
            assert (await client.get(f"{URL}?follow&tail=1")).content == b"three\n"
            assert (await client.get(f"{URL}?follow", headers={"range": "bytes=4-"})).content == b"two\nthree\n"
            assert (await client.get(f"{URL}?follow", headers={"range": "bytes=14-"})).content == b""

    @in_loop
    async def test_it_ends_when_the_supervisor_is_gone(self, tmp_path: Path) -> None:
        path = write(tmp_path, b"one\n")
        (path.parent / "process.json").write_text('{"pid": 1, "stamp": "of another process"}')
        async with following(tmp_path) as (client, _):
            assert (await client.get(f"{URL}?follow")).content == b"one\n"

    @in_loop
    async def test_followers_are_limited_and_those_that_leave_make_room(self, tmp_path: Path) -> None:
        alive(write(tmp_path, b"one\n"))
        async with following(tmp_path, followers=1) as (client, _):
            async with client.stream("GET", f"{URL}?follow") as first:
                # A generator without a reference would be closed, and with it the connection.
                pieces = first.aiter_raw()
                assert await anext(pieces) == b"one\n"
                refused = await client.get(f"{URL}?follow")
                assert refused.status_code == 429
                assert "engine.local.logFollowersMax=1" in refused.json()["message"]
                assert (await client.get(URL)).content == b"one\n"
            # The task prints nothing meanwhile: the server sees that the client is gone.
            async with asyncio.timeout(10):
                while True:
                    async with client.stream("GET", f"{URL}?follow") as reply:
                        if reply.status_code == 200:
                            return
                    await asyncio.sleep(0.02)

    @in_loop
    async def test_a_server_that_stops_ends_its_replies(self, tmp_path: Path) -> None:
        alive(write(tmp_path, b"one\n"))
        async with following(tmp_path) as (client, server), client.stream("GET", f"{URL}?follow") as reply:
            pieces = reply.aiter_raw()
            assert await anext(pieces) == b"one\n"
            server.health.draining.set()
            assert [piece async for piece in pieces] == []


def alive(log: Path) -> None:
    """Record this process as the supervisor of an attempt."""
    record = {"pid": os.getpid(), "stamp": system.stamp(os.getpid())}
    (log.parent / "process.json").write_text(json.dumps(record))


@asynccontextmanager
async def following(home: Path, followers: int = 100) -> AsyncIterator[tuple[httpx.AsyncClient, Server]]:
    """A client of a server on a socket whose home is this folder."""
    local = LocalEngine(log_followers_max=followers, log_interval_seconds=0.01)
    server = server_at(home, engine=EngineSection(local=local))
    web = uvicorn.Server(
        uvicorn.Config(Starlette(routes=attempt_logs.routes(server)), log_level="error", lifespan="off")
    )
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(web.serve([listener]))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            yield client, server
        web.should_exit = True
        await serving


class TestStore:
    """Logs that another machine has copied into the store."""

    @pytest.mark.parametrize("element", [{}, {"index": 3, "retry": 1}])
    def test_a_copied_log_is_served_without_the_file(self, get: Get, tmp_path: Path, element: dict[str, int]) -> None:
        path = write(tmp_path, b"one\ntwo\n", **element)
        url = URL + ("?index=3&retry=1" if element else "?")

        async def copy() -> None:
            logs = StoredLogs(Blobs(Settings(home=tmp_path)), 1024)
            logs.keep(path, element=bool(element))
            await logs.close()

        asyncio.run(copy())
        path.unlink()
        assert get(url).content == b"one\ntwo\n"
        assert get(f"{url}&follow").content == b"one\ntwo\n"
        assert get(f"{url}&tail=1").content == b"two\n"
        part = get(url, range="bytes=4-5")
        assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"tw", "bytes 4-5/8")
        assert get(url, range="bytes=8-").status_code == 416
        assert get(url, "HEAD").headers["content-length"] == "8"

    def test_a_bucket_gets_a_copy_of_the_bytes(self, tmp_path: Path) -> None:
        """The store of a bucket has no links: the log is written as an object."""
        path = write(tmp_path, b"one\n")
        blobs = Blobs(Settings(home=tmp_path / "elsewhere"))
        blobs.local = False

        async def copy() -> None:
            logs = StoredLogs(blobs, 1024)
            logs.keep(path, element=False)
            await logs.close()

        asyncio.run(copy())
        stored = Path(uri_of(blobs, path.parent, element=False))
        assert stored.read_bytes() == b"one\n"
        assert not stored.samefile(path)

    def test_a_log_that_is_nowhere(self, get: Get) -> None:
        assert get(URL).status_code == 404

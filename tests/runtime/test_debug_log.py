"""`logger.level: debug` logs each call with code and time, and each SQL statement of the call under its request id."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from flyteidl.admin import project_pb2
from structlog.testing import capture_logs

from app import errors
from app.database.base import _short
from app.runtime import debug_log, dispatch
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from app.services import projects
from tests.conftest import Bench


@pytest.fixture
def debug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.DEBUG)
    yield
    structlog.contextvars.clear_contextvars()


def lines_of(bench: Any, function: Any, request: Any, *, fails: bool = False) -> list[Any]:
    """Return the debug lines of one call."""
    found: list[Any] = []

    async def scenario(bench: Bench) -> None:
        server = Server(bench.settings, bench.database, bench.blobs, bench.engine)
        rpc = Rpc("AdminService", "ListProjects", function, type(request), type(request))
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
            try:
                await dispatch.call(server, Call(rpc, request_id="r-1", caller="192.0.2.1"), request)
            except errors.FlyteError:
                assert fails
        found.extend(logs)

    bench(scenario)
    return found


@pytest.mark.usefixtures("debug")
def test_a_call_is_logged_with_its_statements(bench: Any) -> None:
    first, *statements, last = lines_of(bench, projects.list_projects, project_pb2.ProjectListRequest())
    assert (first["event"], first["caller"]) == ("rpc_started", "192.0.2.1")
    assert (last["event"], last["code"]) == ("rpc_ended", "OK")
    assert last["ms"] >= 0
    assert statements
    for line in (first, *statements, last):
        assert (line["log_level"], line["rpc"], line["request_id"]) == ("debug", "ListProjects", "r-1")
    for line in statements:
        assert line["event"] == "sql"
        assert line["sql"].startswith("SELECT ")
        assert "FROM projects" in line["sql"]
    assert structlog.contextvars.get_contextvars() == {}


@pytest.mark.usefixtures("debug")
def test_a_failed_call_is_logged_with_its_code(bench: Any) -> None:
    async def fail(ctx: Any, request: Any) -> Any:
        raise errors.NotFound("secret text")

    lines = lines_of(bench, fail, project_pb2.ProjectListRequest(), fails=True)
    assert [line["event"] for line in lines] == ["rpc_started", "rpc_ended"]
    assert lines[-1]["code"] == "NOT_FOUND"
    assert "secret text" not in str(lines)


def test_without_debug_nothing_is_logged(bench: Any) -> None:
    assert not debug_log.enabled()
    assert lines_of(bench, projects.list_projects, project_pb2.ProjectListRequest()) == []


@pytest.mark.parametrize(
    ("sql", "short"),
    [
        ("SELECT a.x, a.y \nFROM a\nWHERE a.x = ?", "SELECT a.x, a.y FROM a WHERE a.x = ?"),
        ("SELECT a, b, c, d, e FROM t WHERE a = ?", "SELECT (5 columns) FROM t WHERE a = ?"),
        ("INSERT INTO t (a, b) VALUES (?, ?) RETURNING id", "INSERT INTO t … RETURNING id"),
        ("INSERT INTO t (a, b) VALUES (?, ?)", "INSERT INTO t"),
        ("UPDATE t SET a=? WHERE b = ?", "UPDATE t SET a=? WHERE b = ?"),
    ],
)
def test_statements_are_shortened(sql: str, short: str) -> None:
    assert _short(sql) == short

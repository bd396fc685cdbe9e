"""Failures of the server are logged with cause and request id, once a minute for each class."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

from app import errors, limited_log
from app.runtime import dispatch, failures
from app.runtime.dispatch import Call, Server
from app.runtime.rows import Rpc
from tests.conftest import Bench


@pytest.fixture(autouse=True)
def _nothing_logged_before() -> None:
    limited_log.clear()


def caused(error: errors.FlyteError, cause: Exception) -> errors.FlyteError:
    """Return the error as `raise error from cause` leaves it."""
    try:
        raise error from cause
    except errors.FlyteError as raised:
        return raised


def recorded(error: errors.FlyteError, request_id: str = "r-1") -> list[Any]:
    with capture_logs() as logs:
        failures.record(error, rpc="/s/M", request_id=request_id)
    return logs


def test_a_failure_of_the_system_is_logged_with_its_cause() -> None:
    (line,) = recorded(caused(errors.Unavailable("the storage is away"), ConnectionRefusedError(111, "refused")))
    assert line["event"] == "call_failed"
    assert line["log_level"] == "error"
    assert (line["rpc"], line["request_id"], line["code"]) == ("/s/M", "r-1", "Unavailable")
    assert line["error"] == "the storage is away"
    assert line["cause"] == "ConnectionRefusedError: [Errno 111] refused"


def test_the_cause_of_a_timeout_is_the_timeout() -> None:
    timeout = TimeoutError("no connection within 10 s")
    timeout.__cause__ = asyncio.CancelledError()
    (line,) = recorded(caused(errors.Unavailable("the database is busy"), timeout))
    assert line["cause"] == "TimeoutError: no connection within 10 s"


def test_each_class_is_logged_once_and_the_others_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert recorded(caused(errors.Unavailable("one"), OSError(24, "too many open files")))
    assert not recorded(caused(errors.Unavailable("two"), OSError(24, "too many open files")))
    assert recorded(caused(errors.Unavailable("three"), OSError(28, "no space")))
    monkeypatch.setattr(limited_log, "SECONDS_BETWEEN", 0)
    (line,) = recorded(caused(errors.Unavailable("four"), OSError(24, "too many open files")))
    assert line["left_out_before"] == 1


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound("no task"),
        errors.InvalidArgument("bad"),
        errors.ResourceExhausted("too large"),
        caused(errors.DeadlineExceeded("late"), TimeoutError()),
    ],
)
def test_faults_of_the_caller_are_not_logged(error: errors.FlyteError) -> None:
    assert not recorded(error)


def test_a_full_disk_is_logged() -> None:
    assert recorded(caused(errors.ResourceExhausted("the disk is full"), OSError(28, "no space")))


def test_unexpected_exceptions_are_logged_with_their_traceback() -> None:
    with capture_logs() as logs:
        answers = [failures.as_flyte_error(KeyError("x"), rpc="/s/M", request_id="r-1") for _ in range(3)]
    assert [(answer.code, answer.message) for answer in answers] == [(errors.Internal.code, "")] * 3
    (line,) = logs
    assert line["event"] == "rpc_failed"
    assert isinstance(line["exc_info"], KeyError)


def test_a_renamed_table_leaves_a_line(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        async def read(ctx: Any, request: Any) -> Any:
            from sqlalchemy import column, select, table

            from app.database.statements import Statement

            return await ctx.db.all(Statement(select(column("name")).select_from(table("renamed"))))

        server = Server(bench.settings, bench.database, bench.blobs, bench.engine)
        rpc = Rpc("s", "M", read, object, object)  # type: ignore[arg-type]
        with capture_logs() as logs, pytest.raises(errors.Internal, match="flyteadmin migrate run"):
            await dispatch.call(server, Call(rpc, request_id="r-7"), None)  # type: ignore[arg-type]
        (line,) = logs
        assert (line["request_id"], line["code"]) == ("r-7", "Internal")
        assert "renamed" in line["cause"]

    bench(scenario)

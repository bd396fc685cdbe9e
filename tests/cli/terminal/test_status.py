"""`flyteadmin status`: a server of ours, one of others, none."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.cli.terminal import status
from tests.cli.api import Api
from tests.cli.terminal import rows

STATE: dict[str, Any] = {
    "version": "0.1.0",
    "home": "/srv/flyte",
    "started_at": "2026-01-02T12:00:00Z",
    "addresses": {"rest": "127.0.0.1:30080", "grpc": "127.0.0.1:30081"},
    "database": {"address": "/srv/flyte/flyteadmin.db", "bytes": 1_234_567},
    "storage": {"address": "/srv/flyte/storage", "bytes": 999, "complete": False},
    "engine": {"kind": "local", "running": 1, "queued": 2, "problem": ""},
    "environments": [
        {"name": "default", "path": "/srv/flyte/envs/default-1", "state": "ready", "bytes": 12_000, "complete": True},
        {"name": "5c9e", "path": "/srv/flyte/envs/5c9e", "state": "making", "bytes": 2_000, "complete": True},
        {"name": "77aa", "path": "/srv/flyte/envs/77aa", "state": "failed", "bytes": 0, "complete": True},
    ],
    "services": {"local_engine": ""},
    "not_ready": [],
    "last_error": {"time": "t", "level": "error", "event": "boom", "reason": "x=1"},
}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["status", *arguments])


@pytest.fixture
def served(api: Api) -> Api:
    api.routes["GET /api/v1/status"] = STATE
    failed = rows.execution("FAILED", error={"code": "x", "message": "Traceback\nValueError: odd"})
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [failed], "token": ""}
    return api


def test_a_server_of_ours(served: Api) -> None:
    done = run()
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert lines[0] == "✓ running  http://localhost:30080  (named by the default)"
    assert "ports         rest 127.0.0.1:30080, grpc 127.0.0.1:30081" in lines
    assert "database      /srv/flyte/flyteadmin.db  1.2 MB" in lines
    assert "storage       /srv/flyte/storage  more than 999 B" in lines
    assert "environment   default  /srv/flyte/envs/default-1  12 kB" in lines
    assert "environment   5c9e  /srv/flyte/envs/5c9e  2 kB  is being made" in lines
    failed = "environment   77aa  was not made, see flyteadmin envs log 77aa; flyteadmin envs prune removes it"
    assert failed in " ".join(line.strip() for line in lines)
    assert "engine        local: 1 running, 2 queued" in lines
    assert any(line.startswith("last failure  f1, ") and line.endswith("ValueError: odd") for line in lines)
    assert "last log      error boom at t: x=1" in lines
    assert lines[-4:] == [
        "next",
        "  wait for environment 5c9e, which is being made: flyteadmin envs shows its progress",
        "  see why the latest execution failed: flyteadmin get f1",
        "  see what waits for a person: flyteadmin waiting",
    ]
    assert json.loads(run("-o", "json").stdout)["next"][1].endswith("flyteadmin get f1")


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"not_ready": ["database"]}, "the database does not answer: see the server's log"),
        ({"services": {"scheduler": "no lease"}}, "scheduler does not work: no lease"),
        (
            {"environments": [STATE["environments"][2]]},
            "see why the task environment was not made: flyteadmin envs log 77aa",
        ),
        (
            {"environments": STATE["environments"][1:]},
            "wait until the task environment is made (the server prints `task environment: ready`)",
        ),
        ({"environments": []}, "wait until the task environment is made (the server prints `task environment: ready`)"),
    ],
)
def test_what_to_do_next(served: Api, change: dict[str, Any], step: str) -> None:
    served.routes["GET /api/v1/status"] = STATE | change
    done = run("-o", "json")
    assert json.loads(done.stdout)["next"][0] == step
    assert done.exit_code == (1 if "not_ready" in change else 0)


def test_a_first_server_offers_hello(served: Api) -> None:
    served.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [], "token": ""}
    rows.serve_projects(served, flytesnacks=("development",))
    assert "  run a first workflow: flyteadmin hello" in run().stdout.splitlines()


def test_another_flyteadmin(api: Api) -> None:
    api.routes["GET /api/v1/version"] = {"control_plane_version": {"version": "v1.16.8"}}
    api.routes["GET /api/v1/executions/flytesnacks/development"] = {"executions": [], "token": ""}
    done = run()
    assert done.exit_code == 0
    assert "version  v1.16.8" in done.stdout
    assert "this server has no /api/v1/status: it is another flyteadmin" in done.stdout


def test_no_server(api: Api) -> None:
    api.replies = [httpx.ConnectError("refused")]
    done = run()
    assert done.exit_code == 1
    assert done.stdout.startswith("✗ not reachable  no answer of http://localhost:30080 (named by the default)")
    assert done.stdout.splitlines()[-1] == "  start the server: flyteadmin serve"


def test_a_process_that_has_the_home_but_does_not_answer_may_be_starting() -> None:
    found = {"problem": "no answer", "process": 7, "home": "/h"}
    assert list(status.advice(found)) == [
        "process 7 serves from /h: wait until it is ready, or give its address with --endpoint; "
        "if it stays like this, see its log and start it again"
    ]


def test_a_server_that_does_not_answer_is_given_ten_seconds(api: Api) -> None:
    timeouts = []

    def answer(request: httpx.Request) -> Any:
        timeouts.append(request.extensions["timeout"]["read"])
        raise httpx.ReadTimeout("timed out")

    api.routes["GET /api/v1/status"] = answer
    done = run()
    assert done.exit_code == 1
    assert "it takes connections but does not answer, so it is stopped or too busy" in done.stdout
    assert timeouts == [10.0]


def test_an_unknown_project_is_named_beside_the_state(served: Api) -> None:
    served.routes["GET /api/v1/executions/nope/development"] = {"executions": [], "token": ""}
    rows.serve_projects(served, flytesnacks=("development",))
    done = run("-p", "nope")
    assert done.exit_code == 0
    assert "  the project nope is unknown; there are flytesnacks\n" in done.stdout
    assert "hello" not in done.stdout

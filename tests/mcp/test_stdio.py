"""`flyteadmin mcp`: the SDK's client starts it, as an assistant does."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from app.database import migrations
from app.mcp.remote import endpoint_of
from app.server import home, startup
from app.settings import BadSetting, load
from tests.mcp.conftest import SCOPE, Served, launch_arguments, phase, problem, value
from tests.support.servers import COMMAND, environment, run

pytestmark = pytest.mark.slow


@asynccontextmanager
async def started(home: Path, log: Path, *arguments: str, **variables: str) -> AsyncIterator[Client]:
    """A client of a process of its own; what that writes to stderr goes to log."""
    command, *words = COMMAND
    parameters = StdioServerParameters(
        command=command, args=[*words, "mcp", *arguments], env=environment(home, **variables)
    )
    with log.open("w") as errlog:
        async with Client(stdio_client(parameters, errlog=errlog), read_timeout_seconds=60) as client:
            yield client


def test_on_another_server(served: Served, tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path / "none", tmp_path / "log", "--endpoint", served.remote.web) as client:
            literals = {"message": {"scalar": {"primitive": {"string_value": "not today"}}}}
            arguments = {**launch_arguments("failing_for_now"), "inputs": {"literals": literals}}
            id = value(await client.call_tool("create-workflow-execution", arguments))["id"]
            assert await phase(client, id) == "FAILED"
            [node] = value(await client.call_tool("list-failed-nodes", {"id": id}))["nodes"]
            assert node["attempts"] == 2
            # The logs lie on the other side, and come over HTTP.
            assert "not today" in node["log_end"]
            late = problem(await client.call_tool("terminate-workflow-execution", {"id": id}))
            assert late["details"][0]["already_in_terminal_state"] == {"current_phase": "FAILED"}
            assert "No engine runs" not in (client.instructions or "")

    asyncio.run(main())
    assert (tmp_path / "log").read_text() == ""
    # The other server has everything; nothing is made here.
    assert not (tmp_path / "none").exists()


def test_on_the_database_beside_a_server_that_runs_it(served: Served, tmp_path: Path) -> None:
    async def main() -> None:
        variables = {"FLYTEADMIN_DATABASE_URL": served.url, "FLYTEADMIN_ENGINE": "local"}
        async with started(served.remote.home, tmp_path / "log", **variables) as client:
            result = await client.call_tool("create-workflow-execution", launch_arguments("twice", x=7))
            id = value(result)["id"]
            assert len(result.content) == 1
            assert await phase(client, id) == "SUCCEEDED"
            data = value(await client.call_tool("retrieve-execution-data", {"id": id}))
            assert data["outputs"] == {"o0": 28}

    asyncio.run(main())
    assert "warning" not in (tmp_path / "log").read_text()


def test_without_a_server_it_says_that_nothing_will_run(served: Served, tmp_path: Path) -> None:
    """Another home, so that no server is found, on a database that has something to launch."""

    async def main() -> None:
        variables = {
            "FLYTEADMIN_DATABASE_URL": served.url,
            "FLYTEADMIN_ENGINE": "local",
            "FLYTEADMIN_STORAGE_URL": str(served.remote.home / "storage"),
        }
        async with started(tmp_path / "home", tmp_path / "log", **variables) as client:
            assert "No engine runs: no flyteadmin serves from" in (client.instructions or "")
            missing = await client.call_tool("describe-launch-plan", {"id": {**SCOPE, "name": "none"}})
            assert problem(missing)["code"] == 5
            plan = value(await client.call_tool("describe-launch-plan", {"id": {**SCOPE, "name": "graphs.twice"}}))
            arguments = {**SCOPE, "spec": {"launch_plan": plan["id"]}, "values": {"x": 1}}
            result = await client.call_tool("create-workflow-execution", arguments)
            assert value(result)["id"]
            assert "No engine runs" in result.content[1].text  # type: ignore[union-attr]

    asyncio.run(main())
    assert "warning: No engine runs" in (tmp_path / "log").read_text()


def test_the_schema_of_a_server_that_runs_is_left_alone(tmp_path: Path) -> None:
    """What would change it is the server of another version that the assistant was started with."""
    home_path = tmp_path / "home"
    settings = load(environ={"FLYTEADMIN_HOME": str(home_path)}).settings
    home.prepare(home_path)
    startup.migrate(settings, startup.Progress())
    startup.rollback(settings)
    lock = home.lock(home_path)
    try:
        ended = run(home_path, "mcp")
    finally:
        lock.release()
    assert ended.returncode == 1
    assert f"(process {os.getpid()})" in ended.stderr
    assert "--endpoint" in ended.stderr
    assert migrations.pending(settings.database_url)


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    async def main() -> None:
        async with started(tmp_path / "none", tmp_path / "log", "--endpoint", "http://127.0.0.1:9") as client:
            found = problem(await client.call_tool("list-projects", {}))
            assert found["status"] == "UNAVAILABLE"
            assert "http://127.0.0.1:9 cannot be reached" in found["message"]

    asyncio.run(main())


def test_it_ends_with_stdin_and_says_nothing_but_messages(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*COMMAND, "mcp", "--endpoint", "http://127.0.0.1:9"],
        input="no json\n",
        env=environment(tmp_path / "none"),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert all(line.startswith('{"') for line in ended.stdout.splitlines())
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("endpoint", "found"),
    [
        ("http://localhost:30080", (False, "localhost:30080")),
        ("https://flyte.example/", (True, "flyte.example:443")),
        ("dns:///flyte.example:81", (False, "flyte.example:81")),
        ("localhost:30080", (False, "localhost:30080")),
        ("http://[::1]:3", (False, "[::1]:3")),
        ("flyte", (False, "flyte:80")),
    ],
)
def test_forms_of_endpoints(endpoint: str, found: tuple[bool, str]) -> None:
    assert endpoint_of(endpoint) == found


@pytest.mark.parametrize("endpoint", ["", "http://", "http://a:b", "http://a/b", "http://k@a", "ftp://a", "http://a?b"])
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(BadSetting, match="--endpoint="):
        endpoint_of(endpoint)

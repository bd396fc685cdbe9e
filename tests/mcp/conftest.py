"""A control plane with the local engine, MCP and the REST adapter, and the SDK's own client of it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult

# Fixtures that are asked for by name.
from tests.engine.conftest import environment  # noqa: F401
from tests.engine.graphs.conftest import Plane, plane  # noqa: F401
from tests.engine.graphs.remote import DOMAIN, PROJECT, VERSION, Remote

PORTS = ("--mcp-port", "0", "--rest-adapter-port", "0")
SCOPE = {"project": PROJECT, "domain": DOMAIN}
ENDS = ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")
WAIT_SECONDS_MAX = 60


@dataclass(frozen=True)
class Served:
    """mcp and adapter: addresses; remote: a client of the same server's REST; url: of its database."""

    mcp: str
    adapter: str
    remote: Remote
    url: str

    def run(self, scenario: Callable[[Client], Awaitable[Any]], key: str = "") -> Any:
        """Run a scenario with a connected client of the MCP listener."""

        async def main() -> Any:
            async with connected(self.mcp, key) as client:
                return await scenario(client)

        return asyncio.run(main())


@asynccontextmanager
async def connected(url: str, key: str = "", mode: str = "auto") -> AsyncIterator[Client]:
    """The SDK's client of a URL. mode: "legacy" for the handshake of the older protocol."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as http:
        transport = streamable_http_client(url, http_client=http)
        async with Client(transport, mode=mode, read_timeout_seconds=30) as client:
            yield client


Start = Callable[[str], AbstractContextManager[Served]]


@pytest.fixture(scope="session")
def start(
    plane: Plane,  # noqa: F811
    empty_database: Callable[[str], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Start:
    """Starts a server on a kind of database that knows the workflows of tests/engine/flows/graphs.py."""

    @contextmanager
    def started(kind: str) -> Iterator[Served]:
        home = tmp_path_factory.mktemp("assistants") / kind
        url = empty_database(kind)
        with plane(home, url, *PORTS) as (server, remote):
            remote.script("register.py", "graphs")
            adapter = f"http://{server.address('REST adapter')}"
            yield Served(f"http://{server.address('MCP')}/mcp", adapter, remote, url)

    return started


@pytest.fixture(scope="session")
def served(start: Start) -> Iterator[Served]:
    """The server that most tests ask."""
    with start("sqlite") as made:
        yield made


@pytest.fixture(scope="session")
def served_on_postgresql(start: Start) -> Iterator[Served]:
    with start("postgresql") as made:
        yield made


@pytest.fixture(params=("served", "served_on_postgresql"), ids=("sqlite", "postgresql"))
def each(request: pytest.FixtureRequest) -> Served:
    """A server on each kind of database."""
    made: Served = request.getfixturevalue(request.param)
    return made


def value(result: CallToolResult) -> Any:
    """What a tool answered, which must be no error."""
    assert not result.is_error, result.content
    assert json.loads(result.content[0].text) == result.structured_content  # type: ignore[union-attr]
    return result.structured_content


def problem(result: CallToolResult) -> Any:
    """The error that a tool answered."""
    assert result.is_error, result.content
    found = json.loads(result.content[0].text)  # type: ignore[union-attr]
    assert found == result.structured_content
    return found


def launch_arguments(plan: str, **integers: int) -> dict[str, Any]:
    """Arguments that launch a plan of flows/graphs.py, in proto JSON."""
    literals = {name: {"scalar": {"primitive": {"integer": number}}} for name, number in integers.items()}
    reference = {**SCOPE, "name": f"graphs.{plan}", "version": VERSION}
    return {**SCOPE, "spec": {"launch_plan": reference}, "inputs": {"literals": literals}}


async def launch(client: Client, plan: str, **integers: int) -> dict[str, str]:
    """The id of a new execution."""
    made = value(await client.call_tool("create-workflow-execution", launch_arguments(plan, **integers)))
    return made["id"]  # type: ignore[no-any-return]


async def phase(client: Client, id: dict[str, str], *wanted: str) -> str:
    """The phase of an execution once it is one of the wanted ones, without further words one of the last."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while True:
        closure = value(await client.call_tool("retrieve-workflow-execution", {"id": id}))["closure"]
        if closure["phase"] in (wanted or ENDS):
            return str(closure["phase"])
        assert time.monotonic() < deadline, closure
        await asyncio.sleep(0.1)


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    """A raw POST to the MCP listener, as the SDK's client would never send it."""
    standard = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(url, content=content, headers={**standard, **headers}, timeout=30)

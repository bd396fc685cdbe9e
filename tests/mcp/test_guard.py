"""The ports of MCP and the REST adapter with authentication on: tokens, the key, and the document of RFC 9728."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.auth.identity import TaskGrant
from app.auth.task_tokens import TaskTokens
from app.database import schema
from app.main import FlyteAdmin, create_app
from app.runtime.dispatch import perform
from app.services import launch_plans, projects, tasks, workflows
from app.settings import Settings
from tests.support.builders import a_launch_plan, a_project, a_task, a_workflow
from tests.support.tokens import a_claim_set, pem, rsa_key, signed

pytestmark = pytest.mark.heavy

MCP, ADAPTER = 9090, 8080
KEY = "key-of-the-assistants"
URL = "http://localhost:30080"
TYPES = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
LIST = {"name": "list-projects", "arguments": {}}
Scenario = Callable[[FlyteAdmin, httpx.AsyncClient], Any]
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, emptied_database: Callable[[str], str]) -> Run:
    """Runs a scenario with an application in this process, and a client of all its ports."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "token_rsa_key.pem").write_text(pem(rsa_key()))
    (secrets / "cookie_hash_key").write_bytes(base64.b64encode(os.urandom(64)))
    (secrets / "cookie_block_key").write_bytes(base64.b64encode(os.urandom(32)))
    (secrets / "oidc_client_secret").write_text("secret")

    def run(scenario: Scenario, auth: dict[str, Any] | None = None, mcp: dict[str, Any] | None = None) -> Any:
        settings = Settings.model_validate(
            {
                "home": tmp_path / "home",
                "storage": {"url": str(tmp_path / "store")},
                "database": {"url": emptied_database("sqlite")},
                "server": {"security": {"use_auth": True}},
                "secrets": {"secrets_prefix": str(secrets)},
                "auth": {"authorized_uris": (URL,), **(auth or {})},
                "mcp": {"enabled": True, "port": MCP, "adapter_port": ADAPTER, **(mcp or {})},
                "engine": {"kind": "none"},
            }
        )

        async def main() -> Any:
            app = create_app(settings)
            async with app.running(), _client(app) as client:
                return await scenario(app, client)

        return asyncio.run(main())

    return run


@asynccontextmanager
async def _client(app: FlyteAdmin) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose requests arrive at the port in their addresses."""

    async def by_port(scope: Any, receive: Any, send: Any) -> None:
        host = next(value for name, value in scope["headers"] if name == b"host").decode()
        await app({**scope, "server": ("127.0.0.1", int(host.rpartition(":")[2]))}, receive, send)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(by_port)) as client:
        yield client


def access_token(**claims: Any) -> str:
    return signed(a_claim_set(**claims))


async def call(client: httpx.AsyncClient, params: dict[str, Any], token: str = "", **headers: str) -> httpx.Response:
    """Call a tool."""
    sent = {**TYPES, **({"authorization": f"Bearer {token}"} if token else {}), **headers}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    return await client.post(f"http://localhost:{MCP}/mcp", json=body, headers=sent)


async def listed(client: httpx.AsyncClient, token: str = "", **headers: str) -> httpx.Response:
    """List executions at the REST adapter."""
    sent = {"authorization": f"Bearer {token}", **headers} if token else headers
    return await client.get(f"http://localhost:{ADAPTER}/v1/api/v1/executions/p/development?limit=1", headers=sent)


async def register(app: FlyteAdmin) -> None:
    for function, request in (
        (projects.register_project, a_project()),
        (tasks.create_task, a_task()),
        (workflows.create_workflow, a_workflow()),
        (launch_plans.create_launch_plan, a_launch_plan()),
    ):
        await perform(app.server, function, request)


def launch() -> dict[str, Any]:
    """The arguments of a tool that launches the launch plan lp."""
    plan = {"resource_type": "LAUNCH_PLAN", "project": "p", "domain": "development", "name": "lp", "version": "v1"}
    where = {"project": "p", "domain": "development"}
    arguments = {**where, "spec": {"launch_plan": plan}, "values": {"a": 1}}
    return {"name": "create-workflow-execution", "arguments": arguments}


@pytest.mark.parametrize("mcp", [{}, {"api_key": KEY}])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer junk"},
        {"authorization": f"Bearer {KEY}x"},
        {"authorization": "Bearer"},
        {"authorization": f"Basic {KEY}"},
        {"cookie": "flyte_session=abc"},
        {"authorization": f"Bearer {signed(a_claim_set(aud=['http://elsewhere']))}"},
        {"authorization": f"Bearer {signed(a_claim_set(aud=[URL], scp=['read']))}"},
    ],
    ids=["nothing", "junk", "almost the key", "no token", "Basic", "cookie", "audience", "scope"],
)
def test_without_a_good_token_nothing_answers(run: Run, headers: dict[str, str], mcp: dict[str, Any]) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        document = f"http://localhost:{MCP}/.well-known/oauth-protected-resource/mcp"
        answers = [await call(client, LIST, **headers), await listed(client, **headers)]
        answers.append(await client.get(f"http://localhost:{ADAPTER}/openapi.json", headers=headers))
        assert [answer.status_code for answer in answers] == [401, 401, 401]
        first, *others = [answer.headers["www-authenticate"] for answer in answers]
        invalid = 'error="invalid_token"' if "authorization" in headers else ""
        expected = ", ".join(filter(None, (invalid, f'resource_metadata="{document}"')))
        assert first == f"Bearer {expected}"
        assert others == [f"Bearer {invalid}".rstrip()] * 2

    run(scenario, mcp=mcp)


def test_executions_of_a_tool_belong_to_its_caller(run: Run) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        await register(app)
        for token in (access_token(sub="ada"), access_token(sub="bob"), KEY):
            answer = (await call(client, launch(), token)).json()["result"]
            assert not answer.get("isError"), answer
        async with app.server.database.unit_of_work() as db:
            rows = await db.find_all(schema.Execution, execution_project="p")
        assert sorted(row.user for row in rows) == ["ada", "bob", "reviewer"]

    run(scenario, mcp={"api_key": KEY, "api_key_subject": "reviewer"})


def test_the_key_opens_both_ports_and_not_the_api(run: Run) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        assert (await call(client, LIST, KEY)).json()["result"]["structuredContent"] == {"token": ""}
        assert (await listed(client, KEY)).status_code == 200
        bearer = {"authorization": f"Bearer {KEY}"}
        assert (await client.get(f"{URL}/api/v1/version", headers=bearer)).status_code == 401

    run(scenario, mcp={"api_key": KEY})


def test_a_token_in_the_header_of_flyte_counts_too(run: Run) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        token = f"Bearer {access_token()}"
        assert (await listed(client, **{"flyte-authorization": token})).status_code == 200
        assert (await call(client, LIST, **{"flyte-authorization": token})).status_code == 200

    run(scenario)


@pytest.mark.parametrize(("mcp", "status"), [({}, 200), ({"api_key": KEY}, 401)])
def test_a_key_closes_the_ports_where_rest_is_open(run: Run, mcp: dict[str, Any], status: int) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        assert (await client.get(f"{URL}/api/v1/version")).status_code == 200
        assert (await call(client, LIST)).status_code == status
        assert (await listed(client)).status_code == status

    run(scenario, auth={"disable_for_http": True}, mcp=mcp)


@pytest.mark.parametrize(
    ("auth", "server"),
    [
        ({}, URL),
        ({"app_auth": {"self_auth_server": {"issuer": "https://issuer.example.com"}}}, "https://issuer.example.com"),
        (
            {
                "app_auth": {
                    "auth_server_type": "External",
                    "external_auth_server": {"base_url": "https://keycloak.example.com/realms/flyte"},
                }
            },
            "https://keycloak.example.com/realms/flyte",
        ),
    ],
    ids=["Self", "issuer", "External"],
)
@pytest.mark.parametrize("path", ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"])
def test_mcp_announces_its_authorization_server(run: Run, auth: dict[str, Any], server: str, path: str) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        answer = await client.get(f"http://localhost:{MCP}{path}")
        assert answer.status_code == 200
        assert answer.json() == {
            "resource": f"http://localhost:{MCP}/mcp",
            "authorization_servers": [server],
            "scopes_supported": ["all", "offline"],
            "bearer_methods_supported": ["header"],
            "resource_name": "Flyte Admin",
        }
        assert (await client.head(f"http://localhost:{MCP}{path}")).content == b""
        assert (await client.post(f"http://localhost:{MCP}{path}")).status_code == 405
        assert (await client.get(f"http://localhost:{ADAPTER}{path}")).status_code == 401
        for port in (MCP, ADAPTER):
            sent = {"host": f"evil.example.com:{port}", "authorization": f"Bearer {access_token()}"}
            assert (await client.get(f"http://localhost:{port}{path}", headers=sent)).status_code == 421

    run(scenario, auth=auth)


def test_the_token_of_a_task_works_while_its_execution_runs(run: Run) -> None:
    async def scenario(app: FlyteAdmin, client: httpx.AsyncClient) -> None:
        await register(app)
        answer = (await call(client, launch(), access_token(sub="ada"))).json()["result"]["structuredContent"]
        key = {"execution_project": "p", "execution_domain": "development", "execution_name": answer["id"]["name"]}
        tokens = app.server.task_tokens
        assert isinstance(tokens, TaskTokens)
        token = tokens.issue("ada", TaskGrant("p", "development", answer["id"]["name"], "n0"))
        assert (await listed(client, token)).status_code == 200
        async with app.server.database.unit_of_work() as db:
            await db.update(schema.Execution, key, phase="SUCCEEDED")
        refused = await listed(client, token)
        assert refused.status_code == 401
        assert "has ended (SUCCEEDED)" in refused.text
        bearer = {"authorization": f"Bearer {token}"}
        assert (await client.get(f"{URL}/api/v1/version", headers=bearer)).status_code == 401

    run(scenario)

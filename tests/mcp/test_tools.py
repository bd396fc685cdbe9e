"""The seven tools of the capability, through the SDK's client, against executions that really run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.shared.exceptions import MCPError

from app.mcp.tool_server import TOOLS
from tests.mcp.conftest import SCOPE, Served, connected, launch, launch_arguments, phase, problem, value

pytestmark = pytest.mark.slow


def test_an_execution_from_launch_to_relaunch(each: Served) -> None:
    async def scenario(client: Client) -> None:
        id = await launch(client, "twice", x=3)
        assert await phase(client, id) == "SUCCEEDED"
        assert each.remote.outputs(id["name"]) == {"o0": 12}

        listed = value(await client.call_tool("list-workflow-executions", {"id": SCOPE, "limit": 100}))
        assert id in [row["id"] for row in listed["executions"]]

        metrics = value(await client.call_tool("retrieve-execution-metrics", {"id": id, "depth": 10}))
        assert metrics["span"]["workflow_id"] == id
        assert metrics["span"]["spans"]
        everything = value(await client.call_tool("retrieve-execution-metrics", {"id": id}))
        assert everything == value(await client.call_tool("retrieve-execution-metrics", {"id": id, "depth": -1}))
        root = value(await client.call_tool("retrieve-execution-metrics", {"id": id, "depth": 0}))
        assert not root["span"].get("spans")

        again = value(await client.call_tool("relaunch-workflow-execution", {"id": id}))["id"]
        assert again != id
        assert await phase(client, again) == "SUCCEEDED"
        assert each.remote.outputs(again["name"]) == {"o0": 12}

        late = problem(await client.call_tool("terminate-workflow-execution", {"id": id, "cause": "too late"}))
        assert (late["code"], late["status"]) == (9, "FAILED_PRECONDITION")
        assert late["details"][0]["already_in_terminal_state"] == {"current_phase": "SUCCEEDED"}

    each.run(scenario)


def test_terminate_and_recover(each: Served, tmp_path: Path) -> None:
    def text(content: str) -> Any:
        return {"scalar": {"primitive": {"string_value": content}}}

    async def scenario(client: Client) -> None:
        arguments = launch_arguments("recoverable")
        arguments["inputs"]["literals"] = {"path": text(str(tmp_path / "p")), "flag": text(str(tmp_path / "f"))}
        first = value(await client.call_tool("create-workflow-execution", arguments))["id"]
        slow = await launch(client, "pause")
        await phase(client, slow, "RUNNING")
        cut = await client.call_tool("terminate-workflow-execution", {"id": slow, "cause": "not needed"})
        assert value(cut) == {}
        assert await phase(client, slow) == "ABORTED"
        closure = value(await client.call_tool("retrieve-workflow-execution", {"id": slow}))["closure"]
        assert closure["abort_metadata"]["cause"] == "not needed"

        assert await phase(client, first) == "FAILED"
        (tmp_path / "f").touch()
        second = value(await client.call_tool("recover-workflow-execution", {"id": first}))["id"]
        assert await phase(client, second) == "SUCCEEDED"
        spec = value(await client.call_tool("retrieve-workflow-execution", {"id": second}))["spec"]
        assert spec["metadata"]["mode"] == "RECOVERED"
        assert spec["metadata"]["reference_execution"] == first

    each.run(scenario)


def test_the_older_handshake_is_spoken_too(served: Served) -> None:
    async def main() -> None:
        async with connected(served.mcp, mode="legacy") as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {tool.name for tool in TOOLS}
            value(await client.call_tool("list-workflow-executions", {"id": SCOPE}))

    asyncio.run(main())


def test_the_list_of_tools_is_the_rows(served: Served) -> None:
    async def scenario(client: Client) -> None:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        for row in TOOLS:
            hints = tools[row.name].annotations
            assert hints is not None
            assert (hints.read_only_hint, hints.destructive_hint, hints.idempotent_hint) == (
                row.read_only,
                row.destructive,
                row.idempotent,
            )
            Draft202012Validator.check_schema(tools[row.name].input_schema)
            Draft202012Validator.check_schema(tools[row.name].output_schema)
        create = tools["create-workflow-execution"].input_schema
        assert create["required"] == ["project", "domain", "spec"]
        Draft202012Validator(create).validate(launch_arguments("twice", x=3))
        id = tools["retrieve-workflow-execution"].input_schema["properties"]["id"]
        assert id["required"] == ["project", "domain", "name"]
        assert tools["list-workflow-executions"].input_schema["properties"]["limit"]["maximum"] == 100

    served.run(scenario)


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("retrieve-workflow-execution", {}, "missing id"),
        ("retrieve-workflow-execution", {"id": {"project": "p"}}, "missing domain"),
        ("retrieve-workflow-execution", {"idd": {}}, "idd: there is no such field; did you mean id?"),
        ("retrieve-workflow-execution", {"id": {"projet": "p"}}, "id.projet: there is no such field; did you mean"),
        ("retrieve-workflow-execution", {"id": "p/d/n"}, 'id: an object is wanted, not "p/d/n"'),
        ("retrieve-workflow-execution", {"id": {"project": 3}}, "id.project: a text is wanted, not 3"),
        ("list-workflow-executions", {"id": SCOPE, "limit": 101}, "limit: at most 100 are allowed, not 101"),
        ("list-workflow-executions", {"id": SCOPE, "limit": -1}, "limit: a whole number from 0 on is wanted, not -1"),
        ("list-workflow-executions", {"id": SCOPE, "sort_by": {"key": "name", "direction": "UP"}}, "sort_by.direction"),
        ("create-workflow-execution", {"inputs": {"literals": {"x": 3}}}, "inputs.literals['x']: an object is wanted"),
        (
            "create-workflow-execution",
            {"inputs": {"literals": {"x": {"scalar": {"primitive": {"integer": "three"}}}}}},
            "inputs.literals['x'].scalar.primitive.integer: a whole number is wanted",
        ),
        (
            "create-workflow-execution",
            {"spec": {"envs": {"values": [{"key": "a"}, {"key": 1}]}}},
            "spec.envs.values[1]",
        ),
    ],
)
def test_arguments_are_refused_by_name(served: Served, tool: str, arguments: Any, message: str) -> None:
    async def scenario(client: Client) -> None:
        found = problem(await client.call_tool(tool, arguments))
        assert (found["code"], found["status"]) == (3, "INVALID_ARGUMENT")
        assert found["message"].startswith(message)
        assert found["advice"]

    served.run(scenario)


def test_what_is_not_there(each: Served) -> None:
    async def scenario(client: Client) -> None:
        for name in ("a\0b", "../../b", "😀" * 300):
            found = problem(await client.call_tool("retrieve-workflow-execution", {"id": {**SCOPE, "name": name}}))
            assert found["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
        found = problem(await client.call_tool("retrieve-workflow-execution", {"id": {**SCOPE, "name": "none"}}))
        assert (found["code"], found["status"]) == (5, "NOT_FOUND")
        with pytest.raises(MCPError, match="there is no tool 'drop-database'"):
            await client.call_tool("drop-database", {})

    each.run(scenario)


def test_pages(served: Served) -> None:
    async def scenario(client: Client) -> None:
        for _ in range(3):
            await launch(client, "small")
        order = {"key": "created_at", "direction": "ASCENDING"}
        token, names = "", []
        while True:
            page = {"id": SCOPE, "limit": 2, "token": token, "sort_by": order}
            found = value(await client.call_tool("list-workflow-executions", page))
            rows = found.get("executions", [])
            names += [row["id"]["name"] for row in rows]
            assert len(rows) <= 2
            token = found.get("token", "")
            if not token:
                break
        assert len(names) == len(set(names)) >= 3

    served.run(scenario)

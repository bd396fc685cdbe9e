"""What stands beside the seven tools: lists, descriptions, data, failures; resources, the prompt and completions.

The SDK's client checks every result against the tool's own output schema.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import PromptReference

from tests.mcp.conftest import SCOPE, Served, launch, phase, problem, value

pytestmark = pytest.mark.slow

WHY = "why-did-this-execution-fail"


async def plan(client: Client, name: str) -> Any:
    return value(await client.call_tool("describe-launch-plan", {"id": {**SCOPE, "name": f"graphs.{name}"}}))


async def launch_plainly(client: Client, name: str, values: dict[str, Any]) -> dict[str, str]:
    """As a model would: what is described is launched, with plain values."""
    arguments = {**SCOPE, "spec": {"launch_plan": (await plan(client, name))["id"]}, "values": values}
    id: dict[str, str] = value(await client.call_tool("create-workflow-execution", arguments))["id"]
    return id


@pytest.mark.smoke
def test_from_nothing_to_the_outputs(served: Served) -> None:
    async def scenario(client: Client) -> None:
        projects = value(await client.call_tool("list-projects", {}))["projects"]
        assert SCOPE["project"] in [one["id"] for one in projects]
        workflows = value(await client.call_tool("list-workflows", {**SCOPE, "limit": 100}))["entities"]
        assert "graphs.twice" in [one["name"] for one in workflows]
        plans = value(await client.call_tool("list-launch-plans", {"id": SCOPE, "limit": 100}))["launch_plans"]
        row = next(one for one in plans if one["id"]["name"] == "graphs.twice")
        assert (row["workflow"], row["inputs"]) == ("graphs.twice", {"x": "integer*"})
        described = await plan(client, "twice")
        assert described["id"] == row["id"]
        assert described["inputs"] == [{"name": "x", "type": "integer", "required": True, "description": "x"}]
        assert described["outputs"] == {"o0": "integer"}
        id = await launch_plainly(client, "twice", {"x": 5})
        assert await phase(client, id) == "SUCCEEDED"
        data = value(await client.call_tool("retrieve-execution-data", {"id": id}))
        assert (data["inputs"], data["outputs"]) == ({"x": 5}, {"o0": 20})

    served.run(scenario)


def test_plain_values_are_refused_by_name(served: Served) -> None:
    async def scenario(client: Client) -> None:
        reference = (await plan(client, "twice"))["id"]
        for values, message in (
            ({"x": "five"}, "values.x: a whole number is wanted, not 'five'"),
            ({"x": True}, "values.x: a whole number is wanted"),
            ({"y": 1}, "values.y: there is no such input; known are x"),
            ([1], "values: an object is wanted"),
        ):
            arguments = {**SCOPE, "spec": {"launch_plan": reference}, "values": values}
            found = problem(await client.call_tool("create-workflow-execution", arguments))
            assert found["message"].startswith(message)
        missing = problem(await client.call_tool("describe-launch-plan", {"id": {**SCOPE, "name": "nothing"}}))
        assert missing["code"] == 5
        for arguments, message in (
            ({"id": SCOPE}, "id.name: field required"),
            ({"id": {**SCOPE, "name": "n"}, "more": 1}, "more: extra inputs are not permitted"),
            ({"id": {**SCOPE, "name": 3}}, "id.name: input should be a valid string"),
        ):
            assert problem(await client.call_tool("describe-launch-plan", arguments))["message"] == message

    served.run(scenario)


def test_why_an_execution_failed(served: Served) -> None:
    async def scenario(client: Client) -> None:
        id = await launch_plainly(client, "failing", {"message": "the cellar is flooded"})
        outer = await launch_plainly(client, "parent_of_failing", {"message": "and so is the attic"})
        assert await phase(client, id) == "FAILED"
        failures = value(await client.call_tool("list-failed-nodes", {"id": id}))
        assert failures["phase"] == "FAILED"
        assert not failures["more"]
        [node] = failures["nodes"]
        assert (node["node_id"], node["phase"], node["attempts"], node["task"]) == ("n0", "FAILED", 1, "graphs.fail v1")
        assert node["error"]["kind"] == "USER"
        assert "the cellar is flooded" in node["error"]["message"]
        assert "the cellar is flooded" in node["log_end"]
        async with httpx.AsyncClient() as http:
            assert "the cellar is flooded" in (await http.get(node["log_links"][0]["uri"])).text

        prompt = await client.get_prompt(WHY, {key: id[key] for key in ("project", "domain", "name")})
        assert "the cellar is flooded" in prompt.messages[0].content.text  # type: ignore[union-attr]

        assert await phase(client, outer) == "FAILED"
        [node] = value(await client.call_tool("list-failed-nodes", {"id": outer}))["nodes"]
        child = dict(zip(("project", "domain", "name"), node["child_execution"].split("/"), strict=True))
        [node] = value(await client.call_tool("list-failed-nodes", {"id": child}))["nodes"]
        assert "and so is the attic" in node["error"]["message"]

        reference = PromptReference(name=WHY)
        names = (await client.complete(reference, {"name": "name", "value": ""}, context_arguments=SCOPE)).completion
        assert {id["name"], outer["name"]} <= set(names.values)
        domains = await client.complete(reference, {"name": "domain", "value": "dev"}, context_arguments={})
        assert domains.completion.values == ["development"]

    served.run(scenario)


def test_resources(served: Served) -> None:
    async def scenario(client: Client) -> None:
        async def read(uri: str) -> Any:
            [content] = (await client.read_resource(uri)).contents
            assert content.mime_type == "application/json"
            return json.loads(content.text)  # type: ignore[union-attr]

        id = await launch(client, "twice", x=1)
        await phase(client, id)
        place = f"{SCOPE['project']}/{SCOPE['domain']}"
        execution = await read(f"flyte://execution/{place}/{id['name']}")
        assert execution == value(await client.call_tool("retrieve-workflow-execution", {"id": id}))
        workflow = await read(f"flyte://workflow/{place}/graphs.twice/v1")
        assert [node["runs"] for node in workflow["nodes"] if node["kind"] == "task"] == ["graphs.double"] * 2
        assert await read(f"flyte://v1/{place}/{id['name']}/n0/i") == {"x": 1}
        assert await read(f"flyte://v1/{place}/{id['name']}/n1/o/o0") == {"value": 4}
        templates = (await client.list_resource_templates()).resource_templates
        assert [one.name for one in templates] == ["execution", "workflow", "data"]
        for uri, message in (
            (f"flyte://execution/{place}/none", "missing entity of type execution"),
            (f"flyte://execution/{place}", "is no address of a resource"),
            ("flyte://execution/a/b/..%2F..%2Fc", "missing entity of type execution"),
            ("file:///etc/passwd", "is no address of a resource"),
            ("flyte://v1/../../etc/passwd", "failed to parse"),
            ("flyte://v1/" + "x" * 5000, "is no address of a resource"),
        ):
            with pytest.raises(MCPError, match=message):
                await client.read_resource(uri)
        for name, arguments, message in (
            ("none", {}, "there is no prompt"),
            (WHY, {}, "project: field required"),
            (WHY, {**SCOPE, "name": "none"}, "missing entity of type execution"),
        ):
            with pytest.raises(MCPError, match=message):
                await client.get_prompt(name, arguments)

    served.run(scenario)

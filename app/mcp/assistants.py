"""The MCP server: the rows of rows.py as tools, over whatever transport. It holds nothing between two requests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp.server.lowlevel import Server as McpServer
from mcp.shared.exceptions import MCPError

from app import errors
from app.mcp import results, rows, schemas
from app.mcp.arguments import to_request
from app.mcp.callers import Caller
from app.mcp.rows import Tool
from app.settings import Settings

log = structlog.get_logger(__name__)

NAME = "flyteadmin"
INSTRUCTIONS = (
    "This server runs workflows. A workflow is launched through a launch plan; one run of it is an execution, named by "
    "project, domain and name. To launch: list-launch-plans, describe-launch-plan, create-workflow-execution. To see "
    "why one failed: list-failed-nodes. Lists are paged: a token in a result is where the next page begins."
)


class Assistants:
    """Answers for one caller. warning: said with every result that started something, where nothing will run it."""

    def __init__(self, caller: Caller, settings: Settings, *, warning: str = "") -> None:
        self._caller = caller
        self._mcp = settings.mcp
        self._warning = warning
        self._tools = {tool.name: tool for tool in rows.TOOLS}

    def server(self) -> McpServer[Any]:
        """The SDK's server, for any of its transports."""
        listed = types.ListToolsResult(tools=[self._listed(tool) for tool in self._tools.values()])
        inputs = {tool.name: tool.input_schema for tool in listed.tools}

        async def list_tools(context: Any, parameters: types.PaginatedRequestParams | None) -> types.ListToolsResult:
            return listed

        async def call_tool(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
            return await self.call(parameters.name, parameters.arguments or {})

        return McpServer(
            NAME,
            version=version("flyteadmin"),
            title="Flyte Admin",
            instructions=INSTRUCTIONS + (f" {self._warning}" if self._warning else ""),
            get_tool_input_schema=inputs.get,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
        )

    def _listed(self, tool: Tool) -> types.Tool:
        rpc = rows.rpcs()[tool.rpc]
        arguments = {**_arguments(tool)}
        if "limit" in arguments["properties"]:
            limit = {
                "type": "integer",
                "minimum": 1,
                "maximum": self._mcp.list_rows_max,
                "default": self._mcp.list_rows,
            }
            arguments["properties"] = {**arguments["properties"], "limit": {**limit, "description": "Rows of a page."}}
        return types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema=arguments,
            output_schema=schemas.result_schema(rpc.response.DESCRIPTOR),
            annotations=types.ToolAnnotations(
                title=tool.title,
                read_only_hint=tool.read_only,
                destructive_hint=tool.destructive,
                idempotent_hint=tool.idempotent,
                open_world_hint=False,
            ),
        )

    async def call(self, name: str, arguments: Mapping[str, Any]) -> types.CallToolResult:
        """Call a tool. What goes wrong on the way is a result that says so, for the model to read.

        errors: MCPError for a name that no tool has
        """
        tool = self._tools.get(name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {name[:100]!r}; tools/list names them all")
        try:
            async with asyncio.timeout(self._mcp.call_seconds_max) as clock:
                value, note = await self._answer(tool, arguments)
        except errors.FlyteError as error:
            return _failed(error)
        except TimeoutError:
            if not clock.expired():
                raise
            return _failed(errors.DeadlineExceeded(f"it took more than {self._mcp.call_seconds_max:g} seconds"))
        except Exception:
            log.exception("tool_failed", tool=name)
            return _failed(errors.Internal("internal error; the server's log has more"))
        notes = [note] if note else []
        if self._warning and not tool.read_only:
            notes.append(self._warning)
        return types.CallToolResult(content=[_text(value), *map(_note, notes)], structured_content=value)

    async def _answer(self, tool: Tool, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
        rpc = rows.rpcs()[tool.rpc]
        request = to_request(rpc.request, arguments)
        if "limit" in rpc.request.DESCRIPTOR.fields_by_name:
            return await self._page(rpc, request)
        return results.bounded(results.to_json(await self._caller.call(rpc, request)), self._mcp.result_bytes_max)

    async def _page(self, rpc: Any, request: Any) -> tuple[dict[str, Any], str]:
        """A page that fits: where it does not, as many rows as do, with the token of the next one."""
        if request.limit > self._mcp.list_rows_max:
            raise errors.InvalidArgument(f"limit: at most {self._mcp.list_rows_max} are allowed, not {request.limit}")
        wanted = request.limit = request.limit or self._mcp.list_rows
        while True:
            value = results.to_json(await self._caller.call(rpc, request))
            size = len(orjson.dumps(value))
            if size <= self._mcp.result_bytes_max or request.limit == 1:
                break
            request.limit = max(1, request.limit * self._mcp.result_bytes_max // (size + 1))
        cut, note = results.bounded(value, self._mcp.result_bytes_max)
        if request.limit < wanted:
            note = f"Truncated: only {request.limit} rows of {wanted} fit; go on with the token. {note}".rstrip()
        return cut, note


@cache
def _arguments(tool: Tool) -> dict[str, Any]:
    return schemas.arguments_schema(rows.rpcs()[tool.rpc].request.DESCRIPTOR)


def _text(value: Any) -> types.TextContent:
    return types.TextContent(type="text", text=orjson.dumps(value).decode())


def _note(note: str) -> types.TextContent:
    return types.TextContent(type="text", text=note)


def _failed(error: errors.FlyteError) -> types.CallToolResult:
    value = results.error_value(error)
    return types.CallToolResult(content=[_text(value)], structured_content=value, is_error=True)

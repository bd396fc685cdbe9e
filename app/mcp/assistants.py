"""The MCP server: the rows of rows.py as tools, over whatever transport. It holds nothing between two requests."""

from __future__ import annotations

import asyncio
from functools import cache
from importlib.metadata import version
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp.server.lowlevel import Server as McpServer
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from app import errors
from app.mcp import inquiries, launching, results, rows, schemas
from app.mcp.arguments import to_request
from app.mcp.callers import Caller
from app.mcp.inquiries import Arguments, Desk, Inquiry
from app.mcp.rows import Tool
from app.settings import Settings

log = structlog.get_logger(__name__)

NAME = "flyteadmin"
TOOLS: tuple[Tool, ...] = (*rows.OPERATIONS, *rows.LISTS, *inquiries.ALL)
_PROBLEMS_MAX = 5
INSTRUCTIONS = (
    "This server runs workflows. A workflow is launched through a launch plan; one run of it is an execution, named by "
    "project, domain and name. To launch: list-launch-plans, describe-launch-plan, create-workflow-execution. To see "
    "why one failed: list-failed-nodes. Lists are paged: a token in a result is where the next page begins."
)


class Assistants:
    """Answers for one caller. warning: said with every result that started something, where nothing will run it."""

    def __init__(self, caller: Caller, settings: Settings, *, warning: str = "") -> None:
        self._desk = Desk(caller, settings.mcp)
        self._mcp = settings.mcp
        self._warning = warning
        self._tools = {tool.name: tool for tool in TOOLS}

    def server(self) -> McpServer[Any]:
        """The SDK's server, for any of its transports."""
        listed = types.ListToolsResult(tools=[self._listed(tool) for tool in self._tools.values()])
        inputs = {tool.name: tool.input_schema for tool in listed.tools}

        async def list_tools(context: Any, parameters: types.PaginatedRequestParams | None) -> types.ListToolsResult:
            return listed

        async def call_tool(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
            return await self.call(parameters.name, dict(parameters.arguments or {}))

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
        arguments, result = _schemas(tool)
        properties = dict(arguments["properties"])
        if "limit" in properties:
            rows_max, described = (
                self._mcp.list_rows_max,
                f"Rows of a page; {self._mcp.list_rows} where it is left out.",
            )
            properties["limit"] = {"type": "integer", "minimum": 0, "maximum": rows_max, "description": described}
        if tool.rpc == "CreateExecution":
            properties[launching.ARGUMENT] = launching.SCHEMA
        return types.Tool(
            name=tool.name,
            title=tool.title,
            description=tool.description,
            input_schema={**arguments, "properties": properties},
            output_schema=result,
            annotations=types.ToolAnnotations(
                title=tool.title,
                read_only_hint=tool.read_only,
                destructive_hint=tool.destructive,
                idempotent_hint=tool.idempotent,
                open_world_hint=False,
            ),
        )

    async def call(self, name: str, arguments: dict[str, Any]) -> types.CallToolResult:
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

    async def _answer(self, tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
        if isinstance(tool, Inquiry):
            assert tool.answer is not None
            found = await tool.answer(self._desk, _validated(tool.arguments, arguments))
            return results.bounded(found.model_dump(mode="json", exclude_none=True), self._mcp.result_bytes_max)
        rpc = rows.rpcs()[tool.rpc]
        values = launching.taken(arguments) if tool.rpc == "CreateExecution" else None
        request = to_request(rpc.request, arguments)
        if values is not None:
            await launching.add(self._desk, request, values)
        if "limit" in rpc.request.DESCRIPTOR.fields_by_name:
            return await self._page(tool.rpc, request)
        return results.bounded(results.to_json(await self._desk.call(tool.rpc, request)), self._mcp.result_bytes_max)

    async def _page(self, rpc: str, request: Any) -> tuple[dict[str, Any], str]:
        """A page that fits: where it does not, as many rows as do, with the token of the next one."""
        if request.limit > self._mcp.list_rows_max:
            raise errors.InvalidArgument(f"limit: at most {self._mcp.list_rows_max} are allowed, not {request.limit}")
        wanted = request.limit = request.limit or self._mcp.list_rows
        while True:
            value = results.to_json(await self._desk.call(rpc, request))
            size = len(orjson.dumps(value))
            if size <= self._mcp.result_bytes_max or request.limit == 1:
                break
            request.limit = max(1, request.limit * self._mcp.result_bytes_max // (size + 1))
        cut, note = results.bounded(value, self._mcp.result_bytes_max)
        if request.limit < wanted:
            note = f"Truncated: only {request.limit} rows of {wanted} fit; go on with the token. {note}".rstrip()
        return cut, note


@cache
def _schemas(tool: Tool) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a tool takes and what it answers."""
    if isinstance(tool, Inquiry):
        return tool.arguments.model_json_schema(), tool.result.model_json_schema(mode="serialization")
    rpc = rows.rpcs()[tool.rpc]
    return schemas.arguments_schema(rpc.request.DESCRIPTOR), schemas.result_schema(rpc.response.DESCRIPTOR)


def _validated(model: type[Arguments], arguments: dict[str, Any]) -> Arguments:
    """errors: INVALID_ARGUMENT naming every field that does not fit"""
    try:
        return model.model_validate(arguments)
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc']))}: {one['msg'].lower()}" for one in error.errors()[:_PROBLEMS_MAX]]
        raise errors.InvalidArgument("; ".join(told)) from error


def _text(value: Any) -> types.TextContent:
    return types.TextContent(type="text", text=orjson.dumps(value).decode())


def _note(note: str) -> types.TextContent:
    return types.TextContent(type="text", text=note)


def _failed(error: errors.FlyteError) -> types.CallToolResult:
    value = results.error_value(error)
    return types.CallToolResult(content=[_text(value)], structured_content=value, is_error=True)

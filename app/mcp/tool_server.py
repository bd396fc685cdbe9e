"""The MCP server for any transport: tools, resources and prompts. It holds no state between two requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp.server.lowlevel import Server as McpServer
from mcp.shared.exceptions import MCPError

from app import errors
from app.mcp import composite_tools, launch_values, prompts, resources, results, schemas, tools
from app.mcp.arguments import to_request
from app.mcp.clients import RpcClient
from app.mcp.composite_models import validated
from app.mcp.composite_tools import CompositeTool, ToolContext
from app.mcp.tools import Tool
from app.runtime.threads import in_thread_if_large
from app.settings import Settings

log = structlog.get_logger(__name__)

NAME = "flyteadmin"
TOOLS: tuple[Tool, ...] = (*tools.OPERATIONS, *tools.LISTS, *composite_tools.ALL)
_JSON = "application/json"
_CLIENT_ERRORS = (errors.InvalidArgument.code, errors.NotFound.code)
INSTRUCTIONS = (
    "This server runs workflows. A workflow is launched by a launch plan; one run is an execution, identified by "
    "project, domain and name. To launch: list-launch-plans, describe-launch-plan, create-workflow-execution. To find "
    "out why one failed: list-failed-nodes. Lists have pages: pass the token of a result to get the next page."
)


class ToolServer:
    """Serves tools, resources and prompts by one RPC client.

    Args:
        client: The client that RPCs are called with.
        settings: The section `mcp` holds the limits.
        warning: Returns a warning for results of tools that change something; "" without one.
    """

    def __init__(self, client: RpcClient, settings: Settings, *, warning: Callable[[], str] = str) -> None:
        self._context = ToolContext(client, settings.mcp)
        self._mcp = settings.mcp
        self._warning = warning
        self._tools = {tool.name: tool for tool in TOOLS}

    def server(self) -> McpServer[Any]:
        """Return the SDK's server, for any of its transports."""
        listed = types.ListToolsResult(tools=[self._listed(tool) for tool in self._tools.values()])
        inputs = {tool.name: tool.input_schema for tool in listed.tools}

        async def list_tools(context: Any, parameters: types.PaginatedRequestParams | None) -> types.ListToolsResult:
            return listed

        async def call_tool(context: Any, parameters: types.CallToolRequestParams) -> types.CallToolResult:
            return await self.call(parameters.name, dict(parameters.arguments or {}), self._of(context))

        return McpServer(
            NAME,
            version=version("flyteadmin"),
            title="Flyte Admin",
            instructions=f"{INSTRUCTIONS} {self._warning()}".rstrip(),
            get_tool_input_schema=inputs.get,
            on_list_tools=list_tools,
            on_call_tool=call_tool,
            on_list_resources=self._list_resources,
            on_list_resource_templates=self._list_templates,
            on_read_resource=self._read_resource,
            on_list_prompts=self._list_prompts,
            on_get_prompt=self._get_prompt,
            on_completion=self._complete,
        )

    def _of(self, context: Any) -> ToolContext:
        """Return the context of the tools that serve one message of a client."""
        return replace(self._context, client=self._context.client.of_request(context.request))

    async def _list_resources(self, context: Any, parameters: Any) -> types.ListResourcesResult:
        # There may be millions. Tools list them, and clients make their addresses from the templates.
        return types.ListResourcesResult(resources=[])

    async def _list_templates(self, context: Any, parameters: Any) -> types.ListResourceTemplatesResult:
        return types.ListResourceTemplatesResult(
            resource_templates=[
                types.ResourceTemplate(
                    name=one.name, uri_template=one.template, description=one.description, mime_type=_JSON
                )
                for one in resources.ALL
            ]
        )

    async def _read_resource(
        self, context: Any, parameters: types.ReadResourceRequestParams
    ) -> types.ReadResourceResult:
        with _as_json_rpc_errors():
            async with self._in_time():
                value, note = await resources.read(self._of(context), parameters.uri)
        text = orjson.dumps(value).decode()
        contents: list[Any] = [types.TextResourceContents(uri=parameters.uri, mime_type=_JSON, text=text)]
        if note:
            contents.append(types.TextResourceContents(uri=parameters.uri, mime_type="text/plain", text=note))
        return types.ReadResourceResult(contents=contents)

    async def _list_prompts(self, context: Any, parameters: Any) -> types.ListPromptsResult:
        arguments = [
            types.PromptArgument(name=name, description=text, required=True) for name, text in prompts.ARGUMENTS.items()
        ]
        why = types.Prompt(name=prompts.WHY, title=prompts.TITLE, description=prompts.DESCRIPTION, arguments=arguments)
        return types.ListPromptsResult(prompts=[why])

    async def _get_prompt(self, context: Any, parameters: types.GetPromptRequestParams) -> types.GetPromptResult:
        if parameters.name != prompts.WHY:
            raise MCPError(types.INVALID_PARAMS, f"there is no prompt {parameters.name[:100]!r}")
        with _as_json_rpc_errors():
            async with self._in_time():
                text = await prompts.why(self._of(context), parameters.arguments or {})
        message = types.PromptMessage(role="user", content=_note(text))
        return types.GetPromptResult(description=prompts.TITLE, messages=[message])

    async def _complete(self, context: Any, parameters: types.CompleteRequestParams) -> types.CompleteResult:
        given = (parameters.context.arguments if parameters.context else None) or {}
        failed = isinstance(parameters.ref, types.PromptReference)
        with _as_json_rpc_errors():
            async with self._in_time():
                found = await prompts.completions(
                    self._of(context), parameters.argument.name, parameters.argument.value, given, failed=failed
                )
        return types.CompleteResult(completion=types.Completion(values=found))

    @asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        """Limit the time of a block.

        Raises:
            DeadlineExceeded: The block took more than mcp.call_seconds_max.
            Internal: The block raised an unexpected exception, which is logged.
        """
        seconds_max = self._mcp.call_seconds_max
        clock = asyncio.timeout(seconds_max)
        try:
            async with clock:
                yield
        except errors.FlyteError:
            raise
        except Exception as error:
            if isinstance(error, TimeoutError) and clock.expired():
                raise errors.DeadlineExceeded(f"it took more than {seconds_max:g} seconds") from error
            log.exception("mcp_call_failed")
            raise errors.Internal("internal error; the server's log has more") from error

    def _listed(self, tool: Tool) -> types.Tool:
        arguments, result = _schemas(tool)
        properties = dict(arguments["properties"])
        if "limit" in properties:
            described = f"Rows of a page; {self._mcp.list_rows} where it is left out."
            allowed = {"type": "integer", "minimum": 0, "maximum": self._mcp.list_rows_max}
            properties["limit"] = {**allowed, "description": described}
        for name, value in tool.defaults:
            properties[name] = {**properties[name], "default": value}
        if tool.rpc == "CreateExecution":
            properties[launch_values.ARGUMENT] = launch_values.SCHEMA
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

    async def call(
        self, name: str, arguments: dict[str, Any], context: ToolContext | None = None
    ) -> types.CallToolResult:
        """Call a tool. A FlyteError becomes a result with `is_error`, which the model reads.

        Args:
            name: The name of the tool.
            arguments: Its arguments.
            context: The client for RPCs, with the identity of the caller, and the limits.

        Raises:
            MCPError: There is no tool with this name.
        """
        tool = self._tools.get(name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {name[:100]!r}; tools/list names them all")
        try:
            async with self._in_time():
                value, note = await self._result(context or self._context, tool, arguments)
        except errors.FlyteError as error:
            return _failed(error)
        notes = [note] if note else []
        if not tool.read_only and (warning := self._warning()):
            notes.append(warning)
        return types.CallToolResult(content=[_text(value), *map(_note, notes)], structured_content=value)

    async def _result(self, context: ToolContext, tool: Tool, arguments: dict[str, Any]) -> tuple[dict[str, Any], str]:
        if isinstance(tool, CompositeTool):
            found = await tool.answer(context, validated(tool.arguments, arguments))
            return await results.from_model(found, self._mcp.result_bytes_max)
        rpc = tools.rpcs_by_name()[tool.rpc]
        values = launch_values.take(arguments) if tool.rpc == "CreateExecution" else None
        missing = {name: value for name, value in tool.defaults if arguments.get(name) is None}
        request = to_request(rpc.request, {**arguments, **missing})
        if values is not None:
            await launch_values.add(context, request, values)
        if "limit" in rpc.request.DESCRIPTOR.fields_by_name:
            return await self._page(context, tool.rpc, request)
        return await results.from_message(await context.call(tool.rpc, request), self._mcp.result_bytes_max)

    async def _page(self, context: ToolContext, rpc: str, request: Any) -> tuple[dict[str, Any], str]:
        """Return a page that fits the size limit, with fewer rows where necessary, and the token of the next page."""
        wanted = request.limit = context.rows_of_page(request.limit)
        while True:
            value, size = await results.measure(await context.call(rpc, request))
            if size <= self._mcp.result_bytes_max or request.limit == 1:
                break
            request.limit = max(1, request.limit * self._mcp.result_bytes_max // (size + 1))
        cut, note = await in_thread_if_large(size, results.truncate, value, self._mcp.result_bytes_max)
        if request.limit < wanted:
            note = f"Truncated: only {request.limit} rows of {wanted} fit; continue with the token. {note}".rstrip()
        return cut, note


@cache
def _schemas(tool: Tool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the schemas of the arguments and the result of a tool."""
    if isinstance(tool, CompositeTool):
        return tool.arguments.model_json_schema(), tool.result.model_json_schema(mode="serialization")
    rpc = tools.rpcs_by_name()[tool.rpc]
    return schemas.arguments_schema(rpc.request.DESCRIPTOR), schemas.result_schema(rpc.response.DESCRIPTOR)


def _text(value: Any) -> types.TextContent:
    return types.TextContent(type="text", text=orjson.dumps(value).decode())


def _note(note: str) -> types.TextContent:
    return types.TextContent(type="text", text=note)


@contextmanager
def _as_json_rpc_errors() -> Iterator[None]:
    """Raise a FlyteError as an error of JSON-RPC; resources and prompts have no other form for errors."""
    try:
        yield
    except errors.FlyteError as error:
        kind = types.INVALID_PARAMS if error.code in _CLIENT_ERRORS else types.INTERNAL_ERROR
        raise MCPError(kind, error.message, results.error_value(error)) from error


def _failed(error: errors.FlyteError) -> types.CallToolResult:
    value = results.error_value(error)
    return types.CallToolResult(content=[_text(value)], structured_content=value, is_error=True)

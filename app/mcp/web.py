"""The service for assistants over HTTP: MCP (streamable HTTP) at /mcp, and the REST adapter, each on its own port.

Every worker process serves both ports, because no state is held between two requests: the SDK runs without sessions,
each POST gets one JSON document as its reply, and there is no stream that a GET could read.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import errors
from app.api.http.refusals import refuse
from app.api.rest.exchange import ClientDisconnected, read_body
from app.mcp import adapter
from app.mcp.clients import InProcessClient
from app.mcp.guard import Guard
from app.mcp.tool_server import ToolServer
from app.runtime.dispatch import Server

PATH = "/mcp"


class AssistantService:
    """Background service with the two ASGI applications of one process, by port."""

    name = "assistants"

    def __init__(self, server: Server) -> None:
        settings = server.settings
        self._manager = StreamableHTTPSessionManager(
            ToolServer(InProcessClient(server), settings).server(),
            json_response=True,
            stateless=True,
            max_request_body_size=settings.request_body_bytes_max,
        )
        self._manager_life = AsyncExitStack()
        endpoint = _Endpoint(self._manager, settings.request_body_bytes_max, settings.limits.body_wait_seconds_max)
        self.by_port: dict[int, ASGIApp] = {
            settings.mcp.port: Guard(endpoint, server, PATH),
            settings.mcp.adapter_port: Guard(adapter.application(server), server),
        }

    async def start(self) -> None:
        """Enter the SDK's session manager; `stop` must run in the same task."""
        await self._manager_life.enter_async_context(self._manager.run())

    async def stop(self) -> None:
        """Leave the SDK's session manager."""
        await self._manager_life.aclose()

    def health(self) -> str:
        """Return "": without sessions there is nothing that could stop working."""
        return ""

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}


class _Endpoint:
    """ASGI application for /mcp: reads the body within its limits, then calls the SDK."""

    def __init__(self, manager: StreamableHTTPSessionManager, bytes_max: int, wait_seconds_max: float) -> None:
        self._manager = manager
        self._bytes_max = bytes_max
        self._wait_seconds_max = wait_seconds_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] != PATH:
            await refuse(send, errors.NotFound(f"MCP is served at {PATH}"))
            return
        if scope["method"] != "POST":
            # Without sessions there is no stream to read (GET) and none to end (DELETE).
            error = errors.Unimplemented(f"POST to {PATH}; this server keeps no sessions")
            await refuse(send, error, [(b"allow", b"POST")], status=405)
            return
        try:
            body = await read_body(receive, self._bytes_max, self._wait_seconds_max, self._too_large)
        except errors.FlyteError as error:
            await refuse(send, error)
            return
        except ClientDisconnected:
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self._manager.handle_request(scope, replay, send)

    def _too_large(self, size_bytes: int) -> errors.FlyteError:
        return errors.ResourceExhausted(
            f"a request may have {self._bytes_max} bytes, this one has {size_bytes} or more"
        )

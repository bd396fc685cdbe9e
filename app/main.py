"""The composition root: the only place that makes the database, the store, the engine and the application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import cors, rest, routers
from app.api.call import Server
from app.api.grpc.app import GrpcApp, is_grpc
from app.api.http.origins import Origins, refuse
from app.api.pages import attempt_logs, docs, storage
from app.blobs import Blobs
from app.engine.port import NoEngine
from app.server import installation
from app.server.startup import database_of

if TYPE_CHECKING:
    from app.mcp.web import Web
    from app.runtime.metrics import Book
    from app.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Application:
    """The ASGI application of one process: gRPC by content type, everything else REST.

    web: pages and RPCs, with the headers that pages of other origins need (CORS)
    origins: the rules about Host, Origin and bodies of web pages, for every request on every port
    assistants: MCP and the REST adapter, which have ports of their own; None where they are not wanted
    """

    server: Server
    grpc: GrpcApp
    pages: FastAPI
    web: ASGIApp
    origins: Origins
    assistants: Web | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (or the lifespan)."""
        if scope["type"] != "http":
            await self.web(scope, receive, send)
            return
        grpc = is_grpc(scope)
        refusal = self.origins.refusal(
            scope["method"],
            scope.get("raw_path") or b"/",
            scope["headers"],
            http2=scope["http_version"] == "2",
            grpc=grpc,
        )
        if refusal is not None:
            await refuse(send, refusal.error, status=refusal.status)
            return
        if self.assistants is not None and (address := scope.get("server")) is not None:
            other = self.assistants.by_port.get(address[1])
            if other is not None:
                await other(scope, receive, send)
                return
        await (self.grpc if grpc else self.web)(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the database and start the engine; stop and close them in the end.

        errors: UNAVAILABLE without a database
        """
        await self.server.database.open()
        try:
            self.server.blobs.sign_with(await installation.link_key(self.server.database, self.server.settings))
            await self.server.engine.start()
            try:
                async with self.assistants.running() if self.assistants is not None else nullcontext():
                    yield
            finally:
                await self.server.engine.stop()
        finally:
            await self.server.database.close()

    def stop_streams(self) -> None:
        """End the calls that would last as long as their clients do."""
        self.grpc.close()


def create_app(settings: Settings, *, metrics: Book | None = None) -> Application:
    """Make everything that a serving process needs; each process has an engine, they share the work by leases.

    shape:  metrics: where calls are counted
    errors: BadSetting where the store cannot be used
    """
    server = Server(
        settings=settings,
        database=database_of(settings, serves=True),
        blobs=Blobs(settings),
        engine=NoEngine(),
        metrics=metrics,
    )
    if settings.engine.kind == "local":
        from app.engine.local.engine import LocalEngine

        server.engine = LocalEngine(server, progress=lambda line: log.info("environment", progress=line))

    app: Application

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app.running():
            yield

    # FastAPI's own documents would describe no message; app/api/pages/docs.py serves the generated ones.
    pages = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None)
    pages.router.routes.extend(docs.routes())
    pages.router.routes.extend(storage.routes(server.blobs, settings))
    pages.router.routes.extend(attempt_logs.routes(settings))
    pages.router.routes.extend(rest.routes(server, routers.ALL))
    web = cors.wrapped(_Web(server, pages), settings)
    app = Application(server, GrpcApp(server, routers.ALL), pages, web, Origins(settings), _assistants(server))
    return app


def _assistants(server: Server) -> Web | None:
    """MCP and the REST adapter where they are wanted; the SDK takes long to import."""
    if not server.settings.mcp.enabled:
        return None
    from app.mcp.web import Web

    return Web(server)


class _Web:
    """RPCs go straight to their handler, which costs half of what the way through the application costs."""

    def __init__(self, server: Server, pages: FastAPI) -> None:
        self._pages = pages
        self._rpcs = rest.Rest(server, routers.ALL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        straight = path.startswith("/api/v1/") and path != docs.SWAGGER_PATH
        await (self._rpcs if straight else self._pages)(scope, receive, send)

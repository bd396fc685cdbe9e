"""The composition root: makes the database, the storage, the engine and the application of a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from fastapi import FastAPI
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api import cors, routers
from app.api.grpc.app import GrpcApp, is_grpc
from app.api.http.compression import Gzip
from app.api.http.no_store import has_session, uncached
from app.api.http.origins import Origins
from app.api.http.proxies import behind_proxies
from app.api.http.refusals import refuse
from app.api.pages import (
    attempt_logs,
    cached_outputs,
    connectors,
    console,
    docs,
    environments,
    health,
    notifications,
    own_document,
    own_roles,
    roles,
    schedules,
    status,
    storage,
)
from app.api.pages.guard import PageGuard
from app.api.rest.router import RestRouter
from app.auth import audit
from app.auth.caller_access import access_check
from app.background.change_listener import ChangeListener
from app.background.notifications.build import readers_of
from app.background.outbox.build import outbox_of
from app.background.scheduler import Scheduler
from app.blobs import Blobs
from app.database.connect import database_of
from app.engine.port import NoEngine
from app.runtime.descriptors import DescriptorWatch
from app.runtime.dispatch import Server
from app.runtime.lifecycle import Service, Services
from app.server import installation

if TYPE_CHECKING:
    from app.background.outbox.service import Outbox
    from app.mcp.web import AssistantService
    from app.runtime.metrics import CallMetrics
    from app.settings import Settings

log = structlog.get_logger(__name__)


class FlyteAdmin(FastAPI):
    """The application of one process: REST and pages as FastAPI serves them, and gRPC, recognised by content type.

    Its lifespan is `running()`. A host application that mounts this one enters `running()` itself; calls before that
    are refused with UNAVAILABLE.
    """

    router: RestRouter

    def __init__(
        self, server: Server, assistants: AssistantService | None, outbox: Outbox, services: Sequence[Service] = ()
    ) -> None:
        super().__init__(
            title="Flyte Admin",
            # The generated document is served by app/api/pages/docs.py.
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self.server = server
        self.grpc = GrpcApp(server, routers.ALL)
        self.assistants = assistants
        self.services = Services(services, server.metrics)
        self._origins = Origins(server.settings, authenticated=True)
        # MCP asks its servers to check the Host of every request, against DNS rebinding.
        self._origins_of_assistants = Origins(server.settings)
        self._serve_http = behind_proxies(self._serve, server.settings.server.trusted_proxies)
        self.router = RestRouter(server, lifespan=_lifespan)
        # Paths that belong to no RPC are matched route by route, so the pages come first.
        self.router.routes.extend(health.routes(server.health))
        self.router.routes.extend(docs.routes())
        self.router.routes.extend(own_document.routes())
        self.router.routes.extend(storage.routes(server.blobs, server.settings))
        self.router.routes.extend(attempt_logs.routes(server))
        self.router.routes.extend(roles.routes(server))
        self.router.routes.extend(environments.routes(server))
        self.router.routes.extend(cached_outputs.routes(server))
        self.router.routes.extend(own_roles.routes(server))
        if server.auth is not None:
            # Its libraries take 0.2 s of CPU to import.
            from app.api.pages import oauth

            self.router.routes.extend(oauth.routes(server.settings, server.auth))
            if server.auth.sign_in is not None:
                # Its libraries take long to import.
                from app.api.pages import login

                self.router.routes.extend(login.routes(server.auth.sign_in))
        self.router.routes.extend(status.routes(server, self.services.health))
        self.router.routes.extend(schedules.routes(server))
        self.router.routes.extend(notifications.routes(server, outbox))
        self.router.routes.extend(connectors.routes(server))
        self.router.routes.extend(console.routes(server.settings, server.blobs))
        for router in routers.ROUTERS:
            self.include_router(router)

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI 3.1 document."""
        document: dict[str, Any] = orjson.loads(docs.openapi_bytes())
        return document

    def build_middleware_stack(self) -> ASGIApp:
        """Return the router behind the middleware that was added and the headers for other origins.

        FastAPI's own middleware for exceptions surrounds only the other routes, because the routes of RPCs answer every
        exception themselves. That saves 3 µs of CPU per request.
        """
        handlers = {key: value for key, value in self.exception_handlers.items() if key not in (500, Exception)}
        on_error = self.exception_handlers.get(500) or self.exception_handlers.get(Exception)
        self.router.others = ExceptionMiddleware(
            AsyncExitStackMiddleware(self.router.others), handlers=handlers, debug=self.debug
        )
        if self.server.auth is not None:
            self.router.others = PageGuard(self.router.others, self.router.routes, self.server.auth)
        self.router.others = Gzip(self.router.others, self.server.settings.limits.gzip_reply_bytes_min)
        app: ASGIApp = self.router.middleware_stack
        for cls, arguments, keywords in reversed(self.user_middleware):
            app = cls(app, *arguments, **keywords)
        if on_error or self.debug:
            app = ServerErrorMiddleware(app, handler=on_error, debug=self.debug)
        return cors.wrapped(app, self.server.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "http":
            await self._serve_http(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        grpc, assistant = is_grpc(scope), None if self.assistants is None else self._assistant(scope)
        origins = self._origins if assistant is None else self._origins_of_assistants
        refusal = origins.refusal(
            scope["method"],
            scope.get("raw_path") or b"/",
            scope["headers"],
            http2=scope["http_version"] == "2",
            grpc=grpc,
        )
        if refusal is not None:
            await refuse(send, refusal.error, status=refusal.status)
            return
        if assistant is not None:
            await assistant(scope, receive, send)
            return
        if self.server.auth is not None and has_session(scope):
            send = uncached(send)
        if grpc:
            # gRPC bypasses the middleware, which is made for HTTP APIs.
            await self.grpc(scope, receive, send)
            return
        # As FastAPI and Starlette do in two coroutines more, without FastAPI's telemetry, which is off.
        scope["app"] = self
        if self.middleware_stack is None:
            self.middleware_stack = self.build_middleware_stack()
        await self.middleware_stack(scope, receive, send)

    def _assistant(self, scope: Scope) -> ASGIApp | None:
        """Return the application of the port that a request came to; None for the port of REST and gRPC."""
        address = scope.get("server")
        return None if self.assistants is None or address is None else self.assistants.by_port.get(address[1])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the database and start the services; at the end stop and close them.

        Raises:
            FlyteError: UNAVAILABLE where the database cannot be reached.
        """
        await self.server.database.open()
        try:
            self.server.blobs.use_signing_key(await installation.link_key(self.server.database, self.server.settings))
            await self.services.start()
            try:
                yield
            finally:
                await self.services.stop()
        finally:
            await self.server.database.close()

    def use_certificate_names(self, names: frozenset[str]) -> None:
        """Serve requests for these hosts, which the certificate of this server names."""
        self._origins.use_certificate_names(names)
        self._origins_of_assistants.use_certificate_names(names)

    def drain(self) -> None:
        """Report that this process is no longer ready, because it is about to stop."""
        self.server.health.draining.set()

    def stop_streams(self) -> None:
        """End the gRPC streams, which would stay open until their clients disconnect."""
        self.grpc.close()


@asynccontextmanager
async def _lifespan(app: FlyteAdmin) -> AsyncIterator[None]:
    async with app.running():
        yield


def create_app(settings: Settings, *, metrics: CallMetrics | None = None) -> FlyteAdmin:
    """Return the application of a serving process. Each process has an engine; engines share the work by leases.

    Args:
        settings: The settings.
        metrics: Receives counts and durations of calls.

    Raises:
        BadSetting: The storage cannot be used.
    """
    database = database_of(settings, serves=True)
    server = Server(
        settings=settings,
        database=database,
        blobs=Blobs(settings),
        engine=NoEngine(),
        metrics=metrics,
    )
    server.access = access_check(settings, server.database, server.blobs)
    server.audit = audit.set_up(settings)
    if settings.server.security.use_auth:
        # Its libraries take long to import.
        from app.auth.build import authentication_of, task_tokens_of

        server.auth = authentication_of(settings, database)
        server.task_tokens = task_tokens_of(settings)
    services: list[Service] = [DescriptorWatch(), ChangeListener(server)]
    if server.auth is not None and server.auth.oauth is not None:
        services.extend(server.auth.oauth.services)
    # Services stop in the reverse order: a refresh of a session ends before the connections to its provider close.
    if server.auth is not None and server.auth.provider_service is not None:
        services.append(server.auth.provider_service)
    if server.auth is not None and server.auth.sign_in is not None:
        services.append(server.auth.sign_in.sessions.cleaning())
    # The outbox stops after the engine, because it delivers the last events of the engine.
    outbox = outbox_of(server)
    services.append(outbox)
    services.extend(readers_of(server))
    if settings.engine.kind == "local":
        from app.engine.local.engine import LocalEngine

        engine = LocalEngine(server, progress=lambda line: log.info("environment", progress=line))
        server.engine = engine
        services.append(engine)
    elif settings.engine.kind == "kubernetes":
        # Its libraries take 0.1 s of CPU to import.
        from app.engine.kubernetes.engine import KubernetesEngine

        kubernetes = KubernetesEngine(server)
        server.engine = kubernetes
        services.append(kubernetes)
        if settings.cluster_resources.template_path and not settings.cluster_resources.standalone_deployment:
            from app.engine.kubernetes.resources.service import ResourceService

            services.append(ResourceService(server, kubernetes.clusters))
    if settings.scheduler.enabled:
        services.append(Scheduler(server))
    assistants = _assistants(server)
    if assistants is not None:
        services.append(assistants)
    return FlyteAdmin(server, assistants, outbox, services)


def _assistants(server: Server) -> AssistantService | None:
    """Return MCP and the REST adapter where they are enabled. The SDK takes long to import."""
    if not server.settings.mcp.enabled:
        return None
    from app.mcp.web import AssistantService

    return AssistantService(server)

"""The REST routes of all RPCs, as FastAPI routes with the matching rules of upstream's gateway.

`RpcRoute` is one REST binding of one RPC. `RestRouter` is a subclass of FastAPI's router: it finds the RPC's route in
a tree of path segments instead of trying one regular expression after another. It redirects to clean paths, allows
empty variables, answers 404 and 501 as the gateway does, and treats some posted forms as GET. All other routes, such
as pages, are matched by FastAPI.

Source: newHTTPServer of flyteadmin/pkg/server/service.go on grpc-gateway v2 and net/http.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter
from flyteidl.service import identity_pb2
from google.protobuf.message import Message
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from app import errors
from app.api.rest import exchange
from app.api.rest.exchange import THREAD_BYTES_MIN, THREADS, ClientDisconnected, Head
from app.api.rest.identity_headers import user_headers
from app.api.rest.route_tree import RouteTree, clean_path, route_path, select
from app.cache import ByteCache
from app.runtime import dispatch, failures
from app.runtime.dispatch import Call, Server
from app.runtime.rows import VARIABLE, Binding, Rpc
from app.runtime.threads import in_thread_if_large
from app.wire import bind
from app.wire.codecs import SNAKE_JSON, size

log = structlog.get_logger(__name__)

# Keys of a scope: the parsed head of the request, and the pairs of a form that was posted instead of a query.
_HEAD = "flyteadmin.head"
_FORM = "flyteadmin.form"
_CONSOLE = (b"/console/", b"/projects/")
# Deviates: upstream writes this document of RFC 8414 in lowerCamelCase, unless a client asks for application/json.
_SNAKE_CASE = frozenset({"/.well-known/oauth-authorization-server"})
# Replies that are cached as a whole are not cached as encoded messages too.
_NO_CACHE = ByteCache(0)


class RpcRoute(Route):
    """One REST binding of an RPC. `RestRouter` serves it, once it is bound to a server."""

    def __init__(self, rpc: Rpc, binding: Binding, server: Server | None = None) -> None:
        # Starlette allows no dots in the names of variables.
        path = VARIABLE.sub(lambda match: f"{{{match[1].replace('.', '_')}}}", binding.template)
        super().__init__(path, rpc.function, methods=[binding.verb], name=rpc.name)
        self.path = binding.template
        self.methods = {binding.verb}
        self.rpc = rpc
        self.binding = binding
        self.server = server
        self.variables = tuple(binding.variables)
        self._bound = frozenset(tuple(variable.split(".")) for variable in self.variables)
        if server is not None:
            self._bodies = exchange.BodyReader(server.settings)

    def bound_to(self, server: Server) -> RpcRoute:
        """Return the same route for the requests of a server."""
        return RpcRoute(self.rpc, self.binding, server)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match as Starlette does. Tools call this; for requests, `RestRouter` matches by its tree."""
        return (Match.NONE, {}) if _HEAD in scope else super().matches(scope)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request that `RestRouter` has matched: bind, dispatch, render, send."""
        head: Head = scope[_HEAD]
        server = self.server
        assert server is not None
        if self.path in _SNAKE_CASE and not head.accepted:
            head.writer = SNAKE_JSON
        try:
            call = self._call(scope, head)
            request = await self._request(scope, receive, head)
        except errors.FlyteError as error:
            await exchange.send_error(send, scope, head, error, chunked=head.trailers)
            return
        cached = self.rpc.immutable and scope["method"] == "GET"
        try:
            reply = await dispatch.call(server, call, request)
            cache = _NO_CACHE if cached else server.cache
            body = await in_thread_if_large(
                size(reply), head.writer.write, reply, cache, bytes_min=THREAD_BYTES_MIN, threads=THREADS
            )
        except Exception as error:  # noqa: BLE001 - as_flyte_error logs what no code expected
            answer = failures.as_flyte_error(error, rpc=self.rpc.path, request_id=call.request_id)
            await exchange.send_error(send, scope, head, answer, chunked=head.trailers, trailer=exchange.TRAILER)
            return
        entry = None
        if cached:
            entry = server.cache, exchange.cache_key(self.rpc, scope, head)
            server.cache.put(entry[1], body)
        headers = user_headers(reply) if isinstance(reply, identity_pb2.UserInfoResponse) else ()
        await exchange.send_reply(send, scope, head, body, headers, entry)

    def _call(self, scope: Scope, head: Head) -> Call:
        client, given = scope.get("client"), head.text(b"x-request-id")
        server = self.server
        assert server is not None
        return Call(
            self.rpc,
            credentials=dispatch.credentials(server, scope, "http"),
            identity=dispatch.front_identity(scope),
            request_id=given[: dispatch.REQUEST_ID_LENGTH_MAX] or f"a-{random.getrandbits(80):020x}",  # nosec B311 # no secret
            caller=client[0] if client else "",
            endpoint=f"{scope['scheme']}://{head.text(b'host')}",
            seconds=head.seconds(),
        )

    async def _request(self, scope: Scope, receive: Receive, head: Head) -> Message:
        form: bind.Pairs | None = scope.get(_FORM)
        request: Message
        if self.binding.body:
            body = b"" if form is not None else await self._bodies.read(scope, receive, head)
            request = await self._bodies.message(self.rpc.request, body, head.reader)
        else:
            request = self.rpc.request()
        # Parity: the path wins over the same field of the body.
        for variable, value in scope["path_params"].items():
            bind.put_path(request, variable, value)
        # Parity: a query is parsed only where the message has fields beside those of the path.
        query = scope["query_string"]
        if not self.binding.body and (query or form) and request.DESCRIPTOR.fields:
            bind.put_query(request, bind.merged([*(form or []), *bind.query_pairs(query)]), self._bound)
        return request


class RestRouter(APIRouter):
    """FastAPI's router with the RPCs of a server, matched by the gateway's rules."""

    def __init__(self, server: Server, routes: Iterable[RpcRoute] = (), **how: Any) -> None:
        super().__init__(redirect_slashes=False, **how)
        # Serves all other paths. The application wraps it in FastAPI's middleware.
        self.others: ASGIApp = super().app
        self._server = server
        self._tree: RouteTree[RpcRoute] = RouteTree()
        self._bodies = exchange.BodyReader(server.settings)
        self._gzip_bytes_min = server.settings.limits.gzip_reply_bytes_min
        # The literal prefixes of the paths of immutable RPCs: only those requests are looked up in the cache.
        self._immutable: list[tuple[bytes, Rpc]] = []
        self._prefix: bytes | None = None
        for route in routes:
            self._add(route)

    def include_router(self, router: APIRouter, **how: Any) -> None:
        """Add the routes of another router; RPC routes are added to the tree."""
        rpcs = [route for route in router.routes if isinstance(route, RpcRoute)]
        for route in rpcs:
            self._add(route)
        if len(rpcs) < len(router.routes):
            super().include_router(router, **how)

    def _add(self, route: RpcRoute) -> None:
        bound, template = route.bound_to(self._server), route.binding.template
        self._tree.add(route.binding.verb, template, bound)
        self.routes.append(bound)
        prefix = template.partition("{")[0].encode()
        if route.rpc.immutable:
            self._immutable.append((prefix, route.rpc))
        self._prefix = prefix if self._prefix is None else _common(self._prefix, prefix)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Paths outside of the RPCs' common prefix are matched against pages first."""
        if scope["type"] == "http" and self._prefix and (path := route_path(scope)).startswith(self._prefix):
            await self._serve(scope, receive, send, path)
        else:
            await self.others(scope, receive, send)

    async def not_found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404 for a path that no page has, or match it against the RPCs where that has not been done."""
        if scope["type"] == "websocket":
            await WebSocketClose()(scope, receive, send)
            return
        if _HEAD in scope:
            # `_serve` found no RPC and passed the request on to the pages.
            await exchange.send_error(send, scope, scope[_HEAD], errors.NotFound("Not Found"))
        else:
            await self._serve(scope, receive, send, route_path(scope))

    async def _serve(self, scope: Scope, receive: Receive, send: Send, path: bytes) -> None:
        """Find the RPC of a request and serve it; pass a request for an unknown path on to the pages."""
        head = scope[_HEAD] = Head.of(scope, self._gzip_bytes_min)
        try:
            found = self._cached_reply(scope, head, path)
            if found is not None:
                reply, key = found
                await exchange.send_reply(send, scope, head, reply, cached=(self._server.cache, key))
                return
            # Versions in addresses that flytekit prints may hold "//"; the console takes them as they are.
            clean = None if path.startswith(_CONSOLE) else clean_path(path.decode("latin-1"))
            if clean is not None:
                await exchange.redirect(send, scope, quote(scope.get("root_path", "")) + clean)
                return
            segments = bind.path_segments(path)
            if segments == ["healthcheck"]:
                await exchange.send_answer(send, scope, 200, [], b"")
                return
            if not path.startswith(b"/"):
                raise errors.InvalidArgument("Bad Request")
            route = await self._match(scope, receive, head, segments)
            if route is None:
                await self.others(scope, receive, send)
            else:
                await route.handle(scope, receive, send)
        except errors.FlyteError as error:
            # Parity: errors from before the gRPC call carry no gRPC headers.
            await exchange.send_error(send, scope, head, error)
        except ClientDisconnected:
            log.info("client_disconnected", path=scope["path"])

    def _cached_reply(self, scope: Scope, head: Head, path: bytes) -> tuple[bytes, tuple[Any, ...]] | None:
        """Return the cached reply to an identical request, and its key."""
        if scope["method"] == "GET" and b"grpc-timeout" not in head.fields:
            for prefix, rpc in self._immutable:
                if path.startswith(prefix):
                    given, key = dispatch.credentials(self._server, scope, "http"), exchange.cache_key(rpc, scope, head)
                    reply = dispatch.cached_reply(self._server, rpc, key, given)
                    return None if reply is None else (reply, key)
        return None

    async def _match(self, scope: Scope, receive: Receive, head: Head, segments: list[str]) -> RpcRoute | None:
        """Return the route of a request, None for an unknown path; store the values of its variables in the scope.

        Raises:
            FlyteError: UNIMPLEMENTED for a known path with another verb; errors of reading a form.
        """
        verb, form = scope["method"], None
        if head.form and (override := head.text(b"x-http-method-override")):
            form = bind.query_pairs(await self._bodies.read(scope, receive, head))
            # Parity: a malformed query is refused before the path is matched (ParseForm).
            bind.query_pairs(scope["query_string"])
            verb = override.upper()
        found = self._tree.match(segments)
        match = select(found, verb)
        if match is None and head.form and verb == "POST" and (match := select(found, "GET")) is not None:
            # Parity: a form posted to a path that has only GET is served as GET (ServeMux.ServeHTTP).
            form = form if form is not None else bind.query_pairs(await self._bodies.read(scope, receive, head))
        if match is None:
            if found:
                raise errors.Unimplemented("Method Not Allowed")
            return None
        route, values = match
        scope["path_params"] = dict(zip(route.variables, values, strict=True))
        scope["route"] = route
        if form is not None:
            scope[_FORM] = form
        return route


def router_of(tag: str, rpcs: Iterable[Rpc]) -> APIRouter:
    """Return the FastAPI router of one tag, with a route for each binding of its RPCs."""
    router = APIRouter(tags=[tag])
    router.routes.extend(routes_of(rpcs))
    return router


def routes_of(rpcs: Iterable[Rpc]) -> list[RpcRoute]:
    """Return a route for each binding of these RPCs."""
    return [RpcRoute(rpc, binding) for rpc in rpcs for binding in rpc.bindings]


def _common(one: bytes, other: bytes) -> bytes:
    """Return the longest common prefix."""
    length = next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return one[:length] if length is not None else min(one, other, key=len)

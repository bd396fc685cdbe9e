"""Requests that come through a trusted proxy: the caller's address, scheme and host as the proxy forwards them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

_MAPPED = "::ffff:"


def behind_proxies(app: ASGIApp, networks: Sequence[str]) -> ASGIApp:
    """Return the application behind proxies of these networks; the application itself where there are none.

    A request from such a proxy gets its client from X-Forwarded-For (the last address that is no trusted proxy), its
    scheme from X-Forwarded-Proto, and its host from the last value of X-Forwarded-Host. The fields of other clients
    are ignored, because anybody can send them.
    """
    if not networks:
        return app
    trusted = [ipaddress.ip_network(network) for network in networks]
    # uvicorn's middleware replaces client and scheme, and leaves the host.
    forwarded = ProxyHeadersMiddleware(app, trusted_hosts=list(networks))  # type: ignore[arg-type]

    @lru_cache(1024)
    def is_trusted(host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        return any(address in network for network in trusted)

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        client = scope.get("client")
        if client and client[0].startswith(_MAPPED):
            # A socket bound to "::" reports the IPv4 address 10.0.0.1 as ::ffff:10.0.0.1.
            client = scope["client"] = (client[0].removeprefix(_MAPPED), *client[1:])
        if client and is_trusted(client[0]):
            hosts = [value for name, value in scope["headers"] if name == b"x-forwarded-host"]
            host = hosts[-1].rpartition(b",")[2].strip() if hosts else b""
            if host:
                others = [(name, value) for name, value in scope["headers"] if name != b"host"]
                scope["headers"] = [*others, (b"host", host)]
        await forwarded(scope, receive, send)  # type: ignore[arg-type]

    return serve

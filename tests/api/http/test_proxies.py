"""Forwarded address, scheme and host count from trusted proxies alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.api.http.proxies import behind_proxies
from app.settings import BadSetting, load

FORWARDED = [
    (b"host", b"inner:30080"),
    (b"x-forwarded-for", b"203.0.113.9, 10.1.2.3"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"forged.example.com"),
    (b"x-forwarded-host", b"flyte.example.com"),
]


def served(
    client: str, networks: tuple[str, ...], headers: list[tuple[bytes, bytes]] = FORWARDED
) -> tuple[str, str, bytes]:
    """Return client, scheme and host that the application receives."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    scope = {"type": "http", "client": (client, 5), "scheme": "http", "headers": list(headers)}
    asyncio.run(behind_proxies(app, networks)(scope, None, None))  # type: ignore[arg-type]
    return seen["client"][0], seen["scheme"], dict(seen["headers"])[b"host"]


def test_a_trusted_proxy_gives_client_scheme_and_host() -> None:
    assert served("10.9.9.9", ("10.0.0.0/8",)) == ("203.0.113.9", "https", b"flyte.example.com")


def test_an_ipv4_proxy_is_recognised_on_a_socket_for_both_protocols() -> None:
    assert served("::ffff:10.9.9.9", ("10.0.0.0/8",)) == ("203.0.113.9", "https", b"flyte.example.com")
    assert served("::ffff:11.9.9.9", ("10.0.0.0/8",)) == ("11.9.9.9", "http", b"inner:30080")


def test_an_empty_host_of_a_proxy_leaves_the_host() -> None:
    headers = [(b"host", b"inner"), (b"x-forwarded-host", b" ")]
    assert served("10.9.9.9", ("10.0.0.0/8",), headers) == ("10.9.9.9", "http", b"inner")


@pytest.mark.parametrize("networks", [(), ("192.168.0.0/16",), ("10.9.9.8/32",)])
def test_nobody_else_does(networks: tuple[str, ...]) -> None:
    assert served("10.9.9.9", networks) == ("10.9.9.9", "http", b"inner:30080")


def test_networks_are_checked_when_settings_are_loaded() -> None:
    given = {"FLYTEADMIN__SERVER__TRUSTEDPROXIES": "10.1.2.3/8,127.0.0.1"}
    assert load(environ=given).settings.server.trusted_proxies == ("10.0.0.0/8", "127.0.0.1/32")
    with pytest.raises(BadSetting, match="TRUSTEDPROXIES"):
        load(environ={"FLYTEADMIN__SERVER__TRUSTEDPROXIES": "proxy"})

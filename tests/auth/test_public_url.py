"""Which address of the settings a Host stands for."""

from __future__ import annotations

from typing import Any

import pytest

from app.auth.credentials import Credentials
from app.auth.public_url import PublicUrls
from app.settings import Settings

SEVERAL = ("https://flyte.example.com", "http://localhost:5594", "http://127.0.0.1:5594")


def urls(uris: tuple[str, ...], **server: Any) -> PublicUrls:
    return PublicUrls(Settings(auth={"authorized_uris": uris}, server=server))


@pytest.mark.parametrize(
    ("uris", "host", "wanted"),
    [
        (SEVERAL, "localhost:5594", SEVERAL[1]),
        (SEVERAL, "localhost", SEVERAL[1]),
        (SEVERAL, "LOCALHOST", SEVERAL[1]),
        (SEVERAL, "127.0.0.1:9", SEVERAL[2]),
        (SEVERAL, "flyte.example.com", SEVERAL[0]),
        (SEVERAL, "flyte.example.com:5594", SEVERAL[0]),
        (SEVERAL, "flyte.example.com.", SEVERAL[0]),
        (SEVERAL, "unknown.example.com", SEVERAL[0]),
        (SEVERAL, "", SEVERAL[0]),
        (SEVERAL, "[::1", SEVERAL[0]),
        (SEVERAL, "a@localhost:5594", SEVERAL[0]),
        (SEVERAL, "localhost/../x", SEVERAL[0]),
        (SEVERAL, "x" * 100_000, SEVERAL[0]),
        (("http://a:1", "http://a:2", "http://b"), "a:1", "http://a:1"),
        (("http://a:1", "http://a:2", "http://b"), "a:2", "http://a:2"),
        (("http://a:1", "http://a:2", "http://b"), "a:3", "http://a:2"),
        (("http://a:1", "https://a:2"), "a:1", "https://a:2"),
        (("https://a:1", "https://a:2"), "a:2", "https://a:1"),
        (("https://a/flyte",), "a", "https://a/flyte"),
        (("http://[::1]:80",), "[::1]:80", "http://[::1]:80"),
        (("http://a:1", "http://b:x"), "b:1", "http://b:x"),
    ],
)
def test_the_rules_of_upstream(uris: tuple[str, ...], host: str, wanted: str) -> None:
    assert urls(uris).of_host(host) == wanted


@pytest.mark.parametrize(
    ("host", "server", "wanted"),
    [
        ("localhost:8088", {}, "http://localhost:8088"),
        ("10.1.2.3:8088", {}, "http://10.1.2.3:8088"),
        ("[::1]:8088", {}, "http://[::1]:8088"),
        ("other.example.com", {}, "http://localhost:30080"),
        ("", {"http_port": 1234}, "http://localhost:1234"),
        ("flyte.example.com", {"security": {"allowed_hosts": ("flyte.example.com",)}}, "http://flyte.example.com"),
        ("other.example.com", {"public_url": "https://flyte.example.com"}, "https://flyte.example.com"),
    ],
)
def test_without_uris_no_client_chooses_a_name(host: str, server: dict[str, Any], wanted: str) -> None:
    assert urls((), **server).of_host(host) == wanted


def test_x_forwarded_host_counts_for_rpcs_and_not_for_pages() -> None:
    headers = ((b"host", b"localhost:5594"), (b"x-forwarded-host", b"flyte.example.com"))
    given = Credentials("http", headers)
    assert urls(SEVERAL).of(given) == SEVERAL[0]
    assert urls(SEVERAL).of(given, forwarded=False) == SEVERAL[1]

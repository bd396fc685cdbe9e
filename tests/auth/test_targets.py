from __future__ import annotations

import pytest

from app.auth.targets import TARGET_BYTES_MAX, allowed_target, has_path

OWN = ("http://localhost:30080", "https://flyte.example.com/flyte")


@pytest.mark.parametrize(
    ("target", "written"),
    [
        ("/console", "/console"),
        ("console/x", "console/x"),
        ("/a?b=c&d=e#f", "/a?b=c&d=e#f"),
        ("/a b", "/a%20b"),
        ("/é?x=ü", "/%C3%A9?x=%C3%BC"),
        ("/a%2Fb", "/a%2Fb"),
        ("/x//evil.example.com", "/x//evil.example.com"),
        ("?a=b", "?a=b"),
        ("http://localhost:30080/x", "http://localhost:30080/x"),
        ("https://flyte.example.com/other", "https://flyte.example.com/other"),
    ],
)
def test_a_page_of_this_server(target: str, written: str) -> None:
    assert allowed_target(target, OWN) == written


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example.com",
        "///evil.example.com",
        "/\\evil.example.com",
        "\\\\evil.example.com",
        "\\/evil.example.com",
        "/\t/evil.example.com",
        "/\n/evil.example.com",
        "/x\r\nset-cookie: a=b",
        "/x\x00",
        "/x\x7f",
        " //evil.example.com",
        "//evil.example.com ",
        "\u00a0//evil.example.com",
        "javascript:alert(1)",
        "JavaScript:alert(1)",
        "data:text/html,x",
        "http:evil.example.com",
        "http:/evil.example.com",
        "http:///evil.example.com",
        "http://evil.example.com/x",
        "http://localhost:30080@evil.example.com/",
        "http://user@localhost:30080/",
        "http://LOCALHOST:30080/",
        "https://localhost:30080/x",
        "http://localhost:30081/x",
        "http://localhost/x",
        "https://flyte.example.com:443/",
        "https://flyte.example.com.evil.example.com/",
        "http://[::1",
        "/" + "x" * TARGET_BYTES_MAX,
        "/\ud800",
    ],
)
def test_everything_else_is_refused(target: str) -> None:
    assert allowed_target(target, OWN) is None


def test_no_absolute_address_without_authorized_uris() -> None:
    assert allowed_target("http://localhost:30080/x", ()) is None


@pytest.mark.parametrize(("target", "expected"), [("/a", True), ("a", True), ("?a=b", False), ("#x", False)])
def test_a_target_without_a_path_names_no_page(target: str, expected: bool) -> None:
    assert has_path(target) is expected

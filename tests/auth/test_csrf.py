from __future__ import annotations

import pytest

from app import errors
from app.auth.csrf import Csrf
from app.settings import Settings

SETTINGS = Settings.model_validate(
    {
        "auth": {"authorized_uris": ["https://flyte.example.com:443/flyte"]},
        "server": {
            "public_url": "http://public.example.com:8080",
            "security": {"allowed_origins": ["https://console.example.com", "*", "null"]},
        },
    }
)
OWN = "http://localhost:30080"


def judged(origin: str | None, site: str | None, *, host: str = "localhost:30080", scheme: str = "http") -> str:
    """The reason of a refusal; "" for a request that is served."""
    headers = [(b"host", host.encode()), (b"cookie", b"flyte_session=x")]
    headers += [(b"origin", origin.encode())] if origin is not None else []
    headers += [(b"sec-fetch-site", site.encode())] if site is not None else []
    try:
        Csrf(SETTINGS).check(headers, scheme)
    except errors.PermissionDenied as error:
        return error.message
    return ""


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        (OWN, "same-origin"),
        (OWN, None),
        (None, "same-origin"),
        (None, "none"),
        ("https://flyte.example.com", None),
        ("http://public.example.com:8080", "same-origin"),
        ("https://console.example.com", "same-site"),
        ("https://console.example.com", "cross-site"),
        ("https://localhost:30080", None),
    ],
)
def test_own_and_listed_pages(origin: str | None, site: str | None) -> None:
    assert judged(origin, site) == ""


@pytest.mark.parametrize(
    ("origin", "site", "word"),
    [
        (None, None, "neither"),
        (None, "cross-site", "cross-site"),
        (None, "same-site", "same-site"),
        (None, "", "neither"),
        (None, "Same-Origin", "Same-Origin"),
        (None, "nonsense", "nonsense"),
        ("http://evil.example.com", "same-origin", "evil.example.com"),
        ("http://evil.example.com", None, "evil.example.com"),
        ("null", "same-origin", "null"),
        ("null", "cross-site", "null"),
        ("*", "same-origin", "*"),
        ("http://localhost:30081", "same-site", "30081"),
        ("http://localhost", "same-site", "localhost"),
        ("http://localhost:30080.evil.example.com", None, "evil"),
        ("http://flyte.example.com", None, "flyte.example.com"),
        ("https://flyte.example.com:8443", None, "8443"),
        ("https://sibling.example.com", "same-site", "sibling"),
        ("file://", "none", "file"),
        ("x" * 10_000, None, "xxx"),
    ],
)
def test_other_pages_are_refused(origin: str | None, site: str | None, word: str) -> None:
    assert word in judged(origin, site)


@pytest.mark.parametrize(
    ("body_type", "served"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        ("application/x-protobuf", True),
        ("", False),
        ("text/plain", False),
        ("text/plain; application/json", False),
        ("application/json, text/plain", False),
        ("application/x-www-form-urlencoded", False),
        ("multipart/form-data; boundary=x", False),
    ],
)
def test_a_program_with_a_cookie_sends_what_no_page_can(body_type: str, served: bool) -> None:
    headers = [(b"host", b"localhost:30080"), (b"content-type", body_type.encode())]
    if served:
        Csrf(SETTINGS).check(headers, "http")
    else:
        with pytest.raises(errors.PermissionDenied, match="neither"):
            Csrf(SETTINGS).check(headers, "http")
    # The type changes nothing for a page that is known to be another one.
    with pytest.raises(errors.PermissionDenied):
        Csrf(SETTINGS).check([*headers, (b"origin", b"http://evil.example.com")], "http")
    with pytest.raises(errors.PermissionDenied):
        Csrf(SETTINGS).check([*headers, (b"sec-fetch-site", b"cross-site")], "http")


def test_a_page_without_tls_is_none_of_a_server_with_tls() -> None:
    assert judged("http://localhost:30080", None, scheme="https")
    assert judged("https://localhost:30080", None, scheme="https") == ""


def test_two_origins_are_none() -> None:
    headers = [(b"host", b"localhost:30080"), (b"origin", OWN.encode()), (b"origin", OWN.encode())]
    with pytest.raises(errors.PermissionDenied):
        Csrf(SETTINGS).check(headers, "http")

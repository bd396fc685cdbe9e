from __future__ import annotations

import secrets

import pytest

from app.api.http import no_store
from app.auth import cookies
from app.auth.cookies import CookieKeys, CookieWriter
from app.settings.auth import UserAuth

KEYS = CookieKeys(secrets.token_bytes(64), secrets.token_bytes(32))


def test_a_signature_is_for_one_purpose_and_one_key() -> None:
    value = KEYS.signed("one", "text")
    assert KEYS.verified("one", value) == "text"
    assert KEYS.verified("another", value) is None
    assert CookieKeys(secrets.token_bytes(64), KEYS.block_key).verified("one", value) is None
    for bad in ("", ".", "text", "text.", value + "x", "x" + value, value[:-1], "é." + value):
        assert KEYS.verified("one", bad) is None, bad


def test_data_open_in_their_context_only() -> None:
    sealed = KEYS.seal(b"data", "context")
    assert b"data" not in sealed
    assert KEYS.seal(b"data", "context") != sealed
    assert KEYS.unseal(sealed, "context") == b"data"
    assert KEYS.unseal(sealed, "another") is None
    assert CookieKeys(KEYS.hash_key, secrets.token_bytes(32)).unseal(sealed, "context") is None
    for bad in (b"", b"x", sealed[:-1], sealed[:11], sealed[:20], sealed[:-1] + bytes([sealed[-1] ^ 1])):
        assert KEYS.unseal(bad, "context") is None


def test_keys_are_not_in_the_repr() -> None:
    assert repr(KEYS) == "CookieKeys()"


def test_a_request_with_a_session_is_recognised() -> None:
    assert no_store.has_session({"headers": [(b"cookie", f"a=b; {cookies.SESSION}=x".encode())]})
    assert not no_store.has_session({"headers": [(b"cookie", b"a=b"), (b"x", cookies.SESSION.encode())]})


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("", []),
        ("a=b", []),
        ("x=1", ["1"]),
        ("a=b; x=1; c", ["1"]),
        ("x=1;x=2", ["1", "2"]),
        ('x="1"; xx=2', ["1"]),
        ("x", []),
        ("=x; ;;x==y", ["=y"]),
        (" x = 1 ", ["1"]),
    ],
)
def test_values_of_a_cookie(header: str, found: list[str]) -> None:
    assert cookies.values(header, "x") == found


def test_cookies_of_several_headers() -> None:
    headers = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2")]
    assert cookies.cookie_header(headers) == "a=1; b=2"


@pytest.mark.parametrize(
    ("policy", "secure", "attributes"),
    [
        ("DefaultMode", True, "; Path=/; HttpOnly; Secure; SameSite=Lax"),
        ("LaxMode", False, "; Path=/; HttpOnly; SameSite=Lax"),
        ("StrictMode", True, "; Path=/; HttpOnly; Secure; SameSite=Strict"),
        # Browsers drop SameSite=None without Secure.
        ("NoneMode", False, "; Path=/; HttpOnly; Secure; SameSite=None"),
    ],
)
def test_attributes(policy: str, secure: bool, attributes: str) -> None:
    writer = CookieWriter(UserAuth.model_validate({"cookie_setting": {"same_site_policy": policy}}), secure=secure)
    assert writer.session("x") == f"flyte_session=x{attributes}"
    assert "SameSite=Lax" in writer.of_login(cookies.STATE, "x")
    assert "Max-Age=0" in writer.expired(cookies.SESSION)


def test_a_state_counts_for_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    value = cookies.new_state(KEYS)
    assert cookies.is_state(KEYS, value, 60)
    assert not cookies.is_state(KEYS, value + "x", 60)
    assert not cookies.is_state(KEYS, KEYS.signed(cookies.SESSION, "x.1"), 60)
    now = cookies.time.time()
    monkeypatch.setattr(cookies.time, "time", lambda: now + 62)
    assert not cookies.is_state(KEYS, value, 60)
    monkeypatch.setattr(cookies.time, "time", lambda: now - 62)
    assert not cookies.is_state(KEYS, value, 60)

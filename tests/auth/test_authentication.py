"""From where a token is taken, and the messages of refusals."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pytest

from app import errors
from app.auth import authentication
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.identity import Identity
from app.auth.refusals import TokenRefused
from app.settings import Settings

URL = "http://localhost:8088"
BEARER = (
    "[JWT_VERIFICATION_FAILED] Could not retrieve bearer token from metadata, caused by: rpc error: code = "
    "Unauthenticated desc = Request unauthenticated with Bearer"
)
ID_TOKEN = (
    "[JWT_VERIFICATION_FAILED] Could not retrieve id token from metadata, caused by: rpc error: code = "
    "Unauthenticated desc = Request unauthenticated with IDToken"
)
NOTHING = f"token parse error id token err: access token err: {BEARER}, access token err: {ID_TOKEN}"

Headers = list[tuple[str, str]]
Transport = Literal["http", "grpc"]


class Known:
    """A verifier that accepts some tokens, and counts what it verifies."""

    def __init__(self, kind: str, **claims: Any) -> None:
        self.kind = kind
        self.claims = claims
        self.verified: list[tuple[str, str]] = []

    async def verify(self, token: str, public_url: str) -> Identity:
        self.verified.append((token, public_url))
        if not token.startswith("good"):
            raise TokenRefused("token contains an invalid number of segments", claim="segments", found=1, wanted=3)
        return Identity(**{"subject": f"{self.kind} {token}", "scopes": frozenset({"all"}), **self.claims})

    def recent(self, token: str, public_url: str) -> Identity | None:
        if (token, public_url) not in self.verified:
            return None
        return Identity(f"{self.kind} {token}", scopes=self.claims.get("scopes", frozenset({"all"})))


class OneSession:
    """Sessions with one cookie that is known, and one whose session has ended."""

    async def identity(self, credentials: Credentials, public_url: str) -> Identity | None:
        cookie = credentials.first(b"cookie")
        if cookie == "ended":
            raise TokenRefused("[JWT_EXPIRED] token is expired", claim="exp", found="", wanted="")
        return Identity("session", scopes=frozenset({"all"}), method="session") if cookie == "session" else None


def built(auth: dict[str, Any] | None = None, **claims: Any) -> Authentication:
    settings = Settings(auth={"authorized_uris": (URL,), **(auth or {})})
    return Authentication(settings, Known("access", **claims), Known("id", **claims), OneSession())


def credentials(transport: Transport, headers: Headers) -> Credentials:
    pairs = tuple((name.encode(), value.encode()) for name, value in [("host", "localhost:8088"), *headers])
    return Credentials(transport, pairs)


def subject(auth: Authentication, transport: Transport, headers: Headers) -> str:
    return asyncio.run(auth.identity(credentials(transport, headers))).subject


def refusal(auth: Authentication, transport: Transport, headers: Headers) -> errors.Unauthenticated:
    with pytest.raises(errors.Unauthenticated) as caught:
        subject(auth, transport, headers)
    return caught.value


A, F = "authorization", "flyte-authorization"
GOOD, BAD = "Bearer good", "Bearer junk"
BOTH: list[tuple[Headers, str | None]] = [
    ([], None),
    ([(A, GOOD)], "access good"),
    ([(A, "bearer good")], "access good"),
    ([(A, "BEARER good")], "access good"),
    ([(A, "IDToken good")], "id good"),
    ([(A, "idtoken good")], "id good"),
    ([(F, GOOD)], "access good"),
    ([(F, "IDToken good")], "id good"),
    ([(A, GOOD), (F, BAD)], "access good"),
    ([(A, BAD), (F, GOOD)], None),
    ([(A, GOOD), (A, "Basic x")], "access good"),
    ([(A, "Basic x"), (A, GOOD)], None),
    ([(A, "Basic x"), (F, GOOD)], "access good"),
    ([(A, "Negotiate x"), (F, BAD)], None),
    ([(A, "junk"), (F, GOOD)], None),
    ([(A, ""), (F, GOOD)], "access good"),
    ([(A, "Bearer ")], None),
    ([("proxy-authorization", GOOD)], None),
    ([("from_http", "true"), ("userinfo-bin", "e30")], None),
]


@pytest.mark.parametrize(("headers", "wanted"), BOTH)
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_the_first_source_counts_on_both_transports(transport: Transport, headers: Headers, wanted: str | None) -> None:
    if wanted is None:
        refusal(built(), transport, headers)
    else:
        assert subject(built(), transport, headers) == wanted


@pytest.mark.parametrize(
    ("headers", "http", "grpc"),
    [
        ([("grpc-metadata-authorization", GOOD)], "access good", None),
        ([("grpc-metadata-authorization", BAD), (F, GOOD)], None, "access good"),
        ([(A, "Bearer good1"), ("grpc-metadata-authorization", "Bearer good2")], "access good1", "access good1"),
        ([("cookie", "session")], "session", None),
        ([("cookie", "session"), (F, GOOD)], "session", "access good"),
        ([("cookie", "session"), (F, BAD)], "session", None),
        ([("cookie", "session"), (A, GOOD)], "access good", "access good"),
        ([("cookie", "session"), (A, BAD)], None, None),
        ([("cookie", "session"), (A, "Basic x")], "session", None),
        ([("cookie", "other"), (F, GOOD)], "access good", "access good"),
        ([("cookie", "ended"), (F, GOOD)], None, "access good"),
    ],
)
def test_cookies_and_forwarded_metadata_count_over_http_only(
    headers: Headers, http: str | None, grpc: str | None
) -> None:
    for transport, wanted in (("http", http), ("grpc", grpc)):
        if wanted is None:
            refusal(built(), transport, headers)  # type: ignore[arg-type]
        else:
            assert subject(built(), transport, headers) == wanted  # type: ignore[arg-type]


def test_renamed_headers_replace_the_default_each_on_its_transport() -> None:
    auth = built({"http_authorization_header": "X-Odd-Http", "grpc_authorization_header": "x-odd-grpc"})
    for transport, name in (("http", "x-odd-http"), ("grpc", "x-odd-grpc")):
        other = "grpc" if transport == "http" else "http"
        assert subject(auth, transport, [(name, GOOD)]) == "access good"  # type: ignore[arg-type]
        refusal(auth, other, [(name, GOOD)])  # type: ignore[arg-type]
        refusal(auth, transport, [(F, GOOD)])  # type: ignore[arg-type]


@pytest.mark.parametrize("transport", ["http", "grpc"])
@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ([], NOTHING),
        ([(A, "Basic eDp5")], NOTHING),
        ([(A, "junk")], NOTHING.replace("Request unauthenticated with Bearer", "Bad authorization string").replace(
            "Request unauthenticated with IDToken", "Bad authorization string")),
        ([(A, BAD)], NOTHING.replace(BEARER, "token contains an invalid number of segments")),
        ([(A, "IDToken junk")], NOTHING.replace(ID_TOKEN, "token contains an invalid number of segments")),
    ],
)  # fmt: skip
def test_the_message_of_a_refusal_is_upstreams(transport: Transport, headers: Headers, message: str) -> None:
    assert refusal(built(), transport, headers).message == message


@pytest.mark.parametrize(("open_", "closed"), [("http", "grpc"), ("grpc", "http")])
def test_a_switch_opens_its_own_transport_only(open_: Transport, closed: Transport) -> None:
    auth = built({f"disable_for_{open_}": True})
    for headers in ([], [(A, BAD)], [("from_http", "true")], [("grpc-metadata-from_http", "false")]):
        assert asyncio.run(auth.identity(credentials(open_, headers))).anonymous
        refusal(auth, closed, headers)
    assert subject(auth, open_, [(A, GOOD)]) == "access good"


def test_a_token_without_the_scope_is_refused_also_where_anonymous_callers_are_served() -> None:
    auth = built({"disable_for_http": True}, scopes=frozenset({"read"}))
    assert refusal(auth, "http", [(A, GOOD)]).message == "authenticated user doesn't have required scope"
    assert auth.recent(credentials("http", [(A, GOOD)])) is None


@pytest.mark.parametrize(("required", "served"), [("", True), ("read", True), ("all", False)])
def test_the_required_scope_is_a_setting(required: str, served: bool) -> None:
    auth = built({"required_scope": required}, scopes=frozenset({"read"}))
    if served:
        assert subject(auth, "grpc", [(A, GOOD)]) == "access good"
    else:
        refusal(auth, "grpc", [(A, GOOD)])


def test_a_verified_token_is_known_without_a_wait_at_its_address() -> None:
    auth = built({"authorized_uris": (URL, "https://flyte.example.com")})
    for transport, headers in (("grpc", [(F, GOOD)]), ("http", [(A, GOOD)]), ("http", [(F, GOOD)])):
        given = credentials(transport, headers)  # type: ignore[arg-type]
        assert auth.recent(given) is None
        asyncio.run(auth.identity(given))
        found = auth.recent(credentials(transport, [*headers, ("user-agent", "x")]))  # type: ignore[arg-type]
        assert found is not None
        assert found.subject == "access good"
    for headers in (
        [(A, "Bearer good2")],
        [(A, "IDToken good")],
        [(A, "good")],
        [(A, GOOD), ("x-forwarded-host", "flyte.example.com")],
    ):
        assert auth.recent(credentials("grpc", headers)) is None
    assert auth.recent(credentials("http", [(F, GOOD), ("cookie", "session")])) is None
    assert asyncio.run(auth.identity(credentials("http", [(F, GOOD), ("cookie", "session")]))).subject == "session"


def test_the_parsed_headers_of_refused_tokens_are_not_kept() -> None:
    auth = built()
    for number in range(3):
        refusal(auth, "grpc", [(A, f"Bearer junk{number}")])
    assert auth._parsed == {"http": {}, "grpc": {}}


def test_the_parsed_headers_of_callers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "PARSED_MAX", 2)
    auth = built()
    for number in range(5):
        assert subject(auth, "grpc", [(A, f"Bearer good{number}")]) == f"access good{number}"
    assert len(auth._parsed["grpc"]) <= 2
    long = "good" + "x" * authentication.PARSED_BYTES_MAX
    assert subject(auth, "http", [(A, f"Bearer {long}")]) == f"access {long}"
    assert subject(auth, "http", [(A, GOOD), ("cookie", long)]) == "access good"
    assert auth._parsed["http"] == {}


def test_a_refusal_is_logged_with_claim_found_and_wanted_and_without_the_token(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    from app import limited_log

    limited_log.clear()
    refusal(built(), "grpc", [(A, "Basic secret-token")])
    refusal(built(scopes=frozenset({"read"})), "grpc", [(A, "Bearer good-secret-token")])
    lines = (caplog.text + capsys.readouterr().out).splitlines()
    first, second = (line for line in lines if "token_refused" in line)
    assert "claim=scheme" in first
    assert "wanted='Bearer or IDToken'" in first
    assert "claim=scp" in second
    assert "wanted=all" in second
    assert "secret-token" not in first + second

"""Documents of identity providers: right ones, wrong ones, and servers that are down or slow."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from app import errors, limited_log
from app.auth import remote_value
from app.auth.provider import ExternalServer, OpenIdProvider
from tests.support.issuer import Issuer, running_issuer
from tests.support.tokens import auth_settings

Result = TypeVar("Result")
DISCOVERY = "/.well-known/openid-configuration"
METADATA = "/.well-known/oauth-authorization-server"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    limited_log.clear()
    with running_issuer() as running:
        yield running


def with_provider(
    use: Callable[[OpenIdProvider], Awaitable[Result]], base_url: str, issuer_url: str = "", **auth: Any
) -> Result:
    async def scenario() -> Result:
        open_id = {"base_url": base_url, "issuer_url": issuer_url, "client_id": "flyteadmin"}
        provider = OpenIdProvider(auth_settings(user_auth={"open_id": open_id}, **auth))
        try:
            return await use(provider)
        finally:
            await provider.close()

    return asyncio.run(scenario())


def with_server(use: Callable[[ExternalServer], Awaitable[Result]], **external: Any) -> Result:
    async def scenario() -> Result:
        external.setdefault("retry_delay_seconds", 0.01)
        server = ExternalServer(auth_settings(app_auth={"external_auth_server": external}))
        try:
            return await use(server)
        finally:
            await server.close()

    return asyncio.run(scenario())


def test_the_document_is_fetched_once_for_all(issuer: Issuer) -> None:
    async def ask(provider: OpenIdProvider) -> list[Any]:
        return [await asyncio.gather(*(provider.document() for _ in range(20))), await provider.document()]

    many, one = with_provider(ask, issuer.url)
    assert {document["issuer"] for document in [*many, one]} == {issuer.url}
    assert issuer.requests[DISCOVERY] == 1


@pytest.mark.parametrize(
    ("found", "base", "configured", "good"),
    [
        ("{url}", "{url}", "", True),
        ("{url}/", "{url}", "", False),
        ("{url}/", "{url}/", "", True),
        ("http://localhost", "{url}", "", False),
        ("http://other.example.com", "{url}", "http://other.example.com", True),
        ("{url}", "{url}", "http://other.example.com", False),
        (None, "{url}", "", False),
        (["{url}"], "{url}", "", False),
    ],
)
def test_the_issuer_is_compared_letter_by_letter(
    issuer: Issuer, found: Any, base: str, configured: str, *, good: bool
) -> None:
    issuer.document["issuer"] = found.replace("{url}", issuer.url) if isinstance(found, str) else found
    base = base.replace("{url}", issuer.url)
    if good:
        assert with_provider(lambda provider: provider.issuer(), base, configured)
        return
    with pytest.raises(errors.FlyteError) as raised:
        with_provider(lambda provider: provider.issuer(), base, configured)
    wanted = f'expected "{configured or base}" got "'
    assert f"oidc: issuer did not match the issuer returned by provider, {wanted}" in raised.value.message


BAD_REPLIES: list[tuple[int, dict[str, str], bytes, str]] = [
    (404, {}, b"<html>\nnot here</html>", "404 Not Found: <html> not here</html>"),
    (500, {}, b"", "500 Internal Server Error: "),
    (200, {"content-type": "text/html"}, b"<html>", 'expected Content-Type = application/json, got "text/html": '),
    (200, {"content-type": "application/json"}, b"{", "got Content-Type = application/json, but could not unmarshal"),
    (200, {}, b"[]", "the reply is no JSON object"),
    (200, {}, b"[" * 60_000, "expected Content-Type"),
    (200, {}, b"{" + b" " * 70_000 + b"}", "the reply is larger than 65536 bytes (auth.providerDocumentBytesMax)"),
    (200, {"content-encoding": "gzip"}, gzip.compress(b" " * 10**7), "the reply is compressed"),
    (302, {"location": DISCOVERY}, b"", "Exceeded maximum allowed redirects"),
    (302, {"location": "ftp://x/y"}, b"", "unsupported protocol"),
    (200, {"content-length": "9999"}, b"{}", "Get "),
]


@pytest.mark.parametrize(("status", "headers", "body", "problem"), BAD_REPLIES)
def test_a_bad_document_is_refused_with_its_reason(
    issuer: Issuer, status: int, headers: dict[str, str], body: bytes, problem: str
) -> None:
    issuer.replies[DISCOVERY] = (status, headers, body)
    with pytest.raises(errors.FlyteError) as raised:
        with_provider(
            lambda provider: provider.document(),
            issuer.url,
            provider_document_bytes_max=65536,
            provider_timeout_seconds=1,
        )
    assert problem in raised.value.message
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    "base", ["http://127.0.0.1:1", "http://no-such-host.invalid", "http://[::1", "", "ftp://x", "http://x:99999999"]
)
def test_an_address_that_does_not_answer_is_named(base: str) -> None:
    with pytest.raises(errors.Unavailable) as raised:
        with_provider(lambda provider: provider.document(), base)
    assert f'Get "{base}/.well-known/openid-configuration": ' in raised.value.message


def test_a_slow_provider_is_given_up(issuer: Issuer) -> None:
    issuer.slow_seconds = 5
    started = time.monotonic()
    with pytest.raises(errors.Unavailable, match=r"no whole reply within 0\.3 s"):
        with_provider(lambda provider: provider.document(), issuer.url, provider_timeout_seconds=0.3)
    assert time.monotonic() - started < issuer.slow_seconds


def test_a_caller_that_gives_up_does_not_end_the_fetch_of_the_others(issuer: Issuer) -> None:
    issuer.slow_seconds = 0.3

    async def ask(provider: OpenIdProvider) -> Any:
        first, second = (asyncio.create_task(provider.document()) for _ in range(2))  # type: ignore[arg-type]
        await asyncio.sleep(0.05)
        first.cancel()
        return await second

    assert with_provider(ask, issuer.url)["issuer"] == issuer.url
    assert issuer.requests[DISCOVERY] == 1


def test_an_old_document_is_renewed_in_the_background_and_kept_while_the_provider_is_down(issuer: Issuer) -> None:
    async def ask(provider: OpenIdProvider) -> list[Any]:
        seen = [(await provider.document()).get("x")]
        issuer.document["x"] = 1
        await asyncio.sleep(0.05)
        seen.append((await provider.document()).get("x"))
        await asyncio.sleep(0.2)
        seen.append((await provider.document()).get("x"))
        issuer.replies[DISCOVERY] = (500, {}, b"")
        await asyncio.sleep(0.1)
        for _ in range(5):
            seen.append((await provider.document()).get("x"))
            await asyncio.sleep(0.03)
        return seen

    asked = with_provider(ask, issuer.url, provider_document_seconds=0.02)
    assert asked == [None, None, 1, 1, 1, 1, 1, 1]


def test_after_a_failure_callers_get_its_error_for_a_while(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    issuer.replies[DISCOVERY] = (503, {}, b"later")

    async def ask(provider: OpenIdProvider) -> list[str]:
        texts = []
        for _ in range(3):
            with pytest.raises(errors.Unavailable) as raised:
                await provider.document()
            texts.append(raised.value.message)
        del issuer.replies[DISCOVERY]
        monkeypatch.setattr(remote_value, "FAILURE_SECONDS", 0)
        await provider.document()
        return texts

    assert with_provider(ask, issuer.url) == ["503 Service Unavailable: later"] * 3
    assert issuer.requests[DISCOVERY] == 2


def test_algorithms_are_those_that_are_announced_and_have_a_public_key(issuer: Issuer) -> None:
    def ask(announced: Any) -> Any:
        issuer.document["id_token_signing_alg_values_supported"] = announced
        return with_provider(lambda provider: provider.algorithms(), issuer.url)

    assert ask(["RS512", "none", "HS256", "ES256", 5]) == {"RS512", "ES256"}
    assert ask(["none", "HS256"]) == ask(None) == ask("RS512") == {"RS256"}


@pytest.mark.parametrize(
    ("base", "metadata", "asked"),
    [
        ("", "", METADATA),
        ("/realms/x", "", f"/realms/x{METADATA}"),
        ("/realms/x/", ".well-known/openid-configuration", f"/realms/x{DISCOVERY}"),
        ("/realms/x", "/other", "/other"),
    ],
)
def test_the_address_of_the_metadata(base: str, metadata: str, asked: str) -> None:
    async def address(server: ExternalServer) -> str:
        return server.metadata_url

    assert with_server(address, base_url=f"http://x{base}", metadata_url=metadata) == f"http://x{asked}"


@pytest.mark.parametrize(
    ("status", "kind", "problem", "requests"),
    [
        (401, errors.Internal, "Failed to get oauth metadata.", 3),
        (404, errors.Internal, "Failed to get oauth metadata.", 3),
        (503, errors.Internal, "Failed to get oauth metadata.", 3),
        (511, errors.Internal, "Failed to get oauth metadata.", 3),
        (400, errors.Unknown, "failed to get oauth metadata with status code 400", 1),
        (204, errors.Unknown, "failed to get oauth metadata with status code 204", 1),
    ],
)
def test_some_statuses_of_the_metadata_are_retried(
    issuer: Issuer, status: int, kind: type[errors.FlyteError], problem: str, requests: int
) -> None:
    issuer.replies[METADATA] = (status, {}, b"")
    with pytest.raises(kind) as raised:
        with_server(lambda server: server.document(), base_url=issuer.url, retry_attempts=2)
    assert (type(raised.value), raised.value.message) == (kind, problem)
    assert issuer.requests[METADATA] == requests


def test_issuers_are_the_announced_one_and_those_of_the_settings(issuer: Issuer) -> None:
    found = with_server(lambda server: server.issuers(), base_url=issuer.url, allowed_issuers=("http://sts",))
    assert found == {issuer.url, "http://sts"}

"""`flyteadmin auth check` against a real provider, and against one with defects."""

from __future__ import annotations

import asyncio
import base64
import re
import shutil
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from app.server import auth_check, secret_files
from app.server.findings import CheckReport
from app.settings import BadSetting, Settings, load

pytestmark = pytest.mark.heavy

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oidc_provider_mock

STATIC_CLIENTS = "auth__appAuth__selfAuthServer__staticClients"

Change = Callable[[dict[str, Any]], None]


@pytest.fixture(autouse=True)
def _cheap_secrets(tmp_path: Path, made_secrets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let settings_of keep secrets that are made once: new keys take 200 ms in each test, hashes of cost 10 take 50."""
    shutil.copytree(made_secrets, tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(secret_files, "_BCRYPT_ROUNDS", 4)


@pytest.fixture(scope="module")
def made_secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("secrets")
    secret_files.write(folder, load((), {"secrets.secrets_prefix": str(folder)}, {}).settings)
    return folder


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


class Defective(httpx.AsyncHTTPTransport):
    """Changes the provider's document, or replaces replies by their path."""

    def __init__(self, change: Change | None = None, replies: dict[str, httpx.Response] | None = None) -> None:
        super().__init__()
        self._change, self._replies = change, replies or {}
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        for path, reply in self._replies.items():
            if request.url.path.endswith(path):
                return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)
        reply = await super().handle_async_request(request)
        if self._change is None or not request.url.path.endswith(("openid-configuration", "authorization-server")):
            return reply
        document = orjson.loads(await reply.aread())
        await reply.aclose()
        self._change(document)
        return httpx.Response(reply.status_code, json=document)


def settings_of(folder: Path, provider: str, **more: Any) -> Settings:
    """Settings as `secret init` prints them, with a client secret."""
    plain = load((), {"secrets.secrets_prefix": str(folder)}, {}).settings
    secret_files.write(folder, plain)
    (folder / "oidc_client_secret").write_text("the secret")
    values = secret_files.settings_for(folder, plain, url=provider, issuer=provider, client_id="flyte")
    values["auth"]["userAuth"]["openId"]["scopes"] = ["openid", "profile"]
    for path, value in more.items():
        *sections, key = path.split("__")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[key] = value
    return load((), values, {}).settings


def checked(settings: Settings, transport: httpx.AsyncHTTPTransport | None = None) -> CheckReport:
    async def run() -> CheckReport:
        async with httpx.AsyncClient(transport=transport or httpx.AsyncHTTPTransport()) as http:
            return await auth_check.check(settings, http)

    return asyncio.run(run())


def lines(report: CheckReport, level: str) -> list[str]:
    return [f"{one.subject}: {one.text}" for one in report.findings if one.level == level]


def test_a_provider_without_defects_has_no_error(tmp_path: Path, provider: str) -> None:
    report = checked(settings_of(tmp_path, provider))
    assert lines(report, "error") == []
    subjects = {one.subject for one in report.findings if one.level == "ok"}
    assert {"discovery", "issuer", "keys of id tokens", "signing keys", "redirect URI"} <= subjects
    assert {"client id and secret", "secret cookie_hash_key", "staticClients.flytepropeller.client_secret"} <= subjects


def without(name: str) -> Change:
    return lambda document: document.pop(name, None)


def having(name: str, value: Any) -> Change:
    return lambda document: document.update({name: value})


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        (having("issuer", "http://127.0.0.1:1"), "error", "issuer: found 'http://127.0.0.1:1', wanted 'http://localhost"),
        (without("issuer"), "error", "issuer: found None"),
        (without("authorization_endpoint"), "error", "authorization_endpoint: the provider's document has none"),
        (without("token_endpoint"), "error", "token_endpoint: the provider's document has none"),
        (having("token_endpoint", ["x"]), "error", "token_endpoint: the provider's document has none"),
        (having("token_endpoint", "http://idp.example/t"), "warning", "http://idp.example/t has no TLS"),
        (without("jwks_uri"), "error", "keys of id tokens: the document has no jwks_uri"),
        (having("jwks_uri", "http://localhost:1/jwks"), "error", "no server listens there"),
        (having("jwks_uri", "no address"), "error", "keys of id tokens: no address cannot be used"),
        (having("id_token_signing_alg_values_supported", ["HS256", "none"]), "error", "found algorithms HS256, none"),
        (having("response_types_supported", ["id_token"]), "error", "lacks `code`, found id_token"),
        (having("token_endpoint_auth_methods_supported", ["private_key_jwt"]), "error", "found private_key_jwt"),
        (having("code_challenge_methods_supported", ["plain"]), "warning", "lacks S256, found plain"),
        (having("scopes_supported", ["openid", "offline_access"]), "warning", "does not list profile"),
        (having("scopes_supported", ["openid", "offline_access"]), "warning", "refresh tokens: the provider may give"),
        (without("end_session_endpoint"), "warning", "end_session_endpoint: there is none"),
        (without("userinfo_endpoint"), "warning", "userinfo_endpoint: there is none"),
        (having("scopes_supported", [1, None, {}]), "ok", "issuer"),
    ],
)  # fmt: skip
def test_defects_of_the_document(tmp_path: Path, provider: str, change: Change, level: str, text: str) -> None:
    report = checked(settings_of(tmp_path, provider), Defective(change))
    assert any(text in line for line in lines(report, level)), report.findings
    assert report.failed == bool(lines(report, "error"))


@pytest.mark.parametrize(
    ("path", "reply", "text"),
    [
        ("openid-configuration", httpx.Response(404, text="no realm"), "status 404: 'no realm'"),
        ("openid-configuration", httpx.Response(200, text="<html>"), "the reply is no JSON: '<html>'"),
        ("openid-configuration", httpx.Response(200, json=["x"]), "the reply is JSON, but no object"),
        ("openid-configuration", httpx.Response(200, content=b"x" * 2_000_000), "has more than 1048576 bytes"),
        ("/jwks", httpx.Response(200, json={"keys": []}), "has no key that verifies signatures"),
        ("/jwks", httpx.Response(200, json={"keys": [{"kty": "oct"}, 1]}), "has no key that verifies signatures"),
        ("/jwks", httpx.Response(200, json={"keys": {"kty": "RSA"}}), "has no key that verifies signatures"),
        ("/oauth2/token", httpx.Response(401, json={"error": "invalid_client"}), "refuses them (invalid_client)"),
        ("/oauth2/authorize", httpx.Response(400, text="redirect_uri"), "a sign-in with it is answered 400"),
    ],
)
def test_defects_of_replies(tmp_path: Path, provider: str, path: str, reply: httpx.Response, text: str) -> None:
    report = checked(settings_of(tmp_path, provider), Defective(replies={path: reply}))
    assert any(text in line for line in lines(report, "error")), report.findings


def test_a_clock_that_differs_is_named(tmp_path: Path, provider: str) -> None:
    document = httpx.get(f"{provider}/.well-known/openid-configuration").json()
    late = {"date": format_datetime(datetime.now(UTC) - timedelta(minutes=5), usegmt=True)}
    reply = httpx.Response(200, json=document, headers=late)
    report = checked(settings_of(tmp_path, provider), Defective(replies={"openid-configuration": reply}))
    assert any(re.search(r"differs from the provider's by 3\d\d s", line) for line in lines(report, "error"))


def test_the_secret_is_sent_to_the_token_endpoint_alone(tmp_path: Path, provider: str) -> None:
    transport = Defective()
    report = checked(settings_of(tmp_path, provider), transport)
    encoded = base64.b64encode(b"flyte:the secret").decode()
    parts = [(one.url.path, f"{one.url}{dict(one.headers)}{one.content!r}") for one in transport.sent]
    holders = [path for path, text in parts if encoded in text or "the secret" in text or "the+secret" in text]
    assert holders == ["/oauth2/token"]
    assert "the secret" not in str(report.findings)


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("cookie_hash_key", b"short", "cookie_hash_key"),
        ("cookie_block_key", b"%%%", "is no standard base64"),
        ("claim_symmetric_key", None, "secrets not found"),
        ("token_rsa_key.pem", b"no key", "no PEM data found"),
        ("oidc_client_secret", None, "secrets not found"),
        ("oidc_client_secret", secret_files.PLACEHOLDER.encode(), "write the provider's client secret into it"),
    ],
)
def test_secrets_that_are_missing_or_malformed(
    tmp_path: Path, provider: str, name: str, content: bytes | None, text: str
) -> None:
    settings = settings_of(tmp_path, provider)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    assert any(text in line for line in lines(checked(settings), "error"))


@pytest.mark.parametrize(
    ("path", "value", "level", "text"),
    [
        ("auth__authorizedUris", [], "error", "auth.authorizedUris: is empty"),
        ("auth__authorizedUris", ["flyte.example"], "error", "flyte.example is no address"),
        ("auth__authorizedUris", ["http://localhost:1"], "warning", "cannot be reached from here: no server listens"),
        ("auth__userAuth__openId__clientId", "", "error", "clientId: is empty"),
        ("auth__userAuth__openId__scopes", ["profile"], "error", "lacks `openid`"),
        ("auth__userAuth__openId__baseUrl", "", "error", "does not start without"),
        ("auth__userAuth__openId__baseUrl", "http://localhost:1", "error", "no server listens there"),
        ("server__security__useAuth", False, "warning", "asks nobody to sign in"),
        (STATIC_CLIENTS, {"x": {"id": "x", "client_secret": "eA=="}}, "error", "is no base64 of a bcrypt hash"),
        (STATIC_CLIENTS, {"x": {"id": "x"}}, "warning", "cannot sign in"),
    ],
)  # fmt: skip
def test_settings(tmp_path: Path, provider: str, path: str, value: Any, level: str, text: str) -> None:
    report = checked(settings_of(tmp_path, provider, **{path: value}))
    assert any(text in line for line in lines(report, level)), report.findings


def external(tmp_path: Path, provider: str, **more: Any) -> Settings:
    server = {"metadataUrl": ".well-known/openid-configuration", **more.pop("server", {})}
    chosen = {"auth__appAuth__authServerType": "External", "auth__appAuth__externalAuthServer": server}
    return settings_of(tmp_path, provider, **chosen, **more)


def test_an_external_server(tmp_path: Path, provider: str) -> None:
    change = having("scopes_supported", ["openid", "profile"])
    report = checked(external(tmp_path, provider), Defective(change))
    warned = lines(report, "warning")
    assert any(line.startswith("auth.requiredScope: ") and "'all'" in line for line in warned)
    assert any(line.startswith("thirdPartyConfig.flyteClient.scopes: ") and "offline" in line for line in warned)
    assert any(line.startswith("allowedAudience: is empty") for line in warned)
    assert any(line.startswith("device flow: ") for line in warned)
    assert not report.failed


def test_an_external_server_without_metadata(tmp_path: Path, provider: str) -> None:
    report = checked(external(tmp_path, provider, server={"metadataUrl": ""}))
    assert any("set it as metadataUrl" in line for line in lines(report, "error"))
    cli = {"auth__appAuth__thirdPartyConfig__flyteClient__audience": "other"}
    report = checked(external(tmp_path, provider, server={"allowedAudience": ["flyte"]}, **cli))
    assert any("other is not in allowedAudience" in line for line in lines(report, "error"))


@pytest.mark.parametrize("section", ["auth", "user_auth", "external_auth_server"])
def test_the_proxies_of_the_settings_are_used(tmp_path: Path, section: str) -> None:
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(404)

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    with HTTPServer(("127.0.0.1", 0), Proxy) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        proxy = {"http_proxy_url": f"http://127.0.0.1:{server.server_port}"}
        external = {"base_url": "http://as.invalid", **(proxy if section == "external_auth_server" else {})}
        settings = Settings(
            home=tmp_path,
            auth={
                "app_auth": {"auth_server_type": "External", "external_auth_server": external},
                "user_auth": {
                    "open_id": {"base_url": "http://idp.invalid"},
                    **(proxy if section == "user_auth" else {}),
                },
                **(proxy if section == "auth" else {}),
            },
        )
        asyncio.run(auth_check.run(settings))
        server.shutdown()
    wanted = {"auth": {"idp", "as"}, "user_auth": {"idp"}, "external_auth_server": {"as"}}[section]
    assert {path.split("/")[2].partition(".")[0] for path in seen} == wanted


def test_an_address_that_is_no_proxy_is_named() -> None:
    with pytest.raises(BadSetting, match="httpProxyURL"):
        asyncio.run(auth_check.run(Settings(auth={"http_proxy_url": "junk"})))

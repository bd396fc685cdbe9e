"""The open RPCs and /me over REST: documents for clients, and who the caller is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app import limited_log
from app.auth.oauth.clients import DEVICE_CODE
from app.main import FlyteAdmin, create_app
from app.runtime.metrics import GAUGES
from app.settings import Settings
from tests.support.databases import migrated
from tests.support.issuer import Issuer, running_issuer
from tests.support.tokens import URL, a_claim_set, pem, rsa_key, signed

pytestmark = pytest.mark.heavy

METADATA = "/.well-known/oauth-authorization-server"
JSON = {"accept": "application/json"}


@pytest.fixture(scope="module")
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "token_rsa_key.pem").write_text(pem(rsa_key()))
    (folder / "cookie_hash_key").write_text("A" * 86)
    (folder / "cookie_block_key").write_text("A" * 43)
    (folder / "oidc_client_secret").write_text("secret\n")
    return folder


@contextmanager
def served(tmp_path: Path, issuer: Issuer, **auth: Any) -> Iterator[TestClient]:
    limited_log.clear()
    migrated(tmp_path / "flyte.db")
    settings = Settings.model_validate(
        {
            "home": tmp_path,
            "database": {"url": f"sqlite:///{tmp_path}/flyte.db"},
            "engine": {"kind": "none"},
            "server": {"security": {"use_auth": True}},
            "secrets": {"secrets_prefix": str(tmp_path / "secrets")},
            "auth": {
                "authorized_uris": (URL,),
                "user_auth": {"open_id": {"base_url": issuer.url, "client_id": "flyteadmin"}},
                **auth,
            },
        }
    )
    with TestClient(create_app(settings), base_url=URL) as client:
        yield client


def app_of(client: TestClient) -> FlyteAdmin:
    app = client.app
    assert isinstance(app, FlyteAdmin)
    return app


OWN = {
    "issuer": URL,
    "authorization_endpoint": f"{URL}/oauth2/authorize",
    "token_endpoint": f"{URL}/oauth2/token",
    "jwks_uri": f"{URL}/oauth2/jwks",
    "response_types_supported": ["code", "token", "code token"],
    "scopes_supported": ["all"],
    "token_endpoint_auth_methods_supported": ["client_secret_basic"],
    "code_challenge_methods_supported": ["S256"],
    "grant_types_supported": ["client_credentials", "refresh_token", "authorization_code"],
    "device_authorization_endpoint": "",
}


@pytest.mark.usefixtures("secrets")
def test_the_document_of_the_own_server(tmp_path: Path, issuer: Issuer) -> None:
    with served(tmp_path, issuer) as client:
        assert app_of(client).services.health()["identity_provider"] == ""
        assert client.get(METADATA, headers=JSON).json() == OWN
        # RFC 8414's names also for clients that ask for no encoding, or for any.
        for accept in ("*/*", "", "text/html"):
            assert client.get(METADATA, headers={"accept": accept}).json() == OWN
        camel = client.get(METADATA, headers={"accept": "application/json; names=camel"}).json()
        assert camel["tokenEndpoint"] == OWN["token_endpoint"]


@pytest.mark.usefixtures("secrets")
def test_issuer_and_path_of_the_own_server(tmp_path: Path, issuer: Issuer) -> None:
    app_auth = {"self_auth_server": {"issuer": "http://issuer.example.com", "device_flow": True}}
    with served(tmp_path, issuer, authorized_uris=("http://localhost:30080/flyte/",), app_auth=app_auth) as client:
        document = client.get(METADATA).json()
    assert document["issuer"] == "http://issuer.example.com"
    assert document["token_endpoint"] == "http://localhost:30080/flyte/oauth2/token"
    assert document["device_authorization_endpoint"] == "http://localhost:30080/flyte/oauth2/device_authorization"
    assert document["grant_types_supported"][-1] == DEVICE_CODE


@pytest.mark.usefixtures("secrets")
def test_what_public_clients_read(tmp_path: Path, issuer: Issuer) -> None:
    client_settings = {"client_id": "odd", "scopes": ("all",), "redirect_uri": "http://x/callback", "audience": "aud"}
    third = {"third_party_config": {"flyte_client": client_settings}}
    with served(tmp_path, issuer, app_auth=third, grpc_authorization_header="x-odd") as client:
        assert client.get("/config/v1/flyte_client", headers=JSON).json() == {
            **client_settings,
            "scopes": ["all"],
            "authorization_metadata_key": "x-odd",
            "service_http_endpoint": "",
        }


@pytest.mark.usefixtures("secrets")
def test_the_document_of_an_external_server(tmp_path: Path, issuer: Issuer) -> None:
    issuer.document |= {
        "device_authorization_endpoint": f"{issuer.url}/device",
        "grant_types_supported": ["a", 5, None],
        "scopes_supported": "all",
        "unknown": 1,
    }
    external = {"auth_server_type": "External", "external_auth_server": {"retry_attempts": 0}}
    with served(tmp_path, issuer, app_auth=external) as client:
        assert client.get(METADATA, headers=JSON).json() == {
            "issuer": issuer.url,
            "authorization_endpoint": f"{issuer.url}/auth",
            "token_endpoint": f"{issuer.url}/token",
            "jwks_uri": f"{issuer.url}/jwks",
            "response_types_supported": [],
            "scopes_supported": [],
            "token_endpoint_auth_methods_supported": [],
            "code_challenge_methods_supported": [],
            "grant_types_supported": ["a"],
            "device_authorization_endpoint": f"{issuer.url}/device",
        }
        token = issuer.token(aud=URL, scp=["all"], name="Ida")
        assert client.get("/me", headers={"authorization": f"Bearer {token}", **JSON}).json()["name"] == "Ida"
        own = {"authorization": f"Bearer {signed(a_claim_set())}"}
        assert client.get("/me", headers=own).status_code == 401


@pytest.mark.parametrize(
    ("status", "http", "code", "message"),
    [
        (503, 500, 13, "Failed to get oauth metadata."),
        (400, 500, 2, "failed to get oauth metadata with status code 400"),
    ],
)
@pytest.mark.usefixtures("secrets")
def test_an_external_server_that_fails_from_the_start(
    tmp_path: Path, issuer: Issuer, status: int, http: int, code: int, message: str
) -> None:
    external = {"auth_server_type": "External", "external_auth_server": {"retry_attempts": 0}}
    issuer.replies[METADATA] = (status, {}, b"")
    try:
        with served(tmp_path, issuer, app_auth=external) as client:
            reply = client.get(METADATA)
            assert app_of(client).services.health()["identity_provider"] == message
        assert (reply.status_code, reply.json()["code"], reply.json()["message"]) == (http, code, message)
    finally:
        del issuer.replies[METADATA]


@pytest.mark.usefixtures("secrets")
def test_who_the_caller_is(tmp_path: Path, issuer: Issuer) -> None:
    claims = a_claim_set(
        sub="s1", user_info={"name": "N", "email": "a@x"}, email="b@x", team="ml", deep={"a": [1, None, True]}
    )
    with served(tmp_path, issuer) as client:
        me = client.get("/me", headers={"authorization": f"Bearer {signed(claims)}", **JSON}).json()
        assert {name: me[name] for name in ("subject", "name", "email", "picture")} == {
            "subject": "s1",
            "name": "N",
            "email": "b@x",
            "picture": "",
        }
        assert me["additional_claims"]["team"] == "ml"
        assert me["additional_claims"]["deep"] == {"a": [1, None, True]}
        assert client.get("/me").status_code == 401
        ida = {"authorization": f"IDToken {issuer.token(name='Ida', email='ida@x')}", **JSON}
        me = client.get("/me", headers=ida).json()
        assert (me["subject"], me["name"], me["email"]) == ("ida", "Ida", "ida@x")
        assert me["additional_claims"]["iss"] == issuer.url


@pytest.mark.usefixtures("secrets")
def test_an_anonymous_caller_is_nobody(tmp_path: Path, issuer: Issuer) -> None:
    with served(tmp_path, issuer, disable_for_http=True) as client:
        me = client.get("/me", headers=JSON).json()
    assert (me["subject"], me["additional_claims"]) == ("", None)


@pytest.mark.usefixtures("secrets")
def test_each_service_has_a_gauge(tmp_path: Path, issuer: Issuer) -> None:
    with served(tmp_path, issuer) as client:
        found = {gauge for gauge in app_of(client).services.gauges() if gauge[1] == "healthy"}
    assert ("identity_provider", "healthy") in found
    assert found <= set(GAUGES)

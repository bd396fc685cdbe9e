"""Sign-in of commands against replies of OAuth servers; tests/auth/test_clients_sign_in.py uses real ones."""

from __future__ import annotations

import base64
import json
import stat
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from typer.testing import CliRunner

from app.cli.main import app
from app.cli.sign_in import flows, token_store
from app.cli.sign_in.token_store import Tokens
from tests.cli.api import Api
from tests.support.sign_in import free_port

pytestmark = pytest.mark.heavy

BASE = "http://localhost:30080"


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["get", "-p", "p", "-d", "d", *arguments])


@pytest.fixture
def guarded(api: Api) -> Api:
    """A server whose token is `good`, and that names an OAuth server."""

    def executions(request: httpx.Request) -> Any:
        if request.headers.get("authorization") != "Bearer good":
            return httpx.Response(401, json={"code": 16, "message": "token is missing"})
        return {"executions": [], "token": ""}

    api.routes |= {
        "GET /api/v1/executions/p/d": executions,
        "GET /.well-known/oauth-authorization-server": {
            "token_endpoint": f"{BASE}/oauth2/token",
            "authorization_endpoint": f"{BASE}/oauth2/authorize",
            "device_authorization_endpoint": f"{BASE}/oauth2/device_authorization",
        },
        "GET /config/v1/flyte_client": {
            "client_id": "flytectl",
            "redirect_uri": f"http://localhost:{free_port()}/callback",
            "scopes": ["all", "offline"],
        },
        "POST /oauth2/token": {
            "access_token": "good",
            "token_type": "bearer",
            "expires_in": 3600,
            "refresh_token": "r1",
        },
    }
    return api


def form(api: Api) -> dict[str, str]:
    """The last form that was sent to the token endpoint."""
    body = next(one["body"] for one in reversed(api.sent) if one["path"] == "/oauth2/token")
    return {name: values[0] for name, values in parse_qs(body).items()}


def service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTE_CREDENTIALS_AUTH_MODE", "clientSecret")
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_ID", "robot")
    monkeypatch.setenv("FLYTE_CREDENTIALS_CLIENT_SECRET", "s")


def test_a_service_signs_in_once_and_keeps_its_token(
    guarded: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(monkeypatch)
    assert run().exit_code == 0
    assert form(guarded) == {"grant_type": "client_credentials", "scope": "all offline"}
    basic = next(one for one in guarded.sent if one["path"] == "/oauth2/token")["headers"]["authorization"]
    assert base64.b64decode(basic.removeprefix("Basic ")) == b"robot:s"
    file = tmp_path / "home" / "tokens.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    guarded.sent.clear()
    assert run().exit_code == 0
    assert guarded.paths() == ["GET /api/v1/executions/p/d", "GET /api/v1/projects"]
    assert CliRunner().invoke(app, ["auth", "logout"]).exit_code == 0
    assert json.loads(file.read_text()) == {}


def test_without_authentication_nothing_is_asked_about_it(api: Api) -> None:
    api.routes["GET /api/v1/executions/p/d"] = {"executions": [], "token": ""}
    assert run().exit_code == 0
    assert api.paths() == ["GET /api/v1/executions/p/d", "GET /api/v1/projects"]


def test_a_refresh_token_saves_the_sign_in(guarded: Api, tmp_path: Path) -> None:
    key = f"{BASE} pkce"
    token_store.save(tmp_path / "home", key, Tokens("old", "r0", time.time() - 10))
    assert run().exit_code == 0
    assert form(guarded)["refresh_token"] == "r0"
    assert form(guarded)["client_id"] == "flytectl"
    assert token_store.load(tmp_path / "home", key).refresh_token == "r1"  # type: ignore[union-attr]


def test_a_person_signs_in_with_a_browser(guarded: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def browser(url: str) -> bool:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        assert (asked["client_id"], asked["code_challenge_method"]) == ("flytectl", "S256")
        back = f"{asked['redirect_uri']}?code=c1&state={asked['state']}"
        threading.Thread(target=lambda: urllib.request.urlopen(back, timeout=10).read()).start()
        return True

    monkeypatch.setattr(flows.webbrowser, "open", browser)
    done = run()
    assert done.exit_code == 0, done.output
    assert (form(guarded)["code"], form(guarded)["grant_type"]) == ("c1", "authorization_code")
    assert len(form(guarded)["code_verifier"]) > 40
    assert "sign in with a browser; if none opens: http://localhost:30080/oauth2/authorize?" in done.stderr


def test_a_reply_of_another_sign_in_is_refused(guarded: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def browser(url: str) -> bool:
        back = f"{parse_qs(urlsplit(url).query)['redirect_uri'][0]}?code=c1&state=other"
        threading.Thread(target=lambda: urllib.request.urlopen(back, timeout=10).read()).start()
        return True

    monkeypatch.setattr(flows.webbrowser, "open", browser)
    assert "belongs to another one; run the command again" in run().stderr
    assert "POST /oauth2/token" not in guarded.paths()


def test_a_person_confirms_a_code_elsewhere(guarded: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLYTE_CREDENTIALS_AUTH_MODE", "DeviceFlow")
    monkeypatch.setattr(flows.time, "sleep", lambda _: None)
    guarded.routes["POST /oauth2/device_authorization"] = {
        "device_code": "d1",
        "user_code": "BCDF-GHJK",
        "verification_uri": f"{BASE}/oauth2/device",
        "expires_in": 600,
    }
    good = guarded.routes["POST /oauth2/token"]
    replies: Any = iter([{"error": "authorization_pending"}, {"error": "slow_down"}])

    def token(_: httpx.Request) -> Any:
        error = next(replies, None)
        return httpx.Response(400, json=error) if error else good

    guarded.routes["POST /oauth2/token"] = token
    done = run()
    assert done.exit_code == 0, done.output
    assert (
        "sign in with a browser at http://localhost:30080/oauth2/device and confirm the code BCDF-GHJK" in done.stderr
    )
    assert form(guarded)["device_code"] == "d1"


def test_an_external_command_prints_the_token(guarded: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Any] = []

    def printed(command: Any, **_: Any) -> Any:
        ran.append(command)
        return type("Done", (), {"stdout": "good\n", "returncode": 0})

    monkeypatch.setattr("app.cli.sign_in.bearer.subprocess.run", printed)
    monkeypatch.setenv("FLYTE_CREDENTIALS_AUTH_MODE", "ExternalCommand")
    monkeypatch.setenv("FLYTE_CREDENTIALS_COMMAND", "sh,token.sh")
    assert run().exit_code == 0
    assert ran == [("sh", "token.sh")]
    assert not (tmp_path / "home" / "tokens.json").exists()


@pytest.mark.parametrize(
    ("mode", "change", "text"),
    [
        (
            "clientSecret",
            {"POST /oauth2/token": httpx.Response(401, json={"error": "invalid_client"})},
            "the client robot cannot sign in: invalid_client; correct its id and secret",
        ),
        (
            "DeviceFlow",
            {"POST /oauth2/device_authorization": httpx.Response(400, json={"error": "x"})},
            "authType to Pkce",
        ),
        ("clientSecret", {"GET /config/v1/flyte_client": httpx.Response(501)}, "put a token into FLYTE_API_KEY"),
        ("ExternalCommand", {}, "needs a command; name it in admin.command"),
    ],
)
def test_a_sign_in_that_fails_says_what_to_do(
    guarded: Api, monkeypatch: pytest.MonkeyPatch, mode: str, change: dict[str, Any], text: str
) -> None:
    service(monkeypatch)
    monkeypatch.setenv("FLYTE_CREDENTIALS_AUTH_MODE", mode)
    guarded.routes |= change
    done = run()
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert text in done.stderr


def test_a_damaged_file_of_tokens_means_a_new_sign_in(
    guarded: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service(monkeypatch)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "tokens.json").write_text("{")
    assert run().exit_code == 0

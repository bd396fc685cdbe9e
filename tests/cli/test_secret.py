"""`flyteadmin secret init`: a server starts with exactly what the command prints."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.auth.keys import SigningKeys
from app.auth.secrets_store import SecretsStore
from app.cli.secret import _secret_name
from app.settings import BadSetting, load
from tests.support.servers import run, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import oidc_provider_mock

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread() as server:
        yield f"http://localhost:{server.server_port}"


def token(config: Path, public_url: str) -> str:
    """An access token as the server signs them, by the keys that the printed settings name."""
    settings = load((config,), None, {}).settings
    claims = {"aud": [public_url], "iss": public_url, "scp": ["all"], "sub": "anna", "exp": int(time.time()) + 60}
    return SigningKeys.load(settings, SecretsStore(settings, {})).issue(claims)


def test_a_server_starts_with_exactly_the_printed_settings(tmp_path: Path, provider: str) -> None:
    home, config = tmp_path / "home", tmp_path / "auth.yaml"
    url = "http://localhost:30080"
    done = run(home, "secret", "init", "--issuer", provider, "--client-id", "flyte")
    assert done.returncode == 0, done.stderr
    config.write_text(done.stdout)
    assert (home.stat().st_mode & 0o777) == 0o700
    assert (home / "secrets" / "client_secret").read_text() not in done.stderr + done.stdout
    assert f"write the client secret of the provider into {home / 'secrets' / 'oidc_client_secret'}" in done.stderr
    (home / "secrets" / "oidc_client_secret").write_text("the secret")
    checked = run(home, "auth", "check", "--config", str(config))
    assert "error" not in checked.stdout, checked.stdout
    assert "ok       staticClients.flytepropeller.client_secret: base64 of a bcrypt hash" in checked.stdout
    with serving(home, "--config", str(config)) as server:
        assert httpx.get(f"{server.web}/healthcheck").status_code == 200
        assert httpx.get(f"{server.web}/api/v1/projects").status_code == 401
        before = {"authorization": f"Bearer {token(config, url)}"}
        reply = httpx.get(f"{server.web}/api/v1/projects", headers=before)
        assert reply.status_code == 200, reply.text
        # The printed example, at the port of this server.
        line = next(line for line in done.stderr.splitlines() if line.strip().startswith("curl -u"))
        if shutil.which("curl"):
            shown = ["sh", "-c", f"{line.replace(url, server.web)} -sS"]
            issued = subprocess.run(shown, capture_output=True, text=True, timeout=30, check=True).stdout
            headers = {"authorization": f"Bearer {json.loads(issued)['access_token']}"}
            assert httpx.get(f"{server.web}/api/v1/projects", headers=headers).status_code == 200
        assert "not_reported" not in server.printed
    assert run(home, "secret", "init", "--rotate").returncode == 0
    with serving(home, "--config", str(config)) as server:
        for headers in (before, {"authorization": f"Bearer {token(config, url)}"}):
            assert httpx.get(f"{server.web}/api/v1/projects", headers=headers).status_code == 200


@pytest.mark.parametrize("arguments", [("--rotate", "--force"), ("--rotate",), ("--unknown",)])
def test_calls_that_change_nothing(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path / "home", "secret", "init", *arguments)
    assert done.returncode != 0
    assert done.stderr
    assert not (tmp_path / "home" / "secrets").exists()


@pytest.mark.parametrize("name", ["../x", ".", " ", "x\ny", "g/x\x1b[2J"])
def test_a_name_that_no_task_can_request_is_refused(name: str) -> None:
    with pytest.raises(BadSetting, match="cannot be a part of the name"):
        _secret_name(name, "")

"""Sign-in at real identity providers in a real browser: Dex and Keycloak.

Dex is a tool of the Go module beside this file, built with the build cache of Go. Keycloak is its distribution on Maven
Central. Both lie in .cache/providers. Needs chromium, go, and java with mvn; run with `make test-providers`. The
environment variable DEX or KEYCLOAK names a program (dex, kc.sh) that is used instead.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import yaml
from playwright.sync_api import Page

from tests.support.browser import browsing, cookies, skip_without_chromium, tab
from tests.support.servers import Running, serving
from tests.support.sign_in import configuration, free_port

pytestmark = pytest.mark.campaign

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "providers"
KEYCLOAK_VERSION = "26.7.3"
SECRET = "secret of the client"
PASSWORD = "password of alice"
# Tokens end after so many seconds, so that a session is refreshed during the test.
TOKEN_SECONDS = 8


def run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@contextmanager
def process(command: list[str], folder: Path, address: str, **environment: str) -> Iterator[None]:
    """A provider that answers at an address when the block begins, and is gone when it ends."""
    log = folder / "provider.log"
    with log.open("w") as output:
        one = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **environment}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        # The first start of Keycloak compiles it for its settings.
        deadline = time.monotonic() + 900
        while True:
            assert one.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            try:
                if httpx.get(f"{address}/.well-known/openid-configuration").status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        yield
    finally:
        # Keycloak's start script is the parent of its Java.
        os.killpg(one.pid, signal.SIGTERM)
        one.wait(60)


def dex_program() -> str:
    if given := os.environ.get("DEX"):
        return given
    if shutil.which("go") is None:
        pytest.skip("no go on this machine: Dex is NOT TESTED")
    program = CACHE / "dex"
    CACHE.mkdir(parents=True, exist_ok=True)
    run("go", "build", "-o", str(program), "github.com/dexidp/dex/cmd/dex", cwd=Path(__file__).parent / "dex")
    return str(program)


def keycloak_program() -> str:
    if given := os.environ.get("KEYCLOAK"):
        return given
    if shutil.which("mvn") is None or shutil.which("java") is None:
        pytest.skip("no java or mvn on this machine: Keycloak is NOT TESTED")
    folder = CACHE / f"keycloak-{KEYCLOAK_VERSION}"
    program = folder / "bin" / "kc.sh"
    if not program.exists():
        artifact = f"org.keycloak:keycloak-quarkus-dist:{KEYCLOAK_VERSION}:zip"
        plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"
        run("mvn", "-q", "-B", plugin, f"-Dartifact={artifact}", f"-DoutputDirectory={CACHE}")
        with zipfile.ZipFile(CACHE / f"keycloak-quarkus-dist-{KEYCLOAK_VERSION}.zip") as archive:
            archive.extractall(CACHE)
        program.chmod(0o755)
    return str(program)


@contextmanager
def dex(folder: Path, callback: str) -> Iterator[str]:
    port = free_port()
    issuer = f"http://localhost:{port}/dex"
    password = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(10)).decode()
    alice = {"email": "alice@example.com", "hash": password, "username": "alice", "userID": "alice-id"}
    document = {
        "issuer": issuer,
        "storage": {"type": "memory"},
        "web": {"http": f"127.0.0.1:{port}"},
        "expiry": {"idTokens": f"{TOKEN_SECONDS}s"},
        "oauth2": {"skipApprovalScreen": True},
        "staticClients": [{"id": "flyteadmin", "secret": SECRET, "name": "Flyte", "redirectURIs": [callback]}],
        "enablePasswordDB": True,
        "staticPasswords": [alice],
    }
    (folder / "dex.yaml").write_text(yaml.safe_dump(document))
    with process([dex_program(), "serve", "dex.yaml"], folder, issuer):
        yield issuer


@contextmanager
def keycloak(folder: Path, callback: str) -> Iterator[str]:
    port, management = free_port(), free_port()
    issuer = f"http://localhost:{port}/realms/flyte"
    program = Path(keycloak_program())
    home = folder / "keycloak"
    shutil.copytree(program.parents[1], home, symlinks=True)
    user: dict[str, Any] = {"username": "alice", "email": "alice@example.com", "emailVerified": True, "enabled": True}
    user |= {"firstName": "Alice", "lastName": "Doe", "groups": ["/ml"]}
    user |= {"credentials": [{"type": "password", "value": PASSWORD}]}
    groups = {
        "name": "groups",
        "protocol": "openid-connect",
        "protocolMapper": "oidc-group-membership-mapper",
        "config": {
            "claim.name": "groups",
            "full.path": "false",
            "id.token.claim": "true",
            "userinfo.token.claim": "true",
        },
    }
    client = {
        "clientId": "flyteadmin",
        "secret": SECRET,
        "redirectUris": [callback],
        "attributes": {"post.logout.redirect.uris": callback.replace("/callback", "/healthcheck")},
        "protocolMappers": [groups],
    }
    realm = {
        "realm": "flyte",
        "enabled": True,
        "accessTokenLifespan": TOKEN_SECONDS,
        "revokeRefreshToken": True,
        "groups": [{"name": "ml"}],
        "users": [user],
        "clients": [client],
    }
    (home / "data" / "import").mkdir(parents=True)
    (home / "data" / "import" / "flyte.json").write_text(json.dumps(realm))
    command = [str(home / "bin" / "kc.sh"), "start-dev", "--import-realm", "--cache", "local"]
    command += ["--http-host", "127.0.0.1", "--http-port", str(port), "--http-management-port", str(management)]
    command += ["--hostname", f"http://localhost:{port}"]
    with process(command, folder, issuer):
        yield issuer


def submit(page: Page, **fields: str) -> None:
    """Fill in fields by name and submit their form."""
    for name, value in fields.items():
        page.fill(f"[name={name}]", value)
    # Keycloak's form has a button that shows the password.
    form = page.locator("form").filter(has=page.locator(f"[name={next(iter(fields))}]"))
    form.locator("[type=submit], button:not([type=button])").first.click()


def status(page: Page) -> int:
    """The status of a request that the page that is open sends to its own server."""
    found = page.evaluate("fetch('/api/v1/projects').then(reply => reply.status)")
    assert isinstance(found, int)
    return found


def sign_in(page: Page, server: Running, **fields: str) -> None:
    # Cookies belong to a name, so the browser uses the name in auth.authorizedUris.
    page.goto(f"{localhost(server)}/login?redirect_url=/healthcheck")
    submit(page, **fields)
    page.wait_for_url("**/healthcheck")


def localhost(server: Running) -> str:
    return f"http://localhost:{server.web.rpartition(':')[2]}"


@contextmanager
def started(tmp_path: Path, provider: Any, scopes: tuple[str, ...], **user_auth: Any) -> Iterator[tuple[Page, Running]]:
    """A server, a provider and a browser."""
    skip_without_chromium()
    port = free_port()
    url = f"http://localhost:{port}"
    user_auth |= {"logout": {"redirectUrl": f"{url}/healthcheck"}}
    with provider(tmp_path, f"{url}/callback") as issuer:
        folder = tmp_path / "server"
        path = configuration(folder, url, issuer, client_secret=SECRET, scopes=scopes, auth={"userAuth": user_auth})
        with (
            serving(tmp_path / "home", "--config", str(path), "--port", str(port)) as server,
            browsing() as browser,
            tab(browser) as page,
        ):
            yield page, server


@contextmanager
def signed_in(
    tmp_path: Path, provider: Any, scopes: tuple[str, ...], fields: dict[str, str], **user_auth: Any
) -> Iterator[tuple[Page, Running]]:
    """A browser that has signed in at a server."""
    with started(tmp_path, provider, scopes, **user_auth) as (page, server):
        sign_in(page, server, **fields)
        yield page, server


def check_session(page: Page, server: Running) -> None:
    """Use the session until its tokens were renewed twice."""
    assert '"event":"signed_in"' in server.printed
    assert status(page) == 200
    cookie = cookies(page.context)["flyte_session"]
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Lax", "/")
    assert not {"flyte_csrf_state", "flyte_redirect_location"} & cookies(page.context).keys()
    for _ in range(2):
        time.sleep(TOKEN_SECONDS + 1)
        assert status(page) == 200, server.printed[-2000:]
    assert "no_refresh_token" not in server.printed


def test_dex(tmp_path: Path) -> None:
    fields = {"login": "alice@example.com", "password": PASSWORD}
    scopes = ("openid", "profile", "email", "offline_access")
    with signed_in(tmp_path, dex, scopes, fields, allow={"emailDomains": ["example.com"]}) as (page, server):
        check_session(page, server)
        # Dex has no logout of its own.
        page.goto(f"{localhost(server)}/logout")
        assert "flyte_session" not in cookies(page.context)
        page.goto(f"{localhost(server)}/healthcheck")
        assert status(page) == 401


def test_dex_and_somebody_who_is_not_admitted(tmp_path: Path) -> None:
    fields = {"login": "alice@example.com", "password": PASSWORD}
    allow = {"emailDomains": ["example.org"]}
    with started(tmp_path, dex, ("openid", "email"), allow=allow) as (page, server):
        page.goto(f"{localhost(server)}/login")
        submit(page, **fields)
        page.get_by_text("not allowed").first.wait_for()
        assert "alice@example.com is of the domain example.com; wanted is example.org" in page.inner_text("body")
        assert "flyte_session" not in cookies(page.context)


def test_keycloak(tmp_path: Path) -> None:
    fields = {"username": "alice", "password": PASSWORD}
    scopes = ("openid", "profile", "email")
    allow = {"emailDomains": ["example.com"], "claim": "groups", "claimValues": ["ml"]}
    with signed_in(tmp_path, keycloak, scopes, fields, allow=allow) as (page, server):
        check_session(page, server)
        # Keycloak ends its own session too, so the next sign-in asks for the password.
        page.goto(f"{localhost(server)}/logout")
        page.wait_for_url("**/healthcheck")
        assert status(page) == 401
        sign_in(page, server, **fields)
        assert status(page) == 200

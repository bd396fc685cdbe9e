"""A deployment as an operator sets it up: TLS with the authority of `--tls`, authentication, the local engine, clients.

The OpenID provider signs alice in at once. Clients are flytekit's, in the environment of tasks, as processes.
"""

from __future__ import annotations

import base64
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import yaml
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support import provider
from tests.support.servers import Running, serving

FOLDER = Path(__file__).parent / "clients"
SERVICE, SERVICE_SECRET = "robot", "robot's + secret/%"
PROJECT, DOMAIN = "flytesnacks", "development"
RUN_SECONDS_MAX = 240


def free_port() -> int:
    """A port that is free now. Addresses of a deployment are in its settings, so the system cannot choose them."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def make_secrets(folder: Path, client_secret: str) -> None:
    """Write the secrets that upstream's settings name."""
    folder.mkdir()
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    (folder / "token_rsa_key.pem").write_bytes(pem)
    for name, size in (("cookie_hash_key", 64), ("cookie_block_key", 32), ("claim_symmetric_key", 32)):
        (folder / name).write_bytes(base64.b64encode(os.urandom(size)).rstrip(b"="))
    (folder / "oidc_client_secret").write_text(client_secret)


def settings_of(folder: Path, url: str, callback: str, issuer: str) -> dict[str, Any]:
    """The YAML of the server, in upstream's keys."""
    hashed = base64.b64encode(bcrypt.hashpw(SERVICE_SECRET.encode(), bcrypt.gensalt(4))).decode()
    people = {
        "id": "flytectl",
        "public": True,
        "redirect_uris": [callback],
        "grant_types": ["refresh_token", "authorization_code", "urn:ietf:params:oauth:grant-type:device_code"],
        "response_types": ["code"],
        "scopes": ["all", "offline"],
    }
    service = {
        "id": SERVICE,
        "client_secret": hashed,
        "grant_types": ["client_credentials"],
        "response_types": ["token"],
        "scopes": ["all"],
    }
    return {
        "server": {"security": {"useAuth": True}},
        "secrets": {"secrets-prefix": str(folder / "secrets")},
        "auth": {
            "authorizedUris": [url],
            "userAuth": {
                "openId": {"baseUrl": issuer, "clientId": provider.CLIENT, "scopes": ["openid", "profile", "email"]}
            },
            "appAuth": {
                "selfAuthServer": {"deviceFlow": True, "staticClients": {"flytectl": people, SERVICE: service}},
                "thirdPartyConfig": {
                    "flyteClient": {"clientId": "flytectl", "redirectUri": callback, "scopes": ["all", "offline"]}
                },
            },
        },
    }


@dataclass(frozen=True)
class Deployment:
    """A running server with clients.

    Attributes:
        endpoint: host:port of REST and gRPC.
        authority: The file of the certificate authority.
        programs: The folder with python and pyflyte.
    """

    server: Running
    folder: Path
    endpoint: str
    authority: Path
    programs: Path

    @property
    def url(self) -> str:
        return f"https://{self.endpoint}"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def http(self, token: str = "") -> httpx.Client:
        """A client of REST."""
        headers = {"accept": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.Client(base_url=self.url, verify=context, headers=headers, timeout=60)

    def service_token(self) -> str:
        """A token of the service, by client credentials."""
        client = {"client_id": SERVICE, "client_secret": SERVICE_SECRET}
        form = {"grant_type": "client_credentials", "scope": "all", **client}
        with self.http() as http:
            answer = http.post("/oauth2/token", data=form)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])

    def config(self, name: str, **admin: Any) -> Path:
        """A configuration file of flytekit."""
        file = self.folder / f"{name}.yaml"
        common = {"endpoint": f"dns:///{self.endpoint}", "caCertFilePath": str(self.authority), "insecure": False}
        file.write_text(yaml.safe_dump({"admin": {**common, **admin}}))
        return file

    def variables(self) -> dict[str, str]:
        """The environment of a client: a home without keys, and a browser that is a script."""
        script = f"{sys.executable} {FOLDER / 'browser.py'} {self.authority} %s"
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(self.folder / "user"), "BROWSER": script, "COLUMNS": "400"}

    def pyflyte(self, config: Path, *arguments: str) -> list[str]:
        """The command of a client."""
        return [str(self.programs / "pyflyte"), "-c", str(config), *arguments]

    def launch(self, config: Path, workflow: str, *inputs: str) -> list[str]:
        """The command that registers and launches a workflow of calling_back.py."""
        where = ("-p", PROJECT, "-d", DOMAIN)
        return self.pyflyte(
            config, "run", "--remote", *where, "--copy", "auto", str(FOLDER / "calling_back.py"), workflow, *inputs
        )

    def run(self, command: list[str]) -> str:
        """Run a client to its end; what it printed."""
        done = subprocess.run(
            command,
            env=self.variables(),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}\n{self.server.printed}"
        return done.stdout + done.stderr


@contextmanager
def deployed(folder: Path, environment: Path, *arguments: str, **variables: str) -> Iterator[Deployment]:
    """Start the provider and the server."""
    found = provider.Provider()
    try:
        endpoint, callback = f"localhost:{free_port()}", f"http://localhost:{free_port()}/callback"
        url = f"https://{endpoint}"
        make_secrets(folder / "secrets", provider.SECRET)
        (folder / "user").mkdir()
        file = folder / "server.yaml"
        file.write_text(yaml.safe_dump(settings_of(folder, url, callback, found.url)))
        engine = {"FLYTEADMIN_ENGINE": "local", "FLYTEADMIN__ENGINE__LOCAL__ENVIRONMENT": str(environment)}
        port = endpoint.partition(":")[2]
        flags = ("--config", str(file), "--port", port, "--tls", *arguments)
        with serving(folder / "home", *flags, variables={**engine, **variables}) as server:
            authority = folder / "home" / "tls" / "ca.pem"
            yield Deployment(server, folder, endpoint, authority, environment / "bin")
    finally:
        found.close()


Deploy = Callable[..., Any]

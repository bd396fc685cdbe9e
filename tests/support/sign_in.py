"""Configurations of servers that sign people in."""

from __future__ import annotations

import base64
import secrets
import socket
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


def free_port(address: str = "127.0.0.1") -> int:
    with socket.create_server((address, 0)) as one:
        return int(one.getsockname()[1])


def write_secrets(folder: Path, client_secret: str) -> None:
    """Write every secret that a server with authentication reads."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, length in (("cookie_hash_key", 64), ("cookie_block_key", 32), ("claim_symmetric_key", 32)):
        (folder / name).write_text(base64.b64encode(secrets.token_bytes(length)).rstrip(b"=").decode())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    (folder / "token_rsa_key.pem").write_bytes(pem)
    (folder / "oidc_client_secret").write_text(client_secret)


def merged(into: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(into.get(key), dict)
        into[key] = merged(into[key], value) if both else value
    return into


def configuration(
    folder: Path, url: str, provider: str, *, client_secret: str, scopes: tuple[str, ...], **more: Any
) -> Path:
    """Write secrets and a configuration, and return the path of the latter.

    Args:
        folder: An empty folder.
        url: The address of the server.
        provider: The issuer.
        client_secret: The password of the client flyteadmin.
        scopes: The scopes that are requested.
        **more: Sections that are merged into the configuration.
    """
    write_secrets(folder / "secrets", client_secret)
    open_id = {"baseUrl": provider, "clientId": "flyteadmin", "scopes": list(scopes)}
    document = {
        "server": {"security": {"useAuth": True, "insecureCookieHeader": True}},
        "secrets": {"secrets-prefix": str(folder / "secrets")},
        "auth": {"authorizedUris": [url], "userAuth": {"redirectUrl": "/me", "openId": open_id}},
    }
    path = folder / "flyte.yaml"
    path.write_text(yaml.safe_dump(merged(document, more)))
    return path

"""The files with the secrets of authentication, and the settings that use them: `flyteadmin secret init`.

Source: flyteadmin/auth/init_secrets.go, whose files have the same names and forms.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from app.server import private_files
from app.settings import BadSetting, Settings
from app.settings.auth import STATIC_CLIENTS, StaticClient

FOLDER = "secrets"
RSA_BITS = 2048
# The service for which the default static clients have a place, and the file with its password.
SERVICE, SERVICE_SECRET = "flytepropeller", "client_secret"
PLACEHOLDER = "replace-this-by-the-client-secret-of-your-identity-provider"
# Cost 10 is what upstream's hashes have; verification takes about 50 ms.
_BCRYPT_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Written:
    """One file of the folder.

    Attributes:
        file: The path.
        done: `made`, `kept` or `moved`.
    """

    file: Path
    done: str


def write(folder: Path, settings: Settings, *, force: bool = False) -> list[Written]:
    """Write every secret that is missing, into a folder that only its owner can read.

    Args:
        folder: The folder, made with mode 0700.
        settings: The settings that name the secrets.
        force: Replace those that exist.

    Raises:
        BadSetting: The folder or a file cannot be written.
    """
    written = []
    try:
        for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            # `parents=True` would make the others, such as the home folder, readable for everybody.
            missing.mkdir(mode=0o700, exist_ok=True)
        for name, make in _makers(settings).items():
            file = folder / name
            if force:
                private_files.replace(file, make())
                written.append(Written(file, "made"))
            else:
                done = not file.exists() and private_files.create(file, make())
                written.append(Written(file, "made" if done else "kept"))
    except OSError as error:
        raise _unusable(folder, error) from error
    return written


def rotate(folder: Path, settings: Settings) -> list[Written]:
    """Make a new key that signs tokens. The present one becomes the old one, whose tokens stay valid.

    Raises:
        BadSetting: There is no key, or a file cannot be written.
    """
    server = settings.auth.app_auth.self_auth_server
    key = folder / server.token_signing_rsa_key_secret_name
    old = folder / server.old_token_signing_rsa_key_secret_name
    try:
        # In this order a crash leaves the key in place.
        private_files.replace(old, key.read_bytes())
        private_files.replace(key, _rsa_key())
    except FileNotFoundError as error:
        raise BadSetting(f"there is no {key} to rotate; `flyteadmin secret init` makes it") from error
    except OSError as error:
        raise _unusable(folder, error) from error
    return [Written(old, "moved"), Written(key, "made")]


def settings_for(
    folder: Path, settings: Settings, *, url: str = "", issuer: str = "", client_id: str = ""
) -> dict[str, Any]:
    """Return the settings, as a file has them, of a server that uses the secrets.

    Args:
        folder: The folder of the secrets.
        settings: The settings in use.
        url: The address of the server as clients write it; by default that of the settings.
        issuer: The address of the identity provider; a server does not start without one.
        client_id: The id of this server at the provider.
    """
    url = url or next(iter(settings.auth.authorized_uris), settings.own_url)
    security: dict[str, Any] = {"useAuth": True}
    if url.startswith("http://"):
        security["insecureCookieHeader"] = True
    auth: dict[str, Any] = {"authorizedUris": [url]}
    # The default scopes bring no e-mail address, and this server has no page at the default address /console.
    open_id = {"baseUrl": issuer, "clientId": client_id, "scopes": ["openid", "profile", "email"]}
    auth["userAuth"] = {"redirectUrl": "/me", "openId": open_id}
    auth["appAuth"] = {"selfAuthServer": {"staticClients": _clients(folder)}}
    return {
        "server": {"security": security},
        "secrets": {"secrets-prefix": str(folder)},
        "auth": auth,
    }


def _makers(settings: Settings) -> dict[str, Callable[[], bytes]]:
    user, server = settings.auth.user_auth, settings.auth.app_auth.self_auth_server
    return {
        user.cookie_hash_key_secret_name: lambda: _key(64),
        user.cookie_block_key_secret_name: lambda: _key(32),
        server.claim_symmetric_encryption_key_secret_name: lambda: _key(32),
        server.token_signing_rsa_key_secret_name: _rsa_key,
        user.open_id.client_secret_name: PLACEHOLDER.encode,
        SERVICE_SECRET: lambda: secrets.token_urlsafe(32).encode(),
    }


def _key(length: int) -> bytes:
    return base64.b64encode(secrets.token_bytes(length)).rstrip(b"=")


def _rsa_key() -> bytes:
    key = rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _clients(folder: Path) -> dict[str, Any]:
    """Return the default clients, the service with the hash of its password."""
    import bcrypt

    try:
        password = (folder / SERVICE_SECRET).read_bytes().strip()
    except OSError as error:
        raise _unusable(folder, error) from error
    hashed = base64.b64encode(bcrypt.hashpw(password, bcrypt.gensalt(_BCRYPT_ROUNDS))).decode()
    clients = {}
    for name, client in STATIC_CLIENTS.items():
        clients[name] = _written(client)
        if name == SERVICE:
            clients[name]["client_secret"] = hashed
    return clients


def _written(client: StaticClient) -> dict[str, Any]:
    values = client.model_dump(exclude={"client_secret"}, exclude_defaults=True)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def _unusable(folder: Path, error: OSError) -> BadSetting:
    return BadSetting(f"the folder {folder} cannot be used for secrets ({error.strerror}: {error.filename})")

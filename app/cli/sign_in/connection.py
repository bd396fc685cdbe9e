"""The server that a command calls, and how it signs in: from a flag, from pyflyte's configuration, or from the home.

The first of these counts:

1. `--endpoint`, or the variable FLYTE_PLATFORM_URL;
2. the file that FLYTECTL_CONFIG names;
3. `config.yaml` in the home folder, while a server runs from this home;
4. `~/.flyte/config.yaml`;
5. `config.yaml` in the home folder; without one http://localhost:30080.

A variable `FLYTE_CREDENTIALS_…` wins over the same value of the file, as in flytekit.

Source: flytekit.configuration.internal (Platform, Credentials) and flytekit.configuration.file.get_config_file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.settings import BadSetting

LOCAL = "http://localhost:30080"
FILE_VARIABLE = "FLYTECTL_CONFIG"
ENDPOINT_VARIABLE = "FLYTE_PLATFORM_URL"
# A file that configures a client is never larger.
FILE_BYTES_MAX = 1024 * 1024
_TRUE = ("true", "1", "on", "yes")

# The names of flytekit and flytectl in lower case.
PKCE, DEVICE, SECRET, COMMAND = "pkce", "deviceflow", "clientsecret", "externalcommand"
_KINDS = {
    "": PKCE,
    "pkce": PKCE,
    "standard": PKCE,
    "deviceflow": DEVICE,
    "clientsecret": SECRET,
    "client_credentials": SECRET,
    "basic": SECRET,
    "externalcommand": COMMAND,
    "external_process": COMMAND,
}


@dataclass(frozen=True, slots=True)
class Connection:
    """The address of a server, and how to sign in to it.

    Attributes:
        url: The address as scheme://host[:port], without a final slash.
        source: The flag, variable or file that names the address.
        kind: The way to sign in: PKCE, DEVICE, SECRET or COMMAND.
        client_id: The id of the OAuth client; "" for the one that the server names.
        client_secret: The secret for SECRET.
        scopes: The scopes to ask for; none for those that the server names.
        audience: The audience to ask for; "" for the one that the server names.
        command: The command for COMMAND, which prints a token.
        ca_file: A file with the authority of the server's certificate; "" for those of the system.
        unverified: Whether certificates are not checked.
        project: The default project of the file.
        domain: The default domain of the file.
        values: The content of the file, where it is that of this server.
    """

    url: str
    source: str
    kind: str = PKCE
    client_id: str = ""
    client_secret: str = ""
    scopes: tuple[str, ...] = ()
    audience: str = ""
    command: tuple[str, ...] = ()
    ca_file: str = ""
    unverified: bool = False
    project: str = ""
    domain: str = ""
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)


def find(endpoint: str = "") -> Connection:
    """Return the server of a command.

    Args:
        endpoint: The value of `--endpoint`; "" without one.

    Raises:
        BadSetting: The address or the file cannot be used.
    """
    file, source = _file(home())
    values = _read(file) if file is not None else {}
    admin = values.get("admin") or {}
    given = endpoint or os.environ.get(ENDPOINT_VARIABLE, "")
    if given:
        named = str(admin.get("endpoint", ""))
        same = bool(named) and _netloc(named) == _netloc(given)
        # Secrets and authorities of the file are those of its own server.
        if not same:
            admin, values = {}, {key: value for key, value in values.items() if key == "task"}
        source = "--endpoint" if endpoint else ENDPOINT_VARIABLE
    address = given or str(admin.get("endpoint") or LOCAL)
    connection = Connection(_url(address, admin, source), source, values=values)
    tasks = values.get("task") or {}
    connection = replace(connection, project=str(tasks.get("project", "")), domain=str(tasks.get("domain", "")))
    return _with_credentials(connection, admin)


def home() -> Path:
    """Return the home folder of this command."""
    return Path(os.environ.get("FLYTEADMIN_HOME") or "~/.flyteadmin").expanduser()


def _file(folder: Path) -> tuple[Path | None, str]:
    """Return the configuration file and its name for messages; None without one."""
    from app.server.home import holder

    if named := os.environ.get(FILE_VARIABLE):
        file = Path(named).expanduser()
        if not file.exists():
            raise BadSetting(f"{FILE_VARIABLE}={named} does not exist; name a file, or remove the variable")
        return file, f"{FILE_VARIABLE}={named}"
    own, users = folder / "config.yaml", Path.home() / ".flyte" / "config.yaml"
    order = (own, users) if own.exists() and holder(folder) else (users, own)
    for file in order:
        if file.exists():
            return file, str(file)
    return None, "the default"


def _read(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise BadSetting(f"{file} has more than {FILE_BYTES_MAX} bytes; name pyflyte's configuration file")
        found = yaml.safe_load(file.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSetting(f"{file} is no YAML ({str(error).splitlines()[0]}); correct it, or give --endpoint") from error
    if found is None:
        return {}
    if not isinstance(found, dict) or not isinstance(found.get("admin") or {}, dict):
        raise BadSetting(f"{file} has no section `admin` with `endpoint`; correct it, or give --endpoint")
    return found


def _url(address: str, admin: Mapping[str, Any], source: str) -> str:
    """Return an address as scheme://host[:port]."""
    text = address.removeprefix("dns:///").rstrip("/")
    if "://" not in text:
        text = f"{'http' if _insecure(admin, text) else 'https'}://{text}"
    parts = urlsplit(text)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username is not None:
        raise BadSetting(
            f"{source}: {text.rpartition('@')[2]} is no address of a server; allowed: http://host:port, "
            "https://host[:port] and dns:///host:port"
        )
    return text


def _insecure(admin: Mapping[str, Any], host: str) -> bool:
    variable = os.environ.get("FLYTE_PLATFORM_INSECURE")
    if variable is not None:
        return variable.lower() in _TRUE
    if "insecure" in admin:
        return _true(admin["insecure"])
    from app.settings.hosts import host_of, is_loopback

    return is_loopback(host_of(host) or "")


def _true(value: Any) -> bool:
    return value.lower() in _TRUE if isinstance(value, str) else bool(value)


def _netloc(address: str) -> str:
    text = address.removeprefix("dns:///")
    return urlsplit(text if "://" in text else f"//{text}").netloc.lower()


def _with_credentials(connection: Connection, admin: Mapping[str, Any]) -> Connection:
    def read(variable: str, key: str) -> Any:
        return os.environ.get(f"FLYTE_CREDENTIALS_{variable}") or admin.get(key) or ""

    secret, location, name = read("CLIENT_SECRET", ""), "", ""
    if not secret:
        location, name = (
            read("CLIENT_SECRET_LOCATION", "clientSecretLocation"),
            read("CLIENT_SECRET_ENV_VAR", "clientSecretEnvVar"),
        )
    kind = str(read("AUTH_MODE", "authType")).lower()
    if kind not in _KINDS:
        raise BadSetting(
            f"admin.authType={kind} is not known; allowed: Pkce, DeviceFlow, ClientSecret and ExternalCommand"
        )
    if name:
        secret = os.environ.get(str(name), "")
    elif location:
        try:
            secret = Path(str(location)).expanduser().read_text().strip()
        except OSError as error:
            raise BadSetting(
                f"the file of the client secret cannot be read ({error.strerror}: {location}); "
                "correct admin.clientSecretLocation"
            ) from error
    return replace(
        connection,
        kind=_KINDS[kind],
        client_id=str(read("CLIENT_ID", "clientId")),
        client_secret=str(secret),
        scopes=_words(read("SCOPES", "scopes")),
        audience=str(read("AUDIENCE", "audience")),
        command=_words(read("COMMAND", "command")),
        ca_file=str(os.environ.get("FLYTE_PLATFORM_CA_CERT_FILE_PATH") or admin.get("caCertFilePath") or ""),
        unverified=_true(admin.get("insecureSkipVerify", False)),
    )


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(word for word in value.split(",") if word)
    return tuple(str(word) for word in value)

"""Credentials of clusters that change while the server runs: token files and exec plugins of kubeconfig files.

Each answer 401 renews the credentials once, and the call is sent again with the new ones. The renewal is shared by all
calls that were sent with the old ones.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import httpx2

from app.settings.values import BadSetting

# Kubernetes replaces tokens of service accounts well before they expire.
TOKEN_FILE_SECONDS = 60.0
PLUGIN_SECONDS_MAX = 60.0
# A plugin's credentials are renewed this long before they expire.
EXPIRES_EARLY = timedelta(seconds=10)
# After a run of a plugin further answers 401 cause none for this time: the new credentials are refused too.
PLUGIN_PAUSE_SECONDS = 10.0
_OUTPUT_BYTES_MAX = 1024 * 1024
_ERROR_LENGTH_MAX = 500
_PLUGIN_VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))


class CredentialsError(httpx2.RequestError):
    """The credentials of a cluster cannot be had at present. The text is the reason and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A proof of the identity of the caller.

    Attributes:
        token: The bearer token, "" for none.
        expires_at: When it is no longer valid, None where that is unknown.
        certificate_at: When the client certificate of the next connections was read, None where a plugin gives none.
    """

    token: str = ""
    expires_at: datetime | None = None
    certificate_at: datetime | None = None


class Source(Protocol):
    """Where credentials come from.

    Attributes:
        pause_seconds: Time after a reading in which an answer 401 causes none.
    """

    pause_seconds: float

    async def read(self) -> Credential:
        """Return new credentials. Raises CredentialsError."""


class RenewedAuth(httpx2.Auth):
    """Signs requests with credentials that are kept until they expire or are refused.

    Args:
        source: Where credentials come from.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._known: Credential | None = None
        self._read_at = time.monotonic()
        self._reading: asyncio.Task[Credential] | None = None

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Sign and send a request; after an answer 401 sign it anew and send it again."""
        used = self._known
        if used is None or _has_expired(used):
            used = await self._renew()
        response = yield _signed(request, used)
        if response.status_code != 401:
            return
        renewed = self._known
        if renewed is None or renewed is used:
            if time.monotonic() - self._read_at < self._source.pause_seconds:
                return
            renewed = await self._renew()
        if renewed.token != used.token or renewed.certificate_at != used.certificate_at:
            yield _signed(request, renewed)

    async def _renew(self) -> Credential:
        """Read the credentials, once for all calls that wait for them."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._source.read())
            self._reading.add_done_callback(self._renewed)
        # A call that is given up does not end the reading that others wait for.
        return await asyncio.shield(self._reading)

    def _renewed(self, reading: asyncio.Task[Credential]) -> None:
        self._reading, self._read_at = None, time.monotonic()
        if not reading.cancelled() and reading.exception() is None:
            self._known = reading.result()


def _has_expired(credential: Credential) -> bool:
    return credential.expires_at is not None and datetime.now(UTC) >= credential.expires_at - EXPIRES_EARLY


def _signed(request: httpx2.Request, credential: Credential) -> httpx2.Request:
    if credential.token:
        request.headers["Authorization"] = f"Bearer {credential.token}"
    if credential.certificate_at is not None:
        # The next call makes a connection of its own, with the certificate that is valid then.
        request.headers["Connection"] = "close"
    return request


class TokenFile:
    """A file that holds a bearer token, and is replaced from time to time.

    Args:
        path: The file. White space around the token is left out.
    """

    pause_seconds = 0.0

    def __init__(self, path: Path) -> None:
        self._path = path

    async def read(self) -> Credential:
        """Return the token. Raises CredentialsError."""
        try:
            token = await asyncio.to_thread(self._path.read_text)
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"the token file {self._path} cannot be read: {error}") from error
        return Credential(
            token=token.strip(), expires_at=datetime.now(UTC) + timedelta(seconds=TOKEN_FILE_SECONDS) + EXPIRES_EARLY
        )


class ExecPlugin:
    """A command of a kubeconfig file that prints credentials.

    Source: the kinds ExecConfig and ExecCredential of client.authentication.k8s.io.

    Args:
        config: The mapping `exec` of the user.
        folder: The folder of the kubeconfig file, by which relative commands are found.
        cluster: The cluster's part of KUBERNETES_EXEC_INFO.
        tls: The TLS context of the connections, which receives client certificates.

    Raises:
        BadSetting: The command cannot be run by a server.
    """

    pause_seconds = PLUGIN_PAUSE_SECONDS

    def __init__(
        self, config: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any], tls: ssl.SSLContext
    ) -> None:
        version, command = config.get("apiVersion"), config.get("command")
        if version not in _PLUGIN_VERSIONS:
            raise BadSetting(f"the exec plugin has apiVersion {version}; allowed are {', '.join(_PLUGIN_VERSIONS)}")
        if not isinstance(command, str) or not command:
            raise BadSetting("the exec plugin has no command")
        if config.get("interactiveMode") == "Always":
            raise BadSetting(
                f"the exec plugin {command} asks for a terminal (interactiveMode: Always), which a server lacks"
            )
        # As kubectl: a command with a slash belongs to the file's folder, another one is searched in PATH.
        self._command = str(folder / command) if "/" in command else command
        self._name = f"the exec plugin {self._command}"
        self._args = [str(argument) for argument in config.get("args") or ()]
        self._version = version
        spec: dict[str, Any] = {"interactive": False}
        if config.get("provideClusterInfo"):
            spec["cluster"] = dict(cluster)
        self._info = {"apiVersion": version, "kind": "ExecCredential", "spec": spec}
        self._variables = {str(entry["name"]): str(entry["value"]) for entry in config.get("env") or ()}
        self._tls = tls

    async def read(self) -> Credential:
        """Run the command and return what it prints. Raises CredentialsError."""
        output = await self._run()
        try:
            document = json.loads(output)
            status = document["status"]
            expires = status.get("expirationTimestamp")
            token = str(status.get("token") or "")
            certificate, key = status.get("clientCertificateData"), status.get("clientKeyData")
            expires_at = datetime.fromisoformat(expires) if expires else None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CredentialsError(f"{self._name} printed no ExecCredential with a status") from error
        if document.get("apiVersion") != self._version:
            raise CredentialsError(f"{self._name} printed another apiVersion than {self._version}")
        if certificate and key:
            await asyncio.to_thread(self._load, f"{certificate}\n{key}\n")
        elif not token:
            raise CredentialsError(f"{self._name} printed neither a token nor a client certificate")
        if expires_at is not None and expires_at.tzinfo is None:
            expires_at = expires_at.replace(tzinfo=UTC)
        certificate_at = datetime.now(UTC) if certificate else None
        return Credential(token=token, expires_at=expires_at, certificate_at=certificate_at)

    def _load(self, certificate_and_key: str) -> None:
        """Use a client certificate for the next connections. The library reads it from a file only."""
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate_and_key)
            file.flush()
            try:
                self._tls.load_cert_chain(file.name)
            except (ssl.SSLError, OSError) as error:
                raise CredentialsError(f"{self._name} printed a bad certificate: {error}") from error

    async def _run(self) -> bytes:
        variables = {**os.environ, **self._variables, "KUBERNETES_EXEC_INFO": json.dumps(self._info)}
        pipe = asyncio.subprocess.PIPE
        try:
            process = await asyncio.create_subprocess_exec(
                self._command,
                *self._args,
                env=variables,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=pipe,
                stderr=pipe,
                # A plugin is often a script: its programs hold the pipes, and must end with it.
                start_new_session=True,
            )
        except OSError as error:
            raise CredentialsError(f"{self._name} cannot be started: {error}") from error
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            async with asyncio.timeout(PLUGIN_SECONDS_MAX):
                output, said = await asyncio.gather(_read(process.stdout), _read(process.stderr))
                code = await process.wait()
        except TimeoutError as error:
            raise CredentialsError(f"{self._name} took longer than {PLUGIN_SECONDS_MAX:g} s") from error
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if code:
            text = said.decode("utf-8", "replace").strip()[-_ERROR_LENGTH_MAX:]
            raise CredentialsError(f"{self._name} ended with code {code}: {text}")
        return output


async def _read(stream: asyncio.StreamReader) -> bytes:
    """Return the first bytes of a stream, and read it to its end."""
    content = b""
    while piece := await stream.read(64 * 1024):
        content += piece[: _OUTPUT_BYTES_MAX - len(content)]
    return content

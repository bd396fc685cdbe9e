"""Credentials of clusters that change while the server runs: files of tokens and certificates, and exec plugins.

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
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from app import limited_log
from app.settings.values import BadSetting

# Files with tokens and certificates are looked at this often: Kubernetes replaces them well before they expire.
FILE_SECONDS = 60.0
PLUGIN_SECONDS_MAX = 60.0
# A plugin's credentials are renewed this long before they expire.
EXPIRES_EARLY = timedelta(seconds=10)
# After a run of a plugin further answers 401 cause none for this time: the new credentials are refused too.
PLUGIN_PAUSE_SECONDS = 10.0
_OUTPUT_BYTES_MAX = 1024 * 1024
_ERROR_LENGTH_MAX = 500
_PLUGIN_VERSIONS = tuple(f"client.authentication.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))


class CredentialsError(Exception):
    """The credentials of a cluster cannot be had at present. The text is the reason and holds no secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A proof of the identity of the caller.

    Attributes:
        authorization: The header Authorization, "" for none.
        expires_at: When it is no longer valid, or is to be read again; None where that is unknown.
        tls: The TLS context of connections, with the client certificate. Another context needs new connections.
    """

    authorization: str = field(default="", repr=False)
    expires_at: datetime | None = None
    tls: ssl.SSLContext


class CredentialSource(Protocol):
    """Where credentials come from.

    Attributes:
        pause_seconds: Time after a reading in which an answer 401 causes none.
    """

    pause_seconds: float

    async def read(self) -> Credential:
        """Return new credentials. Raises CredentialsError."""


class ClusterCredentials:
    """The credentials of one cluster, which are kept until they expire or are refused.

    Args:
        source: Where credentials come from.
    """

    def __init__(self, source: CredentialSource) -> None:
        self._source = source
        self._known: Credential | None = None
        self._read_at = time.monotonic()
        self._reading: asyncio.Task[Credential] | None = None

    async def current(self) -> Credential:
        """Return the credentials for a call. Raises CredentialsError."""
        known = self._known
        return known if known is not None and not _has_expired(known) else await self._renew()

    async def after_refusal(self, used: Credential) -> Credential | None:
        """Return other credentials than those that an answer 401 refused; None where there are none.

        Raises:
            CredentialsError: The credentials cannot be read.
        """
        renewed = self._known
        if renewed is None or renewed is used:
            if time.monotonic() - self._read_at < self._source.pause_seconds:
                return None
            renewed = await self._renew()
        same = renewed.authorization == used.authorization and renewed.tls is used.tls
        return None if same else renewed

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


class TlsFiles:
    """The TLS context of a cluster, made of files that are replaced from time to time.

    Args:
        make: Makes the context. Raises OSError or ValueError.
        paths: The files of certificates and keys that it reads.
    """

    def __init__(self, make: Callable[[], ssl.SSLContext], paths: Iterable[Path]) -> None:
        self._make = make
        self._paths = tuple(paths)
        self._states = self._read_states()
        self._context = make()

    @property
    def can_change(self) -> bool:
        """Whether there are files."""
        return bool(self._paths)

    def make(self) -> ssl.SSLContext:
        """Return a new context."""
        return self._make()

    def context(self) -> ssl.SSLContext:
        """Return the context: the one before, unless a file changed.

        A pair of which only one file was replaced so far cannot be used. Then the context before is returned, and the
        next call looks again.
        """
        states = self._read_states()
        if states != self._states:
            try:
                self._context, self._states = self._make(), states
            except (OSError, ValueError) as error:
                reason = f"{', '.join(map(str, self._paths))}: {error}"
                limited_log.warning("certificates_not_read", key=reason, reason=reason)
        return self._context

    def _read_states(self) -> list[tuple[int, int, int] | None]:
        return [_state(path) for path in self._paths]


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


class FixedToken:
    """An authorization that does not change, with certificates that may.

    Args:
        authorization: The header, "" for none.
        tls: The certificates.
    """

    pause_seconds = 0.0

    def __init__(self, authorization: str, tls: TlsFiles) -> None:
        self._authorization, self._tls = authorization, tls

    async def read(self) -> Credential:
        """Return the authorization, with the certificates as the files have them now."""
        if not self._tls.can_change:
            return Credential(authorization=self._authorization, tls=self._tls.context())
        tls = await asyncio.to_thread(self._tls.context)
        return Credential(authorization=self._authorization, expires_at=_read_again_at(), tls=tls)


def _read_again_at() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=FILE_SECONDS) + EXPIRES_EARLY


class TokenFile:
    """A file that holds a bearer token, and is replaced from time to time.

    Args:
        path: The file. White space around the token is left out.
        tls: The certificates.
    """

    pause_seconds = 0.0

    def __init__(self, path: Path, tls: TlsFiles) -> None:
        self._path, self._tls = path, tls

    async def read(self) -> Credential:
        """Return the token. Raises CredentialsError."""
        try:
            token = await asyncio.to_thread(self._path.read_text)
        except (OSError, UnicodeDecodeError) as error:
            raise CredentialsError(f"the token file {self._path} cannot be read: {error}") from error
        tls = await asyncio.to_thread(self._tls.context)
        return Credential(authorization=bearer(token), expires_at=_read_again_at(), tls=tls)


class ExecPlugin:
    """A command of a kubeconfig file that prints credentials.

    CredentialSource: the kinds ExecConfig and ExecCredential of client.authentication.k8s.io.

    Args:
        config: The mapping `exec` of the user.
        folder: The folder of the kubeconfig file, by which relative commands are found.
        cluster: The cluster's part of KUBERNETES_EXEC_INFO.
        tls: The certificates of the kubeconfig file, which a client certificate of the command joins.

    Raises:
        BadSetting: The command cannot be run by a server.
    """

    pause_seconds = PLUGIN_PAUSE_SECONDS

    def __init__(self, config: Mapping[str, Any], folder: Path, cluster: Mapping[str, Any], tls: TlsFiles) -> None:
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
            tls = await asyncio.to_thread(self._with_certificate, f"{certificate}\n{key}\n")
        elif token:
            tls = await asyncio.to_thread(self._tls.context)
        else:
            raise CredentialsError(f"{self._name} printed neither a token nor a client certificate")
        if expires_at is not None and expires_at.tzinfo is None:
            expires_at = expires_at.replace(tzinfo=UTC)
        return Credential(authorization=bearer(token), expires_at=expires_at, tls=tls)

    def _with_certificate(self, certificate_and_key: str) -> ssl.SSLContext:
        """Return a TLS context with a client certificate. The library reads it from a file only."""
        try:
            context = self._tls.make()
        except (OSError, ValueError) as error:
            raise CredentialsError(f"the certificates of the cluster cannot be read: {error}") from error
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(certificate_and_key)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except (ssl.SSLError, OSError) as error:
                raise CredentialsError(f"{self._name} printed a bad certificate: {error}") from error
        return context

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


def bearer(token: str) -> str:
    """Return the header Authorization of a bearer token, "" for no token. White space around the token is left out.

    Raises:
        CredentialsError: The token has a character that no header can have.
    """
    token = token.strip()
    if not (token.isascii() and token.isprintable()):
        raise CredentialsError("the bearer token has a line break or another character that no token can have")
    return f"Bearer {token}" if token else ""


async def _read(stream: asyncio.StreamReader) -> bytes:
    """Return the first bytes of a stream, and read it to its end."""
    content = b""
    while piece := await stream.read(64 * 1024):
        content += piece[: _OUTPUT_BYTES_MAX - len(content)]
    return content

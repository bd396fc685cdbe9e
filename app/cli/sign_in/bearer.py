"""Send a bearer token with each call; sign in when the server refuses one.

As flytekit does, no call of authentication is made before the first UNAUTHENTICATED.
"""

from __future__ import annotations

import os
import ssl
import subprocess
import threading
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import httpx

from app.cli.calls import TOKEN_VARIABLE
from app.cli.sign_in import flows, token_store
from app.cli.sign_in.connection import COMMAND, DEVICE, SECRET, Connection
from app.cli.sign_in.token_store import Tokens
from app.settings import BadSetting

METADATA, CLIENT = "/.well-known/oauth-authorization-server", "/config/v1/flyte_client"
COMMAND_SECONDS_MAX = 120.0


class Bearer(httpx.Auth):
    """The tokens of one command. Its methods may be called from several threads.

    Args:
        connection: The server.
        verify: The certificates that are trusted, in httpx' form.
        home: The folder with the file of tokens.
    """

    def __init__(self, connection: Connection, verify: ssl.SSLContext | bool, home: Path) -> None:
        self._connection = connection
        self._verify = verify
        self._home = home
        self._key = token_store.key_of(connection)
        self._lock = threading.Lock()
        self._given = os.environ.get(TOKEN_VARIABLE, "")
        self._tokens: Tokens | None = None
        self._loaded = False

    def token(self) -> str:
        """Return the token that calls send now; "" without one."""
        if self._given:
            return self._given
        with self._lock:
            if not self._loaded:
                self._loaded = True
                self._tokens = None if self._connection.kind == COMMAND else token_store.load(self._home, self._key)
            return self._tokens.access_token if self._tokens is not None and not self._tokens.expired else ""

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send a request; after 401 sign in and send it once more.

        Raises:
            BadSetting: The sign-in failed.
        """
        sent = self.token()
        if sent:
            request.headers["authorization"] = f"Bearer {sent}"
        response = yield request
        if response.status_code != httpx.codes.UNAUTHORIZED or self._given:
            return
        response.read()
        request.headers["authorization"] = f"Bearer {self._renewed(sent)}"
        yield request

    def _renewed(self, refused: str) -> str:
        """Return a token other than the refused one, from another thread or from a sign-in."""
        with self._lock:
            if self._tokens is not None and self._tokens.access_token != refused and not self._tokens.expired:
                return self._tokens.access_token
            self._tokens = self._sign_in()
            if self._connection.kind != COMMAND:
                token_store.save(self._home, self._key, self._tokens)
            return self._tokens.access_token

    def _sign_in(self) -> Tokens:
        connection = self._connection
        if connection.kind == COMMAND:
            return Tokens(_printed(connection.command))
        with httpx.Client(base_url=connection.url, verify=self._verify, timeout=30, follow_redirects=True) as http:
            metadata, client = _document(http, METADATA), _document(http, CLIENT)
        session = flows.SignInFlow(connection, metadata, client, self._verify)
        if connection.kind == SECRET:
            return session.client_credentials()
        if self._tokens is not None and self._tokens.refresh_token:
            refreshed = session.refreshed(self._tokens.refresh_token)
            if refreshed is not None:
                return refreshed
        return session.device_flow() if connection.kind == DEVICE else session.browser()


def _document(http: httpx.Client, path: str) -> Mapping[str, Any]:
    """Return a document about the sign-in of a server."""
    try:
        reply = http.get(path, headers={"accept": "application/json"})
        found = reply.json() if reply.is_success else None
    except (httpx.HTTPError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise BadSetting(
            f"{http.base_url} refuses the call and does not describe its sign-in at {path}; "
            f"put a token into {TOKEN_VARIABLE}"
        )
    return found


def _printed(command: tuple[str, ...]) -> str:
    """Return the token that a command prints. Raises BadSetting."""
    if not command:
        raise BadSetting("authType ExternalCommand needs a command; name it in admin.command")
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, timeout=COMMAND_SECONDS_MAX, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadSetting(f"the command {command[0]} of admin.command gave no token ({error}); correct it") from error
    token = done.stdout.strip()
    if done.returncode or not token:
        raise BadSetting(
            f"the command {command[0]} of admin.command exited with {done.returncode} "
            f"and printed {'a token' if token else 'nothing'}; correct it"
        )
    return token

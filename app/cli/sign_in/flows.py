"""The ways to get tokens of OAuth 2: client credentials, a browser (PKCE), the device flow, a refresh token."""

from __future__ import annotations

import base64
import hashlib
import secrets
import ssl
import time
import webbrowser
from collections.abc import Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

import httpx
import typer

from app.cli.sign_in.connection import Connection
from app.cli.sign_in.token_store import Tokens
from app.settings import BadSetting

BROWSER_SECONDS_MAX = 300.0
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
# RFC 8628: the interval where a server names none, and what slow_down adds.
_INTERVAL_SECONDS, _SLOWER_SECONDS = 5.0, 5.0
_DEVICE_SECONDS = 600.0
_PAGE = b"<!doctype html><title>flyteadmin</title><p>%s You can close this window."


class SignInRefused(Exception):
    """The authorization server refuses, as RFC 6749 5.2 describes.

    Attributes:
        error: The code of the error.
    """

    def __init__(self, error: str, description: str) -> None:
        super().__init__((description or error)[:300])
        self.error = error


class SignInFlow:
    """One sign-in at the authorization server of a Flyte server.

    Args:
        connection: The server and its credentials.
        metadata: Its OAuth metadata (RFC 8414).
        client: The public client that it names for command lines.
        verify: The certificates that are trusted, in httpx' form.
    """

    def __init__(
        self,
        connection: Connection,
        metadata: Mapping[str, Any],
        client: Mapping[str, Any],
        verify: ssl.SSLContext | bool,
    ) -> None:
        self._connection = connection
        self._metadata = metadata
        self._client_id = connection.client_id or str(client.get("client_id") or "")
        self._redirect_uri = str(client.get("redirect_uri") or "")
        scope = " ".join(connection.scopes or client.get("scopes") or ())
        self._scope = {"scope": scope} if scope else {}
        audience = connection.audience or str(client.get("audience") or "")
        self._more = {"audience": audience} if audience else {}
        self._verify = verify

    def client_credentials(self) -> Tokens:
        """Return the token of a service. Raises BadSetting."""
        secret = self._connection.client_secret
        if not self._client_id or not secret:
            raise BadSetting(
                "authType ClientSecret needs a client id and a secret; name them in admin.clientId and "
                "admin.clientSecretLocation, or in FLYTE_CREDENTIALS_CLIENT_ID and FLYTE_CREDENTIALS_CLIENT_SECRET"
            )
        try:
            return self._fetch({"grant_type": "client_credentials", **self._scope, **self._more}, secret)
        except SignInRefused as error:
            raise BadSetting(
                f"the client {self._client_id} cannot sign in: {error}; correct its id and secret"
            ) from error

    def refreshed(self, refresh_token: str) -> Tokens | None:
        """Return new tokens; None where the refresh token is not valid any more."""
        try:
            made = self._fetch({"grant_type": "refresh_token", "refresh_token": refresh_token})
        except SignInRefused:
            return None
        return made if made.refresh_token else replace(made, refresh_token=refresh_token)

    def browser(self) -> Tokens:
        """Sign in with a browser (authorization code with PKCE). Raises BadSetting."""
        address = self._endpoint("authorization_endpoint")
        verifier, state = secrets.token_urlsafe(48), secrets.token_urlsafe(40)
        digest = hashlib.sha256(verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_uri,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **self._scope,
            **self._more,
        }
        back = _callback(self._redirect_uri, f"{address}{'&' if '?' in address else '?'}{urlencode(query)}")
        given = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}
        if not secrets.compare_digest(given.get("state", "").encode(), state.encode()):
            raise BadSetting("the reply to the sign-in belongs to another one; run the command again")
        if "code" not in given:
            reason = given.get("error_description") or given.get("error") or "there is no code"
            raise BadSetting(f"the sign-in was refused: {reason[:300]}; run the command again")
        form = {
            "grant_type": "authorization_code",
            "code": given["code"],
            "redirect_uri": self._redirect_uri,
            "code_verifier": verifier,
        }
        try:
            return self._fetch(form)
        except SignInRefused as error:
            raise BadSetting(f"the sign-in was refused: {error}; run the command again") from error

    def device_flow(self) -> Tokens:
        """Sign in with a browser elsewhere (RFC 8628). Raises BadSetting."""
        address = str(self._metadata.get("device_authorization_endpoint") or "")
        if not address:
            raise BadSetting(
                f"{self._connection.url} has no device flow; set admin.authType to Pkce, or ask its administrator for "
                "auth.appAuth.selfAuthServer.deviceFlow"
            )
        try:
            found = self._post(address, {"client_id": self._client_id, **self._scope, **self._more})
        except SignInRefused as error:
            raise BadSetting(f"the device flow was refused: {error}; set admin.authType to Pkce") from error
        where = found.get("verification_uri_complete") or found.get("verification_uri")
        typer.echo(f"sign in with a browser at {where} and confirm the code {found.get('user_code')}", err=True)
        return self._polled(found)

    def _polled(self, found: Mapping[str, Any]) -> Tokens:
        interval = float(found.get("interval") or _INTERVAL_SECONDS)
        deadline = time.monotonic() + float(found.get("expires_in") or _DEVICE_SECONDS)
        while time.monotonic() < deadline:
            time.sleep(interval)
            try:
                return self._fetch({"grant_type": DEVICE_GRANT, "device_code": str(found.get("device_code"))})
            except SignInRefused as error:
                if error.error == "slow_down":
                    interval += _SLOWER_SECONDS
                elif error.error != "authorization_pending":
                    raise BadSetting(f"the sign-in was refused: {error}; run the command again") from error
        raise BadSetting("nobody confirmed the code in time; run the command again")

    def _fetch(self, form: Mapping[str, str], secret: str | None = None) -> Tokens:
        """Return the tokens of a grant.

        Args:
            form: The parameters of the grant.
            secret: The secret of the client; None for a public one, which names itself in the form.

        Raises:
            SignInRefused: The server refuses.
            BadSetting: There is no usable reply.
        """
        endpoint = self._endpoint("token_endpoint")
        if secret:
            # RFC 6749 2.3.1: id and secret are form-encoded before they become user and password.
            found = self._post(endpoint, form, httpx.BasicAuth(quote_plus(self._client_id), quote_plus(secret)))
        else:
            found = self._post(endpoint, {**form, "client_id": self._client_id})
        seconds = found.get("expires_in")
        return Tokens(
            str(found["access_token"]),
            str(found.get("refresh_token") or ""),
            time.time() + float(seconds) if seconds else 0.0,
        )

    def _post(self, address: str, form: Mapping[str, str], auth: httpx.Auth | None = None) -> Mapping[str, Any]:
        headers = {"accept": "application/json"}
        try:
            with httpx.Client(verify=self._verify, timeout=30, headers=headers) as http:
                reply = http.post(address, data=dict(form), auth=auth or httpx.USE_CLIENT_DEFAULT)
            found = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            raise BadSetting(f"no answer of {address}: {error}; try again, or check the network") from error
        if reply.is_error or not isinstance(found, dict) or not {"access_token", "device_code"} & found.keys():
            fields = found if isinstance(found, dict) else {}
            raise SignInRefused(
                str(fields.get("error") or reply.status_code), str(fields.get("error_description") or "")
            )
        return found

    def _endpoint(self, name: str) -> str:
        found = str(self._metadata.get(name) or "")
        if not found.startswith(("http://", "https://")):
            raise BadSetting(f"{self._connection.url} names no {name}; ask its administrator (auth.authorizedUris)")
        return found


def _callback(redirect_uri: str, url: str) -> str:
    """Open a browser, and return the address with which it comes back. Raises BadSetting."""
    parts = urlsplit(redirect_uri)
    if parts.hostname is None or parts.port is None:
        raise BadSetting(
            "the server names no address of this machine for the sign-in; set admin.authType to DeviceFlow"
        )
    came: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if urlsplit(self.path).path != (parts.path or "/"):
                self.send_error(404)
                return
            came.append(self.path)
            self.send_response(200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(_PAGE % (b"You are signed in." if "code=" in self.path else b"The sign-in was refused."))

        def log_message(self, *_: Any) -> None:
            """Print nothing: the address has the code."""

    try:
        listener = HTTPServer((parts.hostname, parts.port), Handler)
    except OSError as error:
        raise BadSetting(
            f"port {parts.port} of this machine, where the browser comes back, cannot be used ({error.strerror}); "
            "end the other sign-in, or set admin.authType to DeviceFlow"
        ) from error
    with listener:
        typer.echo(f"sign in with a browser; if none opens: {url}", err=True)
        webbrowser.open(url)
        deadline = time.monotonic() + BROWSER_SECONDS_MAX
        listener.timeout = 1.0
        while not came:
            if time.monotonic() > deadline:
                raise BadSetting(f"nobody signed in within {BROWSER_SECONDS_MAX:.0f} s; run the command again")
            listener.handle_request()
    return came[0]

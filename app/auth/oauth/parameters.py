"""Parameters of an OAuth request, and the credentials of a client in it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote_plus

from app.auth.oauth.errors import OAuthError, invalid_request

PARAMETERS_MAX = 40

Parameters = Mapping[str, str]


def parse(text: str) -> Parameters:
    """Return the parameters of a query or of a form; empty ones count as absent (RFC 6749 3.1).

    Raises:
        OAuthError: invalid_request for a repeated parameter, too many, or text that is not UTF-8.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=PARAMETERS_MAX)
    except ValueError as error:
        raise invalid_request("The parameters cannot be read, or there are too many.") from error
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise invalid_request("A parameter is given twice.")
        found[name] = value
    return {name: value for name, value in found.items() if value}


@dataclass(frozen=True, slots=True)
class Caller:
    """Where a request of a client comes from and arrives.

    Attributes:
        address: The network address of the client.
        public_url: The address of this server, as the client wrote it.
        authorization: The header Authorization.
    """

    address: str
    public_url: str
    authorization: str = ""


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """The credentials of a client.

    Attributes:
        secret: None where the request has none.
        basic: Whether they come from the header Authorization.
    """

    client_id: str
    secret: str | None
    basic: bool


def client_credentials(parameters: Parameters, authorization: str) -> ClientCredentials:
    """Return the credentials of a client, from the header Authorization (client_secret_basic) or from the form.

    Raises:
        OAuthError: invalid_request where there are none, or two that differ.
    """
    scheme, _, encoded = authorization.partition(" ")
    named = parameters.get("client_id", "")
    if scheme.lower() == "basic":
        client_id, secret = _basic(encoded.strip())
        if named not in ("", client_id) or parameters.get("client_secret", secret) != secret:
            raise invalid_request("The header Authorization and the form name different credentials.")
        return ClientCredentials(client_id, secret, basic=True)
    if not named:
        raise invalid_request("Client credentials are missing in both the header Authorization and the form.")
    return ClientCredentials(named, parameters.get("client_secret"), basic=False)


def _basic(encoded: str) -> tuple[str, str]:
    """Return id and secret, each of which the client has form-encoded (RFC 6749 2.3.1)."""
    try:
        client_id, separator, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise invalid_request("The header Authorization cannot be read.") from error
    if not separator or not client_id:
        raise invalid_request("The header Authorization names no client.")
    return unquote_plus(client_id), unquote_plus(secret)


def scopes_of(parameters: Parameters) -> tuple[str, ...]:
    """Return the scopes that a request asks for, each once, in their order."""
    return tuple(dict.fromkeys(parameters.get("scope", "").split()))


def client_name(parameters: Parameters, caller: Caller) -> str:
    """Return the name that a client gives itself, for the audit log; "" for none that can be read."""
    try:
        return client_credentials(parameters, caller.authorization).client_id[:200]
    except OAuthError:
        return ""

"""Credentials -> identity. `app.runtime.dispatch` calls it for every RPC, and the pages call it by themselves.

Source: flyteadmin/auth/interceptor.go, flyteadmin/auth/handlers.go GetAuthenticationInterceptor.
"""

from __future__ import annotations

from typing import Protocol

from app import errors
from app.auth.credentials import Credentials
from app.auth.identity import Identity
from app.settings import Settings


class Verifier(Protocol):
    """Recognises one kind of token."""

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves.

        Args:
            token: The token.
            public_url: The address of this server as the client wrote it, one of `auth.authorizedUris`.

        Raises:
            Unauthenticated: The token proves none; the message names the reason, without the token.
        """

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""


class Authentication:
    """Finds out who sends a request. One object per process."""

    def __init__(self, settings: Settings, access_tokens: Verifier, id_tokens: Verifier) -> None:
        self._auth = settings.auth
        self._access_tokens = access_tokens
        self._id_tokens = id_tokens

    async def identity(self, credentials: Credentials) -> Identity:
        """Return who sends a request; an anonymous identity where `auth.disableForHttp` or `disableForGrpc` allows it.

        Raises:
            Unauthenticated: No acceptable token, or one without the scope `all`.
        """
        raise errors.Unauthenticated("not built yet")

    def recent(self, credentials: Credentials) -> Identity | None:
        """Return who sends a request where that is known without a wait; None otherwise."""
        return None

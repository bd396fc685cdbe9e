"""The servers that identify people and applications: the OpenID provider, and an external authorization server.

Source: flyteadmin/auth/auth_context.go, flyteadmin/auth/authzserver/resource_server.go and metadata_provider.go,
go-oidc v3 NewProvider.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

from app import errors
from app.auth.provider_client import ProviderClient, ProviderReply, json_object
from app.auth.remote_keys import ASYMMETRIC, RemoteKeys
from app.auth.remote_value import RemoteValue
from app.settings import Settings
from app.settings.auth import Auth

OPENID_PATH = ".well-known/openid-configuration"
OAUTH_PATH = ".well-known/oauth-authorization-server"
# Statuses after which upstream asks for the metadata once more.
_RETRIED = range(HTTPStatus.UNAUTHORIZED, HTTPStatus.NETWORK_AUTHENTICATION_REQUIRED + 1)


class _RemoteServer(ABC):
    """A server whose document names its keys. Both are fetched when they are first needed, and again later.

    Args:
        auth: The settings.
        proxy: The address of the HTTP proxy; "" for none.
        document: The name of the document in messages.

    Attributes:
        client: Sends requests to the server.
        keys: The keys of its tokens.
    """

    def __init__(self, auth: Auth, proxy: str, document: str) -> None:
        self.client = ProviderClient(auth, proxy)
        self._document = RemoteValue(document, self._fetch, auth.provider_document_seconds)
        self.keys = RemoteKeys(auth, self.client, self._keys_address)

    async def document(self) -> Mapping[str, Any]:
        """Return the document: OpenID Connect Discovery 1.0, or RFC 8414 for an authorization server.

        Raises:
            FlyteError: The document cannot be fetched, or is that of another issuer.
        """
        return await self._document.get()

    @property
    def problem(self) -> str:
        """Return why the document or the keys were not fetched lately, "" where they were."""
        return self._document.problem or self.keys.problem

    async def close(self) -> None:
        """Close the connections."""
        await self._document.close()
        await self.keys.close()
        await self.client.close()

    @abstractmethod
    async def _fetch(self) -> Mapping[str, Any]:
        """Fetch the document."""

    async def _keys_address(self) -> str:
        return _text(await self.document(), "jwks_uri")


class OpenIdProvider(_RemoteServer):
    """The provider at which people sign in (`auth.userAuth.openId`), and its id tokens."""

    def __init__(self, settings: Settings) -> None:
        auth = settings.auth
        self._openid = auth.user_auth.open_id
        super().__init__(auth, auth.user_auth.http_proxy_url or auth.http_proxy_url, "openid-configuration")

    async def issuer(self) -> str:
        """Return the issuer of id tokens.

        Raises:
            FlyteError: The document cannot be fetched.
        """
        return _text(await self.document(), "issuer")

    async def algorithms(self) -> frozenset[str]:
        """Return the algorithms of id tokens that the provider announces, RS256 where it announces none.

        Raises:
            FlyteError: The document cannot be fetched.
        """
        return announced_algorithms(await self.document()) or frozenset({"RS256"})

    async def _fetch(self) -> Mapping[str, Any]:
        base = self._openid.base_url
        reply = await self.client.get(f"{base.removesuffix('/')}/{OPENID_PATH}")
        document = _document_of(reply)
        # Parity: letter for letter, so http://localhost and http://127.0.0.1 differ, and so does a slash at the end.
        wanted, found = self._openid.issuer_url or base, _text(document, "issuer")
        if found != wanted:
            problem = "oidc: issuer did not match the issuer returned by provider"
            raise errors.FailedPrecondition(f'{problem}, expected "{wanted}" got "{found}"')
        return document


class ExternalServer(_RemoteServer):
    """The external authorization server (`auth.appAuth.externalAuthServer`), and its access tokens."""

    def __init__(self, settings: Settings) -> None:
        auth = settings.auth
        self._server = auth.app_auth.external_auth_server
        self._base = self._server.base_url or auth.user_auth.open_id.base_url
        self._issuer_url = auth.user_auth.open_id.issuer_url if not self._server.base_url else ""
        super().__init__(auth, self._server.http_proxy_url or auth.http_proxy_url, "authorization server metadata")

    @property
    def metadata_url(self) -> str:
        """Return the address of the server's metadata."""
        # Parity: relative to the base address as a folder, so a metadataUrl that begins with / drops the base's path.
        return urljoin(f"{self._base.removesuffix('/')}/", self._server.metadata_url or OAUTH_PATH)

    async def issuers(self) -> frozenset[str]:
        """Return the issuers of access tokens: the announced one and those of the settings.

        Raises:
            FlyteError: The metadata cannot be fetched.
        """
        announced = _text(await self.document(), "issuer")
        return frozenset({announced, self._issuer_url, *self._server.allowed_issuers} - {""})

    async def algorithms(self) -> frozenset[str]:
        """Return the algorithms that the server announces, all with public keys where it announces none.

        Raises:
            FlyteError: The metadata cannot be fetched.
        """
        return announced_algorithms(await self.document()) or ASYMMETRIC

    async def _fetch(self) -> Mapping[str, Any]:
        reply = await self._reply_after_retries()
        if reply.status != HTTPStatus.OK:
            raise errors.Unknown(f"failed to get oauth metadata with status code {reply.status}")
        return json_object(reply)

    async def _reply_after_retries(self) -> ProviderReply:
        for attempt in range(self._server.retry_attempts + 1):
            if attempt:
                await asyncio.sleep(self._server.retry_delay_seconds)
            reply = await self.client.get(self.metadata_url)
            if reply.status not in _RETRIED:
                return reply
        raise errors.Internal("Failed to get oauth metadata.")


def announced_algorithms(document: Mapping[str, Any]) -> frozenset[str]:
    """Return the signing algorithms with public keys that a document announces."""
    found = document.get("id_token_signing_alg_values_supported")
    names: Collection[Any] = found if isinstance(found, list) else ()
    return frozenset(name for name in names if isinstance(name, str)) & ASYMMETRIC


def _document_of(reply: ProviderReply) -> dict[str, Any]:
    if reply.status != HTTPStatus.OK:
        raise errors.Unavailable(f"{reply.status} {reply.reason}: {reply.text()}")
    try:
        return json_object(reply)
    except errors.Unknown as error:
        raise errors.Unavailable(f"oidc: failed to decode provider discovery object: {error.message}") from error


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) else ""

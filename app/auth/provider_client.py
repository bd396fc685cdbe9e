"""Requests to an identity provider: bounded in time and size, through a proxy where one is configured."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import certifi
import httpx
import orjson

from app import errors
from app.settings import BadSetting, redact
from app.settings.auth import Auth

_REDIRECTS_MAX = 3
_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True)
class ProviderReply:
    """A reply that was read whole."""

    status: int
    reason: str
    content_type: str
    body: bytes

    def text(self) -> str:
        """Return the beginning of the body, on one line, for messages."""
        return " ".join(self.body[:_SHOWN_MAX].decode("utf-8", "replace").split())


class ProviderClient:
    """Sends requests to one server.

    Args:
        auth: The section of settings with the limits.
        proxy: The address of an HTTP proxy, "" for none; the environment's HTTPS_PROXY and HTTP_PROXY count then.

    Raises:
        BadSetting: The proxy's address has no form of one.
    """

    def __init__(self, auth: Auth, proxy: str) -> None:
        self._seconds = auth.provider_timeout_seconds
        self._bytes_max = auth.provider_document_bytes_max
        try:
            self._http = httpx.AsyncClient(
                proxy=proxy or None,
                timeout=self._seconds,
                verify=trusted(),
                max_redirects=_REDIRECTS_MAX,
                # A compressed body could be a thousand times larger than its limit.
                headers={"accept": "application/json", "accept-encoding": "identity"},
            )
        except (ValueError, httpx.InvalidURL) as error:
            raise BadSetting(f"the proxy {redact(proxy)} (httpProxyURL) cannot be used: {error}") from error

    async def get(self, url: str) -> ProviderReply:
        """Return the reply of a GET request, after at most three redirects. Raises like `send`."""
        return await self.send("GET", url, follow_redirects=True)

    async def send(self, method: str, url: str, **parts: Any) -> ProviderReply:
        """Return the reply to a request.

        Args:
            method: The HTTP method.
            url: The address.
            parts: Further arguments of httpx.AsyncClient.stream, such as `data` and `auth`.

        Raises:
            Unavailable: There is no whole reply in time, or it is too large.
        """
        what = f'{method.capitalize()} "{url}"'
        try:
            async with asyncio.timeout(self._seconds):
                return await self._read(what, method, url, parts)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise errors.Unavailable(f"{what}: no whole reply within {self._seconds:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            problem = str(error) or type(error).__name__
            raise errors.Unavailable(f"{what}: {problem}") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _read(self, what: str, method: str, url: str, parts: Mapping[str, Any]) -> ProviderReply:
        async with self._http.stream(method, url, **parts) as reply:
            if reply.headers.get("content-encoding", "identity") != "identity":
                raise errors.Unavailable(f"{what}: the reply is compressed, which was not asked for")
            body = bytearray()
            async for chunk in reply.aiter_raw():
                body += chunk
                if len(body) > self._bytes_max:
                    limit = f"{self._bytes_max} bytes (auth.providerDocumentBytesMax)"
                    raise errors.Unavailable(f"{what}: the reply is larger than {limit}")
            content_type = reply.headers.get("content-type", "")
            return ProviderReply(reply.status_code, reply.reason_phrase, content_type, bytes(body))


def json_object(reply: ProviderReply) -> dict[str, Any]:
    """Return the JSON object in a reply.

    Raises:
        Unknown: The reply has none.
    """
    try:
        found = orjson.loads(reply.body)
    except orjson.JSONDecodeError as error:
        media_type = reply.content_type.partition(";")[0].strip().lower()
        if media_type == "application/json":
            problem = "got Content-Type = application/json, but could not unmarshal as JSON"
        else:
            problem = f'expected Content-Type = application/json, got "{reply.content_type}"'
        raise errors.Unknown(f"{problem}: {error}") from error
    if not isinstance(found, dict):
        raise errors.Unknown("the reply is no JSON object")
    return found


@cache
def trusted() -> ssl.SSLContext:
    """Return a context that trusts the system's authorities, those of SSL_CERT_FILE, and Mozilla's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context

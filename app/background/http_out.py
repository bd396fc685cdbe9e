"""Requests to receivers outside: webhooks of users, and receivers of events.

A user who names a receiver must not reach servers of the private network through this one. So a connection is made
only to public addresses, and to those that `outbox.allowedNetworks` lists. The address is checked after the name is
resolved, and again on the connected socket. Redirects are not followed, proxies of the environment are not used, and
the time and the size of a reply are limited.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpcore

from app.auth.provider_client import trusted
from app.services.outbox import printable
from app.settings import BadSetting

# Bytes of a reply that are read; the rest is not waited for.
REPLY_BYTES_MAX = 65_536
# Characters of a reply that are kept for lists and logs.
SHOWN_MAX = 200
# A longer time that a receiver asks for is cut to this one.
RETRY_AFTER_SECONDS_MAX = 86_400.0
SECRET_PREFIX = "whsec_"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
# Public IPv6 addresses. Others, such as ::127.0.0.1 and 64:ff9b:1::127.0.0.1, may lead to a private IPv4 address.
_IPV6_UNICAST = ipaddress.ip_network("2000::/3")
# Addresses for special purposes that some versions of Python count as public.
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20")))
# Resolving a name takes long where its name server does not answer. The threads of the event loop read and write files.
_RESOLVERS = ThreadPoolExecutor(8, thread_name_prefix="receiver-names")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class ForbiddenAddress(Exception):
    """The receiver has only addresses that must not be connected to; the text names them and the setting."""


class Unusable(Exception):
    """The address of the receiver cannot be used, now or later; the text is the reason."""


class Unreachable(Exception):
    """There is no connection, or no whole reply in time; the text is the reason."""


@dataclass(frozen=True, slots=True)
class ReceiverReply:
    """The reply of a receiver.

    Attributes:
        retry_after_seconds: The time of the header Retry-After, None without one.
        text: The beginning of the body, on one line.
    """

    status: int
    retry_after_seconds: float | None
    text: str

    def summary(self) -> str:
        """Return status and text, for lists and logs."""
        return f"{self.status} {self.text}".strip()


class HttpOut:
    """Sends POST requests to receivers.

    Args:
        allowed: Networks, such as 10.1.0.0/16 or 127.0.0.1, whose addresses may be connected to although they are
            private.
        timeout_seconds: Time for a whole reply.
        connections_max: Connections at the same time.

    Raises:
        BadSetting: A network cannot be read.
    """

    def __init__(self, allowed: Iterable[str], *, timeout_seconds: float = 10.0, connections_max: int = 16) -> None:
        self._timeout_seconds = timeout_seconds
        self._backend = _GuardedBackend(networks(allowed))
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted(),
            max_connections=connections_max,
            keepalive_expiry=30.0,
            network_backend=self._backend,
        )

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> ReceiverReply:
        """Send a request and return the reply, whatever its status.

        Args:
            url: An address of http or https.
            headers: Their names and values are ASCII.
            body: The body.

        Raises:
            ForbiddenAddress: The receiver has only private addresses that are not listed.
            Unusable: No request can be sent to the address.
            Unreachable: There is no connection, or no reply in time.
        """
        _check_url(url)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(url, headers, body)
        except TimeoutError as error:
            raise Unreachable(f"no reply within {self._timeout_seconds:g} s") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error
        except (httpcore.UnsupportedProtocol, ValueError, TypeError) as error:
            raise Unusable(f"the address cannot be used: {error}") from error

    async def reach(self, url: str) -> None:
        """Connect to a receiver without sending a request. Raises like `post`."""
        _check_url(url)
        parts = httpcore.URL(url)
        port = parts.port or (443 if parts.scheme == b"https" else 80)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                host = parts.host.decode("ascii")
                stream = await self._backend.connect_tcp(host, port, self._timeout_seconds)
                try:
                    if parts.scheme == b"https":
                        stream = await stream.start_tls(trusted(), host, self._timeout_seconds)
                finally:
                    await stream.aclose()
        except TimeoutError as error:
            raise Unreachable(f"no connection within {self._timeout_seconds:g} s") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, OSError, ValueError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.aclose()

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverReply:
        sent = [(name, value) for name, value in headers.items()]
        sent += [("accept-encoding", "identity"), ("user-agent", "flyteadmin"), ("content-length", str(len(body)))]
        parts = httpcore.URL(url)
        host = parts.host.decode("ascii") + (f":{parts.port}" if parts.port else "")
        async with self._pool.stream("POST", url, headers=[("host", host), *sent], content=body) as response:
            received = bytearray()
            async for chunk in response.aiter_stream():
                received += chunk
                if len(received) >= REPLY_BYTES_MAX:
                    break
        found = {name.lower(): value.decode("latin-1") for name, value in response.headers}
        text = " ".join(printable(received[: 4 * SHOWN_MAX].decode("utf-8", "replace")).split())
        return ReceiverReply(response.status, _retry_after(found.get(b"retry-after", "")), text[:SHOWN_MAX])


class _GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to allowed addresses only."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature of httpcore
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve a name and connect to its first allowed address that answers."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(_RESOLVERS, _resolve, host.strip("[]"), port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"{host}: {getattr(error, 'strerror', None) or error}") from error
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        allowed = [address for address in addresses if is_allowed(address, self._allowed)]
        if not allowed:
            raise ForbiddenAddress(_refusal(host, addresses))
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in allowed:
            try:
                stream = await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
                continue
            peer = stream.get_extra_info("server_addr")
            if peer is None or not is_allowed(str(peer[0]), self._allowed):
                await stream.aclose()
                raise ForbiddenAddress(_refusal(host, [str(peer and peer[0])]))
            return stream
        raise type(failure)(f"{host}:{port}: {failure}") from failure

    async def connect_unix_socket(self, *arguments: Any, **options: Any) -> httpcore.AsyncNetworkStream:
        """Refuse sockets of this machine."""
        raise ForbiddenAddress("sockets of this machine are no receivers")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._backend.sleep(seconds)


def _resolve(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def _check_url(url: str) -> None:
    """Raise Unusable for an address that no request can carry: other characters would change the request."""
    if not url.isascii() or any(letter <= " " or letter in '\x7f"<>\\^`{|}' for letter in url):
        raise Unusable("the address cannot be used: it has characters that addresses of the web do not have")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise Unusable(f"the address cannot be used: {error}") from error
    if parts.scheme.lower() not in ("http", "https") or not parts.hostname or port == 0:
        raise Unusable("the address cannot be used: it has no host, or is not one of http or https")


def networks(allowed: Iterable[str]) -> tuple[Network, ...]:
    """Return the networks of `outbox.allowedNetworks`. Raises BadSetting for one that cannot be read."""
    found = []
    for text in allowed:
        try:
            found.append(ipaddress.ip_network(text, strict=False))
        except ValueError as error:
            raise BadSetting(f"outbox.allowedNetworks: {error}; allowed are such as 10.1.0.0/16 and ::1") from error
    return tuple(found)


def is_allowed(address: str, allowed: Sequence[Network]) -> bool:
    """Return whether a connection to an address may be made: it is public, or in a network that is listed."""
    try:
        parsed = _embedded(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if any(parsed in network for network in allowed if network.version == parsed.version):
        return True
    if any(parsed in network for network in _SPECIAL if network.version == parsed.version):
        return False
    if parsed.version == 6 and parsed not in _IPV6_UNICAST:
        return False
    return parsed.is_global and not parsed.is_multicast


def _embedded(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _refusal(host: str, addresses: Sequence[str]) -> str:
    return f"{host} has the address {', '.join(addresses)}, which is not public and not in outbox.allowedNetworks"


def _retry_after(value: str) -> float | None:
    """Return the seconds of a header Retry-After, which holds a number or a date."""
    try:
        if value.strip().isdecimal():
            return min(RETRY_AFTER_SECONDS_MAX, float(value))
        seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(RETRY_AFTER_SECONDS_MAX, max(0.0, seconds))


def signing_key(secret: str) -> bytes:
    """Return the key of a secret in the form `whsec_` and base64. Raises ValueError for another form."""
    try:
        key = base64.b64decode(secret.removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError("a secret has the form whsec_ and base64") from error
    if not secret.startswith(SECRET_PREFIX) or not 24 <= len(key) <= 64:
        raise ValueError("a secret has the form whsec_ and base64 of 24 to 64 bytes")
    return key


def signature_headers(keys: Sequence[bytes], *, id: str, now: datetime, body: bytes) -> dict[str, str]:
    """Return the headers of the Standard Webhooks specification.

    Args:
        keys: One signature for each, so that a receiver can change its secret; none for no signature.
        id: The id of the message, the same at each attempt.
        now: The time of the attempt.
        body: The body.
    """
    seconds = int(now.timestamp())
    headers = {"webhook-id": id, "webhook-timestamp": str(seconds)}
    if keys:
        signed = f"{id}.{seconds}.".encode() + body
        signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
        headers["webhook-signature"] = " ".join(f"v1,{signature}" for signature in signatures)
    return headers

"""The address of this server as a client wrote it: issuer, audience and callback address follow from it.

Source: GetPublicURL of flyteadmin/auth/handler_utils.go.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

import structlog

from app.auth.credentials import Credentials
from app.settings import Settings
from app.settings.hosts import HOST_LENGTH_MAX, host_port, is_ip, is_loopback

log = structlog.get_logger(__name__)

# Chosen addresses by Host; each request asks for one.
HOSTS_MAX = 1024


class PublicUrls:
    """Chooses among the addresses in `auth.authorizedUris`, by the host that a client wrote."""

    def __init__(self, settings: Settings) -> None:
        server = settings.server
        uris = settings.auth.authorized_uris
        if not uris and server.public_url:
            uris = (server.public_url,)
        self._uris = [(uri, urlsplit(uri)) for uri in uris]
        self._secure = server.security.secure
        self._default = f"{'https' if self._secure else 'http'}://localhost:{server.http_port}"
        self._names = frozenset(server.security.allowed_hosts)
        # Values that are too long for a host are replaced before, so that no caller fills the cache with them.
        self._chosen = lru_cache(HOSTS_MAX)(self._choose)

    def of(self, credentials: Credentials, *, forwarded: bool = True) -> str:
        """Return the address that a client used.

        Args:
            credentials: The headers of the request.
            forwarded: Whether X-Forwarded-Host counts, as it does for RPCs, and does not for pages.
        """
        host = credentials.first(b"x-forwarded-host") if forwarded else ""
        return self.of_host(host or credentials.first(b"host"))

    def of_host(self, host: str) -> str:
        """Return the address for a Host; the first one of the settings for "" and for a text that is no host."""
        return self._chosen(host if len(host) <= HOST_LENGTH_MAX else "")

    def _choose(self, host: str) -> str:
        chosen = self._among_uris(host) if self._uris else self._without_uris(host)
        log.debug("public_url_chosen", host=host, url=chosen)
        return chosen

    def _among_uris(self, host: str) -> str:
        """Return the first URI with this name and https; else the last with name and port; else the last with the name.

        Parity: https is assumed for every request, and the port of a URI with https is not compared.
        """
        given = host_port(host)
        same_name = [(uri, parts) for uri, parts in self._uris if given is not None and _name(parts) == given.host]
        for uri, parts in same_name:
            if parts.scheme == "https":
                return uri
        same_port = [uri for uri, parts in same_name if given is not None and _port(parts) == given.port]
        names = [uri for uri, _ in same_name]
        return [self._uris[0][0], *names, *same_port][-1]

    def _without_uris(self, host: str) -> str:
        """Return the address of the Host, if nobody else can own the name.

        Deviates: upstream takes any Host, so a client chooses the audience of the tokens that are accepted. A token for
        another service of the same provider would then be accepted. It assumes https, here the scheme is known.
        """
        given = host_port(host)
        if given is None or not (is_loopback(given.host) or is_ip(given.host) or given.host in self._names):
            return self._default
        return f"{'https' if self._secure else 'http'}://{host.lower()}"


def _name(parts: SplitResult) -> str:
    return (parts.hostname or "").rstrip(".")


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:
        return None

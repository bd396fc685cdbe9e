"""Refuse requests that change something, prove themselves by a cookie, and come from a page of another site.

A browser adds the cookies of this server to the requests of every page. SameSite=Lax keeps them back from most requests
of other sites, not from those of sibling domains, and not with `sameSitePolicy: NoneMode`. The rule here:

    Origin          Sec-Fetch-Site      a request that changes something
    own or listed   any                 is served
    any other       any                 is refused
    none            same-origin, none   is served
    none            any other           is refused
    none            none                is served with a body of JSON or protobuf, and refused otherwise

Browsers send one of both headers, old ones neither. No browser sends these types of body, or an own header, for a page
of another site without asking first (a CORS preflight), so a program that has a cookie may send them.

Own is the Host of the request with its scheme, and `auth.authorizedUris` and `server.publicUrl`. Listed is an entry of
`server.security.allowedOrigins`, except `*` and `null`, which stand for pages that nobody named.

app/api/http/origins.py judges all requests, with a cookie or without, before this rule.
"""

from __future__ import annotations

from collections.abc import Iterable

from app import errors, limited_log
from app.settings import Settings
from app.settings.hosts import DEFAULT_PORTS, host_port, web_origin
from app.wire.go.goparse import go_quote

_SHOWN_MAX = 200
_ORIGIN_LENGTH_MAX = 300
_OWN_SITES = ("same-origin", "none")
_TYPES_WITH_PREFLIGHT = (
    "application/json",
    "application/octet-stream",
    "application/protobuf",
    "application/x-protobuf",
)


class Csrf:
    """The rule with the origins of the settings."""

    def __init__(self, settings: Settings) -> None:
        own = (*settings.auth.authorized_uris, settings.server.public_url)
        self._origins = frozenset(origin for origin in map(_origin_of, own) if origin)
        self._listed = frozenset(settings.server.security.allowed_origins) - {"*", "null"}

    def check(self, headers: Iterable[tuple[bytes, bytes]], scheme: str) -> None:
        """Judge a request that changes something and that a cookie authenticates.

        Args:
            headers: Names in lower case, and values.
            scheme: `http` or `https`, as the client used it.

        Raises:
            PermissionDenied: The request comes from another page, or nothing shows from where.
        """
        given = {b"origin": "", b"sec-fetch-site": "", b"host": "", b"content-type": ""}
        for name, value in headers:
            if name in given:
                # Two values together are neither of them.
                given[name] = f"{given[name]}, {value.decode('latin-1')}" if given[name] else value.decode("latin-1")
        origin, site = given[b"origin"], given[b"sec-fetch-site"]
        if origin:
            if not self._is_own(origin, scheme, given[b"host"]):
                raise _refused(f"the Origin {go_quote(origin[:_SHOWN_MAX])} is none of this server's own pages")
        elif not site:
            body_type = given[b"content-type"].partition(";")[0].strip().lower()
            if body_type not in _TYPES_WITH_PREFLIGHT:
                raise _refused("it has neither an Origin nor a Sec-Fetch-Site, and no body of JSON or protobuf")
        elif site not in _OWN_SITES:
            raise _refused(f"its Sec-Fetch-Site is {go_quote(site[:_SHOWN_MAX])}, not same-origin")

    def _is_own(self, origin: str, scheme: str, host: str) -> bool:
        if len(origin) > _ORIGIN_LENGTH_MAX:
            return False
        if origin in self._origins or origin in self._listed:
            return True
        page_scheme, separator, page = origin.partition("://")
        # TLS may end at a proxy, whose pages have https where this server sees http; never the other way round.
        if not separator or page_scheme not in ((scheme,) if scheme == "https" else ("http", "https")):
            return False
        found, server = host_port(page), host_port(host)
        if found is None or server is None or found.host != server.host:
            return False
        implied = DEFAULT_PORTS[page_scheme]
        return (found.port or implied) == (server.port or implied)


def _refused(reason: str) -> errors.PermissionDenied:
    limited_log.warning("cross_site_request_refused", reason=reason)
    return errors.PermissionDenied(
        f"a request that a cookie authenticates and that changes something must come from this server's own pages; "
        f"{reason}. Programs send a token in the header authorization"
    )


def _origin_of(uri: str) -> str | None:
    scheme, separator, rest = uri.strip().partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        return None
    return web_origin(f"{scheme}://{rest.partition('/')[0]}")

"""Refuse requests of foreign web pages, by Host, Origin and the type of the body. Every listener applies these rules.

A web page that is open in a browser on this machine can send requests to every port here, and launching a task runs a
command. The headers of browsers name the host and the page of a request, and three rules use them:

1. The Host is an IP address, a loopback name, a name of the TLS certificate, or a configured name. A page whose own
   name is made to lead to this machine (DNS rebinding) is of the same origin for its browser, but cannot hide it.
2. The Origin, where there is one, is this server's own or a configured one. Programs that are no browsers send none.
3. A request with an Origin, or from another site by Sec-Fetch-Site, has a body of JSON or protobuf. Browsers send the
   other types across origins without asking first (a CORS preflight, which rule 2 refuses).

Native gRPC (application/grpc over HTTP/2) with no such header is served under every Host. Clients inside a cluster use
names such as flyteadmin:81, and no page can send it: browsers use HTTP/2 only over TLS, where a rebound name has no
certificate, and across origins they send this type only after a preflight.

Where every caller needs a token (`server.security.useAuth` without `auth.disableForHttp`), a request without Origin and
without cookies is served under every Host too: a browser adds no token by itself, so a rebound page is an anonymous
caller. Cookies count under the names of the first rule only. The ports of MCP and of the REST adapter are excepted.

GET requests of other sites without an Origin (links, images, scripts, frames) pass the second rule, since links to this
server must work. They change nothing, and browsers keep JSON and text from the page that embeds them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache

from app import errors, limited_log
from app.api.http.refusals import Refusal
from app.blobs.signed_urls import PREFIX
from app.settings import Settings
from app.settings.hosts import DEFAULT_PORTS, HOST_LENGTH_MAX, host_of, host_port, is_ip, is_loopback, web_origin
from app.wire.go.goparse import go_quote

Headers = Iterable[tuple[bytes, bytes]]

# Cached results for Hosts and for Origins; parsing one takes some µs.
VERDICTS_MAX = 1024
_SHOWN_MAX = 200
_HOST_BYTES_MAX = HOST_LENGTH_MAX + 1
# With room for schemes such as those of browser extensions.
_ORIGIN_BYTES_MAX = HOST_LENGTH_MAX + 41

_READ = frozenset(
    {b"cookie", b"host", b"origin", b"sec-fetch-site", b"content-type", b"content-length", b"transfer-encoding"}
)
_SAME_SITE = frozenset({b"same-origin", b"none"})
_BODY_TYPES = frozenset(
    {
        b"application/json",
        b"application/octet-stream",
        b"application/protobuf",
        b"application/x-protobuf",
        b"application/grpc",
        b"application/grpc+proto",
        b"application/grpc-web",
        b"application/grpc-web+proto",
        b"application/grpc-web-text",
        b"application/grpc-web-text+proto",
    }
)
_STORAGE = PREFIX.encode()
# OAuth's own endpoints take forms, from clients and from the login pages of identity providers.
_FORM_TARGETS = frozenset({b"/oauth2/token", b"/oauth2/device", b"/oauth2/device_authorization", b"/callback"})
# Over HTTP/2 these may have a body that no header announces.
_METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Origins:
    """The three rules with the names and origins of the settings. Safe to use from several threads.

    Args:
        settings: The settings.
        authenticated: Whether the listener asks every caller for a token where authentication is on.
    """

    def __init__(self, settings: Settings, *, authenticated: bool = False) -> None:
        security, server = settings.server.security, settings.server
        self._needs_token = authenticated and security.use_auth and not settings.auth.disable_for_http
        own = [*settings.auth.authorized_uris, *([server.public_url] if server.public_url else [])]
        self._names = frozenset(
            [*map(host_of, own), host_of(server.host), *security.allowed_hosts, *settings.mcp.allowed_hosts]
        )
        self._any_name = "*" in self._names
        self._certificate_names: frozenset[str] = frozenset()
        self._origins = frozenset(
            origin.encode() for origin in (*map(_origin_of, own), *security.allowed_origins) if origin
        )
        self._any_origin = b"*" in self._origins
        # Both functions receive only the beginning of a value: a longer value is refused whatever follows.
        self._host_refusal = lru_cache(VERDICTS_MAX)(self._judge_host)
        self._origin_refusal = lru_cache(VERDICTS_MAX)(self._judge_origin)

    def use_certificate_names(self, names: frozenset[str]) -> None:
        """Accept the names of this server's certificate as Host. A page at another name cannot show that certificate.

        Args:
            names: Whole names in lower case, in place of those of an earlier call.
        """
        self._certificate_names = names
        self._host_refusal.cache_clear()

    def refusal(
        self, method: str, target: bytes, headers: Headers, *, http2: bool = False, grpc: bool = False
    ) -> Refusal | None:
        """Judge a request by its head.

        Args:
            method: The HTTP method.
            target: The path, or the whole target where it has another form.
            headers: Names in lower case and values; over HTTP/2 `host` holds `:authority`.
            http2: Whether the request came over HTTP/2.
            grpc: Whether its type is application/grpc, which over HTTP/2 makes it native gRPC.

        Returns:
            The refusal; None for a request that may be served.
        """
        given: dict[bytes, bytes] = {}
        for name, value in headers:
            if name in _READ:
                # No rule allows two values together.
                given[name] = value if name not in given else b"%b, %b" % (given[name], value)
        origin = given.get(b"origin")
        same_site = given.get(b"sec-fetch-site", b"none") in _SAME_SITE
        from_page = origin is not None or not same_site
        if not from_page and ((grpc and http2) or (self._needs_token and b"cookie" not in given)):
            return None
        host = given.get(b"host", b"")[:_HOST_BYTES_MAX]
        for name in (host, *_authority(method, target)):
            # Browsers always send a Host; probes over HTTP/1.0 may leave it out.
            refused = self._host_refusal(name) if name else None
            if refused is not None:
                return _logged(refused)
        if origin is not None:
            # A page of http://name is of another site for https://name, though the Host is the same.
            refused = self._origin_refusal(origin[:_ORIGIN_BYTES_MAX], host if same_site else b"")
            if refused is not None:
                return _logged(refused)
        return _refused_body(method, target, given, http2) if from_page else None

    def _judge_host(self, host: bytes) -> Refusal | None:
        found = host_port(host.decode("latin-1"))
        if found is not None and (
            self._any_name
            or found.host in self._names | self._certificate_names
            or is_ip(found.host)
            or is_loopback(found.host)
        ):
            return None
        return _refused(
            421,
            f"the Host {_shown(host)} is no name of this server; allowed are localhost, IP addresses, server.host, and "
            "the names in server.publicUrl, auth.authorizedUris and server.security.allowedHosts",
        )

    def _judge_origin(self, origin: bytes, host: bytes) -> Refusal | None:
        if self._any_origin or origin in self._origins or _same_host(origin, host):
            return None
        return _refused(
            403,
            f"pages of the origin {_shown(origin)} may not call this server; allowed are its own pages and the origins "
            "in server.security.allowedOrigins",
        )


def _refused(status: int, message: str) -> Refusal:
    return Refusal(status, errors.PermissionDenied(message))


def _logged(refusal: Refusal) -> Refusal:
    limited_log.warning("request_refused", status=refusal.status, reason=refusal.error.message)
    return refusal


def _shown(value: bytes) -> str:
    cut = value if len(value) <= _SHOWN_MAX else value[:_SHOWN_MAX] + b"..."
    return go_quote(cut.decode("latin-1"))


def _authority(method: str, target: bytes) -> tuple[bytes, ...]:
    """Return the host in a target of absolute or authority form (RFC 9112 3.2); nothing for the other forms."""
    if target[:1] == b"/":
        return ()
    _, scheme, rest = target.partition(b"://")
    if scheme:
        target = rest.partition(b"/")[0].partition(b"?")[0].partition(b"#")[0]
    return (target[:_HOST_BYTES_MAX],) if scheme or method == "CONNECT" else ()


def _origin_of(uri: str) -> str | None:
    """Return the origin of an absolute http(s) URI of this server; None for other text."""
    scheme, separator, rest = uri.strip().partition("://")
    if not separator or scheme.lower() not in DEFAULT_PORTS:
        return None
    return web_origin(f"{scheme}://{rest.partition('/')[0]}")


def _same_host(origin: bytes, host: bytes) -> bool:
    """Return whether the origin is http or https at this Host, with the port that the scheme implies or names."""
    scheme, _, rest = origin.decode("latin-1").partition("://")
    if scheme not in DEFAULT_PORTS:
        return False
    page, server = host_port(rest), host_port(host.decode("latin-1"))
    if page is None or server is None or page.host != server.host:
        return False
    implied = DEFAULT_PORTS[scheme]
    return (page.port or implied) == (server.port or implied)


def _refused_body(method: str, target: bytes, given: Mapping[bytes, bytes], http2: bool) -> Refusal | None:
    """Refuse a body of a type that a page can send across origins without a preflight."""
    if not _may_have_body(method, given, http2) or target in _FORM_TARGETS:
        return None
    content_type = given.get(b"content-type", b"")
    if content_type.partition(b";")[0].strip().lower() in _BODY_TYPES:
        return None
    if method == "PUT" and target.startswith(_STORAGE):
        return None
    message = (
        f"a web page (the request has an Origin or Sec-Fetch-Site) has a body of type {_shown(content_type)}; allowed "
        "are application/json and, for protobuf, application/octet-stream, also from the origins in "
        "server.security.allowedOrigins"
    )
    return Refusal(415, errors.InvalidArgument(message))


def _may_have_body(method: str, given: Mapping[bytes, bytes], http2: bool) -> bool:
    length = given.get(b"content-length")
    if length is not None:
        return length != b"0"
    return b"transfer-encoding" in given or (http2 and method in _METHODS_WITH_BODY)


def start_warnings(settings: Settings) -> list[str]:
    """Return one line for each setting that lets others than the user of this machine run commands on it."""
    security, lines = settings.server.security, []
    for origin in security.allowed_origins:
        if origin in ("*", "null"):
            # Every page can put a frame with the Origin null into itself.
            lines.append(
                f'server.security.allowedOrigins has "{origin}": every web page that is open in a browser can launch '
                "tasks here and read data; list the origins of your own pages instead"
            )
        elif host_port(origin.partition("://")[2]) is None:
            lines.append(
                f'server.security.allowedOrigins has "{origin}", which is no origin; write scheme://host[:port]'
            )
    for setting, names in (
        ("server.security.allowedHosts", security.allowed_hosts),
        ("mcp.allowedHosts", settings.mcp.allowed_hosts),
    ):
        if "*" in names:
            lines.append(
                f'{setting} has "*": every web page that is open in a browser can launch tasks here and read data '
                "(DNS rebinding); list the names of this server instead"
            )
    host = settings.server.host
    if not is_loopback(host) and not security.use_auth:
        ports = f"{settings.server.http_port} or {settings.server.grpc.port}"
        runs = "run commands on this one" if settings.engine.kind == "local" else "launch executions"
        lines.append(
            f"server.host={host} is reachable from other machines and there is no authentication: each of them that "
            f"reaches port {ports} can {runs}, read all data and abort executions"
        )
        lines.append("use server.host=127.0.0.1 (--host), or let only an authenticating proxy reach these ports")
    return lines

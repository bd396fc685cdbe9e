"""Parse and normalise host names, host:port pairs and origins of web pages."""

import ipaddress
import re
import socket
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

from pydantic import BeforeValidator

DEFAULT_PORTS = {"http": 80, "https": 443}
# The longest name of RFC 1035, the dot of the root, a colon and a port.
HOST_LENGTH_MAX = 253 + 7

_NAME = r"(?P<name>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?"
_IPV6 = r"\[(?P<ipv6>[0-9a-f:.]+)(?:%[0-9a-z._~%-]+)?\]"
_host_port = re.compile(rf"(?:{_NAME}|{_IPV6})(?::(?P<port>[0-9]{{0,5}}))?", re.ASCII | re.IGNORECASE)


class HostPort(NamedTuple):
    """The value of a Host header.

    Attributes:
        host: Lower case, without brackets and final dot.
        port: None without a port.
    """

    host: str
    port: int | None


def host_port(text: str) -> HostPort | None:
    """Return host and port of `host[:port]`; None for text of another form, such as one with a user name or a path."""
    found = _host_port.fullmatch(text) if len(text) <= HOST_LENGTH_MAX else None
    if found is None:
        return None
    host = (found["name"] or found["ipv6"]).lower()
    port = int(found["port"]) if found["port"] else None
    if (port or 0) > 65535 or (found["ipv6"] and not (":" in host and is_ip(host))):
        return None
    return HostPort(host, port)


def is_ip(host: str) -> bool:
    """Return whether host is an IP address. Like browsers and curl, accept short and hexadecimal forms of IPv4."""
    try:
        if ":" in host:
            socket.inet_pton(socket.AF_INET6, host)
        else:
            socket.inet_aton(host)
    except (OSError, UnicodeError):
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a name or address is that of the loopback interface; names under .localhost are (RFC 6761)."""
    if is_ip(host):
        return host == "::1" if ":" in host else socket.inet_aton(host)[0] == 127
    return host == "localhost" or host.endswith(".localhost")


def host_of(address: str) -> str | None:
    """Return the host in `scheme://host[:port][/path]` or `host[:port]`, in lower case; None without one."""
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
    except ValueError:
        return None
    found = host_port(parts.netloc)
    return found.host if found is not None else None


def _host_name(value: Any) -> str:
    text = str(value).strip()
    if text == "*" or is_ip(text):
        return text.lower()
    try:
        # Browsers send names with non-ASCII characters in IDNA form.
        found = host_port(text if text.isascii() else text.encode("idna").decode())
    except UnicodeError:
        found = None
    if found is None:
        raise ValueError('allowed is a name such as "flyte.example.com", without scheme and path, or "*" for any name')
    return found.host


def web_origin(value: Any) -> str:
    """Return an origin as browsers write it: lower case, without final slash, without the scheme's default port."""
    text = str(value).strip().rstrip("/").lower()
    for scheme, port in DEFAULT_PORTS.items():
        if text.startswith(f"{scheme}://"):
            text = text.removesuffix(f":{port}")
    return text


HostName = Annotated[str, BeforeValidator(_host_name)]
WebOrigin = Annotated[str, BeforeValidator(web_origin)]


def _network(value: Any) -> str:
    try:
        return str(ipaddress.ip_network(str(value).strip(), strict=False))
    except ValueError as error:
        raise ValueError('allowed is a network such as "10.0.0.0/8", or an IP address') from error


Network = Annotated[str, BeforeValidator(_network)]

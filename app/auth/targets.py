"""Pages to which a login or a logout may redirect: those of this server. Everything else is an open redirect.

Browsers read more as the address of another site than RFC 3986 does: a backslash is a slash, tabs and line breaks are
dropped, and `http:///host` leads to `host`. A target with one of these is refused instead of repaired.

Source: flyteadmin/auth/handlers.go, `GetLoginHandler` and `authorizedRedirectURL`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, urlsplit

# A target is kept in a cookie, together with its name and attributes.
TARGET_BYTES_MAX = 3000
_REFUSED = re.compile(r"[\x00-\x20\x7f\\]|^//")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# Characters that may stand in an address unescaped, and `%` for those that are escaped already.
_SAFE = "/?#[]@!$&'()*+,;=:%-._~"


def allowed_target(target: str, authorized_uris: Iterable[str]) -> str | None:
    """Return a target as it may stand in a Location header; None for one that this server does not redirect to.

    Args:
        target: The text of a client: relative, or absolute with the scheme, host and port of an authorized URI.
        authorized_uris: `auth.authorizedUris`.
    """
    # Spaces inside a target are usual in links and harmless; around it browsers drop them.
    if target != target.strip() or _REFUSED.search(target.replace(" ", "%20")):
        return None
    try:
        written = quote(target, safe=_SAFE)
        parts = urlsplit(written)
    except (UnicodeError, ValueError):
        return None
    if len(written) > TARGET_BYTES_MAX:
        return None
    if not _SCHEME.match(written):
        return written
    # Parity: neither default ports nor the case of the host are normalised.
    allowed = {(uri.scheme, uri.netloc) for uri in map(urlsplit, authorized_uris)}
    return written if parts.netloc and (parts.scheme, parts.netloc) in allowed else None


def has_path(target: str) -> bool:
    """Return whether a target names a page; `?a=b` and `#x` do not."""
    return bool(urlsplit(target).path) or "://" in target

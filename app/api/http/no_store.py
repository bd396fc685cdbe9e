"""Keep replies that depend on a session out of caches: a shared cache could hand one user's reply to another.

Caches leave out replies to requests with the header Authorization (RFC 9111 3.5), but not those with cookies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Send

# app/auth/cookies.py has the name too; it takes long to import, and is not needed without authentication.
_COOKIE = b"flyte_session"


def has_session(scope: Mapping[str, Any]) -> bool:
    """Return whether a request has the cookie of a session."""
    return any(name == b"cookie" and _COOKIE in value for name, value in scope["headers"])


def uncached(send: Send) -> Send:
    """Return a send function that adds `Cache-Control: no-store` to a reply without that header."""

    async def send_uncached(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"cache-control", b"no-store")]}
        await send(message)

    return send_uncached

"""The bearer key of `mcp.apiKey`. It is compared in constant time and never logged."""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from app.settings import Settings

_BEARER = b"bearer "


class ApiKey:
    """The key that the ports of the service for assistants accept.

    Args:
        settings: The settings; section `mcp` has the key.
    """

    def __init__(self, settings: Settings) -> None:
        self._key = settings.mcp.api_key.get_secret_value().encode()

    @property
    def is_set(self) -> bool:
        """Return whether there is a key."""
        return bool(self._key)

    def is_in(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Return whether a request carries the key."""
        given = [value for name, value in headers if name == b"authorization"]
        # Two headers are refused, because it is unclear which one counts.
        if not self._key or len(given) != 1 or given[0][: len(_BEARER)].lower() != _BEARER:
            return False
        return hmac.compare_digest(given[0][len(_BEARER) :].strip(), self._key)

"""Tokens that were verified lately, with their identities: a signature is then checked once a minute, not per call."""

from __future__ import annotations

import time

from app.auth.identity import Identity

# A decoded token takes about this many times the bytes of its text.
_BYTES_PER_CHARACTER = 6
_ENTRY_BYTES = 1000

_Key = tuple[str, str]
_Entry = tuple[Identity, float]


class VerifiedTokens:
    """A bounded cache of identities by token and public URL.

    Eviction: two generations of half the limit each. When the young one is full, the old one is dropped and the young
    one takes its place. A hit moves an entry to the young one.

    Args:
        bytes_max: The limit for the estimated memory of all entries.
        seconds: The time after which a token is verified anew.
    """

    def __init__(self, bytes_max: int, seconds: float) -> None:
        self._half_bytes_max = bytes_max // 2
        self._seconds = seconds
        self._young: dict[_Key, _Entry] = {}
        self._old: dict[_Key, _Entry] = {}
        self._young_bytes = 0

    def get(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that is still valid, None for a token that must be verified."""
        key = (token, public_url)
        entry = self._young.get(key)
        if entry is None:
            entry = self._old.get(key)
            if entry is None:
                return None
            self._store(key, entry)
        identity, until = entry
        expired = identity.expires_at is not None and time.time() >= identity.expires_at
        return None if expired or time.monotonic() >= until else identity

    def put(self, token: str, public_url: str, identity: Identity) -> None:
        """Store the identity of a token that was verified now."""
        self._store((token, public_url), (identity, time.monotonic() + self._seconds))

    def clear(self) -> None:
        """Forget all tokens, because a key was removed or a client revoked."""
        self._young, self._old, self._young_bytes = {}, {}, 0

    def _store(self, key: _Key, entry: _Entry) -> None:
        size = len(key[0]) * _BYTES_PER_CHARACTER + len(key[1]) + _ENTRY_BYTES
        if size > self._half_bytes_max:
            return
        if key not in self._young:
            if self._young_bytes + size > self._half_bytes_max:
                self._old, self._young, self._young_bytes = self._young, {}, 0
            self._young_bytes += size
        self._young[key] = entry

"""Bearer tokens of all kinds: the form of a token decides which verifier judges it, and no other one does."""

from __future__ import annotations

from collections.abc import Callable

from app.auth.authentication import Verifier
from app.auth.identity import Identity

Recognises = Callable[[str], bool]


class BearerTokens:
    """Passes each token to the verifier of its kind.

    Args:
        kinds: For each kind with a form of its own, whether a text has that form, and the verifier.
        others: The verifier of all other tokens.
    """

    def __init__(self, kinds: tuple[tuple[Recognises, Verifier], ...], others: Verifier) -> None:
        self._kinds = kinds
        self._others = others
        self._all = (others, *(verifier for _, verifier in kinds))

    async def verify(self, token: str, public_url: str) -> Identity:
        """Return the identity that a token proves. Raises Unauthenticated."""
        return await self._verifier(token).verify(token, public_url)

    def recent(self, token: str, public_url: str) -> Identity | None:
        """Return the identity of a token that was verified lately and is still valid, None for any other token."""
        # Each verifier caches only what it verified. So the form of the token, which takes longer to find, does
        # not matter here.
        for verifier in self._all:
            identity = verifier.recent(token, public_url)
            if identity is not None:
                return identity
        return None

    def _verifier(self, token: str) -> Verifier:
        return next((verifier for recognises, verifier in self._kinds if recognises(token)), self._others)

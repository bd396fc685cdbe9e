"""The refusal of a token: the text for the client, and one log line that names claim, found and wanted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from app import errors, limited_log

# Longer values are cut in log lines, because they are texts of clients.
FOUND_CHARACTERS_MAX = 200


class TokenRefused(errors.Unauthenticated):
    """A token proves no identity.

    Args:
        message: The text for the client. It holds no token.
        claim: The claim, header field or property of the token that is wrong.
        found: The value in the token.
        wanted: The values that are accepted.
    """

    def __init__(self, message: str, *, claim: str, found: Any, wanted: Any) -> None:
        super().__init__(message)
        self.claim = claim
        self.found = found
        self.wanted = wanted


def log_refusal(kind: str, refusal: TokenRefused, *, signed: bool) -> None:
    """Log a refusal, at most once a minute for the same cause.

    Args:
        kind: The kind of token, such as `access token`.
        refusal: The refusal.
        signed: Whether a key that is accepted signed the token. Its values then do not come from just any client, and
            each value has a line of its own. Values of time claims are all different, so they share a line.
    """
    found, wanted = _short(refusal.found), _short(refusal.wanted)
    key: Hashable = (kind, refusal.claim, found if signed and refusal.claim not in ("exp", "nbf", "iat") else "")
    limited_log.warning("token_refused", key=key, kind=kind, claim=refusal.claim, found=found, wanted=wanted)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= FOUND_CHARACTERS_MAX else f"{text[:FOUND_CHARACTERS_MAX]}…"

"""Errors of the authorization server, as RFC 6749 5.2 and 4.1.2.1 name them."""

from __future__ import annotations

# Error codes whose HTTP status is not 400.
_STATUS = {"invalid_client": 401, "temporarily_unavailable": 503}


class OAuthError(Exception):
    """A request that is refused.

    Attributes:
        error: The error code.
        description: A sentence for the developer of the client, without secrets, in ASCII without quotes.
        status: The HTTP status.
        retry_after_seconds: The time after which the client may try again; None where that is pointless.
    """

    def __init__(
        self, error: str, description: str, *, status: int = 0, retry_after_seconds: float | None = None
    ) -> None:
        super().__init__(f"{error}: {description}")
        self.error = error
        self.description = description
        self.status = status or _STATUS.get(error, 400)
        self.retry_after_seconds = retry_after_seconds


class RedirectError(OAuthError):
    """A request that is refused by a redirect to its client, whose redirect URI was found to be registered.

    Attributes:
        redirect_uri: The address of the client.
        state: The client's state.
        fragment: Whether the error is in the fragment instead of the query.
    """

    def __init__(
        self, error: str, description: str, *, redirect_uri: str, state: str = "", fragment: bool = False
    ) -> None:
        super().__init__(error, description)
        self.redirect_uri = redirect_uri
        self.state = state
        self.fragment = fragment


def invalid_request(description: str) -> OAuthError:
    """Return the error for a malformed request."""
    return OAuthError("invalid_request", description)


def invalid_grant(description: str) -> OAuthError:
    """Return the error for a code or token that is no good."""
    return OAuthError("invalid_grant", description)

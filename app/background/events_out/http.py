"""Publishes CloudEvents by HTTP, in binary or structured mode. Not upstream's.

Source: the HTTP protocol binding of CloudEvents 1.0.2, and its specification of webhooks.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from app.background.events_out.publisher import Message, required
from app.background.http_out import (
    ForbiddenAddress,
    HttpOut,
    ReceiverReply,
    Unreachable,
    Unusable,
    signature_headers,
    signing_key,
)
from app.background.outbox.targets import Away, Ended, MessageRefused, TryAgain
from app.settings import BadSetting
from app.settings.events_out import Http
from app.wire.cloud_events import STRUCTURED

log = structlog.get_logger(__name__)

_AGAIN = (408, 425, 429)
# The receiver wants no further events.
_GONE = 410
GONE = "the receiver ended the subscription (410 Gone); a restart of the server begins to send again"


class HttpPublisher:
    """The publisher of `cloudEvents.type=http`.

    Args:
        section: Address, mode and secrets.
        allowed: `outbox.allowedNetworks`.
        connections_max: Requests at the same time.

    Raises:
        BadSetting: A setting is missing or unusable.
    """

    def __init__(self, section: Http, allowed: Sequence[str], connections_max: int) -> None:
        required(section.url, "cloudEvents.http.url", "https://events.example.org/flyte")
        if not section.url.startswith(("https://", "http://")):
            raise BadSetting("cloudEvents.http.url has another scheme; allowed: https, http")
        self._section = section
        self._keys = [_key(secret.get_secret_value(), "cloudEvents.http.secrets") for secret in section.secrets]
        self._http = HttpOut(allowed, timeout_seconds=section.timeout_seconds, connections_max=connections_max)
        self._gone = False
        self._file_keys()

    async def open(self) -> None:
        """Connect later, with the first message or look."""

    async def check(self) -> str:
        """Connect to the receiver, without a request."""
        if self._gone:
            return GONE
        try:
            await self._http.reach(self._section.url)
        except (ForbiddenAddress, Unreachable, Unusable) as error:
            return str(error)
        return ""

    async def publish(self, message: Message) -> str:
        """Send a request; any status of success is an acknowledgement."""
        assert message.event is not None
        if self._gone:
            raise Ended(GONE)
        if self._section.mode == "binary":
            headers, body = message.event.http_headers(), message.event.data
        else:
            headers, body = {"content-type": STRUCTURED}, message.event.json()
        try:
            keys = [*self._keys, *self._file_keys()]
        except BadSetting as error:
            raise Away(str(error)) from error
        headers |= signature_headers(keys, id=message.delivery_id, now=datetime.now(UTC), body=body)
        token = self._section.token.get_secret_value()
        if token:
            headers["authorization"] = f"Bearer {token}"
        try:
            reply = await self._http.post(self._section.url, headers=headers, body=body)
        except (ForbiddenAddress, Unreachable, Unusable) as error:
            raise Away(str(error)) from error
        if reply.status == _GONE:
            self._gone = True
            log.error("subscription_ended", setting="cloudEvents.http.url", reason=reply.summary())
            raise Ended(GONE)
        return _acknowledged(reply)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _file_keys(self) -> list[bytes]:
        """Return the keys in the file of secrets, none without a file. Raises BadSetting for an unusable file."""
        path = self._section.secret_path
        if not path:
            return []
        try:
            lines = Path(path).read_text().split()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"cloudEvents.http.secretPath={path} cannot be read: {error}") from error
        return [_key(line, f"cloudEvents.http.secretPath={path}") for line in lines]


def _acknowledged(reply: ReceiverReply) -> str:
    """Return the summary of a reply of success, raise the exception for any other reply."""
    summary = reply.summary()
    if 200 <= reply.status < 300:
        return summary
    if reply.status in _AGAIN or reply.status >= 500:
        raise TryAgain(summary, after_seconds=reply.retry_after_seconds)
    if 300 <= reply.status < 400:
        raise MessageRefused(f"{summary} (redirects are not followed; check cloudEvents.http.url)")
    if reply.status in (401, 403, 404):
        raise MessageRefused(f"{summary} (check cloudEvents.http.url and its credentials)")
    raise MessageRefused(summary)


def _key(secret: str, setting: str) -> bytes:
    try:
        return signing_key(secret)
    except ValueError as error:
        raise BadSetting(f"{setting}: {error}; docs/events.md has a command that makes one") from error

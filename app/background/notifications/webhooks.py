"""The target `webhook`: posts to Slack, to PagerDuty, and to any other receiver as a signed webhook.

The host of the address decides. A user names the receiver, so only public addresses are connected to, and those of
`outbox.allowedNetworks` (app/background/http_out.py).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import orjson

from app.auth.secrets_store import SecretsStore
from app.background.http_out import (
    ForbiddenAddress,
    HttpOut,
    ReceiverReply,
    Unreachable,
    Unusable,
    signature_headers,
    signing_key,
)
from app.background.notifications import templates
from app.background.notifications.notice import Notice, notice_of
from app.background.notifications.rates import Rates
from app.background.outbox.targets import Away, Backoff, Delivery, MessageRefused, TryAgain
from app.services.notifications import PAGERDUTY, WEBHOOK
from app.settings import BadSetting, Settings
from app.settings.outbound import Emailer

SLACK_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")
PAGERDUTY_HOSTS = ("events.pagerduty.com", "events.eu.pagerduty.com")
PAGERDUTY_URL = "https://events.pagerduty.com/v2/enqueue"
# Slack accepts about one message a second for each address.
SLACK_SECONDS = 1.0
SEVERITY = {"FAILED": "error", "TIMED_OUT": "error", "ABORTED": "warning", "SUCCEEDED": "info"}
# PagerDuty cuts a longer summary.
SUMMARY_LENGTH_MAX = 1024
SLACK_LENGTH_MAX = 3000

# Requests to one host at the same time, so that a slow receiver leaves connections to the others.
HOST_REQUESTS_MAX = 4
# Time until another attempt where a host has that many.
HOST_SECONDS = 2.0

_AGAIN = (408, 425, 429)


@dataclass(frozen=True, slots=True)
class Post:
    """One request.

    Attributes:
        signed: Whether the receiver verifies a signature.
        seconds: The least time between two requests to the address, None for that of the settings.
    """

    url: str
    body: bytes
    signed: bool = False
    seconds: float | None = None


class WebhookTarget:
    """Delivers webhooks.

    Args:
        settings: The settings.
    """

    name = WEBHOOK
    ordered = False
    backoff = Backoff(10.0, 4 * 3600.0)

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http: HttpOut | None = None
        self._secrets = SecretsStore(settings)
        self._rates = Rates(settings.notifications.recipient_messages_per_minute)
        self._running: Counter[str] = Counter()

    async def open(self) -> None:
        """Do nothing: connections are made when there is a message."""

    async def check(self) -> str:
        """Return why the secrets that sign webhooks cannot be read, or ""; no receiver is called."""
        try:
            self._keys()
        except Away as error:
            return str(error)
        return ""

    async def deliver(self, delivery: Delivery) -> str:
        """Send one request."""
        post = post_of(notice_of(delivery, self._settings), self._settings, delivery.delivery_id, delivery.created_at)
        burst = {"burst": 1} if post.seconds is not None else {}
        recipient, host = hashlib.sha256(post.url.encode()).hexdigest(), urlsplit(post.url).hostname or ""
        if self._running[host] >= HOST_REQUESTS_MAX:
            raise TryAgain(f"{HOST_REQUESTS_MAX} requests to {host} run", after_seconds=HOST_SECONDS, counts=False)
        self._rates.take(recipient, seconds=post.seconds, processes=delivery.processes, **burst)
        self._running[host] += 1
        try:
            return _outcome(await self._send(post, delivery.delivery_id))
        finally:
            self._running[host] -= 1
            if not self._running[host]:
                del self._running[host]

    async def send_trial(self, notice: Notice, delivery_id: str, now: datetime, conversation: list[str]) -> str:
        """Send one request now and return the reply; as `MailTarget.send_trial`."""
        post = post_of(notice, self._settings, delivery_id, now)
        conversation.append(f"> POST to {urlsplit(post.url).hostname}")
        reply = await self._send(post, delivery_id)
        conversation.append(reply.summary())
        return _outcome(reply)

    async def close(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def _send(self, post: Post, delivery_id: str) -> ReceiverReply:
        headers = {"content-type": "application/json"}
        if post.signed:
            if not (keys := self._keys()):
                raise MessageRefused("no key signs webhooks: notifications.webhook.secretNames is empty")
            headers |= signature_headers(keys, id=delivery_id, now=datetime.now(UTC), body=post.body)
        if self._http is None:
            # Reading the authorities of the system takes a while, which a server without webhooks saves.
            self._http = HttpOut(self._settings.outbox.allowed_networks)
        try:
            return await self._http.post(post.url, headers=headers, body=post.body)
        except (ForbiddenAddress, Unusable) as error:
            raise MessageRefused(str(error)) from error
        except Unreachable as error:
            raise TryAgain(str(error)) from error

    def _keys(self) -> list[bytes]:
        """Return the keys of signatures, which may have changed since the last request."""
        found = []
        for name in self._settings.notifications.webhook.secret_names:
            try:
                found.append(signing_key(self._secrets.text(name).strip()))
            except (BadSetting, ValueError) as error:
                raise Away(f"secret {name} of notifications.webhook.secretNames: {error}") from error
        return found


def post_of(notice: Notice, settings: Settings, delivery_id: str, created_at: datetime) -> Post:
    """Return the request for a notice, by the host of its address. Raises MessageRefused for an unusable address."""
    section = settings.notifications.emailer
    if notice.address.lower().startswith(PAGERDUTY):
        key = notice.address[len(PAGERDUTY) :].strip("/ ")
        return Post(PAGERDUTY_URL, _json(_pagerduty(notice, section, key, created_at)))
    try:
        parts = urlsplit(notice.address)
        host = (parts.hostname or "").lower()
        _ = parts.port
    except ValueError as error:
        raise MessageRefused(f"the address cannot be read: {error}") from error
    if not host or parts.username is not None:
        raise MessageRefused("the address has no host, or a user name")
    if host in (*SLACK_HOSTS, *PAGERDUTY_HOSTS) and parts.scheme.lower() != "https":
        raise MessageRefused(f"{host} is reached by https alone: the address is a secret")
    if host in SLACK_HOSTS:
        return Post(notice.address, _json(_slack(notice, section)), seconds=SLACK_SECONDS)
    if host in PAGERDUTY_HOSTS and (key := _routing_key(parts)):
        return Post(f"https://{host}/v2/enqueue", _json(_pagerduty(notice, section, key, created_at)))
    return Post(notice.address, _json(_plain(notice, section, created_at)), signed=True)


def _json(value: Mapping[str, Any]) -> bytes:
    return orjson.dumps(value)


def _routing_key(parts: SplitResult) -> str:
    """Return the key of `/v2/enqueue?routing_key=KEY` and `/integration/KEY/enqueue`, "" without one."""
    path = parts.path.strip("/").split("/")
    if len(path) == 3 and path[0] == "integration" and path[2] == "enqueue":
        return path[1]
    return parse_qs(parts.query).get("routing_key", [""])[0]


def _slack(notice: Notice, section: Emailer) -> dict[str, Any]:
    """Return the message of an incoming webhook. Slack reads &, < and > as markup."""
    text = templates.text(notice, section)[:SLACK_LENGTH_MAX]
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"{escaped}\n<{notice.console_url}|Open the execution in the console>"}


def _pagerduty(notice: Notice, section: Emailer, key: str, created_at: datetime) -> dict[str, Any]:
    """Return an event of PagerDuty's Events API v2. Messages about one execution are one incident."""
    facts = notice.facts
    return {
        "routing_key": key,
        "event_action": "trigger",
        "dedup_key": f"{facts['project']}/{facts['domain']}/{facts['name']}",
        "payload": {
            "summary": templates.text(notice, section)[:SUMMARY_LENGTH_MAX],
            "source": f"{facts['project']}/{facts['domain']}",
            "severity": SEVERITY.get(facts["phase"], "warning"),
            "timestamp": created_at.isoformat(),
            "component": facts["workflow"]["name"],
            "custom_details": facts,
        },
        "client": "flyteadmin",
        "client_url": notice.console_url,
        "links": [{"href": notice.console_url, "text": "Open the execution in the console"}],
    }


def _plain(notice: Notice, section: Emailer, created_at: datetime) -> dict[str, Any]:
    """Return the payload of a webhook in the form that the Standard Webhooks specification recommends."""
    return {
        "type": f"flyte.execution.{notice.facts['phase'].lower()}",
        "timestamp": created_at.isoformat(),
        "data": {**notice.facts, "console_url": notice.console_url, "text": templates.text(notice, section)},
    }


def _outcome(reply: ReceiverReply) -> str:
    """Return the reply of a success, raise the exception of a failure."""
    if 200 <= reply.status < 300:
        return reply.summary()
    if reply.status in _AGAIN or reply.status >= 500:
        raise TryAgain(reply.summary(), after_seconds=reply.retry_after_seconds)
    if 300 <= reply.status < 400:
        raise MessageRefused(f"{reply.status}: redirects are not followed")
    raise MessageRefused(reply.summary())

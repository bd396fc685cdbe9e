"""Webhooks: what Slack, PagerDuty and other receivers get, signatures, limits, and refused addresses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from app.background.notifications import webhooks
from app.background.notifications.notice import Notice
from app.background.notifications.rates import Rates
from app.background.notifications.webhooks import WebhookTarget, post_of
from app.background.outbox.targets import Away, Delivery, MessageRefused, TryAgain
from app.services.notifications import shown
from app.settings import Settings
from app.settings.outbound import Notifications
from app.settings.outbound import Webhook as Section
from app.settings.outbox import Outbox
from tests.support.http_receiver import http_receiver

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECRETS = ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_" + "QUJD" * 10)
ID = {"project": "p", "domain": "d", "name": "wf", "version": "v1"}
FACTS: dict[str, Any] = {
    "project": "p",
    "domain": "d",
    "name": "e1",
    "phase": "FAILED",
    "error": "a < b & c",
    "occurred_at": "2026-01-02T03:04:05Z",
    "workflow": ID,
    "launch_plan": ID,
}
LINK = "http://localhost:30080/console/projects/p/domains/d/executions/e1"
TEXT = "wf failed in p/d: e1. The execution failed with error: [a < b & c]."


def post(address: str, **facts: Any) -> Any:
    return post_of(Notice(address, {**FACTS, **facts}, "", LINK), Settings(), "d1", NOW)


def delivery(address: str) -> Delivery:
    content = orjson.dumps({**FACTS, "address": address, "template": ""})
    return Delivery(1, "d1", "webhook", "slack", ("p", "d", "e1"), shown(address), content, NOW, 0)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> WebhookTarget:
    for name, secret in zip(("one", "two"), SECRETS, strict=True):
        monkeypatch.setenv(f"FLYTE_SECRET_{name}", secret)
    section = Notifications(webhook=Section(secret_names=("one", "two")), recipient_messages_per_minute=6000)
    return WebhookTarget(Settings(notifications=section, outbox=Outbox(allowed_networks=("127.0.0.0/8",))))


class TestForms:
    def test_slack(self) -> None:
        made = post("https://hooks.slack.com/services/T0/B0/XX")
        assert made.url == "https://hooks.slack.com/services/T0/B0/XX"
        assert orjson.loads(made.body) == {
            "text": "wf failed in p/d: e1. The execution failed with error: [a &lt; b &amp; c].\n"
            f"<{LINK}|Open the execution in the console>"
        }

    @pytest.mark.parametrize(
        ("address", "url"),
        [
            ("pagerduty:KEY", "https://events.pagerduty.com/v2/enqueue"),
            ("https://events.pagerduty.com/v2/enqueue?routing_key=KEY", "https://events.pagerduty.com/v2/enqueue"),
            ("https://events.eu.pagerduty.com/integration/KEY/enqueue", "https://events.eu.pagerduty.com/v2/enqueue"),
        ],
    )
    def test_pagerduty(self, address: str, url: str) -> None:
        made = post(address)
        assert made.url == url
        assert orjson.loads(made.body) == {
            "routing_key": "KEY",
            "event_action": "trigger",
            "dedup_key": "p/d/e1",
            "payload": {
                "summary": TEXT,
                "source": "p/d",
                "severity": "error",
                "timestamp": "2026-01-02T03:04:05+00:00",
                "component": "wf",
                "custom_details": FACTS,
            },
            "client": "flyteadmin",
            "client_url": LINK,
            "links": [{"href": LINK, "text": "Open the execution in the console"}],
        }
        assert orjson.loads(post(address, phase="SUCCEEDED", error=None).body)["payload"]["severity"] == "info"

    def test_others(self) -> None:
        made = post("https://example.com/hook")
        assert made.signed
        assert orjson.loads(made.body) == {
            "type": "flyte.execution.failed",
            "timestamp": "2026-01-02T03:04:05+00:00",
            "data": {**FACTS, "console_url": LINK, "text": TEXT},
        }

    @pytest.mark.parametrize(
        "address", ["https://", "https://user:pw@example.com/", "https://[::1/", "https://x:99999/"]
    )
    def test_unusable_addresses(self, address: str) -> None:
        with pytest.raises(MessageRefused):
            post(address)

    @pytest.mark.parametrize(
        "address",
        [
            "https://hooks.slack.com.example.org/services/T0/B0/XX",
            "https://example.org/hooks.slack.com/services/T0/B0/XX",
            "https://example.org/#https://hooks.slack.com/services/T0/B0/XX",
            "https://xhooks.slack.com/services/T0/B0/XX",
            "https://events.pagerduty.com.example.org/v2/enqueue?routing_key=KEY",
            "https://example.org/integration/KEY/enqueue",
        ],
    )
    def test_look_alikes_of_slack_and_pagerduty_are_signed_webhooks_of_their_own_host(self, address: str) -> None:
        made = post(address)
        assert (made.url, made.signed) == (address, True)
        assert b"routing_key" not in made.body

    @pytest.mark.parametrize(
        "address",
        [
            "https://hooks.slack.com@example.org/services/T0/B0/XX",
            "http://hooks.slack.com/services/T0/B0/XX",
            "http://events.pagerduty.com/v2/enqueue?routing_key=KEY",
        ],
    )
    def test_a_user_name_and_secrets_in_clear_text_are_refused(self, address: str) -> None:
        with pytest.raises(MessageRefused):
            post(address)

    def test_lists_show_the_host_alone(self) -> None:
        assert shown("https://hooks.slack.com/services/T0/B0/secret") == "https://hooks.slack.com/…"
        assert shown("https://u:pw@example.com:99/x?token=y") == "https://example.com/…"
        assert shown("pagerduty:secret") == "pagerduty:…"
        assert shown("https://[bad") == "https://…"


class TestDelivery:
    def test_both_secrets_sign(self, target: WebhookTarget) -> None:
        async def scenario() -> None:
            async with http_receiver() as receiver:
                assert await target.check() == ""
                await target.deliver(delivery(receiver.url))
                [request] = receiver.received
            assert request.headers["webhook-id"] == "d1"
            for secret in SECRETS:
                verified = Webhook(secret).verify(request.body, request.headers)
                assert verified["data"]["name"] == "e1"
            with pytest.raises(WebhookVerificationError):
                Webhook(SECRETS[0]).verify(request.body + b" ", request.headers)
            old = {
                **request.headers,
                "webhook-timestamp": str(int((datetime.now(UTC) - timedelta(hours=1)).timestamp())),
            }
            with pytest.raises(WebhookVerificationError):
                Webhook(SECRETS[0]).verify(request.body, old)
            await target.close()

        asyncio.run(scenario())

    def test_outcomes(self, target: WebhookTarget) -> None:
        async def scenario() -> None:
            async with http_receiver() as receiver:
                for status, kind in (
                    (500, TryAgain),
                    (408, TryAgain),
                    (410, MessageRefused),
                    (302, MessageRefused),
                    (404, MessageRefused),
                ):
                    receiver.answer = lambda _, status=status: status  # type: ignore[misc]
                    with pytest.raises(kind, match=str(status)):
                        await target.deliver(delivery(receiver.url))
                receiver.answer = lambda _: (429, {"retry-after": "30"})
                with pytest.raises(TryAgain) as again:
                    await target.deliver(delivery(receiver.url))
                assert again.value.after_seconds == 30
            # The socket keeps the port, which the server of another test could take; nothing listens there.
            with socket.socket() as closed:
                closed.bind(("127.0.0.1", 0))
                with pytest.raises(TryAgain):
                    await target.deliver(delivery(f"http://127.0.0.1:{closed.getsockname()[1]}/"))
            await target.close()

        asyncio.run(scenario())

    def test_an_address_with_other_characters_is_refused_for_good(self, target: WebhookTarget) -> None:
        for address in ("https://example.com/a b", "https://example.com/a\r\nx: y", "https://hooks.sl\u0430ck.com/"):
            with pytest.raises(MessageRefused):
                asyncio.run(target.deliver(delivery(address)))

    def test_a_slow_host_leaves_connections_to_the_others(self, target: WebhookTarget) -> None:
        async def scenario() -> None:
            ended = asyncio.Event()

            async def hold(_: Any, writer: asyncio.StreamWriter) -> None:
                await ended.wait()
                writer.close()
                await writer.wait_closed()

            slow = await asyncio.start_server(hold, "127.0.0.1", 0)
            address = f"http://127.0.0.1:{slow.sockets[0].getsockname()[1]}"
            held = [
                asyncio.create_task(target.deliver(delivery(f"{address}/{number}")))
                for number in range(webhooks.HOST_REQUESTS_MAX)
            ]
            await asyncio.sleep(0.1)
            with pytest.raises(TryAgain) as again:
                await target.deliver(delivery(f"{address}/other"))
            assert (again.value.counts, again.value.after_seconds) == (False, webhooks.HOST_SECONDS)
            async with http_receiver() as receiver:
                await target.deliver(delivery(receiver.url.replace("127.0.0.1", "localhost")))
                assert len(receiver.received) == 1
            for request in held:
                request.cancel()
            await asyncio.gather(*held, return_exceptions=True)
            ended.set()
            assert not target._running
            await target.close()
            slow.close()
            await slow.wait_closed()
            await asyncio.sleep(0.05)

        asyncio.run(scenario())

    def test_private_addresses_are_refused(self) -> None:
        async def scenario() -> None:
            target = WebhookTarget(Settings())
            async with http_receiver() as receiver:
                for host in ("127.0.0.1", "localhost"):
                    with pytest.raises(MessageRefused, match="not public"):
                        await target._send(webhooks.Post(f"http://{host}:{receiver.port}/", b"{}"), "d1")
                assert receiver.received == []
            await target.close()

        asyncio.run(scenario())

    def test_without_a_secret_other_receivers_get_nothing(self) -> None:
        async def scenario() -> None:
            with pytest.raises(MessageRefused, match="secretNames"):
                await WebhookTarget(Settings()).deliver(delivery("https://example.com/x"))
            section = Notifications(webhook=Section(secret_names=("no-such-secret",)))
            lacking = WebhookTarget(Settings(notifications=section))
            assert "no-such-secret" in await lacking.check()
            with pytest.raises(Away, match="no-such-secret"):
                await lacking.deliver(delivery("https://example.com/x"))

        asyncio.run(scenario())


class TestRates:
    def test_messages_above_the_rate_get_times_of_their_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            now = 1000.0
            monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
            rates, sent, waiting = Rates(60), [], [(1000.0, number) for number in range(20)]
            while waiting:
                now, number = min(waiting)
                waiting.remove((now, number))
                try:
                    rates.take("a")
                    sent.append(now - 1000.0)
                except TryAgain as error:
                    waiting.append((now + (error.after_seconds or 0), number))
            assert sent == pytest.approx([0, 0, 0, 0, 0, *range(1, 16)])
            rates.take("b")

        asyncio.run(scenario())

    def test_processes_share_the_rate(self, monkeypatch: pytest.MonkeyPatch) -> None:
        async def scenario() -> None:
            now = 1000.0
            monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
            sent = 0
            for rates in (Rates(60), Rates(60)):
                for second in range(60):
                    now = 1000.0 + second
                    with contextlib.suppress(TryAgain):
                        rates.take("a", processes=2)
                        sent += 1
            # Of each process: a burst of two instead of four, then one in two seconds.
            assert sent == 2 * 31

        asyncio.run(scenario())

"""A receiver that answers 500 for an hour, with a clock of the test: nothing is lost, and few requests are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import orjson
import pytest
import structlog

from app.background.notifications.webhooks import WebhookTarget
from app.background.outbox import outcomes, service
from app.background.outbox.service import Outbox
from app.database.outbox_tables import OutboxMessage
from app.runtime.dispatch import Server
from app.services import outbox
from app.services.notifications import WEBHOOK
from tests.background.notifications.test_webhooks import FACTS
from tests.services.test_events import run_id
from tests.support.http_receiver import http_receiver

pytestmark = pytest.mark.slow

START = datetime(2026, 1, 1, tzinfo=UTC)
STEP = timedelta(seconds=5)


class Clock:
    """Stands in for datetime where only now() is called."""

    moment = START

    def now(self, zone: tzinfo) -> datetime:
        return self.moment.astimezone(zone)


def test_it_is_tried_again_with_growing_pauses_and_delivered_once(
    bench: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.005)
    clock = Clock()
    for module in (service, outcomes):
        monkeypatch.setattr(module, "datetime", clock)

    async def scenario(b: Any) -> None:
        async with http_receiver() as receiver:
            receiver.answer = lambda _: 500
            target = WebhookTarget(b.settings)
            monkeypatch.setattr(target, "_keys", lambda: [b"0" * 32])
            async with b.context() as ctx:
                content = orjson.dumps({**FACTS, "address": receiver.url, "template": ""})
                how = {"target": WEBHOOK, "kind": "slack", "content": content, "delivered_at": START}
                await outbox.put(ctx, execution=run_id("e1"), **how)
            with structlog.testing.capture_logs() as lines:
                found = Outbox(Server(b.settings, b.database, b.blobs, b.engine), [target])
                await found.start()
                while clock.moment < START + timedelta(hours=1):
                    await _looked(found)
                    clock.moment += STEP
                # After 0, 10, 30, 70, … seconds.
                assert 8 <= len(receiver.received) <= 10
                [row] = await _rows(b)
                assert (row.state, row.attempts, row.reason.split()[0]) == ("pending", len(receiver.received), "500")
                receiver.answer = lambda _: 200
                while (await _rows(b))[0].state == "pending":
                    clock.moment += STEP
                    await _looked(found)
                await found.stop()
            [row] = await _rows(b)
            assert (row.state, len(receiver.accepted)) == ("delivered", 1)
            assert len({one.headers["webhook-id"] for one in receiver.received}) == 1
            assert len([one for one in lines if one["event"] == "delivery_delayed"]) <= 2

    bench(scenario, outbox={"allowed_networks": ["127.0.0.0/8"]})


async def _rows(b: Any) -> list[Any]:
    async with b.context() as ctx:
        return list(await ctx.db.find_all(OutboxMessage))


async def _looked(found: Outbox) -> None:
    """Wait until the outbox has looked for due messages and delivers none."""
    await asyncio.sleep(0.02)
    async with asyncio.timeout(10):
        while any(work.held for work in found._works.values()):  # noqa: ASYNC110 - no event says this
            await asyncio.sleep(0.002)

"""Notifications through a topic and a subscription of Pub/Sub, at Google's own server for tests, to an SMTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from app.background.notifications import subscription
from app.background.notifications.build import readers_of
from app.background.outbox.build import outbox_of
from app.runtime.dispatch import Server
from app.settings.outbound import Emailer, EmailServer, Gcp, Notifications, Processor, Publisher
from tests.background.events_out.test_pubsub import address, emulator
from tests.background.notifications.test_aws import settled
from tests.services.test_executions import prepare
from tests.services.test_notifications import end, launch, rule
from tests.support.smtp_server import smtp_server

__all__ = ["address", "emulator"]

pytestmark = pytest.mark.campaign


def test_through_topic_and_subscription_to_smtp(
    bench: Callable[..., Any], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "WAIT_SECONDS", 2.0)

    async def scenario(b: Any) -> None:
        kind = b.url.partition(":")[0]
        topic, queue = f"projects/p/topics/{kind}", f"projects/p/subscriptions/{kind}"
        with grpc.insecure_channel(request.getfixturevalue("address")) as channel:
            PublisherClient(transport=PublisherGrpcTransport(channel=channel)).create_topic(name=topic)
            subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
            subscriber.create_subscription(request={"name": queue, "topic": topic})
        await prepare(b)
        async with smtp_server() as box:
            server = EmailServer(service_name="smtp", smtp_server="localhost", smtp_port=str(box.port))
            section = Notifications(
                type="gcp",
                gcp=Gcp(project_id="p"),
                publisher=Publisher(topic_name=kind),
                processor=Processor(queue_name=kind),
                emailer=Emailer(email_server_config=server, sender="flyte@example.com"),
            )
            b.settings = b.settings.model_copy(update={"notifications": section})
            await launch(b, rule("email", "a@example.com", "b@example.com"))
            await end(b, error="out of cheese")
            process = Server(b.settings, b.database, b.blobs, b.engine)
            outbox, [reader] = outbox_of(process), readers_of(process)
            await outbox.start()
            await reader.start()
            rows = await settled(b, 4)
            await asyncio.sleep(0.5)
            assert reader.health() == ""
            await reader.stop()
            await outbox.stop()
        assert [(row.target, row.state) for row in rows] == [("queue", "delivered")] * 2 + [("mail", "delivered")] * 2
        assert sorted(box.recipients) == ["a@example.com", "b@example.com"]
        assert all("out of cheese" in message.get_content() for message in box.messages)

    bench(scenario)

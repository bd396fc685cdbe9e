"""Pub/Sub: Google's own server for tests, which is a Go module. `make test-events` runs this."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import event_pb2
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from app.background.events_out.pubsub import PubSubPublisher
from app.background.outbox.targets import Away
from app.wire import cloud_events
from tests.background.events_out.messages import message, raw_message

pytestmark = pytest.mark.campaign
TOPIC, SUBSCRIPTION = "projects/p/topics/events", "projects/p/subscriptions/all"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if shutil.which("go") is None:
        pytest.skip("no go on this machine")
    program = tmp_path_factory.mktemp("pubsub") / "pubsub"
    folder = Path(__file__).parent / "pubsub"
    subprocess.run(["go", "build", "-o", str(program), "."], cwd=folder, check=True)
    with subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture(autouse=True)
def emulator(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)


@asynccontextmanager
async def publisher(topic: str) -> AsyncIterator[PubSubPublisher]:
    made = PubSubPublisher(topic, "p", "cloudEvents")
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def test_messages_have_their_bytes_and_the_attribute_key(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)).create_topic(name=TOPIC)
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        subscription = {"name": SUBSCRIPTION, "topic": TOPIC, "enable_message_ordering": True}
        subscriber.create_subscription(request=subscription)

        async def scenario() -> None:
            async with publisher("events") as made:
                assert await made.check() == ""
                assert (await made.publish(raw_message())).startswith("message ")
                for number in range(5):
                    await made.publish(message(node=f"n{number}"))

        asyncio.run(scenario())
        found: list[Any] = []
        for _ in range(20):
            some = subscriber.pull(subscription=SUBSCRIPTION, max_messages=10, timeout=10).received_messages
            found += [one.message for one in some]
            subscriber.acknowledge(subscription=SUBSCRIPTION, ack_ids=[one.ack_id for one in some])
            if len(found) == 6:
                break
    assert dict(found[0].attributes) == {"key": "flyteidl.admin.WorkflowExecutionEventRequest"}
    request = event_pb2.WorkflowExecutionEventRequest.FromString(found[0].data)
    assert request.SerializeToString() == raw_message().body
    read = [cloud_events.protobuf_class().FromString(one.data).id for one in found[1:]]
    assert read == [message(node=f"n{number}").event.id for number in range(5)]  # type: ignore[union-attr]
    assert {one.ordering_key for one in found} == {"p/development/e1"}


def test_a_topic_that_is_not_there_is_named() -> None:
    async def scenario() -> None:
        async with publisher("nowhere") as made:
            assert "projects/p/topics/nowhere" in await made.check()
            with pytest.raises(Away, match="projects/p/topics/nowhere"):
                await made.publish(message())

    asyncio.run(scenario())


def test_an_unreachable_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")

    async def scenario() -> None:
        async with publisher("events") as made:
            assert await made.check() != ""
            with pytest.raises(Away):
                await made.publish(message())

    asyncio.run(scenario())


def test_no_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))

    async def scenario() -> None:
        async with publisher("events") as made:
            assert "no credentials" in await made.check()

    asyncio.run(scenario())

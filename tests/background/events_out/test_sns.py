"""SNS and SQS by moto, in threads of this process."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import boto3
import pytest
from flyteidl.admin import event_pb2
from moto.server import ThreadedMotoServer

from app.background.events_out.sns import SnsPublisher
from app.background.outbox.targets import Away, MessageRefused
from app.wire import cloud_events
from tests.background.events_out.messages import message, raw_message

pytestmark = pytest.mark.heavy

REGION = "eu-west-1"


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    if "aws" in request.fixturenames:
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("aws"))


class Topic:
    """A topic with a queue that receives its messages."""

    def __init__(self, url: str, name: str = "events") -> None:
        options = {"endpoint_url": url, "region_name": REGION}
        options |= {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        fifo = {"Attributes": {"FifoTopic": "true"}} if name.endswith(".fifo") else {}
        fifo_queue = {"Attributes": {"FifoQueue": "true"}} if fifo else {}
        sns: Any = boto3.client("sns", **options)
        self._sqs: Any = boto3.client("sqs", **options)
        self.arn = sns.create_topic(Name=name, **fifo)["TopicArn"]
        self._queue = self._sqs.create_queue(QueueName=name, **fifo_queue)["QueueUrl"]
        attributes = self._sqs.get_queue_attributes(QueueUrl=self._queue, AttributeNames=["QueueArn"])
        sns.subscribe(TopicArn=self.arn, Protocol="sqs", Endpoint=attributes["Attributes"]["QueueArn"])

    def read(self) -> list[dict[str, Any]]:
        """Return what SNS put into the queue, and delete it."""
        found = []
        while some := self._sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for one in some:
                found.append(json.loads(one["Body"]))
                self._sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=one["ReceiptHandle"])
        return found


@asynccontextmanager
async def publisher(arn: str) -> AsyncIterator[SnsPublisher]:
    made = SnsPublisher(arn, REGION, "cloudEvents")
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def test_a_message_has_its_key_as_subject_and_its_bytes_as_base64(aws: str) -> None:
    topic = Topic(aws)

    async def scenario() -> None:
        async with publisher(topic.arn) as made:
            assert await made.check() == ""
            assert (await made.publish(raw_message())).startswith("message ")
            await made.publish(message())

    asyncio.run(scenario())
    raw, cloud = sorted(topic.read(), key=lambda one: one["Subject"], reverse=True)
    assert raw["Subject"] == "flyteidl.admin.WorkflowExecutionEventRequest"
    request = event_pb2.WorkflowExecutionEventRequest.FromString(b64decode(raw["Message"]))
    assert request.SerializeToString() == raw_message().body
    assert cloud["Subject"] == "flyteidl.admin.NodeExecutionEventRequest"
    read = cloud_events.protobuf_class().FromString(b64decode(cloud["Message"]))
    assert read.id == message().event.id  # type: ignore[union-attr]


def test_a_topic_that_keeps_an_order_gets_groups_and_drops_repeats(aws: str) -> None:
    topic = Topic(aws, "ordered.fifo")

    async def scenario() -> None:
        async with publisher(topic.arn) as made:
            for node in ("n0", "n1", "n1"):
                await made.publish(message(node=node))

    asyncio.run(scenario())
    found = [cloud_events.protobuf_class().FromString(b64decode(one["Message"])).id for one in topic.read()]
    assert found == [message(node=node).event.id for node in ("n0", "n1")]  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_topic_that_is_not_there_is_named(aws: str) -> None:
    arn = f"arn:aws:sns:{REGION}:123456789012:nowhere"

    async def scenario() -> None:
        async with publisher(arn) as made:
            assert arn in await made.check()
            with pytest.raises(Away, match=f"{arn}.*NotFound"):
                await made.publish(message())

    asyncio.run(scenario())


def test_a_message_above_the_limit_is_refused(aws: str) -> None:
    topic = Topic(aws, "small")

    async def scenario() -> None:
        async with publisher(topic.arn) as made:
            with pytest.raises(MessageRefused, match=r"(?i)too long|256"):
                await made.publish(message(node="n" * 300_000))

    asyncio.run(scenario())


def test_an_unreachable_endpoint_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    async def scenario() -> None:
        async with publisher(f"arn:aws:sns:{REGION}:123456789012:events") as made:
            assert "127.0.0.1:1" in await made.check()
            with pytest.raises(Away, match=r"127\.0\.0\.1:1"):
                await made.publish(message())

    asyncio.run(scenario())

"""Notifications by SES, and through SNS and SQS, at moto."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import orjson
import pytest
from flyteidl.admin.notification_pb2 import EmailMessage
from moto.server import ThreadedMotoServer

from app.background.notifications import sqs
from app.background.notifications.build import readers_of
from app.background.notifications.mail import Mail
from app.background.notifications.queue import body_of_sns
from app.background.notifications.ses import Ses
from app.background.outbox.build import outbox_of
from app.background.outbox.targets import Away, MessageRefused
from app.database.outbox_tables import OutboxMessage
from app.runtime.dispatch import Server
from app.settings.outbound import Aws, Emailer, Notifications, Processor, Publisher
from tests.services.test_executions import prepare
from tests.services.test_notifications import end, launch, rule

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
NOW = datetime(2026, 1, 2, tzinfo=UTC)
REGION = "eu-west-1"
SENDER = "flyte@example.com"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return a function that makes a client of a service; the program under test uses the same server."""
    for name, value in (
        ("AWS_ENDPOINT_URL", moto),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sqs, "WAIT_SECONDS", 1)
    return lambda service: boto3.client(service, region_name=REGION)


def section(**changes: Any) -> Notifications:
    return Notifications(type="aws", aws=Aws(region=REGION), emailer=Emailer(sender=SENDER)).model_copy(update=changes)


def test_ses_sends_and_refuses(bench: Scenario, aws: Callable[[str], Any]) -> None:
    async def scenario(b: Any) -> None:
        b.settings = b.settings.model_copy(update={"notifications": section()})
        service = Ses(b.settings)
        one = Mail("d1", SENDER, "a@example.com", "hello", "<p>x</p>", NOW)
        client = aws("ses")
        client.delete_identity(Identity=SENDER)
        with pytest.raises(MessageRefused, match="MessageRejected"):
            await service.send(one)
        client.verify_email_identity(EmailAddress=SENDER)
        assert (await service.send(one)).startswith("message ")
        assert await service.check() == ""
        await service.close()

    bench(scenario)


def test_ses_that_does_not_answer(bench: Scenario, monkeypatch: pytest.MonkeyPatch, aws: Any) -> None:
    async def scenario(b: Any) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        b.settings = b.settings.model_copy(update={"notifications": section()})
        service = Ses(b.settings)
        with pytest.raises(Away, match=r"127\.0\.0\.1:1"):
            await service.send(Mail("d1", SENDER, "a@example.com", "hello", "<p>x</p>", NOW))
        assert "127.0.0.1:1" in await service.check()
        await service.close()

    bench(scenario)


async def settled(b: Any, number: int) -> list[Any]:
    """Wait until so many messages are written and none waits."""
    async with asyncio.timeout(30):
        while True:
            async with b.context() as ctx:
                rows = sorted(await ctx.db.find_all(OutboxMessage), key=lambda row: row.id)
            if len(rows) >= number and all(row.state != "pending" for row in rows):
                return rows
            await asyncio.sleep(0.05)


@pytest.mark.slow
def test_through_topic_and_queue_to_ses(bench: Scenario, aws: Callable[[str], Any]) -> None:
    async def scenario(b: Any) -> None:
        sns, queues = aws("sns"), aws("sqs")
        aws("ses").verify_email_identity(EmailAddress=SENDER)
        kind = b.url.partition(":")[0]
        topic = sns.create_topic(Name=f"notifications-{kind}")["TopicArn"]
        names = (f"read-{kind}", f"copy-{kind}")
        urls = [queues.create_queue(QueueName=name)["QueueUrl"] for name in names]
        for url in urls:
            arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
        await prepare(b)
        changed = section(publisher=Publisher(topic_name=topic), processor=Processor(queue_name=names[0]))
        b.settings = b.settings.model_copy(update={"notifications": changed})
        await launch(b, rule("email", "a@example.com", "b@example.com"))
        await end(b, error="out of cheese")
        queues.send_message(QueueUrl=urls[0], MessageBody="junk")
        server = Server(b.settings, b.database, b.blobs, b.engine)
        outbox, [reader] = outbox_of(server), readers_of(server)
        await outbox.start()
        await reader.start()
        rows = await settled(b, 4)
        await reader.stop()
        await outbox.stop()
        assert [(row.target, row.kind, row.recipient, row.state) for row in rows] == [
            ("queue", "email", "a@example.com", "delivered"),
            ("queue", "email", "b@example.com", "delivered"),
            *(("mail", "prepared", row.recipient, "delivered") for row in rows[2:]),
        ]
        assert {row.recipient for row in rows[2:]} == {"a@example.com", "b@example.com"}
        received = queues.receive_message(QueueUrl=urls[1], MaxNumberOfMessages=10)["Messages"]
        envelopes = [orjson.loads(one["Body"]) for one in received]
        assert {one["Subject"] for one in envelopes} == {"flyteidl.admin.EmailNotification"}
        sent = [EmailMessage.FromString(base64.b64decode(one["Message"])) for one in envelopes]
        assert {tuple(one.recipients_email) for one in sent} == {("a@example.com",), ("b@example.com",)}
        assert {one.sender_email for one in sent} == {SENDER}
        assert all("out of cheese" in one.body for one in sent)
        assert "Messages" not in queues.receive_message(QueueUrl=urls[0], MaxNumberOfMessages=10)

    bench(scenario)


@pytest.mark.parametrize("text", ["junk", "[]", "{}", '{"Message": 5}', '{"Message": "%%%"}', "null"])
def test_unreadable_messages_of_a_queue(text: str) -> None:
    assert body_of_sns(text) is None

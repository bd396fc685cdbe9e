"""The target `queue`, which publishes e-mails at a topic for another server, and the reader of such a queue.

Source: flyteadmin/pkg/async/notifications/implementations: publisher.go, aws_processor.go, gcp_processor.go.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import orjson
import structlog
from flyteidl.admin.notification_pb2 import EmailMessage
from flyteidl.core import identifier_pb2
from google.protobuf.message import DecodeError

from app import errors, limited_log
from app.background.events_out.publisher import Message, Publisher
from app.background.notifications import templates
from app.background.notifications.mail import PREPARED
from app.background.notifications.notice import notice_of
from app.background.outbox.targets import Away, Backoff, Delivery
from app.runtime.context import Context
from app.runtime.dispatch import Server, perform
from app.services import outbox
from app.services.notifications import ADDRESS_LENGTH_MAX, MAIL, QUEUE, address_problem
from app.settings import Settings

# Parity: the subject of SNS messages, and the attribute `key` of Pub/Sub messages.
KEY = "flyteidl.admin.EmailNotification"
# Times between attempts to read a queue that does not answer: doubled from the first up to the second.
AWAY_SECONDS, AWAY_SECONDS_MAX = 1.0, 30.0
RECIPIENTS_MAX = 1000

log = structlog.get_logger(__name__)


class QueueTarget:
    """Publishes an admin.EmailMessage for each recipient.

    Deviates: upstream publishes one for all recipients of a notification.

    Args:
        settings: The settings.
        publisher: The topic.
    """

    name = QUEUE
    ordered = False
    backoff = Backoff(1.0, 300.0)

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._settings = settings
        self._publisher = publisher

    async def open(self) -> None:
        """Open the publisher."""
        await self._publisher.open()

    async def check(self) -> str:
        """Try the topic."""
        return await self._publisher.check()

    async def deliver(self, delivery: Delivery) -> str:
        """Publish one message."""
        notice, section = notice_of(delivery, self._settings), self._settings.notifications.emailer
        message = EmailMessage(
            recipients_email=[notice.address],
            sender_email=section.sender,
            subject_line=templates.subject(notice, section),
            body=templates.body(notice, section),
        )
        return await self._publisher.publish(Message(delivery.delivery_id, KEY, "", message.SerializeToString()))

    async def close(self) -> None:
        """Close the publisher."""
        await self._publisher.close()


class Received(NamedTuple):
    """A message of a queue.

    Attributes:
        id: The queue's id of the message, the same when it is received again.
        handle: By which the message is deleted.
        body: The serialized admin.EmailMessage; None where the message has another form.
    """

    id: str
    handle: str
    body: bytes | None


class Queue(Protocol):
    """A queue of e-mails. `Away` means that it does not answer."""

    async def open(self) -> None:
        """Make what reading needs."""

    async def receive(self) -> Sequence[Received]:
        """Wait for messages, for some seconds, and return them."""

    async def delete(self, messages: Sequence[Received]) -> None:
        """Delete messages."""

    async def close(self) -> None:
        """Close connections."""


class QueueReader:
    """Background service that moves the e-mails of a queue into the outbox, which sends them.

    A message is deleted after the commit. One that is received twice has the same delivery ids, so it is sent once.

    Args:
        server: The objects of this process.
        queue: The queue.
    """

    name = "notification_queue"

    def __init__(self, server: Server, queue: Queue) -> None:
        self._server = server
        self._queue = queue
        self._task: asyncio.Task[None] | None = None
        self._failure = ""

    async def start(self) -> None:
        """Begin to read."""
        await self._queue.open()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop reading; what was received and not stored is received again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._queue.close()

    def health(self) -> str:
        """Return "" while the queue answers."""
        return self._failure

    def metrics(self) -> Mapping[str, float]:
        """Return no gauges."""
        return {}

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if received := await self._queue.receive():
                    await perform(self._server, store, received)
                    await self._queue.delete(received)
                failures, self._failure = 0, ""
            except (Away, errors.FlyteError) as error:
                limited_log.warning("notification_queue_not_read", reason=str(error))
                self._failure = str(error)
                failures += 1
            except Exception as error:
                # The task must not end: nobody would read the queue.
                log.exception("notification_queue_not_read")
                self._failure = repr(error)
                failures += 1
            if failures:
                await asyncio.sleep(min(AWAY_SECONDS_MAX, AWAY_SECONDS * 2 ** min(failures - 1, 10)))


async def store(ctx: Context, received: Sequence[Received]) -> None:
    """Write the e-mails of messages into the outbox. Unreadable messages are logged and left out, as upstream."""
    nothing = identifier_pb2.WorkflowExecutionIdentifier()
    for one in received:
        try:
            message = EmailMessage.FromString(one.body if one.body is not None else b"\xff")
        except DecodeError:
            limited_log.warning("notification_unreadable", id=one.id)
            continue
        for recipient in list(message.recipients_email)[:RECIPIENTS_MAX]:
            copy = EmailMessage()
            copy.CopyFrom(message)
            copy.recipients_email[:] = [recipient]
            await outbox.put(
                ctx,
                target=MAIL,
                kind=PREPARED,
                recipient=recipient[:ADDRESS_LENGTH_MAX],
                execution=nothing,
                content=copy.SerializeToString(),
                delivery_id=hashlib.sha256(f"{one.id}\n{recipient}".encode()).hexdigest()[:32],
                undeliverable=address_problem(recipient),
            )


def body_of_sns(text: str) -> bytes | None:
    """Return the message that SNS put into a queue, None for text of another form."""
    try:
        found = orjson.loads(text)["Message"]
        return base64.b64decode(found, validate=True)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, binascii.Error):
        return None

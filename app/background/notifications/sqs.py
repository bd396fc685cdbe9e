"""Reads e-mails from a queue of Amazon SQS, into which SNS puts them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.background.events_out.publisher import library
from app.background.notifications.queue import Received, body_of_sns
from app.background.notifications.ses import region_of
from app.background.outbox.targets import Away
from app.settings import BadSetting, Settings

# Messages of one request; SQS returns no more.
MESSAGES_MAX = 10
WAIT_SECONDS = 5
TIMEOUT_SECONDS = 10.0


class Sqs:
    """The queue of notifications.type=aws.

    Args:
        settings: The settings.

    Raises:
        BadSetting: The region cannot be used, or the extra is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        section = settings.notifications
        extra = {"extra": "aws", "setting": "notifications.type=aws"}
        boto3, config = library("boto3", **extra), library("botocore.config", **extra)
        self._errors = library("botocore.exceptions", **extra)
        self._processor = section.processor
        options = config.Config(
            connect_timeout=TIMEOUT_SECONDS, read_timeout=WAIT_SECONDS + TIMEOUT_SECONDS, retries={"mode": "standard"}
        )
        region = region_of(section.aws) or section.region
        try:
            self._client = boto3.session.Session().client("sqs", region_name=region or None, config=options)
        except (self._errors.BotoCoreError, ValueError) as error:
            raise BadSetting(f"notifications.aws.region={region!r} cannot be used: {error}") from error
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="sqs")
        self._url = ""

    async def open(self) -> None:
        """Look up the queue later, with the first messages."""

    async def receive(self) -> Sequence[Received]:
        """Wait for messages."""
        if not self._url:
            owner = {"QueueOwnerAWSAccountId": self._processor.account_id} if self._processor.account_id else {}
            reply = await self._call(self._client.get_queue_url, QueueName=self._processor.queue_name, **owner)
            self._url = reply["QueueUrl"]
        options = {"MaxNumberOfMessages": MESSAGES_MAX, "WaitTimeSeconds": WAIT_SECONDS}
        reply = await self._call(self._client.receive_message, QueueUrl=self._url, **options)
        return [
            Received(one["MessageId"], one["ReceiptHandle"], body_of_sns(one["Body"]))
            for one in reply.get("Messages", ())
        ]

    async def delete(self, messages: Sequence[Received]) -> None:
        """Delete messages."""
        entries = [{"Id": str(place), "ReceiptHandle": one.handle} for place, one in enumerate(messages)]
        await self._call(self._client.delete_message_batch, QueueUrl=self._url, Entries=entries)

    async def close(self) -> None:
        """Close the connections. The thread ends with its request."""
        self._client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, method: Any, **parts: Any) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(**parts))
        except (self._errors.ClientError, self._errors.BotoCoreError) as error:
            raise Away(f"SQS queue {self._processor.queue_name}: {error}") from error

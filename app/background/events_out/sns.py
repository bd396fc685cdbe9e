"""Publishes at a topic of AWS SNS: the bytes of the message as base64, its key as the subject.

Source: github.com/NYTimes/gizmo/pubsub/aws, which upstream publishes with.
"""

from __future__ import annotations

import asyncio
import hashlib
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.background.events_out.publisher import TIMEOUT_SECONDS, Message, library, required
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting

# Requests at the same time. boto3 blocks, so each needs a thread.
_THREADS = 8
_REFUSED = ("InvalidParameter", "InvalidParameterValue", "ParameterValueInvalid", "InvalidParameterException")
_AGAIN = ("Throttled", "Throttling", "ThrottledException", "ThrottlingException", "RequestLimitExceeded")
# A user may publish without the right to read the topic's attributes.
_NOT_ALLOWED = ("AuthorizationError", "AccessDenied", "AccessDeniedException")


class SnsPublisher:
    """The publisher of the type `aws`.

    Args:
        topic: The ARN of the topic.
        region: The region, "" for that of the environment.
        section: The name of the section of settings, for messages.

    Raises:
        BadSetting: The extra is not installed, or a setting is missing.
    """

    def __init__(self, topic: str, region: str, section: str) -> None:
        required(topic, f"{section}.eventsPublisher.topicName", "arn:aws:sns:eu-west-1:123456789012:events")
        extra = {"extra": "aws", "setting": f"{section}.type=aws"}
        self._boto3 = library("boto3", **extra)
        self._config = library("botocore.config", **extra)
        self._exceptions = library("botocore.exceptions", **extra)
        self._topic = topic
        self._region = region
        self._section = section
        self._client: Any = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="sns")

    async def open(self) -> None:
        """Make the client. Addresses and credentials come from settings and environment as for every AWS program."""
        options = self._config.Config(
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            # The outbox repeats what fails.
            retries={"total_max_attempts": 1},
            max_pool_connections=_THREADS,
        )
        try:
            # A session of its own: boto3's default one is not safe for threads.
            session = self._boto3.session.Session()
            self._client = session.client("sns", region_name=self._region or None, config=options)
        except (self._exceptions.BotoCoreError, ValueError) as error:
            raise BadSetting(f"{self._section}.aws.region={self._region!r} cannot be used: {error}") from error

    async def check(self) -> str:
        """Read the attributes of the topic."""
        try:
            await self._call(self._client.get_topic_attributes, TopicArn=self._topic)
        except self._exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            return "" if code in _NOT_ALLOWED else f"topic {self._topic}: {error}"
        except self._exceptions.BotoCoreError as error:
            return str(error)
        return ""

    async def publish(self, message: Message) -> str:
        """Send a message; return SNS's id of it."""
        parts = {"TopicArn": self._topic, "Subject": message.key, "Message": b64encode(message.body).decode()}
        if self._topic.endswith(".fifo"):
            # Topics that keep an order need a group, and an id by which they drop repeated messages.
            parts["MessageGroupId"] = hashlib.sha256(message.order.encode()).hexdigest()
            parts["MessageDeduplicationId"] = message.delivery_id
        try:
            reply = await self._call(self._client.publish, **parts)
        except self._exceptions.ClientError as error:
            raise self._failure(error) from error
        except self._exceptions.BotoCoreError as error:
            raise Away(f"topic {self._topic}: {error}") from error
        return f"message {reply['MessageId']}"

    async def close(self) -> None:
        """Close the connections and end the threads."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, method: Any, **parts: str) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: method(**parts))

    def _failure(self, error: Any) -> Exception:
        """Return the exception for an error that SNS answered."""
        code = error.response["Error"]["Code"]
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code in _REFUSED:
            return MessageRefused(str(error))
        if code in _AGAIN or status >= 500:
            return TryAgain(str(error))
        return Away(f"topic {self._topic}: {error}")

"""Publishes CloudEvents at Kafka, in binary mode, with librdkafka.

Source: github.com/cloudevents/sdk-go/protocol/kafka_sarama, and KafkaConfig.UpdateSaramaConfig of upstream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.background.events_out.publisher import TIMEOUT_SECONDS, Message, library, required
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting
from app.settings.events_out import Kafka, Sasl, Tls

_EXTRA = {"extra": "kafka", "setting": "cloudEvents.type=kafka"}
# Brokers limit the size of a message themselves; librdkafka's own limit is a megabyte.
_MESSAGE_BYTES_MAX = 100_000_000
# Errors of librdkafka about one message; all others are about the connection, the topic or the brokers.
_REFUSED = ("MSG_SIZE_TOO_LARGE", "INVALID_MSG", "INVALID_MSG_SIZE", "INVALID_RECORD")
_AGAIN = ("REQUEST_TIMED_OUT", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND", "THROTTLING_QUOTA_EXCEEDED")


class KafkaPublisher:
    """The publisher of `cloudEvents.type=kafka`.

    Args:
        section: Brokers, authentication and TLS.
        topic: The topic.

    Raises:
        BadSetting: The extra is not installed, or a setting is missing or unusable.
    """

    def __init__(self, section: Kafka, topic: str) -> None:
        required(section.brokers, "cloudEvents.kafka.brokers", "[kafka:9092]")
        required(topic, "cloudEvents.eventsPublisher.topicName", "flyte-events")
        self._kafka = library("confluent_kafka", **_EXTRA)
        self._section = section
        self._topic = topic
        self._configuration = configuration(section)
        self._producer: Any = None
        self._threads: ThreadPoolExecutor | None = None
        self._polling: asyncio.Future[None] | None = None
        self._closing = False
        self._last_error = ""

    async def open(self) -> None:
        """Make the producer, which connects by itself, and the thread that collects acknowledgements."""
        self._closing = False
        # librdkafka logs each failed connection; the outbox logs the reasons that matter.
        logger = logging.getLogger("confluent_kafka.producer")
        logger.setLevel(logging.CRITICAL)
        try:
            self._producer = self._kafka.Producer({**self._configuration, "error_cb": self._on_error}, logger=logger)
        except self._kafka.KafkaException as error:
            raise BadSetting(f"cloudEvents.kafka cannot be used: {error.args[0].str()}") from error
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="kafka")
        self._polling = asyncio.get_running_loop().run_in_executor(self._threads, self._poll)

    async def check(self) -> str:
        """Ask for the topic's partitions."""
        try:
            metadata = await self._in_thread(self._producer.list_topics, self._topic, TIMEOUT_SECONDS)
        except self._kafka.KafkaException as error:
            return f"{', '.join(self._section.brokers)}: {self._last_error or error.args[0].str()}"
        problem = metadata.topics[self._topic].error
        return f"topic {self._topic}: {problem.str()}" if problem is not None else ""

    async def publish(self, message: Message) -> str:
        """Send a message, wait for the brokers' acknowledgement, and return the message's partition and offset."""
        assert message.event is not None
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[tuple[Any, str]] = loop.create_future()
        key = message.event.id if self._section.key_by == "event" else message.order
        try:
            self._producer.produce(
                self._topic,
                message.event.data,
                key=key.encode(),
                headers=message.event.kafka_headers(),
                on_delivery=lambda error, record: loop.call_soon_threadsafe(_set, acknowledged, error, record),
            )
        except BufferError as error:
            raise TryAgain("the queue of messages to Kafka is full") from error
        except self._kafka.KafkaException as error:
            raise self._failure(error.args[0]) from error
        failure, place = await acknowledged
        if failure is not None:
            raise self._failure(failure)
        return place

    async def close(self) -> None:
        """Drop what is not acknowledged, which the outbox publishes again, and end the threads."""
        self._closing = True
        if self._polling is not None:
            await self._polling
        if self._producer is not None:
            self._producer.purge()
            await self._in_thread(self._producer.flush, 1.0)
            self._producer = None
        if self._threads is not None:
            self._threads.shutdown()

    def _poll(self) -> None:
        while not self._closing:
            self._producer.poll(0.5)

    def _on_error(self, error: Any) -> None:
        self._last_error = error.str()

    def _failure(self, error: Any) -> Exception:
        """Return the exception for an error of librdkafka."""
        name = error.name()
        if name in _REFUSED:
            return MessageRefused(error.str())
        if name in _AGAIN:
            return TryAgain(error.str())
        # Without a connection the error of a message is only that it has timed out.
        timed_out = name in ("_MSG_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN")
        return Away(f"topic {self._topic}: {(timed_out and self._last_error) or error.str()}")

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def configuration(section: Kafka) -> dict[str, Any]:
    """Return the configuration of librdkafka's producer for a section of settings.

    Raises:
        BadSetting: The file of the password cannot be read.
    """
    sasl, tls = section.sasl_config.enabled, section.tls_config.enabled
    protocol = ("sasl_" if sasl else "") + ("ssl" if tls else "plaintext")
    return {
        "bootstrap.servers": ",".join(section.brokers),
        "client.id": "flyteadmin",
        "security.protocol": protocol,
        "acks": "all",
        # An unacknowledged message fails after this time, and the outbox sends it again.
        "message.timeout.ms": int(TIMEOUT_SECONDS * 3000),
        "socket.timeout.ms": int(TIMEOUT_SECONDS * 1000),
        "message.max.bytes": _MESSAGE_BYTES_MAX,
        "queue.buffering.max.kbytes": 2 * _MESSAGE_BYTES_MAX // 1024,
        "linger.ms": 5,
        **(_sasl(section.sasl_config) if sasl else {}),
        **(_tls(section.tls_config) if tls else {}),
    }


def _sasl(section: Sasl) -> dict[str, Any]:
    password = section.password.get_secret_value()
    if section.password_path:
        try:
            password = Path(section.password_path).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            path = section.password_path
            raise BadSetting(f"cloudEvents.kafka.saslConfig.passwordPath={path} cannot be read: {error}") from error
    mechanism = section.mechanism or "PLAIN"
    return {"sasl.mechanism": mechanism, "sasl.username": section.user, "sasl.password": password}


def _tls(section: Tls) -> dict[str, Any]:
    files = {
        "ssl.certificate.location": section.cert_path,
        "ssl.key.location": section.key_path,
        "ssl.ca.location": section.ca_path,
    }
    # Parity: a certificate counts only together with its key.
    if not (section.cert_path and section.key_path):
        files = {"ssl.ca.location": section.ca_path}
    chosen: dict[str, Any] = {name: path for name, path in files.items() if path}
    if section.insecure_skip_verify:
        chosen["enable.ssl.certificate.verification"] = False
    return chosen


def _set(acknowledged: asyncio.Future[tuple[Any, str]], error: Any, record: Any) -> None:
    """Pass on an acknowledgement, unless nobody waits for it any more."""
    if not acknowledged.done():
        acknowledged.set_result((error, f"partition {record.partition()}, offset {record.offset()}"))

"""Kafka: the mock cluster of librdkafka speaks its protocol in this process."""

from __future__ import annotations

import asyncio
import socket
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from cloudevents.core.bindings import kafka as binding
from cloudevents.core.formats.json import JSONFormat
from confluent_kafka import KafkaError

from app.background.events_out import kafka
from app.background.events_out.kafka import KafkaPublisher, configuration
from app.background.outbox.targets import Away, MessageRefused, TryAgain
from app.settings import BadSetting
from app.settings.events_out import Kafka
from tests.background.events_out.messages import message

TOPIC = "flyte-events"
PARTITIONS = 4


class Cluster:
    """A mock cluster. It makes a topic of PARTITIONS partitions when a client asks for it."""

    def __init__(self) -> None:
        self._owner = confluent_kafka.Producer({"test.mock.num.brokers": 2})
        found = self._owner.list_topics(timeout=10).brokers.values()
        self.brokers = tuple(f"{one.host}:{one.port}" for one in found)

    def read(self, number: int) -> list[Any]:
        """Return the first messages of the topic, those of each partition in order."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": ",".join(self.brokers), "group.id": "test", "auto.offset.reset": "earliest"}
        )
        consumer.assign([confluent_kafka.TopicPartition(TOPIC, place, 0) for place in range(PARTITIONS)])
        found: list[Any] = []
        for _ in range(100):
            found += consumer.consume(number - len(found), timeout=0.2)
            if len(found) == number:
                break
        consumer.close()
        return found


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return Cluster()


@asynccontextmanager
async def publisher(brokers: tuple[str, ...], topic: str = TOPIC, **section: Any) -> AsyncIterator[KafkaPublisher]:
    made = KafkaPublisher(Kafka(brokers=brokers, **section), topic)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@pytest.mark.slow
def test_messages_have_key_headers_and_data_of_the_binding_and_keep_their_order(cluster: Cluster) -> None:
    """Keyed by execution, the events of each execution lie in one partition, in the order of their publication."""
    sent = [(f"e{number % 20}", f"n{number // 20}") for number in range(100)]

    async def scenario() -> None:
        async with publisher(cluster.brokers, key_by="execution") as made:
            assert await made.check() == ""

            async def run(name: str) -> None:
                for one, node in sent:
                    if one == name:
                        assert "offset" in await made.publish(message(name, node=node))

            await asyncio.gather(*(run(f"e{number}") for number in range(20)))
            own = message("by event")
            async with publisher(cluster.brokers) as other:
                await other.publish(own)

    asyncio.run(scenario())
    found = cluster.read(101)
    assert len(found) == 101
    nodes, places = defaultdict(list), defaultdict(set)
    for one in found:
        read = binding.from_binary(binding.KafkaMessage(dict(one.headers()), one.key(), one.value()), JSONFormat())
        if one.key().startswith(b"p/development/"):
            nodes[one.key().decode()].append(read.get_data()["event"]["id"]["nodeId"])  # type: ignore[index,call-overload]
            places[one.key()].add(one.partition())
        else:
            assert one.key().decode() == read.get_id() == message("by event").event.id  # type: ignore[union-attr]
            assert read.get_type() == "com.flyte.resource.flyteidl.admin.NodeExecutionEventRequest"
            assert dict(one.headers())["content-type"] == b"application/json"
    assert nodes == {f"p/development/e{number}": [f"n{step}" for step in range(5)] for number in range(20)}
    assert {len(some) for some in places.values()} == {1}
    assert len(set.union(*places.values())) == PARTITIONS


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (KafkaError.UNKNOWN_TOPIC_OR_PART, Away),
        (KafkaError._UNKNOWN_TOPIC, Away),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, Away),
        (KafkaError._MSG_TIMED_OUT, Away),
        (KafkaError.NOT_ENOUGH_REPLICAS, TryAgain),
        (KafkaError.MSG_SIZE_TOO_LARGE, MessageRefused),
    ],
)
def test_errors_of_brokers(code: int, outcome: type[Exception]) -> None:
    """The mock cluster makes every topic that is asked for, so the errors are made here."""
    made = KafkaPublisher(Kafka(brokers=("a:1",)), TOPIC)
    failure = made._failure(KafkaError(code))
    assert type(failure) is outcome
    assert outcome is not Away or TOPIC in str(failure)


@pytest.mark.slow
def test_unreachable_brokers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "TIMEOUT_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"

    async def scenario() -> None:
        async with publisher((address,)) as made:
            assert address in await made.check()
            with pytest.raises(Away, match=r"refused|timed out"):
                await made.publish(message())

    asyncio.run(scenario())


def test_a_message_above_the_limit_is_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "_MESSAGE_BYTES_MAX", 1000)
    large = message(node="n" * 2000)

    async def scenario() -> None:
        async with publisher(cluster.brokers) as made:
            with pytest.raises(MessageRefused, match="size"):
                await made.publish(large)

    asyncio.run(scenario())


class TestConfiguration:
    def test_sasl_and_tls_are_those_of_librdkafka(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text(" hunter2\n")
        section = Kafka.model_validate(
            {
                "brokers": ["a:1", "b:2"],
                "sasl_config": {
                    "enabled": True,
                    "user": "u",
                    "password": "other",
                    "password_path": str(file),
                    "mechanism": "SCRAM-SHA-256",
                },
                "tls_config": {
                    "enabled": True,
                    "insecure_skip_verify": True,
                    "cert_path": "/c",
                    "key_path": "/k",
                    "ca_path": "/ca",
                },
            }
        )
        made = configuration(section)
        assert {
            name: made[name] for name in made if name.startswith(("sasl", "ssl", "security", "enable", "boot"))
        } == {
            "bootstrap.servers": "a:1,b:2",
            "security.protocol": "sasl_ssl",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.username": "u",
            "sasl.password": "hunter2",
            "ssl.certificate.location": "/c",
            "ssl.key.location": "/k",
            "ssl.ca.location": "/ca",
            "enable.ssl.certificate.verification": False,
        }

    def test_nothing_is_on_by_default(self) -> None:
        made = configuration(Kafka(brokers=("a:1",)))
        assert made["security.protocol"] == "plaintext"
        assert not [name for name in made if name.startswith(("sasl", "ssl"))]

    def test_a_missing_file_of_the_password_ends_the_start(self) -> None:
        section = Kafka.model_validate(
            {"brokers": ["a:1"], "sasl_config": {"enabled": True, "password_path": "/no/file"}}
        )
        with pytest.raises(BadSetting, match="passwordPath=/no/file"):
            configuration(section)

    def test_an_unusable_setting_ends_the_start(self) -> None:
        section = Kafka.model_validate({"brokers": ["a:1"], "sasl_config": {"enabled": True, "mechanism": "WRONG"}})
        made = KafkaPublisher(section, TOPIC)
        with pytest.raises(BadSetting, match=r"cloudEvents\.kafka"):
            asyncio.run(made.open())

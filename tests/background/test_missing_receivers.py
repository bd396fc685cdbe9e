"""Receivers that are not there: a line in the log, a gauge, a reason in the state, and nothing lost when they come."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
import structlog
from confluent_kafka import KafkaError

from app import limited_log
from app.background.events_out.kafka import KafkaPublisher
from app.background.events_out.target import CloudEventEnvelope, EventTarget
from app.background.notifications.mail import MailTarget
from app.background.notifications.smtp import Smtp
from app.background.outbox import service
from app.services import outbox
from app.services.phases import Node
from app.settings.events_out import Kafka
from tests.background.notifications.test_mail import settings_of
from tests.background.notifications.test_webhooks import FACTS
from tests.background.outbox.test_outbox import rows, running, settled, until
from tests.services.test_events import node_event, run_id
from tests.support.smtp_server import smtp_server

TOPIC = "no-such-topic"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("LOOK_SECONDS", 0.01), ("AWAY_SECONDS", 0.01), ("CHECK_SECONDS", 0.01)):
        monkeypatch.setattr(service, name, seconds)
    limited_log.clear()


class Producer:
    """Answers for brokers that make no topic by themselves; librdkafka's mock makes each that is asked for."""

    def __init__(self) -> None:
        self.exists = False
        self.sent: list[bytes] = []

    def list_topics(self, topic: str, _: float) -> Any:
        error = None if self.exists else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        return SimpleNamespace(topics={topic: SimpleNamespace(error=error)})

    def produce(self, topic: str, data: bytes, *, on_delivery: Callable[..., None], **_: Any) -> None:
        if self.exists:
            self.sent.append(data)
        error = None if self.exists else KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART)
        on_delivery(error, SimpleNamespace(partition=lambda: 0, offset=lambda: len(self.sent)))

    def poll(self, seconds: float) -> None:
        time.sleep(seconds / 10)

    def purge(self) -> None: ...

    def flush(self, _: float) -> None: ...


def test_a_topic_of_kafka_that_is_not_there(bench: Callable[..., Any]) -> None:
    async def scenario(b: Any) -> None:
        producer = Producer()
        publisher = KafkaPublisher(Kafka(brokers=("127.0.0.1:1",)), TOPIC)
        publisher._kafka = SimpleNamespace(Producer=lambda *_, **__: producer, KafkaException=KeyError)
        target = EventTarget("cloud_events", CloudEventEnvelope(b.database, "v1", enrich_all=False), publisher)
        async with b.context() as ctx:
            for node in ("n0", "n1"):
                request = node_event(node, Node.RUNNING, 1, id=run_id("e1"))
                how = {"target": target.name, "kind": "node", "content": request.SerializeToString()}
                await outbox.put(ctx, execution=run_id("e1"), ordered=True, **how)
        with structlog.testing.capture_logs() as lines:
            async with running(b, target) as found:
                await until(lambda: TOPIC in found.states()["cloud_events"])
                await asyncio.sleep(0.1)
                assert found.metrics()["cloud_events_available"] == 0
                assert {(row.state, row.attempts) for row in await rows(b)} == {("pending", 0)}
                producer.exists = True
                await settled(b)
                assert (found.problems(), found.metrics()["cloud_events_available"]) == ({}, 1)
        assert {row.state for row in await rows(b)} == {"delivered"}
        assert [orjson.loads(data)["event"]["id"]["nodeId"] for data in producer.sent] == ["n0", "n1"]
        [line] = [one for one in lines if one["event"] == "target_not_available"]
        assert (line["log_level"], line["target"]) == ("warning", "cloud_events")
        assert TOPIC in line["reason"]
        # Limited in rate, however often the outbox tries.
        assert len([one for one in lines if one["event"] == "target_away"]) <= 2

    bench(scenario)


def test_a_mail_server_that_is_not_there(bench: Callable[..., Any]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def scenario(b: Any) -> None:
        target = MailTarget(settings_of(port), Smtp(settings_of(port)))
        async with b.context() as ctx:
            for number in range(3):
                address = f"u{number}@example.com"
                content = orjson.dumps({**FACTS, "address": address, "template": ""})
                how = {"target": target.name, "kind": "email", "recipient": address, "content": content}
                await outbox.put(ctx, execution=run_id("e1"), **how)
        with structlog.testing.capture_logs() as lines:
            async with running(b, target) as found:
                await until(lambda: f"localhost:{port}" in found.states()["mail"])
                await asyncio.sleep(0.1)
                assert found.metrics()["mail_available"] == 0
                assert {(row.state, row.attempts) for row in await rows(b)} == {("pending", 0)}
                async with smtp_server(port=port) as box:
                    await settled(b)
                    assert sorted(box.recipients) == [f"u{number}@example.com" for number in range(3)]
                assert found.metrics()["mail_available"] == 1
        assert any(f"localhost:{port}" in line.get("reason", "") for line in lines)
        assert len([one for one in lines if one["event"] == "target_away"]) <= 2

    bench(scenario)

"""Events from the request to an HTTP receiver, through the outbox, on both databases."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from cloudevents.core.bindings import http
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook

from app import limited_log
from app.background.events_out import envelopes
from app.background.events_out.build import targets_of
from app.background.events_out.target import EventTarget
from app.background.outbox import service
from app.background.outbox.targets import Backoff
from app.database.statements import Compiled
from app.runtime.dispatch import Server
from app.services.phases import Node, Workflow
from app.settings import BadSetting, Settings
from tests.background.events_out.plane import Plane, until
from tests.services.test_events import launch, node_event, run_id, workflow_event
from tests.support.http_receiver import Received, http_receiver

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
SECRETS = ["whsec_" + base64.b64encode(letter * 32).decode() for letter in (b"a", b"b")]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(service, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(service, "AWAY_SECONDS_MAX", 0.05)
    monkeypatch.setattr(EventTarget, "backoff", Backoff(0.01, 0.05, 10))
    limited_log.clear()


def options(url: str, *, version: str = "v1", types: tuple[str, ...] = ("all",), **more: Any) -> dict[str, Any]:
    section = {"enable": True, "type": "HTTP", "cloud_event_version": version, "http": {"url": url, **more}}
    return {
        "cloud_events": {**section, "events_publisher": {"event_types": types}},
        "outbox": {"allowed_networks": ["127.0.0.1"]},
    }


def configure(b: Any, **settings: Any) -> None:
    b.settings = Settings(home=b.settings.home, **settings)


def ids(received: list[Received]) -> list[str]:
    return [str(http.from_binary(http.HTTPMessage(one.headers, one.body), JSONFormat()).get_id()) for one in received]


def expected(sent: list[tuple[str, Any]]) -> list[str]:
    return [envelopes.event_id(kind, request.event) for kind, request in sent]


class TestDelivery:
    def test_every_event_of_a_run_arrives_once_and_in_order(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                configure(b, **options(receiver.url, secrets=SECRETS, token="t0ken"))
                plane = Plane(b)
                async with plane.running():
                    sent = await plane.run_of(retries=2)
                    await plane.settled()
            assert ids(receiver.accepted) == expected(sent)
            assert len(receiver.received) == len(sent)
            for one in receiver.received:
                assert one.headers["authorization"] == "Bearer t0ken"
                for secret in SECRETS:
                    Webhook(secret).verify(one.body, one.headers)
            kept = await plane.rows()
            assert [row.delivery_id for row in kept] == [one.headers["webhook-id"] for one in receiver.accepted]
            assert {(row.state, row.reply) for row in kept} == {("delivered", "204")}

        bench(scenario)

    def test_the_structured_mode_sends_one_document(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                configure(b, **options(receiver.url, mode="structured", version="v2"))
                plane = Plane(b)
                async with plane.running():
                    sent = await plane.run_of()
                    await plane.settled()
            read = [
                http.from_structured(http.HTTPMessage(one.headers, one.body), JSONFormat()) for one in receiver.accepted
            ]
            assert [one.get_id() for one in read] == expected(sent)
            assert [one.get_source() for one in read] == [
                envelopes.wrapped_source(kind, request.event) for kind, request in sent
            ]

        bench(scenario)

    @pytest.mark.parametrize(("types", "kinds"), [(("node",), {"node"}), (("task", "workflow"), {"task", "workflow"})])
    def test_a_filter_chooses_the_kinds(self, bench: Scenario, types: tuple[str, ...], kinds: set[str]) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                configure(b, **options(receiver.url, types=types))
                plane = Plane(b)
                async with plane.running():
                    sent = await plane.run_of()
                    await plane.settled()
            assert ids(receiver.accepted) == expected([one for one in sent if one[0] in kinds])

        bench(scenario)

    def test_an_event_that_is_refused_is_not_published(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            configure(b, **options("http://127.0.0.1:1/"))
            plane = Plane(b)
            await launch(b)
            await plane.event("node", node_event("n0", Node.RUNNING, 1))
            with pytest.raises(Exception, match="already"):
                await plane.event("node", node_event("n0", Node.RUNNING, 2))
            assert len(await plane.rows()) == 1

        bench(scenario)


class TestFailures:
    @pytest.mark.slow
    def test_a_receiver_that_fails_for_long_loses_nothing_and_no_order(self, bench: Scenario) -> None:
        """More failures than one event has attempts: they do not count while no event gets through."""

        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                receiver.answer = lambda _: 500
                configure(b, **options(receiver.url))
                plane = Plane(b)
                async with plane.running() as outbox:
                    sent = await plane.run_of()
                    await until(lambda: len(receiver.received) > 40)
                    assert "500" in outbox.problems()["cloud_events"]
                    assert await plane.rows(state="failed") == []
                    receiver.answer = lambda _: 200
                    await plane.settled()
                    assert outbox.problems() == {}
            assert ids(receiver.accepted) == expected(sent)

        bench(scenario)

    @pytest.mark.slow
    def test_one_event_that_always_fails_is_parked_and_the_others_go_on(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                bad = 'node_id:"n0" execution_id:{project:"p" domain:"development" name:"e1"}.QUEUED'
                receiver.answer = lambda one: 503 if ids([one]) == [bad] else 200
                configure(b, **options(receiver.url, types=("node",)))
                plane = Plane(b)
                async with plane.running():
                    sent = await plane.run_of()
                    await launch(b, "e2")
                    for number in range(60):
                        await plane.event("node", node_event(f"m{number}", Node.QUEUED, 1, id=run_id("e2")))
                        await asyncio.sleep(0.01)
                    await plane.settled()
                [parked] = await plane.rows(state="failed")
                assert parked.attempts == 10
                assert parked.reason.startswith("503")
                first = [one for one in ids(receiver.accepted) if 'name:"e1"' in one]
                assert first == expected([one for one in sent if one[0] == "node"])[1:]
                assert len(receiver.accepted) == 62

        bench(scenario)

    @pytest.mark.parametrize(
        ("answer", "outcome"),
        [
            (400, "failed"),
            (413, "failed"),
            (302, "failed"),
            (401, "failed"),
            (403, "failed"),
            (404, "failed"),
            (410, "failed"),
            ((429, {"retry-after": "600"}), "pending"),
        ],
    )
    def test_statuses(self, bench: Scenario, answer: Any, outcome: str) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                receiver.answer = lambda _: answer
                configure(b, **options(receiver.url))
                plane = Plane(b)
                await launch(b)
                await plane.event("node", node_event("n0", Node.RUNNING, 1))
                async with plane.running():
                    await until(lambda: receiver.received)
                    await asyncio.sleep(0.1)
            [row] = await plane.rows()
            assert row.state == outcome
            assert len(receiver.received) == 1

        bench(scenario)

    def test_410_ends_the_subscription(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                receiver.answer = lambda _: 410
                configure(b, **options(receiver.url, types=("node",)))
                plane = Plane(b)
                await launch(b)
                async with plane.running():
                    for number in range(3):
                        await plane.event("node", node_event(f"n{number}", Node.RUNNING, 1))
                    await plane.settled()
                    assert "410" in plane.outbox.problems()["cloud_events"]
            assert len(receiver.received) == 1
            assert [row.state for row in await plane.rows()] == ["failed"] * 3
            assert all("ended the subscription" in row.reason for row in await plane.rows())

        bench(scenario)

    def test_a_hanging_receiver_delays_no_request(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                receiver.delay = 60
                configure(b, **options(receiver.url, timeout_seconds=60.0))
                plane = Plane(b)
                await launch(b)
                await plane.event("node", node_event("n0", Node.RUNNING, 1))
                with mock.patch.object(service, "STOP_SECONDS", 0.05):
                    async with plane.running():
                        await until(lambda: receiver.received)
                        async with asyncio.timeout(10):
                            for number in range(20):
                                await plane.event("node", node_event(f"m{number}", Node.RUNNING, 1))
                assert len(await plane.rows(state="pending")) == 21

        bench(scenario)

    def test_an_unreachable_receiver_is_named_at_the_start(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                url = f"http://127.0.0.1:{free.getsockname()[1]}/"
            configure(b, **options(url))
            plane = Plane(b)
            async with plane.running() as outbox:
                await until(outbox.problems)
                assert "127.0.0.1" in outbox.problems()["cloud_events"]
                assert outbox.health() == ""
                assert outbox.metrics()["cloud_events_available"] == 0

        bench(scenario)

    def test_a_receiver_that_is_back_is_found_without_an_event(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "CHECK_SECONDS", 0.02)

        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                configure(b, **options(receiver.url))
            plane = Plane(b)
            async with plane.running() as outbox:
                await until(outbox.problems)
                server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port)
                await until(lambda: not outbox.problems())
                server.close()

        bench(scenario)

    def test_a_private_receiver_is_refused(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            async with http_receiver() as receiver:
                configure(b, **{**options(receiver.url), "outbox": {}})
                plane = Plane(b)
                async with plane.running() as outbox:
                    await until(outbox.problems)
                    assert "outbox.allowedNetworks" in outbox.problems()["cloud_events"]

        bench(scenario)


class TestCost:
    """What events out add to a request."""

    @staticmethod
    async def _statements(plane: Plane, kind: str, request: Any) -> list[str]:
        """Return the SQL of an event, without the names of columns."""
        seen: list[str] = []
        parameters = Compiled.parameters

        def record(self: Compiled, given: Any) -> Any:
            seen.append(self.sql)
            return parameters(self, given)

        with mock.patch.object(Compiled, "parameters", record):
            await plane.event(kind, request)
        return seen

    def test_off_costs_no_statement_and_on_costs_an_insert(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            plane = Plane(b)
            assert plane.server.outgoing.writers == []
            await launch(b)
            await launch(b, "e2")
            off = [
                await self._statements(plane, "workflow", workflow_event(Workflow.RUNNING, 1)),
                await self._statements(plane, "node", node_event("n0", Node.QUEUED, 1)),
                await self._statements(plane, "node", node_event("n0", Node.RUNNING, 2)),
            ]
            assert await plane.rows() == []
            configure(b, **options("http://127.0.0.1:1/"))
            plane, id = Plane(b), run_id("e2")
            on = [
                await self._statements(plane, "workflow", workflow_event(Workflow.RUNNING, 1, id=id)),
                await self._statements(plane, "node", node_event("n0", Node.QUEUED, 1, id=id)),
                await self._statements(plane, "node", node_event("n0", Node.RUNNING, 2, id=id)),
            ]
            assert len(await plane.rows()) == 3
            for before, after in zip(off, on, strict=True):
                more = list(after)
                for one in before:
                    more.remove(one)
                [insert] = more
                assert insert.startswith("INSERT INTO outbox_messages")

        bench(scenario)


class TestSettings:
    @staticmethod
    def build(**settings: Any) -> list[EventTarget]:
        server = Server(Settings(**settings), mock.Mock(), mock.Mock(), mock.Mock())
        return targets_of(server)

    @pytest.mark.parametrize(
        ("section", "values", "message"),
        [
            ("cloud_events", {"type": "kaffka"}, "cloudEvents.type='kaffka'"),
            ("external_events", {"type": "kafka"}, "externalEvents.type='kafka'"),
            ("cloud_events", {"type": "http"}, r"cloudEvents\.http\.url is empty"),
            ("cloud_events", {"type": "http", "http": {"url": "ftp://x"}}, "allowed: https, http"),
            ("cloud_events", {"type": "http", "http": {"url": "http://x", "secrets": ["abc"]}}, "whsec_"),
            ("cloud_events", {"type": "http", "http": {"url": "http://x", "secret_path": "/no/file"}}, "secretPath"),
            ("cloud_events", {"type": "kafka"}, r"cloudEvents\.kafka\.brokers is empty"),
            ("cloud_events", {"type": "nats", "nats": {"servers": ["nats://x"]}}, "topicName is empty"),
            ("cloud_events", {"type": "aws"}, "topicName is empty"),
            ("external_events", {"type": "gcp"}, "externalEvents.eventsPublisher.topicName is empty"),
            (
                "cloud_events",
                {"type": "http", "http": {"url": "http://x"}, "events_publisher": {"event_types": ["wrong"]}},
                "eventTypes has unknown kinds: wrong; allowed: workflow, node, task, all",
            ),
        ],
    )
    def test_unusable_settings_end_the_start(self, section: str, values: dict[str, Any], message: str) -> None:
        with pytest.raises(BadSetting, match=message):
            self.build(**{section: {"enable": True, **values}})

    @pytest.mark.parametrize(
        ("module", "extra", "values"),
        [
            ("confluent_kafka", "kafka", {"type": "kafka", "kafka": {"brokers": ["x:1"]}}),
            ("nats", "nats", {"type": "nats", "nats": {"servers": ["x:1"]}}),
            ("boto3", "aws", {"type": "aws"}),
            ("google.pubsub_v1", "gcp", {"type": "gcp", "gcp": {"project_id": "p"}}),
        ],
    )
    def test_a_missing_extra_is_named(self, module: str, extra: str, values: dict[str, Any]) -> None:
        publisher = {"topic_name": "t", "event_types": ["all"]}
        with (
            mock.patch.dict("sys.modules", {module: None}),
            pytest.raises(BadSetting, match=rf"pip install 'flyteadmin\[{extra}\]'"),
        ):
            self.build(cloud_events={"enable": True, **values, "events_publisher": publisher})

    @pytest.mark.parametrize("kind", ["local", "sandbox", ""])
    def test_types_that_publish_nothing_write_nothing(self, kind: str) -> None:
        server = Server(
            Settings(cloud_events={"enable": True, "type": kind, "events_publisher": {"event_types": ["all"]}}),
            mock.Mock(),
            mock.Mock(),
            mock.Mock(),
        )
        assert targets_of(server) == []
        assert server.outgoing.writers == []

"""Background services: order, failures, health and gauges."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from app.runtime import metrics
from app.runtime.lifecycle import Services


class Recorded:
    """A service that notes its calls and fails where it is asked to."""

    def __init__(
        self, name: str, calls: list[str], *, fails: str = "", gauges: Mapping[str, float] | None = None
    ) -> None:
        self.name = name
        self.failure = ""
        self._calls, self._fails, self._gauges = calls, fails, gauges or {}

    async def start(self) -> None:
        await self._note("start")

    async def stop(self) -> None:
        await self._note("stop")

    def health(self) -> str:
        return self.failure

    def metrics(self) -> Mapping[str, float]:
        return self._gauges

    async def _note(self, what: str) -> None:
        self._calls.append(f"{what} {self.name}")
        if what == self._fails:
            raise OSError("refused")


def test_services_start_in_order_and_stop_in_reverse() -> None:
    async def scenario() -> None:
        calls: list[str] = []
        services = Services([Recorded("a", calls), Recorded("b", calls)])
        await services.start()
        assert services.health() == {"a": "", "b": ""}
        assert await services.stop() == ()
        assert calls == ["start a", "start b", "stop b", "stop a"]
        assert services.health() == {}

    asyncio.run(scenario())


def test_a_failed_start_stops_the_others_and_is_raised() -> None:
    async def scenario() -> None:
        calls: list[str] = []
        services = Services([Recorded("a", calls), Recorded("b", calls, fails="start"), Recorded("c", calls)])
        with capture_logs() as logs, pytest.raises(OSError, match="refused"):
            await services.start()
        assert calls == ["start a", "start b", "stop a"]
        assert [(line["event"], line["service"]) for line in logs] == [("service_not_started", "b")]

    asyncio.run(scenario())


def test_a_failed_stop_is_reported_and_the_others_stop() -> None:
    async def scenario() -> None:
        calls: list[str] = []
        services = Services([Recorded("a", calls), Recorded("b", calls, fails="stop")])
        await services.start()
        with capture_logs() as logs:
            assert await services.stop() == ("b",)
        assert calls[-1] == "stop a"
        assert [(line["event"], line["service"]) for line in logs] == [("service_not_stopped", "b")]

    asyncio.run(scenario())


def test_gauges_reach_the_book_and_prometheus() -> None:
    async def scenario() -> None:
        counts = metrics.CallMetrics(["GetTask"])
        engine = Recorded("local_engine", [], gauges={"executions": 3})
        services = Services([engine], counts)
        await services.start()
        await asyncio.sleep(0)
        assert counts.gauges() == {("local_engine", "healthy"): 1, ("local_engine", "executions"): 3}
        engine.failure = "the database does not answer"
        assert services.gauges()["local_engine", "healthy"] == 0
        shown = metrics.service_exposition([counts.gauges(), counts.gauges()], scope="flyte:")
        assert "flyte:admin:local_engine:executions 6.0" in shown
        await services.stop()
        assert counts.gauges() == {}

    asyncio.run(scenario())

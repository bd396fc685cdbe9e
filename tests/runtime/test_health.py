"""Readiness: database and storage answer in time, and the process does not drain."""

from __future__ import annotations

import asyncio
from typing import Any

from structlog.testing import capture_logs

from app import errors
from app.runtime import health as module
from app.runtime.health import Health
from tests.conftest import Bench


def test_ready_while_database_and_storage_answer(bench: Any) -> None:
    async def scenario(bench: Bench) -> None:
        health = Health(bench.database, bench.blobs, 5)
        assert await health.failing() == ()
        health.draining.set()
        assert await health.failing() == ("draining",)

    bench(scenario)


def test_the_part_that_fails_is_named_and_logged_once(bench: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS_MIN", 0)

    async def scenario(bench: Bench) -> None:
        health = Health(bench.database, bench.blobs, 0.05)

        async def refuse() -> None:
            raise errors.Unavailable("the database does not answer")

        async def hang() -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(health, "_read_row", refuse)
        with capture_logs() as logs:
            assert await health.failing() == ("database",)
            assert await health.failing() == ("database",)
            monkeypatch.setattr(health, "_read_storage", hang)
            assert await health.failing() == ("database", "storage")
        assert [line["event"] for line in logs] == ["not_ready", "not_ready"]
        assert logs[0]["database"] == "the database does not answer"
        assert "server.readinessTimeoutSeconds" in logs[1]["storage"]

    bench(scenario)


def test_many_probes_make_one_check(bench: Any, monkeypatch: Any) -> None:
    async def scenario(bench: Bench) -> None:
        health = Health(bench.database, bench.blobs, 5)
        checks = 0

        async def count() -> None:
            nonlocal checks
            checks += 1

        monkeypatch.setattr(health, "_read_row", count)
        await asyncio.gather(*(health.failing() for _ in range(50)))
        assert checks == 1

    bench(scenario)

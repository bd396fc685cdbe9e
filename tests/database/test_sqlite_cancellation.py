"""A task that is cancelled in any step of a transaction on SQLite ends, and leaves the write lock free."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.database import schema
from app.database.base import Database
from app.database.connect import database_at
from tests.support.databases import migrated


async def add_project(database: Database) -> None:
    async with database.unit_of_work() as unit:
        await unit.insert(schema.Project, identifier="p", name="p")
        await asyncio.sleep(60)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return migrated(tmp_path / "flyte.db")


@pytest.mark.parametrize("steps", range(12))
def test_a_cancellation_is_not_lost(url: str, steps: int) -> None:
    async def scenario() -> None:
        database = database_at(url, connections_max=1, busy_timeout_seconds=5, statement_timeout_seconds=5)
        await database.open()
        try:
            task = asyncio.create_task(add_project(database))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=30)
            assert task.cancelled()
            async with database.unit_of_work() as unit:
                assert await unit.find(schema.Project, identifier="p") is None
                await unit.insert(schema.Project, identifier="p", name="p")
        finally:
            await database.close()

    asyncio.run(scenario())

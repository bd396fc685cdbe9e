"""Migration 0018: schedules that were activated before any scheduler ran begin at the migration."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.background.schedule_entries import entry_of
from app.database import migrations
from app.database.connect import database_at
from app.services.schedules import states
from app.settings import Settings
from tests.conftest import DATABASES
from tests.database.test_catalog_migration import run

ACTIVATED = "2020-01-01 00:00:00.000000+00:00"
ENTITY = (
    "INSERT INTO schedulable_entities (created_at, updated_at, project, domain, name, version, cron_expression, "
    "fixed_rate_value, unit, kickoff_time_input_arg, active) "
    f"VALUES ('{ACTIVATED}', '{ACTIVATED}', 'p', 'd', '{{name}}', 'v1', '* * * * *', 0, 0, '', {{active}})"
)
STATE = (
    "INSERT INTO schedule_states (project, domain, name, version, activated_by) VALUES ('p', 'd', 'ours', 'v1', 'a')"
)
SNAPSHOT = "INSERT INTO schedule_entities_snapshots (snapshot) VALUES (NULL)"


@pytest.mark.heavy
@pytest.mark.parametrize("kind", DATABASES)
@pytest.mark.parametrize("fired", [False, True], ids=("nothing-fired", "a-scheduler-ran"))
def test_old_schedules_begin_now(kind: str, empty_database: Callable[[str], str], fired: bool) -> None:
    url = empty_database(kind)
    migrations.rollback(url, "0017")
    run(url, *(ENTITY.format(name=name, active="true") for name in ("old", "ours")))
    run(url, ENTITY.format(name="stopped", active="false"), STATE, *([SNAPSHOT] if fired else []))
    before = datetime.now(UTC)
    migrations.run(url)
    first = asyncio.run(first_slots(url))
    since_activation = datetime(2020, 1, 1, 0, 1, tzinfo=UTC)
    assert first["ours"] == first["stopped"] == since_activation
    if fired:
        assert first["old"] == since_activation
    else:
        assert before - timedelta(seconds=1) < first["old"] <= datetime.now(UTC) + timedelta(minutes=1)
    migrations.rollback(url, "0017")
    migrations.run(url)
    assert asyncio.run(first_slots(url)) == first


async def first_slots(url: str) -> dict[str, Any]:
    """Return the first slot of each schedule that a scheduler finds due, by name."""
    database = database_at(url, connections_max=2, busy_timeout_seconds=20, statement_timeout_seconds=30)
    await database.open()
    try:
        async with database.unit_of_work() as unit:
            rows = await states.of_place(unit, after=0, most=10, project="p")
        return {row.name: entry_of(row, Settings(), datetime.now(UTC), {}).slot for row in rows}
    finally:
        await database.close()

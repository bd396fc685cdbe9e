"""`flyteadmin events replay`: which events are sent again, in which order, and the command itself."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.background.events_out import replay
from app.background.events_out.replay import Replay
from app.background.outbox import claims, service
from app.cli import events as command
from app.cli.main import app
from app.database.outbox_tables import OutboxMessage
from app.server import home
from app.settings import BadSetting, Settings
from tests.background.events_out.plane import Plane
from tests.background.events_out.test_events_out import configure, expected, ids, options
from tests.support.http_receiver import http_receiver

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(replay, "PAGE_ROWS", 3)


def later() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=1)


def test_a_replay_equals_what_was_sent(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        async with http_receiver() as receiver:
            configure(b, **options(receiver.url))
            plane = Plane(b)
            async with plane.running():
                sent = await plane.run_of()
                await plane.settled()
                before = list(receiver.accepted)
                chosen = Replay(["cloud_events"], LONG_AGO, later())
                assert await replay.replay(b.database, chosen, dry_run=True) == {"cloud_events": len(sent)}
                assert await plane.rows(state="pending") == []
                assert await replay.replay(b.database, chosen) == {"cloud_events": len(sent)}
                await plane.settled()
            again = receiver.accepted[len(before) :]
            assert ids(again) == expected(sent)
            assert [one.body for one in again] == [one.body for one in before]
            assert [one.headers["webhook-id"] for one in again] == [one.headers["webhook-id"] for one in before]

    bench(scenario)


def test_time_target_and_outcome_choose_the_events(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        configure(b, **options("http://127.0.0.1:1/"))
        plane = Plane(b)
        await plane.run_of()
        rows = await plane.rows()
        now = datetime.now(UTC)
        async with b.context() as ctx:
            for number, row in enumerate(rows):
                created = now - timedelta(hours=len(rows) - number)
                state = "failed" if number % 2 else "delivered"
                values = {"created_at": created, "finished_at": now, "state": state, "next_at": None}
                await ctx.db.update(OutboxMessage, {"delivery_id": row.delivery_id}, **values)

        async def chosen(**fields: Any) -> int:
            values = {"targets": ["cloud_events"], "since": LONG_AGO, "until": now, **fields}
            return sum((await replay.replay(b.database, Replay(**values), dry_run=True)).values())

        assert await chosen() == len(rows)
        assert await chosen(since=now - timedelta(hours=3)) == 3
        assert await chosen(since=now - timedelta(hours=3), until=now - timedelta(hours=1)) == 2
        assert await chosen(failed_only=True) == len(rows) // 2
        assert await chosen(targets=["external_events"]) == 0

    bench(scenario)


def test_an_event_older_than_the_limit_is_tried_once_more(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        configure(b, **options("http://127.0.0.1:1/"))
        plane = Plane(b)
        await plane.run_of()
        async with b.context() as ctx:
            values = {"created_at": LONG_AGO, "finished_at": datetime.now(UTC), "state": "failed", "next_at": None}
            await ctx.db.update(OutboxMessage, {"target": "cloud_events"}, **values)
        count = (await replay.replay(b.database, Replay(["cloud_events"], LONG_AGO, later())))["cloud_events"]

        async def give_up() -> int:
            now = datetime.now(UTC)
            async with b.context() as ctx:
                return await claims.give_up(ctx.db, "cloud_events", before=now, now=now, text="too old: ", most=100)

        assert await give_up() == 0
        async with b.context() as ctx:
            await ctx.db.update(OutboxMessage, {"target": "cloud_events"}, reason="500")
        assert await give_up() == count

    bench(scenario)


class TestCommand:
    def test_it_works_on_the_database_of_the_settings(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path / "home"))
        home.prepare(Settings(home=tmp_path / "home").home_path)
        runner = CliRunner()
        assert runner.invoke(app, ["migrate", "run"]).exit_code == 0
        found = runner.invoke(app, ["events", "replay", "--since", "1h", "--dry-run"])
        assert (found.exit_code, found.output) == (
            0,
            "no events: these settings enable neither externalEvents nor cloudEvents, and none are kept\n",
        )
        monkeypatch.setenv("FLYTEADMIN__CLOUDEVENTS__ENABLE", "true")
        monkeypatch.setenv("FLYTEADMIN__CLOUDEVENTS__TYPE", "http")
        found = runner.invoke(app, ["events", "replay", "--since", "1h", "--dry-run"])
        assert found.output == "cloudEvents: 0 events would be sent again\n"

    def test_events_of_a_section_that_is_off_are_counted_and_explained(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def counted(*_: Any, **__: Any) -> dict[str, int]:
            return {"cloud_events": 1, "external_events": 0}

        monkeypatch.setattr("app.background.events_out.replay.replay", counted)
        monkeypatch.setenv("FLYTEADMIN_HOME", str(tmp_path / "home"))
        home.prepare(Settings(home=tmp_path / "home").home_path)
        assert CliRunner().invoke(app, ["migrate", "run"]).exit_code == 0
        found = CliRunner().invoke(app, ["events", "replay", "--since", "1h"])
        assert found.stdout == "cloudEvents: 1 event will be sent again\n"
        assert found.stderr.endswith("is the --config of the server missing?\n")

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["--since", "soon"], "--since=soon is no time"),
            (["--since", "1h", "--until", "x"], "--until=x is no time"),
            (["--since", "1h", "--target", "kafka"], "--target=kafka is unknown; allowed: externalEvents, cloudEvents"),
        ],
    )
    def test_bad_options_are_one_line(self, arguments: list[str], message: str) -> None:
        found = CliRunner().invoke(app, ["events", "replay", *arguments])
        assert found.exit_code == 1
        assert message in found.output

    def test_times(self) -> None:
        now = datetime(2026, 1, 1, tzinfo=UTC)
        assert command.read_time("--since", "90m", now) == now - timedelta(minutes=90)
        assert command.read_time("--since", "2025-12-31T01:00:00Z", now) == datetime(2025, 12, 31, 1, tzinfo=UTC)
        assert command.read_time("--since", "2025-12-31 01:00", now) == datetime(2025, 12, 31, 1, tzinfo=UTC)
        with pytest.raises(BadSetting, match="no time"):
            command.read_time("--since", "", now)

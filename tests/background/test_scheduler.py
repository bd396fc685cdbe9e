"""The scheduler with a clock of the test, on both databases: which slots launch, and under which names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
import structlog
from flyteidl.admin import common_pb2, execution_pb2, launch_plan_pb2, project_pb2
from flyteidl.core import identifier_pb2, types_pb2

from app import errors
from app.auth import role_store
from app.auth.caller_access import access_check
from app.auth.identity import Identity
from app.background import scheduler, slot_launcher, snapshots
from app.background.scheduler import Scheduler
from app.database import schema
from app.database.schedule_tables import ScheduleState
from app.runtime.dispatch import Server
from app.services import events, executions, launch_plans, named_entities, projects, workflows
from app.services.phases import Workflow
from app.services.schedules import control, runs, slots, states, views
from app.services.schedules.fire import Due
from app.services.schedules.options import Options
from tests.services.test_events import run_id, workflow_event
from tests.services.test_executions import prepare
from tests.support.builders import a_launch_plan, a_workflow, an_id
from tests.support.builders import register as register_basics

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ("p", "development", "lp", "v1")
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0.01)


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        # A new object, by which `settled` recognises the next look for changes.
        return self.now + timedelta()


async def activate(b: Any, state: int = launch_plan_pb2.ACTIVE, *, at: datetime = START, version: str = "v1") -> None:
    request = launch_plan_pb2.LaunchPlanUpdateRequest(id=an_id(identifier_pb2.LAUNCH_PLAN, "lp", version), state=state)
    await b.call(launch_plans.update_launch_plan, request, now=at, principal="alice")


async def register(b: Any, cron: str = "", minutes: int = 0, *, kickoff: str = "", **annotations: str) -> None:
    """Register lp, whose schedule has these options, and activate it."""
    plan = a_launch_plan(cron=cron, minutes=minutes)
    plan.spec.entity_metadata.schedule.kickoff_time_input_arg = kickoff
    for name, value in annotations.items():
        plan.spec.annotations.values[f"schedule.flyte.org/{name.replace('_', '-')}"] = value
    await prepare(b, plan)
    await activate(b)


@asynccontextmanager
async def running(b: Any, clock: Clock) -> AsyncIterator[Scheduler]:
    access = access_check(b.settings, b.database, b.blobs)
    found = Scheduler(Server(b.settings, b.database, b.blobs, b.engine, access=access), clock=clock)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def move(found: Scheduler, clock: Clock, by: timedelta, *, step: timedelta | None = None) -> None:
    """Move the clock, at once or in steps, and wait after each step until no slot is due."""
    end = clock.now + by
    while clock.now < end:
        clock.now = min(end, clock.now + (step or by))
        await settled(found, clock)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110 - the scheduler has no event that only tests would need
            await asyncio.sleep(0.003)


async def settled(found: Scheduler, clock: Clock) -> None:
    """Wait until the scheduler leads, has looked for changes, and nothing is due."""
    async with asyncio.timeout(20):
        looked = found._since
        await until(lambda: found._since is not looked)
        await until(lambda: not (found.metrics()["waiting"] or (found._heap and found._heap[0][0] <= clock.now)))


async def launched(b: Any) -> dict[str, datetime]:
    """Return the scheduled time of each execution by name."""
    async with b.context() as ctx:
        rows = await ctx.db.find_all(schema.Execution, execution_project="p")
    return {
        row.execution_name: execution_pb2.ExecutionSpec.FromString(row.spec).metadata.scheduled_at.ToDatetime(UTC)
        for row in rows
    }


async def state(b: Any) -> Any:
    async with b.context() as ctx:
        return await ctx.db.find(ScheduleState, name="lp", version="v1")


async def archive(b: Any, state: int) -> None:
    id = common_pb2.NamedEntityIdentifier(project="p", domain="development", name="lp")
    request = common_pb2.NamedEntityUpdateRequest(resource_type=identifier_pb2.LAUNCH_PLAN, id=id)
    request.metadata.state = state
    await b.call(named_entities.update_named_entity, request)


async def shown_schedule(b: Any) -> dict[str, Any]:
    """Return the schedule as routes and commands show it."""
    async with b.database.unit_of_work() as unit:
        (row,) = await states.of_place(unit, after=0, most=10, project="p", domain="development", name="lp")
    return views.view(row, b.settings, START)


def at(*minutes: int) -> dict[str, datetime]:
    """Return the executions of slots so many minutes after START."""
    times = [START + minute * MINUTE for minute in minutes]
    return {slots.execution_name(KEY, time): time for time in times}


class TestSlots:
    @pytest.mark.parametrize(("schedule", "due"), [({"cron": "*/5 * * * *"}, (5, 10)), ({"minutes": 4}, (4, 8, 12))])
    def test_each_slot_after_the_activation_launches_once(
        self, bench: Scenario, schedule: dict[str, Any], due: tuple[int, ...]
    ) -> None:
        async def scenario(b: Any) -> None:
            await register(b, **schedule)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 13 * MINUTE, step=MINUTE)
            assert await launched(b) == at(*due)
            row = await state(b)
            assert (row.launched, row.last_outcome, row.last_slot) == (len(due), "launched", max(at(*due).values()))

        bench(scenario)

    @pytest.mark.parametrize("catchup", ["all", "last", "none", "2m"])
    def test_jitter_delays_the_launch_alone(self, bench: Scenario, catchup: str) -> None:
        """The delay makes no slot late, so the option `catchup` does not drop it."""
        slot = START + 30 * MINUTE
        delay = slots.delay_seconds(KEY, Options(jitter_seconds=1500), slot, slot + 30 * MINUTE)
        assert delay > 180

        async def scenario(b: Any) -> None:
            await register(b, "*/30 * * * *", jitter="25m", catchup=catchup)
            clock = Clock()
            async with running(b, clock) as found:
                await settled(found, clock)
                await move(found, clock, slot - START + timedelta(seconds=delay - 1))
                assert await launched(b) == {}
                await move(found, clock, timedelta(seconds=2))
                assert await launched(b) == at(30)
                # The following slot is late when no scheduler has run.
                clock.now += timedelta(minutes=35)
                await settled(found, clock)
                assert await launched(b) == (at(30) if catchup in ("none", "2m") else at(30, 60))
            assert (await state(b)).missed == (1 if catchup in ("none", "2m") else 0)

        bench(scenario)

    @pytest.mark.slow
    def test_slots_of_the_same_minute_are_read_with_few_statements(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each launch by itself runs only the statements that write."""
        plans, queries = 60, 0
        single = tuple(f"SELECT {table}." for table in ("executions", "launch_plans", "schedule_states"))
        # A slow machine takes longer than the time for which launches share rows.
        monkeypatch.setattr(slot_launcher, "MEMO_SECONDS", 60.0)

        async def scenario(b: Any) -> None:
            nonlocal queries
            await register(b, "*/5 * * * *")
            for number in range(1, plans):
                plan = a_launch_plan(f"lp{number}", cron="*/5 * * * *")
                await b.call(launch_plans.create_launch_plan, plan)
                id = an_id(identifier_pb2.LAUNCH_PLAN, f"lp{number}")
                request = launch_plan_pb2.LaunchPlanUpdateRequest(id=id, state=launch_plan_pb2.ACTIVE)
                await b.call(launch_plans.update_launch_plan, request, now=START)
            unit = type(b.database.unit_of_work())
            run = unit._run

            async def counted(self: Any, statement: Any, parameters: Any) -> Any:
                nonlocal queries
                queries += statement.sql.startswith(single)
                return await run(self, statement, parameters)

            clock = Clock()
            async with running(b, clock) as found:
                await settled(found, clock)
                monkeypatch.setattr(unit, "_run", counted)
                await move(found, clock, 5 * MINUTE)
            assert len(await launched(b)) == plans

        bench(scenario)
        # One of them is the test's.
        assert queries < plans / 10

    def test_executions_are_scheduled_ones_of_who_activated(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, MINUTE)
            [name] = await launched(b)
            request = execution_pb2.WorkflowExecutionGetRequest(id=run_id(name))
            metadata = (await b.call(executions.get_execution, request)).spec.metadata
            assert (metadata.mode, metadata.principal) == (execution_pb2.ExecutionMetadata.SCHEDULED, "alice")

        bench(scenario)

    def test_a_restart_launches_what_was_missed_and_nothing_twice(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "*/2 * * * *")
            clock = Clock()
            for _ in range(4):
                async with running(b, clock) as found:
                    await move(found, clock, 3 * MINUTE)
                clock.now += 2 * MINUTE
            assert await launched(b) == at(2, 4, 6, 8, 10, 12, 14, 16, 18)
            assert (await state(b)).launched == 9

        bench(scenario)

    def test_several_schedulers_launch_each_slot_once(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            schedulers = [Scheduler(Server(b.settings, b.database, b.blobs, b.engine), clock=clock) for _ in range(3)]
            for each in schedulers:
                # Without the lease, which only saves work.
                each._leading, each._renewed = True, float("inf")
                await each.start()
            for _ in range(5):
                clock.now += MINUTE
                for each in schedulers:
                    await settled(each, clock)
            for each in schedulers:
                each._leading = False
                await each.stop()
            assert await launched(b) == at(1, 2, 3, 4, 5)
            assert (await state(b)).launched == 5

        bench(scenario)

    def test_one_of_several_schedulers_leads_and_another_takes_over(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            async with running(b, clock) as first:
                await settled(first, clock)
                second = Scheduler(Server(b.settings, b.database, b.blobs, b.engine), clock=clock)
                second._leases.owner = "another-machine/1/1"
                await second.start()
                await move(first, clock, MINUTE)
                assert second.metrics()["leading"] == 0.0
            await move(second, clock, MINUTE)
            await second.stop()
            assert await launched(b) == at(1, 2)

        bench(scenario)


class TestSnapshots:
    def test_slots_of_the_other_scheduler_are_not_launched_again(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            async with b.context() as ctx:
                for minutes in (1, 2, 3):
                    last = {slots.snapshot_key(KEY): START + minutes * MINUTE, "17": START}
                    await snapshots.write(ctx.db, last)
            clock = Clock()
            clock.now += 4 * MINUTE
            async with running(b, clock) as found:
                await move(found, clock, MINUTE)
            assert await launched(b) == at(4, 5)
            async with b.context() as ctx:
                rows = await ctx.db.find_all(schema.ScheduleEntitiesSnapshot)
                assert await snapshots.read(ctx.db) == {slots.snapshot_key(KEY): START + 5 * MINUTE, "17": START}
            assert len(rows) == 2

        bench(scenario)

    def test_an_unreadable_snapshot_counts_as_none(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            async with b.context() as ctx:
                await ctx.db.insert(schema.ScheduleEntitiesSnapshot, snapshot=b"junk")
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, MINUTE)
            assert await launched(b) == at(1)

        bench(scenario)


class TestChanges:
    def test_a_stopped_schedule_launches_nothing_and_another_activation_starts_anew(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, minutes=5)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 6 * MINUTE, step=MINUTE)
                await activate(b, launch_plan_pb2.INACTIVE, at=clock.now)
                await move(found, clock, 6 * MINUTE, step=MINUTE)
                await activate(b, at=clock.now)
                await move(found, clock, 6 * MINUTE, step=MINUTE)
            assert await launched(b) == at(5, 17)

        bench(scenario)

    def test_activation_of_the_active_version_changes_nothing(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, minutes=5)
            await activate(b, at=START + 3 * MINUTE)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 11 * MINUTE, step=MINUTE)
            assert await launched(b) == at(5, 10)

        bench(scenario)

    def test_a_paused_schedule_waits_and_resumes_with_or_without_the_slots_between(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()

            async def pause(ctx: Any, reason: str) -> None:
                await control.pause(ctx, KEY, reason, by="bob")

            async def resume(ctx: Any, catch_up: bool) -> None:
                await control.resume(ctx, KEY, catch_up=catch_up)

            async with running(b, clock) as found:
                for catch_up in (False, True):
                    await move(found, clock, MINUTE)
                    await b.call(pause, "maintenance", now=clock.now)
                    assert ((await state(b)).paused_reason, (await state(b)).paused_by) == ("maintenance", "bob")
                    await move(found, clock, 2 * MINUTE, step=MINUTE)
                    await b.call(resume, catch_up, now=clock.now)
                await move(found, clock, MINUTE)
            assert await launched(b) == at(1, 4, 5, 6, 7)
            assert (await state(b)).paused_reason is None

        bench(scenario)


class TestCatchUp:
    @pytest.mark.parametrize(
        ("option", "due", "missed"),
        [("all", range(1, 11), 0), ("last", (10,), 9), ("none", (10,), 9), ("4m", (7, 8, 9, 10), 6)],
    )
    def test_slots_that_passed_without_a_scheduler(
        self, bench: Scenario, option: str, due: tuple[int, ...], missed: int
    ) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *", catchup=option)
            clock = Clock()
            clock.now += 10 * MINUTE + timedelta(seconds=1)
            async with running(b, clock) as found:
                await settled(found, clock)
            assert await launched(b) == at(*due)
            row = await state(b)
            assert (row.launched, row.missed) == (len(due), missed)

        bench(scenario, scheduler={"catch_up_rate": 1000})

    def test_a_long_gap_is_passed_over_in_steps(self, bench: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slot_launcher, "STEP_SLOTS", 1000)

        async def scenario(b: Any) -> None:
            await register(b, "* * * * *", catchup="last")
            clock = Clock()
            clock.now += 10_000 * MINUTE
            async with running(b, clock) as found:
                await settled(found, clock)
            assert await launched(b) == at(10_000)
            assert (await state(b)).missed == 9_999

        bench(scenario)


class TestClocks:
    """Only a slot after the newest decided one is due, whatever the clock does."""

    def test_an_hour_forward_and_back_with_restarts(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "*/10 * * * *")
            clock = Clock()
            for by in (10, 60, -60, 30, 40):
                async with running(b, clock) as found:
                    await settled(found, clock)
                    clock.now += by * MINUTE
                    await settled(found, clock)
            # The clock has shown 1:10; then it went back to 0:10 and on to 1:20.
            assert await launched(b) == at(*range(10, 90, 10))
            assert (await state(b)).launched == 8

        bench(scenario, scheduler={"catch_up_rate": 1000})

    def test_it_stands_still_and_goes_back_while_the_process_runs(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "*/10 * * * *")
            clock = Clock()
            with structlog.testing.capture_logs() as lines:
                async with running(b, clock) as found:
                    await settled(found, clock)
                    for by in (10, 0, 60, -60, -24 * 60, 25 * 60, 10):
                        seen = found.metrics()["clock_jumps"] + (by != 0)
                        clock.now += by * MINUTE
                        # The look that `settled` waits for may have read the clock before.
                        await until(lambda seen=seen: found.metrics()["clock_jumps"] == seen)
                        await settled(found, clock)
            assert await launched(b) == at(*range(10, 90, 10))
            jumps = [one["seconds"] / 60 for one in lines if one["event"] == "clock_jumped"]
            assert jumps == pytest.approx([10, 60, -60, -24 * 60, 25 * 60, 10], abs=0.5)
            assert found.metrics()["clock_jumps"] == 6

        bench(scenario, scheduler={"catch_up_rate": 1000})

    def test_a_start_with_a_clock_before_the_stored_times_waits_and_names_them(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "*/10 * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 30 * MINUTE, step=10 * MINUTE)
            clock.now = datetime(1970, 1, 1, tzinfo=UTC)
            with structlog.testing.capture_logs() as lines:
                async with running(b, clock) as found:
                    await settled(found, clock)
                    clock.now = START + 40 * MINUTE
                    await settled(found, clock)
            assert await launched(b) == at(10, 20, 30, 40)
            [line] = [one for one in lines if one["event"] == "clock_before_stored_times"]
            assert line["newest_slot"] == "2026-01-01T00:30:00+00:00"

        bench(scenario)


class TestOverlap:
    """A schedule of every two minutes; its first execution, of minute 2, ends in minute 5 or 7."""

    @pytest.mark.parametrize(
        ("option", "ends_at", "due", "skipped"),
        [
            ("allow", 5, (2, 4, 6, 8), 0),
            ("skip", 5, (2, 6), 2),
            # The slot of minute 4 waits until the execution ends.
            ("buffer-one", 5, (2, 4), 1),
            # The slot of minute 4 waits until that of minute 6 takes its place.
            ("buffer-one", 7, (2, 6), 1),
            ("replace", 9, (2, 4, 6, 8), 0),
        ],
    )
    def test_a_slot_while_an_execution_runs(
        self, bench: Scenario, option: str, ends_at: int, due: tuple[int, ...], skipped: int
    ) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "*/2 * * * *", overlap=option)
            clock = Clock()
            async with running(b, clock) as found:
                for minute in range(1, 9):
                    await self._minute(found, clock)
                    if minute == ends_at:
                        [first] = at(2)
                        event = workflow_event(Workflow.SUCCEEDED, 5, id=run_id(first))
                        await b.call(events.create_workflow_event, event)
            assert await launched(b) == at(*due)
            assert (await state(b)).skipped == skipped
            if option == "replace":
                async with b.context() as ctx:
                    rows = await ctx.db.find_all(schema.Execution, execution_project="p")
                phases = {row.execution_name: (row.phase, row.abort_cause) for row in rows}
                names = list(at(*due))
                for name, successor in pairwise(names):
                    assert phases[name] == ("ABORTING", f"replaced by {successor}")
                assert phases[names[-1]][0] == "UNDEFINED"

        bench(scenario)

    async def _minute(self, found: Scheduler, clock: Clock) -> None:
        """Move the clock by a minute, in steps between two attempts at a waiting slot."""
        for _ in range(6):
            clock.now += timedelta(seconds=10)
            looked = found._since
            await until(lambda before=looked: found._since is not before and not (found._launching or found._live))

    def test_a_failing_slot_is_given_up_at_the_limit_of_catch_up(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def fails(*_: Any) -> Any:
            raise errors.Unavailable("away")

        async def scenario(b: Any) -> None:
            await register(b, "0 * * * *", catchup="10m")
            clock = Clock()
            async with running(b, clock) as found:
                with monkeypatch.context() as patch:
                    patch.setattr(slot_launcher, "fire", fails)
                    await move(found, clock, 60 * MINUTE)
                    await move(found, clock, 16 * MINUTE, step=MINUTE)
                await move(found, clock, 44 * MINUTE)
            assert await launched(b) == at(120)
            assert (await state(b)).missed == 1

        bench(scenario)


class TestTrouble:
    def test_a_schedule_of_a_deleted_launch_plan_is_set_aside(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            async with b.context() as ctx:
                [plan] = await ctx.db.find_all(schema.LaunchPlan, project="p")
                # As after a deletion by hand.
                await ctx.db.delete(schema.LaunchPlan, project="p")
            clock = Clock()
            async with running(b, clock) as found:
                with structlog.testing.capture_logs() as logs:
                    await move(found, clock, 3 * MINUTE, step=MINUTE)
                # Where the scheduler looks at the clock before every second step alone, it logs a jump too.
                warnings = [one["event"] for one in logs if one["log_level"] == "warning"]
                assert [event for event in warnings if event != "clock_jumped"] == ["slot_failed", "schedule_set_aside"]
                row, shown = await state(b), await shown_schedule(b)
                assert (row.failed, row.last_outcome, row.problem_code) == (1, "failed", 5)
                assert found.metrics()["failing"] == 1
                assert (shown["next"], shown["never"], shown["problem"]["code"]) == ([], True, 5)
                # What is registered again is active again after an activation.
                async with b.context() as ctx:
                    await ctx.db.insert(schema.LaunchPlan, **plan._asdict())
                await activate(b, launch_plan_pb2.INACTIVE, at=clock.now)
                await activate(b, at=clock.now)
                assert (await shown_schedule(b))["next"]
                await move(found, clock, 2 * MINUTE, step=MINUTE)
            assert await launched(b) == at(4, 5)

        bench(scenario)

    def test_failures_in_a_row_pause_a_schedule_that_asks_for_it(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *", pause_after="3")
            clock = Clock()
            async with running(b, clock) as found:
                await settled(found, clock)
                async with b.context() as ctx:
                    await ctx.db.update(schema.LaunchPlan, {"project": "p"}, spec=b"\xff")
                await move(found, clock, 6 * MINUTE, step=MINUTE)
            row = await state(b)
            assert (row.failed, row.paused, row.paused_by) == (3, True, "scheduler")
            assert row.paused_reason.startswith("3 slots failed in a row; the last one: ")

        bench(scenario)

    def test_an_archived_project_is_passed_over_without_catch_up(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await b.call(projects.update_project, project_pb2.Project(id="p", state=project_pb2.Project.ARCHIVED))
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                await self.check_passed_over(b, found, "project [p] is not active")
                await b.call(projects.update_project, project_pb2.Project(id="p"))
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                await self.check_goes_on(b, found)

        bench(scenario)

    @pytest.mark.parametrize("together", [False, True], ids=("alone", "read-ahead"))
    def test_an_archived_name_is_passed_over_without_catch_up(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch, together: bool
    ) -> None:
        if together:
            monkeypatch.setattr(slot_launcher, "READ_AHEAD_MIN", 1)
            monkeypatch.setattr(slot_launcher, "MEMO_SECONDS", 0.0)

        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await archive(b, common_pb2.NAMED_ENTITY_ARCHIVED)
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                await self.check_passed_over(b, found, "the name [lp] of the launch plan is archived")
                await archive(b, common_pb2.NAMED_ENTITY_ACTIVE)
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                await self.check_goes_on(b, found)

        bench(scenario)

    async def check_passed_over(self, b: Any, found: Scheduler, reason: str) -> None:
        assert await launched(b) == {}
        assert found.metrics()["failing"] == 1
        shown = await shown_schedule(b)
        assert (shown["problem"]["message"], shown["problem"]["code"]) == (reason, (await state(b)).problem_code)
        assert shown["last"] == {"slot": "2026-01-01T00:02:00Z", "execution": "", "outcome": "skipped"}
        assert shown["counts"] == {"launched": 0, "missed": 0, "skipped": 2, "failed": 0}

    async def check_goes_on(self, b: Any, found: Scheduler) -> None:
        assert await launched(b) == at(3, 4)
        assert found.metrics()["failing"] == 0
        shown = await shown_schedule(b)
        assert shown["problem"] is None
        assert shown["counts"] == {"launched": 2, "missed": 0, "skipped": 2, "failed": 0}

    def test_a_passing_failure_is_tried_again_and_nothing_is_lost(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        failures = iter([errors.Unavailable("away"), errors.ResourceExhausted("slow"), errors.Internal("fault")])
        plain = slot_launcher.fire

        async def fails_at_first(*arguments: Any) -> Any:
            for error in failures:
                raise error
            return await plain(*arguments)

        monkeypatch.setattr(slot_launcher, "fire", fails_at_first)

        async def scenario(b: Any) -> None:
            await register(b, "*/2 * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 3 * MINUTE, step=timedelta(seconds=5))
            assert await launched(b) == at(2)

        bench(scenario)

    def test_schedules_that_never_fire_or_cannot_be_read_stop_no_other(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            async with b.context() as ctx:
                for version, cron in (("v2", "0 0 31 2 *"), ("v3", "not a cron"), ("v4", "")):
                    await ctx.db.insert(
                        schema.SchedulableEntity,
                        project="p",
                        domain="development",
                        name="lp",
                        version=version,
                        cron_expression=cron,
                        fixed_rate_value=0,
                        unit=9,
                        active=True,
                        updated_at=START,
                    )
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, MINUTE)
                assert (found.metrics()["schedules"], found.metrics()["never"]) == (1, 3)
            assert await launched(b) == at(1)

        bench(scenario)

    def test_a_damaged_launch_plan_stops_no_other(self, bench: Scenario) -> None:
        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            await b.call(launch_plans.create_launch_plan, a_launch_plan(version="v2", cron="* * * * *"))
            async with b.context() as ctx:
                await ctx.db.update(schema.LaunchPlan, {"name": "lp", "version": "v2"}, spec=b"\xff\xff")
                row = {"cron_expression": "* * * * *", "active": True, "updated_at": START}
                place = {"project": "p", "domain": "development", "name": "lp", "version": "v2"}
                await ctx.db.insert(schema.SchedulableEntity, **place, **row)
            clock = Clock()
            async with running(b, clock) as found:
                await until(lambda: bool(found.metrics()["schedules"] == 2))
                clock.now += MINUTE
                await until(lambda: found._entries[KEY].last == START + MINUTE)
                await settled(found, clock)
                assert found.health() == ""
                async with b.context() as ctx:
                    damaged = await ctx.db.find(ScheduleState, name="lp", version="v2")
                assert (damaged.last_outcome, damaged.problem_code) == ("failed", 9)
            assert await launched(b) == at(1)

        bench(scenario)

    def test_an_unexpected_error_is_reported_and_ends_nothing(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain, failures = scheduler.entry_of, [ValueError("x")] * 3

        def fails_at_first(*arguments: Any) -> Any:
            if failures:
                raise failures.pop()
            return plain(*arguments)

        monkeypatch.setattr(scheduler, "entry_of", fails_at_first)

        async def scenario(b: Any) -> None:
            await register(b, "* * * * *")
            clock = Clock()
            async with running(b, clock) as found:
                await until(lambda: "ValueError" in found.health())
                await move(found, clock, MINUTE)
                assert found.health() == ""
            assert await launched(b) == at(1)

        bench(scenario)

    @pytest.mark.parametrize("change", ["resume", "record_failure"])
    def test_changes_lock_the_schedule_before_its_state(self, bench: Scenario, change: str) -> None:
        """With the other order, PostgreSQL ends one of the two transactions (deadlock)."""

        async def scenario(b: Any) -> None:
            await register(b, "* * * * *", pause_after="1")
            if change == "resume":
                async with b.context() as ctx:
                    await control.pause(ctx, KEY, "x", by="alice")

            async def changed() -> None:
                async with b.context() as ctx:
                    if change == "resume":
                        await control.resume(ctx, KEY, catch_up=False)
                    else:
                        due = Due(KEY, START + MINUTE, Options(pause_after=1))
                        await control.record_failure(ctx, (due, errors.NotFound("x")))

            async with b.context() as ctx:
                await ctx.db.begin()
                await ctx.db.find(schema.SchedulableEntity, columns=("id",), for_update=True, name="lp", version="v1")
                other = asyncio.create_task(changed())
                await asyncio.sleep(0.3)
                await ctx.db.update(ScheduleState, {"name": "lp", "version": "v1"}, paused_reason="y")
            await other

        bench(scenario)


class TestKickoff:
    @pytest.mark.parametrize("schedule", [{"cron": "*/5 * * * *"}, {"minutes": 5}])
    @pytest.mark.parametrize("required", [True, False])
    def test_the_input_receives_the_slot(self, bench: Scenario, schedule: dict[str, Any], required: bool) -> None:
        """A fixed rate fills the input only where the launch plan needs it."""

        async def scenario(b: Any) -> None:
            await register_basics(b)
            workflow = a_workflow()
            workflow.spec.template.interface.inputs.variables["t"].type.simple = types_pb2.DATETIME
            await b.call(workflows.create_workflow, workflow)
            plan = _with_time(a_launch_plan(**schedule), required=required)
            await b.call(launch_plans.create_launch_plan, plan)
            await activate(b)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 5 * MINUTE)
            [name] = await launched(b)
            async with b.context() as ctx:
                backfilled = await runs.fill_in(ctx, KEY, START + 10 * MINUTE, again=False)
            for one, slot in ((name, 5 * MINUTE), (backfilled, 10 * MINUTE)):
                request = execution_pb2.WorkflowExecutionGetDataRequest(id=run_id(one))
                data = await b.call(executions.get_execution_data, request)
                expected = START + (slot if required or "cron" in schedule else timedelta())
                assert data.full_inputs.literals["t"].scalar.primitive.datetime.ToDatetime(UTC) == expected

        bench(scenario)


def _with_time(plan: Any, *, required: bool) -> Any:
    """Add the datetime input t to a launch plan; without `required` its default is START."""
    parameter = plan.spec.default_inputs.parameters["t"]
    parameter.var.type.simple = types_pb2.DATETIME
    if required:
        parameter.required = True
    else:
        parameter.default.scalar.primitive.datetime.FromDatetime(START)
    plan.spec.entity_metadata.schedule.kickoff_time_input_arg = "t"
    return plan


class TestRoles:
    """A scheduled execution has the roles of who activated the schedule."""

    @pytest.mark.parametrize(
        "member", [("subject", "alice"), ("subject", "*"), ("claim", "team")], ids=["user", "everybody", "group"]
    )
    def test_a_schedule_fails_while_its_activator_lacks_the_role(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch, member: tuple[Any, str]
    ) -> None:
        monkeypatch.setattr(role_store.Roles, "stale", True)
        binding = role_store.binding_of("run", "p", "dev*", *member)

        async def scenario(b: Any) -> None:
            await prepare(b, a_launch_plan(cron="* * * * *"))
            await grant(b, binding)
            identity = Identity(subject="alice", claims={"groups": ["team"]}, method="session")
            await b.call(launch_plans.update_launch_plan, activation(), now=START, identity=identity)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                assert (await state(b)).launched == 2
                async with b.database.unit_of_work() as unit:
                    await role_store.revoke(unit, binding, ())
                await move(found, clock, 2 * MINUTE, step=MINUTE)
                row = await state(b)
                assert (row.launched, row.failed, row.problem_code) == (2, 2, 7)
                assert row.problem_message == (
                    "[alice] activated the schedule and lacks the role run in p/development; "
                    "a caller with this role may activate it again"
                )
                await grant(b, binding)
                await move(found, clock, MINUTE)
            assert await launched(b) == at(1, 2, 5)

        bench(scenario, auth={"roles": {"enabled": True, "claim": "groups"}})

    def test_a_schedule_that_was_activated_without_roles_has_those_of_the_user_id(
        self, bench: Scenario, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(role_store.Roles, "stale", True)

        async def scenario(b: Any) -> None:
            await prepare(b, a_launch_plan(cron="* * * * *"))
            await activate(b)
            async with b.context() as ctx:
                await ctx.db.update(ScheduleState, {"name": "lp"}, activated_as=None)
            clock = Clock()
            async with running(b, clock) as found:
                await move(found, clock, MINUTE)
                assert (await state(b)).problem_code == 7
                await grant(b, role_store.binding_of("run", "p", "*", "subject", "alice"))
                await move(found, clock, MINUTE)
                # Nobody is known to have activated it, as where upstream has.
                async with b.context() as ctx:
                    await ctx.db.update(ScheduleState, {"name": "lp"}, activated_by=None)
                await move(found, clock, MINUTE)
            assert await launched(b) == at(2, 3)

        bench(scenario, auth={"roles": {"enabled": True}})


def activation() -> launch_plan_pb2.LaunchPlanUpdateRequest:
    id = an_id(identifier_pb2.LAUNCH_PLAN, "lp", "v1")
    return launch_plan_pb2.LaunchPlanUpdateRequest(id=id, state=launch_plan_pb2.ACTIVE)


async def grant(b: Any, binding: Any) -> None:
    async with b.database.unit_of_work() as unit:
        await role_store.grant(unit, binding, by="t", rows_max=100)

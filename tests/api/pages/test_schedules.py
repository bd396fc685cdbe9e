"""The routes of schedules, on both databases: states, pause and resume, a launch now, past slots, and bad input."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import structlog
from flyteidl.admin import execution_pb2, launch_plan_pb2
from flyteidl.core import identifier_pb2
from starlette.applications import Starlette

from app import errors
from app.api.pages import schedules
from app.auth import audit
from app.database import schema
from app.runtime.dispatch import Server, perform
from app.services import launch_plans
from app.services.schedules import slots
from app.services.schedules.fire import Due, record
from app.services.schedules.options import Options
from app.settings import Settings
from tests.api.pages import own_replies
from tests.background.test_scheduler import KEY, START, activate, register, state
from tests.support.builders import a_launch_plan, an_id
from tests.support.builders import register as register_basics

pytestmark = pytest.mark.heavy

Scenario = Callable[..., Any]
PLACE = "/api/v1/schedules/p/development"
PLAN = f"{PLACE}/lp/v1"


class Desk:
    """The routes on a bench."""

    def __init__(self, b: Any) -> None:
        self.server = Server(b.settings, b.database, b.blobs, b.engine)
        self._app = Starlette(routes=schedules.routes(self.server))

    async def __call__(self, verb: str, path: str, body: Any = None, **query: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://localhost") as client:
            reply = await client.request(verb, path, json=body, params=query)
        own_replies.check(verb, path, reply)
        return reply


async def executions_of(b: Any) -> dict[str, Any]:
    async with b.context() as ctx:
        rows = await ctx.db.find_all(schema.Execution, execution_project="p")
    return {row.execution_name: execution_pb2.ExecutionSpec.FromString(row.spec).metadata for row in rows}


def test_a_schedule_with_its_state(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "CRON_TZ=Europe/Berlin 30 2 * * *", overlap="skip", dst="move-gap", jitter="never")
        call = Desk(b)
        reply = await call("GET", f"{PLACE}/lp")
        assert reply.status_code == 200
        [one] = reply.json()["schedules"]
        assert (one["name"], one["version"], one["zone"], one["active"]) == ("lp", "v1", "Europe/Berlin", True)
        assert (one["expression"], one["activated_by"]) == ("CRON_TZ=Europe/Berlin 30 2 * * *", "alice")
        assert (one["last"], one["problem"], one["paused"], one["never"]) == (None, None, None, False)
        assert one["counts"] == {"launched": 0, "missed": 0, "skipped": 0, "failed": 0}
        assert (one["options"]["overlap"], one["options"]["dst"]) == ("skip", "move-gap,twice")
        assert [w.split(":")[0] for w in one["warnings"]] == ["annotation schedule.flyte.org/jitter"]
        times = [datetime.fromisoformat(text) for text in one["next"]]
        assert len(times) == 5
        assert times == sorted(set(times))
        assert times[0] > datetime.now(UTC)

    bench(scenario)


@pytest.mark.parametrize("problem", [errors.InvalidArgument("no input a"), errors.NotFound("no workflow w")])
def test_the_last_slot_and_the_reason_of_trouble(bench: Scenario, problem: errors.FlyteError) -> None:
    async def scenario(b: Any) -> None:
        await register(b, minutes=5)
        call, due = Desk(b), Due(KEY, START + timedelta(minutes=5), Options())

        async def failed(ctx: Any, due: Due) -> None:
            await record(ctx, due, "failed", problem=problem)

        await perform(call.server, failed, due)
        [one] = (await call("GET", PLACE, problems="true")).json()["schedules"]
        assert one["last"] == {"slot": "2026-01-01T00:05:00Z", "execution": "", "outcome": "failed"}
        assert (one["problem"]["code"], one["problem"]["message"]) == (problem.code, problem.message)
        assert one["expression"] == "rate(5 MINUTE)"
        # In the phase of the activation, at minutes that are divisible by five.
        assert len(one["next"]) == 5
        assert all(text.endswith(("0:00Z", "5:00Z")) for text in one["next"])

    bench(scenario)


def test_pages_of_schedules(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 0 * * *")
        for number in range(4):
            await b.call(launch_plans.create_launch_plan, a_launch_plan(version=f"w{number}", cron="0 0 31 2 *"))
            await activate(b, version=f"w{number}")
        call, token, found = Desk(b), "", []
        while True:
            page = (await call("GET", f"{PLACE}/lp", limit="2", token=token)).json()
            found += [one["version"] for one in page["schedules"]]
            token = page["token"]
            if not token:
                break
        assert found == ["v1", "w0", "w1", "w2", "w3"]
        [never] = (await call("GET", PLACE, problems="true")).json()["schedules"]
        assert (never["version"], never["never"]) == ("w3", True)
        nothing = (await call("GET", "/api/v1/schedules/p/elsewhere")).json()
        assert (nothing["schedules"], nothing["token"]) == ([], "")
        assert re.fullmatch(r"20\d\d[a-z]+", nothing["tzdata"])

    bench(scenario)


def test_pause_and_resume(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 0 * * *")
        call = Desk(b)
        assert (await call("POST", f"{PLAN}/pause", {"reason": "maintenance"})).json() == {}
        [one] = (await call("GET", PLACE)).json()["schedules"]
        assert (one["active"], one["paused"]["reason"], one["next"]) == (False, "maintenance", [])
        refused = await call("POST", f"{PLAN}/pause", {})
        assert (refused.status_code, "not active" in refused.json()["message"]) == (400, True)
        assert (await call("POST", f"{PLAN}/resume", {"catch_up": True})).json() == {}
        [one] = (await call("GET", PLACE)).json()["schedules"]
        assert (one["active"], one["paused"]) == (True, None)
        assert (await state(b)).resume_from is not None
        assert (await call("POST", f"{PLAN}/resume", {})).status_code == 400

    bench(scenario)


@pytest.mark.parametrize("name", ["grüße/train+fast:now", "50%", "a%2Fb", "pause", "a b?#"])
def test_names_and_versions_with_slashes_and_other_characters(bench: Scenario, name: str) -> None:
    version = f"feat/{name}"

    async def scenario(b: Any) -> None:
        await register(b, "0 0 * * *")
        await b.call(launch_plans.create_launch_plan, a_launch_plan(name, version, cron="0 0 * * *"))
        update = launch_plan_pb2.LaunchPlanUpdateRequest(
            id=an_id(identifier_pb2.LAUNCH_PLAN, name, version), state=launch_plan_pb2.ACTIVE
        )
        await b.call(launch_plans.update_launch_plan, update, now=START)
        call, path = Desk(b), f"{PLACE}/{quote(name, safe='')}"
        assert (await call("POST", f"{path}/{quote(version, safe='')}/pause", {"reason": "x"})).json() == {}
        [one] = (await call("GET", path)).json()["schedules"]
        assert (one["name"], one["version"], one["paused"]["reason"]) == (name, version, "x")
        [other] = (await call("GET", f"{PLACE}/lp")).json()["schedules"]
        assert other["active"]

    bench(scenario)


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", f"{PLACE}/lp/v1", 404),
        ("GET", f"{PLAN}/pause", 405),
        ("GET", f"{PLACE}/%zz", 404),
        ("POST", f"{PLACE}/lp//pause", 404),
        ("GET", PLACE.replace("/v1/", "%2Fv1/"), 404),
    ],
)
def test_paths_that_no_route_has(bench: Scenario, verb: str, path: str, status: int) -> None:
    async def scenario(b: Any) -> None:
        assert (await Desk(b)(verb, path)).status_code == status

    bench(scenario)


def test_a_launch_now_is_a_manual_execution(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 0 * * *")
        call = Desk(b)
        await call("POST", f"{PLAN}/pause", {})
        name = (await call("POST", f"{PLAN}/trigger", {})).json()["execution"]
        [(found, metadata)] = (await executions_of(b)).items()
        assert (found, metadata.mode) == (name, execution_pb2.ExecutionMetadata.MANUAL)
        assert not metadata.HasField("scheduled_at")
        assert (await state(b)).last_slot is None

    bench(scenario)


def test_past_slots_are_listed_launched_and_not_repeated(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 * * * *")
        call = Desk(b)
        body = {"from": "2025-12-31T20:00:00Z", "to": "2025-12-31T23:00:00Z"}
        times = [datetime(2025, 12, 31, hour, tzinfo=UTC) for hour in (21, 22, 23)]
        names = [slots.execution_name(KEY, time) for time in times]

        async def outcomes(**more: Any) -> list[str]:
            reply = (await call("POST", f"{PLAN}/backfill", {**body, **more})).json()["slots"]
            assert [datetime.fromisoformat(one["slot"]) for one in reply] == times
            return [one["outcome"] for one in reply]

        assert await outcomes(dry_run=True) == ["would launch"] * 3
        assert await executions_of(b) == {}
        assert await outcomes() == ["launched"] * 3
        assert sorted(await executions_of(b)) == sorted(names)
        assert await outcomes() == ["exists"] * 3
        assert await outcomes(force=True) == ["launched"] * 3
        assert len(await executions_of(b)) == 6
        assert (await state(b)).last_slot is None

    bench(scenario)


@pytest.mark.parametrize(
    ("verb", "path", "body", "status", "text"),
    [
        ("POST", f"{PLACE}/nothing/v1/pause", {}, 404, "nothing"),
        ("POST", f"{PLACE}/nothing/v1/trigger", {}, 404, "nothing"),
        ("POST", f"{PLAN}/pause", {"reason": 5}, 400, "reason"),
        ("POST", f"{PLAN}/pause", {"reason": "x" * 2000}, 400, "reason"),
        ("POST", f"{PLAN}/pause", {"why": ""}, 400, "why"),
        ("POST", f"{PLAN}/pause", [], 400, "the body"),
        ("POST", f"{PLAN}/backfill", {}, 400, "from"),
        ("POST", f"{PLAN}/backfill", {"from": "2025-01-01", "to": "x"}, 400, "from"),
        ("POST", f"{PLAN}/backfill", {"from": "1025-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, 400, "slots"),
        ("GET", f"{PLACE}?limit=0", None, 400, "limit"),
        ("GET", f"{PLACE}?token=x", None, 400, "token"),
    ],
)
def test_bad_input_names_the_field(bench: Scenario, verb: str, path: str, body: Any, status: int, text: str) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 * * * *")
        path_, _, query = path.partition("?")
        reply = await Desk(b)(verb, path_, body, **dict([query.split("=")] if query else []))
        assert reply.status_code == status, reply.text
        assert text in reply.json()["message"]
        assert await executions_of(b) == {}

    bench(scenario)


def test_actions_are_in_the_audit_log_with_their_outcome(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, minutes=5)
        audit.set_up(Settings(auth={"audit": {"level": "writes"}}))
        try:
            call = Desk(b)
            with structlog.testing.capture_logs() as lines:
                assert (await call("POST", f"{PLAN}/pause", {"reason": "x"})).status_code == 200
                assert (await call("POST", f"{PLACE}/none/v1/pause", {})).status_code == 404
                assert (await call("POST", f"{PLAN}/pause", {"reason": 5})).status_code == 400
                assert (await call("GET", PLACE)).status_code == 200
        finally:
            audit.set_up(Settings())
        found = [(one["kind"], one["what"], one["where"], one["outcome"]) for one in lines if one["event"] == "audit"]
        assert found == [
            ("write", "schedule pause", "p/development/lp", "ok"),
            ("write", "schedule pause", "p/development/none", "error 5"),
            ("write", "schedule pause", "p/development/lp", "error 3"),
        ]

    bench(scenario)


def test_a_launch_now_that_is_asked_to_respect_pause_and_overlap(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register(b, "0 0 * * *", overlap="skip")
        call = Desk(b)
        assert (await call("POST", f"{PLAN}/trigger", {"if_allowed": True})).status_code == 200
        refused = await call("POST", f"{PLAN}/trigger", {"if_allowed": True})
        assert (refused.status_code, "overlap is skip" in refused.json()["message"]) == (400, True)
        await call("POST", f"{PLAN}/pause", {"reason": "maintenance"})
        refused = await call("POST", f"{PLAN}/trigger", {"if_allowed": True})
        assert "is paused: maintenance" in refused.json()["message"]
        await call("POST", f"{PLAN}/resume", {})
        await call("POST", f"{PLAN}/pause", {})
        refused = await call("POST", f"{PLAN}/trigger", {"if_allowed": True})
        assert refused.json()["message"].endswith(" is paused")
        assert len(await executions_of(b)) == 1

    bench(scenario)


def test_a_limit_of_zero_is_shown(bench: Scenario) -> None:
    async def scenario(b: Any) -> None:
        await register_basics(b, workflow=True)
        plan = a_launch_plan(cron="* * * * *")
        plan.spec.concurrency_policy.max = 0
        plan.spec.concurrency_policy.behavior = launch_plan_pb2.CONCURRENCY_LIMIT_BEHAVIOR_SKIP
        await b.call(launch_plans.create_launch_plan, plan)
        await activate(b)
        [one] = (await Desk(b)("GET", PLACE, problems="true")).json()["schedules"]
        assert "never launches" in one["warnings"][0]

    bench(scenario)

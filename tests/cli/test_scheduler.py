"""`flyteadmin scheduler`: what the commands send and print, and errors that name the way out."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from app.cli.main import app
from tests.cli.api import Api
from tests.cli.terminal import rows

PLAN = "p/development/nightly"


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["scheduler", *arguments])


def schedules(*versions: str) -> httpx.Response:
    return httpx.Response(200, json={"schedules": [{"version": one, "active": True} for one in versions], "token": ""})


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("2026-03-29T01:00:00Z", "2026-03-29T01:00:00+00:00"),
        ("2026-03-29T03:00:00+02:00", "2026-03-29T03:00:00+02:00"),
        ("2026-03-29T01:00:00", "2026-03-29T01:00:00+00:00"),
        ("2026-03-29", "2026-03-29T00:00:00+00:00"),
    ],
)
def test_a_backfill_takes_the_times_that_list_prints(answer: Any, given: str, sent: str) -> None:
    requests = answer(httpx.Response(200, json={"slots": []}))
    done = run("backfill", f"{PLAN}/v1", "--from", given, "--to", given, "--dry-run")
    assert done.exit_code == 0, done.output
    assert json.loads(json.dumps(requests[0]["json"])) == {"from": sent, "to": sent, "dry_run": True, "force": False}


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (
            httpx.Response(401, json={"message": "upstream's text"}),
            "does not describe its sign-in at /.well-known/oauth-authorization-server; put a token into FLYTE_API_KEY",
        ),
        (schedules(), f"{PLAN} has no active or paused schedule; `flyteadmin scheduler list p/development` shows all"),
        (schedules("v1", "v2"), f"{PLAN} has 2 active or paused schedules: name the version"),
        (
            httpx.ConnectError("refused"),
            "no answer of http://localhost:30080 (named by the default): refused; is the server running",
        ),
        (httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED]"), "authority of the certificate in SSL_CERT_FILE"),
    ],
)
def test_an_error_names_the_way_out(answer: Any, reply: httpx.Response | Exception, text: str) -> None:
    answer(reply)
    done = run("trigger", PLAN)
    assert done.exit_code == 1
    assert text in done.stderr


def test_a_refused_token_is_reported_with_the_reason(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(httpx.Response(401, json={"message": "the token has expired"}))
    monkeypatch.setenv("FLYTE_API_KEY", "old")
    assert run("list", "p/development").stderr.startswith("flyteadmin: 401: the token has expired; sign in anew")


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ((), "flytesnacks/development"),
        (("nightly",), "flytesnacks/development/nightly"),
        (("nightly", "-p", "p", "-d", "staging"), "p/staging/nightly"),
        (("p/development",), "p/development"),
        (("p/development/nightly", "-p", "other"), "p/development/nightly"),
    ],
)
def test_a_list_is_of_the_place_of_other_commands(answer: Any, arguments: tuple[str, ...], path: str) -> None:
    project, domain, *_ = path.split("/")
    known = {"projects": [{"id": project, "domains": [{"id": domain}]}]}
    requests = answer(httpx.Response(200, json={"schedules": [], "token": "", "tzdata": "2025b"} | known))
    assert run("list", *arguments).exit_code == 0
    assert f"/schedules/{path}?" in requests[0]["url"] + "?"


def test_an_empty_list_of_an_unknown_domain_is_refused(api: Api) -> None:
    api.routes["GET /api/v1/schedules/mine/nope"] = {"schedules": [], "token": "", "tzdata": "2025b"}
    rows.serve_projects(api, mine=("development", "staging"))
    done = run("list", "mine/nope")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "the domain nope of mine is unknown; there are development, staging" in done.stderr


@pytest.mark.parametrize("place", ["p/d/n/v", "p//n", "/"])
def test_a_list_of_another_place_is_refused(answer: Any, place: str) -> None:
    requests = answer(schedules())
    expected = f"flyteadmin: {place!r} is no place; give nothing, NAME or PROJECT/DOMAIN[/NAME]\n"
    assert run("list", place).stderr == expected
    assert requests == []


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("nightly",), "flytesnacks/development/nightly/v7"),
        (("nightly", "-p", "p", "-d", "staging"), "p/staging/nightly/v7"),
        (("nightly/v1", "-d", "staging"), "flytesnacks/staging/nightly/v1"),
        (("p/development/nightly",), "p/development/nightly/v7"),
        (("p/development/nightly/v1",), "p/development/nightly/v1"),
    ],
)
def test_a_plan_is_named_as_by_other_commands(answer: Any, arguments: tuple[str, ...], path: str) -> None:
    given = path.endswith("/v1")
    requests = answer(*([] if given else [schedules("v7")]), httpx.Response(200, json={}))
    done = run("pause", *arguments)
    assert done.stdout == f"{path} is paused; start it again with `flyteadmin scheduler resume {path}`\n"
    assert requests[-1]["url"].endswith(f"/schedules/{path}/pause")


@pytest.mark.parametrize("plan", ["", "a//b", "p/development/nightly/v1/more"])
def test_text_that_names_no_plan_is_refused(answer: Any, plan: str) -> None:
    requests = answer(schedules())
    assert "names no launch plan; give NAME, NAME/VERSION or PROJECT/DOMAIN" in run("resume", plan).stderr
    assert requests == []


def test_trigger_names_the_execution_and_the_commands_that_follow(answer: Any) -> None:
    answer(schedules("v1"), httpx.Response(200, json={"execution": "m1"}))
    assert run("trigger", "nightly").stdout == (
        "launched flytesnacks/development/m1; watch it with `flyteadmin watch m1`, "
        "end it with `flyteadmin terminate m1`\n"
    )
    answer(httpx.Response(200, json={"execution": "m2"}))
    assert json.loads(run("trigger", f"{PLAN}/v1", "--output", "json").stdout) == {
        "project": "p",
        "domain": "development",
        "name": "m2",
        "console": "http://localhost:30080/console/projects/p/domains/development/executions/m2",
    }


def test_a_backfill_runs_some_executions_at_a_time(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.cli.scheduler.BACKFILL_POLL_SECONDS", 0.0)

    def slots(outcome: str, *hours: int) -> httpx.Response:
        times = {f"f{hour}": f"2026-01-01T0{hour}:00:00+00:00" for hour in hours}
        found = [{"slot": slot, "execution": name, "outcome": outcome} for name, slot in times.items()]
        return httpx.Response(200, json={"slots": found})

    def phase(name: str) -> httpx.Response:
        return httpx.Response(200, json={"closure": {"phase": name}})

    dry = slots("would launch", 1, 2)
    requests = answer(dry, slots("launched", 1), phase("RUNNING"), phase("SUCCEEDED"), slots("launched", 2))
    done = run("backfill", f"{PLAN}/v1", "--from", "2026-01-01", "--to", "2026-01-02", "--at-a-time", "1")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0] == "2026-01-01T01:00:00Z  f1  would launch"
    assert [one["url"].rpartition("/")[2] for one in requests] == ["backfill", "backfill", "f1", "f1", "backfill"]
    assert [one["json"]["dry_run"] for one in requests if one["json"]] == [True, False, False]
    assert (requests[4]["json"]["from"], requests[4]["json"]["to"]) == (
        "2026-01-01T01:59:59+00:00",
        "2026-01-01T02:00:00+00:00",
    )


def a_schedule(**values: Any) -> httpx.Response:
    shown = {
        **dict(zip(("project", "domain", "name", "version"), (*PLAN.split("/"), "v1"), strict=True)),
        "expression": "30 2 * * *",
        "zone": "Europe/Berlin",
        "active": True,
        "paused": None,
        "last": None,
        "next": ["2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"],
        "never": False,
        "counts": {"launched": 3, "missed": 0, "skipped": 0, "failed": 0},
        "problem": None,
        "warnings": [],
        "options": {"dst": "move-gap,twice"},
    }
    return httpx.Response(200, json={"schedules": [{**shown, **values}], "token": ""})


@pytest.mark.parametrize("expression", ["30 2 * * *", "CRON_TZ=Europe/Berlin 30 2 * * *"])
def test_the_slots_of_a_launch_plan_are_explained_like_those_of_its_cron(answer: Any, expression: str) -> None:
    requests = answer(a_schedule(expression=expression))
    explained = run("next", "nightly", "-p", "p", "-n", "2").stdout.splitlines()
    assert "/schedules/p/development/nightly?" in requests[0]["url"] + "?"
    assert explained[:2] == [
        f"{PLAN}/v1  {expression}  Europe/Berlin  active  next 2026-01-01T00:00:00Z",
        "  3 launched",
    ]
    alone = run("next", "30 2 * * *", "--tz", "Europe/Berlin", "--dst", "move-gap,twice", "-n", "2").stdout
    assert explained[2:] == alone.splitlines()
    assert alone.count("around the clock change") == 2


@pytest.mark.parametrize(("zone", "others"), [("", False), ("Europe/Berlin", True)])
def test_a_schedule_that_launches_nothing_says_so_before_its_slots(answer: Any, zone: str, others: bool) -> None:
    answer(a_schedule(zone=zone, active=False, next=[]))
    lines = run("next", f"{PLAN}/v1", "-n", "1").stdout.splitlines()
    assert lines[2] == "none of its slots launches at present"
    assert bool(lines[3:]) == others


def test_the_slots_of_a_fixed_rate(answer: Any) -> None:
    answer(a_schedule(expression="rate(90 MINUTE)", zone=""))
    assert [line.split()[-1] for line in run("next", f"{PLAN}/v1", "-n", "3").stdout.splitlines()[2:]] == [
        "2026-01-01T00:00:00Z",
        "2026-01-01T01:30:00Z",
        "2026-01-01T03:00:00Z",
    ]


def test_the_slots_of_a_rate_end_with_the_calendar(answer: Any) -> None:
    answer(a_schedule(expression="rate(1000000 DAY)", zone="", next=["2026-01-01T00:00:00Z", "4763-11-29T00:00:00Z"]))
    done = run("next", f"{PLAN}/v1", "-n", "9")
    assert done.exit_code == 0, done.output
    assert [line.split()[-1][:4] for line in done.stdout.splitlines()[2:]] == ["2026", "4763", "7501"]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("nightly", "flytesnacks/development/nightly has no active or paused schedule"),
        (f"{PLAN}/v2", f"{PLAN}/v2 has no schedule; `flyteadmin scheduler list {PLAN}` shows those of other versions"),
        ("*/5", "'*/5' is no schedule: expected exactly 5 fields"),
        ("61 * * * *", "'61 * * * *' is no schedule: "),
    ],
)
def test_slots_of_nothing(answer: Any, text: str, error: str) -> None:
    answer(httpx.Response(200, json={"schedules": [], "token": ""}))
    done = run("next", text)
    assert done.exit_code == 1
    assert error in done.stderr

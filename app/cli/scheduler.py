"""`flyteadmin scheduler`: run the scheduler alone, explain a cron expression, and look after schedules of a server."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import rest
from app.cli.calls import TIMEOUT_SECONDS
from app.cli.options import Files, Output, errors_in_one_line, group, progress, service_settings
from app.cli.program import program
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.places import Domain, ExecutionAddress, Project, check_place, listed_place, plan_of

if TYPE_CHECKING:
    from datetime import tzinfo

    from app.wire.cron import Cron

PATH = "/api/v1/schedules"
# A backfill launches its executions one after the other.
BACKFILL_TIMEOUT_SECONDS = 600.0
# Time between two looks whether executions of a backfill have ended.
BACKFILL_POLL_SECONDS = 2.0
TIMES = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"]
TIME_HELP = "this time, such as 2026-03-29T01:00:00Z. Without an offset in UTC."

# The form of names of launch plans. No cron expression has it.
_PLAN = re.compile(r"[^\s*?,@/][^\s*?,]*")

commands = group("Run the scheduler, explain cron expressions, and pause, resume or launch schedules.")

Plan = Annotated[
    str, typer.Argument(metavar="PLAN", help="The launch plan: NAME[/VERSION], or PROJECT/DOMAIN/NAME[/VERSION].")
]


@commands.command("run")
def run(context: typer.Context, config: Files = None) -> None:
    """Fire schedules in a process of its own, beside servers that run with `serve --no-scheduler`."""
    from app.background.change_listener import ChangeListener
    from app.background.scheduler import Scheduler
    from app.server.alone import run_alone

    with errors_in_one_line():
        settings = service_settings(context, config)
        progress().line("the scheduler runs; end it with Ctrl-C")
        run_alone(settings, ChangeListener, Scheduler)


@commands.command("next")
def following(
    expression: Annotated[
        str, typer.Argument(metavar="CRON|PLAN", help="Five fields, @daily, @every 1h, …; or a launch plan, as NAME.")
    ],
    zone: Annotated[str, typer.Option("--tz", metavar="NAME", help="Time zone, such as Europe/Berlin.")] = "",
    dst: Annotated[
        str, typer.Option(metavar="CHOICE", help="As the annotation schedule.flyte.org/dst, such as move-gap,once.")
    ] = "",
    number: Annotated[int, typer.Option("-n", min=1, max=100, metavar="NUMBER", help="How many slots.")] = 5,
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Print the coming slots of a cron expression or launch plan, and those around the year's clock changes."""
    with errors_in_one_line():
        if not _PLAN.fullmatch(expression):
            _explain(expression, zone, dst, number)
            return
        one = _schedule_of(endpoint, expression, project, domain)
        _print_schedule(one)
        if not one["next"]:
            typer.echo("none of its slots launches at present")
        if one["zone"]:
            fields = one["expression"].removeprefix(f"CRON_TZ={one['zone']} ").removeprefix(f"TZ={one['zone']} ")
            _explain(fields, zone or one["zone"], dst or one["options"]["dst"], number)
            return
        slots = [datetime.fromisoformat(slot) for slot in one["next"]]
        while len(slots) > 1 and len(slots) < number:
            every = slots[1] - slots[0]
            if slots[-1] > datetime.max.replace(tzinfo=UTC) - every:
                break
            slots.append(slots[-1] + every)
        for slot in slots[:number]:
            _print_slot(slot, UTC)


def _explain(expression: str, zone: str, dst: str, number: int) -> None:
    """Print the slots of a cron expression. Raises BadSetting where there is none."""
    from app.services.schedules.options import PREFIX, Options, of_annotations
    from app.services.schedules.slots import local_zone
    from app.settings import BadSetting
    from app.wire.cron import parse_cron

    try:
        cron = parse_cron(f"CRON_TZ={zone} {expression}" if zone else expression)
    except ValueError as error:
        raise BadSetting(f"{expression!r} is no schedule: {error}") from error
    options = of_annotations({f"{PREFIX}dst": dst} if dst else {}, Options())
    if options.problems:
        raise BadSetting(options.problems[0])
    place = cron.zone or local_zone()
    now = datetime.now(UTC)
    typer.echo(f"time zone {place}" + ("" if cron.zone else " (of this machine)"))
    slots = _slots(cron, place, options, now, number)
    if not slots:
        typer.echo("never: no date matches these fields")
    for slot in slots:
        _print_slot(slot, place)
    for change in _changes(place, now):
        local = change.astimezone(place)
        typer.echo(f"around the clock change of {local:%Y-%m-%d}:")
        near = _slots(cron, place, options, change - timedelta(hours=3), number)
        near = [slot for slot in near if slot <= change + timedelta(hours=3)]
        for slot in near:
            _print_slot(slot, place)
        if not near:
            typer.echo("  no slot within three hours")


def _slots(cron: "Cron", zone: "tzinfo", options: Any, moment: datetime, number: int) -> list[datetime]:
    found: list[datetime] = []
    while len(found) < number:
        slot = cron.following(found[-1] if found else moment, zone=zone, gap=options.gap, repeat=options.repeat)
        if slot is None:
            break
        found.append(slot)
    return found


def _print_slot(slot: datetime, zone: "tzinfo") -> None:
    typer.echo(f"  {slot.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}   {slot:%Y-%m-%dT%H:%M:%SZ}")


def _changes(zone: "tzinfo", now: datetime) -> list[datetime]:
    """Return the times of the coming year, to the hour, at which the offset of a time zone changes."""
    hours = (now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=number) for number in range(366 * 24))
    found, before = [], now.astimezone(zone).utcoffset()
    for hour in hours:
        offset = hour.astimezone(zone).utcoffset()
        if offset != before:
            found.append(hour)
        before = offset
    return found


@commands.command("list")
def list_(
    place: Annotated[
        str, typer.Argument(metavar="[NAME]", help="Only those of this launch plan; or PROJECT/DOMAIN[/NAME].")
    ] = "",
    problems: Annotated[bool, typer.Option("--problems", help="Only schedules that do not launch as written.")] = False,
    output: Output = "text",
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """List schedules with their state, their following slot, and the reason of trouble."""
    from app.cli.client import connected

    with errors_in_one_line():
        with connected(endpoint) as client:
            place = listed_place(client, place, project, domain, what="NAME")
        query = {"problems": "true"} if problems else {}
        found = rest.listed(endpoint, f"{PATH}/{place}", "schedules", query=query)
        if not found:
            with connected(endpoint) as client:
                check_place(client, *place.split("/")[:2])
        rest.print_list(found, "schedule", _print_schedule, json=output == "json")
        if output != "json":
            version = _call(endpoint, "GET", place, query={"limit": "1"})["tzdata"]
            typer.echo(f"time zones of tzdata {version or 'without a version'}")


def _print_schedule(one: dict[str, Any]) -> None:
    paused = one["paused"]
    state = "active" if one["active"] else ("paused" if paused else "inactive")
    coming = "never" if one["never"] else (one["next"] or ["-"])[0]
    name = f"{one['project']}/{one['domain']}/{one['name']}/{one['version']}"
    typer.echo(f"{name}  {one['expression']}  {one['zone']}  {state}  next {coming}")
    last, counts = one["last"], one["counts"]
    if last is not None:
        typer.echo(f"  last slot {last['slot']} {last['outcome']} {last['execution']}")
    if any(counts.values()):
        typer.echo("  " + ", ".join(f"{number} {word}" for word, number in counts.items() if number))
    if paused is not None:
        typer.echo(
            f"  paused by {paused['by'] or 'somebody'} at {paused['at']}: {paused['reason'] or 'no reason given'}"
        )
    if one["problem"] is not None:
        typer.echo(f"  problem since {one['problem']['since']}: {one['problem']['message']}")
    for warning in one["warnings"]:
        typer.echo(f"  warning: {warning}")


@commands.command("pause")
def pause(
    plan: Plan,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Shown to its owner.")] = "",
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Stop a schedule until `resume`, and keep the reason."""
    with errors_in_one_line():
        path = _with_version(endpoint, plan, project, domain)
        _call(endpoint, "POST", f"{path}/pause", {"reason": reason})
        typer.echo(f"{path} is paused; start it again with `{program()} scheduler resume {path}`")


@commands.command("resume")
def resume(
    plan: Plan,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Launch the slots since the pause, too.")] = False,
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Start a paused schedule again."""
    with errors_in_one_line():
        path = _with_version(endpoint, plan, project, domain)
        _call(endpoint, "POST", f"{path}/resume", {"catch_up": catch_up})
        typer.echo(f"{path} is active")


@commands.command("trigger")
def trigger(
    plan: Plan,
    if_allowed: Annotated[
        bool, typer.Option("--if-allowed", help="Not while it is paused, or where its option overlap forbids it.")
    ] = False,
    output: Output = "text",
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Launch a scheduled launch plan now; its slots stay as they are."""
    from app.cli.client import connected
    from app.cli.terminal.output import print_json
    from app.cli.terminal.watch import advice

    with errors_in_one_line():
        path = _with_version(endpoint, plan, project, domain)
        name = _call(endpoint, "POST", f"{path}/trigger", {"if_allowed": if_allowed})["execution"]
        with connected(endpoint) as client:
            parts = path.split("/")
            place = ExecutionAddress(parts[0], parts[1], name)
            if output == "json":
                print_json({**place.id, "console": place.console(client)})
            else:
                typer.echo(f"launched {place}; {advice(client, place)}")


@commands.command("backfill")
def backfill(
    plan: Plan,
    start: Annotated[datetime, typer.Option("--from", metavar="TIME", formats=TIMES, help=f"Slots after {TIME_HELP}")],
    end: Annotated[datetime, typer.Option("--to", metavar="TIME", formats=TIMES, help=f"Slots up to {TIME_HELP}")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the slots.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Launch again slots that have an execution.")] = False,
    at_a_time: Annotated[
        int, typer.Option("--at-a-time", min=0, help="Executions that run at the same time; 0 for all at once.")
    ] = 0,
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """Print the past slots of a time, then launch those that have no execution."""
    with errors_in_one_line():
        path = _with_version(endpoint, plan, project, domain)
        body = {"from": _utc(start), "to": _utc(end), "dry_run": True, "force": force}
        slots = _call(endpoint, "POST", f"{path}/backfill", body)["slots"]
        for slot in slots:
            _print_backfill(slot)
        due = [slot for slot in slots if slot["outcome"] == "would launch"]
        if dry_run or not due:
            return
        typer.echo(f"launching {len(due)} of {len(slots)} slots")
        if not at_a_time:
            for slot in _call(endpoint, "POST", f"{path}/backfill", body | {"dry_run": False})["slots"]:
                _print_backfill(slot)
            return
        running: list[str] = []
        for slot in due:
            while len(running) >= at_a_time:
                running = [name for name in running if _runs(endpoint, path, name)]
                if len(running) >= at_a_time:
                    asyncio.run(asyncio.sleep(BACKFILL_POLL_SECONDS))
            moment = datetime.fromisoformat(slot["slot"])
            one = body | {"dry_run": False, "from": _utc(moment - timedelta(seconds=1)), "to": _utc(moment)}
            for launched in _call(endpoint, "POST", f"{path}/backfill", one)["slots"]:
                _print_backfill(launched)
                running.append(launched["execution"])


def _print_backfill(slot: dict[str, Any]) -> None:
    moment = slot["slot"].replace("+00:00", "Z")
    typer.echo(f"{moment}  {slot['execution']}  {slot['outcome']}")


def _runs(endpoint: str, path: str, name: str) -> bool:
    """Return whether an execution in the project and domain of a plan has not ended."""
    project, domain = path.split("/")[:2]
    found = rest.call(endpoint, "GET", f"/api/v1/executions/{project}/{domain}/{name}")
    return found["closure"].get("phase", "UNDEFINED") not in ("SUCCEEDED", "FAILED", "ABORTED", "TIMED_OUT")


def _utc(moment: datetime) -> str:
    return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()


def _with_version(endpoint: str, text: str, project: str, domain: str) -> str:
    """Return the plan with its version; without one, that of its only active or paused schedule."""
    from app.cli.client import connected

    with connected(endpoint) as client:
        plan = plan_of(client, text, project, domain)
    if plan.count("/") == 3:
        return plan
    return f"{plan}/{_chosen(endpoint, plan)['version']}"


def _schedule_of(endpoint: str, text: str, project: str, domain: str) -> dict[str, Any]:
    """Return the schedule of a plan; without a version, its only active or paused one."""
    from app.cli.client import connected
    from app.settings import BadSetting

    with connected(endpoint) as client:
        plan = plan_of(client, text, project, domain)
    name, _, version = plan.rpartition("/") if plan.count("/") == 3 else (plan, "", "")
    if not version:
        return _chosen(endpoint, name)
    for one in _of_name(endpoint, name):
        if one["version"] == version:
            return one
    raise BadSetting(f"{plan} has no schedule; `{program()} scheduler list {name}` shows those of other versions")


def _of_name(endpoint: str, plan: str) -> list[dict[str, Any]]:
    return list(_call(endpoint, "GET", plan, query={"limit": "1000"})["schedules"])


def _chosen(endpoint: str, plan: str) -> dict[str, Any]:
    """Return the only active or paused schedule of a plan without version."""
    from app.settings import BadSetting

    found = _of_name(endpoint, plan)
    chosen = [one for one in found if one["active"]] or [one for one in found if one["paused"]]
    if not chosen:
        place = plan.rpartition("/")[0]
        raise BadSetting(f"{plan} has no active or paused schedule; `{program()} scheduler list {place}` shows all")
    if len(chosen) > 1:
        raise BadSetting(f"{plan} has {len(chosen)} active or paused schedules: name the version")
    return chosen[0]


def _call(
    endpoint: str, verb: str, path: str, body: dict[str, Any] | None = None, query: dict[str, str] | None = None
) -> Any:
    """Call a route of schedules. Raises BadSetting with the server's message."""
    seconds = BACKFILL_TIMEOUT_SECONDS if path.endswith("/backfill") else TIMEOUT_SECONDS
    return rest.call(endpoint, verb, f"{PATH}/{path}", body, query, seconds=seconds)

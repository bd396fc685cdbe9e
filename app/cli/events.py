"""`flyteadmin events`: list published events, and send them again."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from app.cli.deliveries import Limit, State, Where, print_messages
from app.cli.options import Files, Output, errors_in_one_line, group, load_settings
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.places import Domain, Project

TIMES = "such as 90m (ago) or 2026-03-29T01:00:00Z; without an offset in UTC"

commands = group("List published events and their outcomes, and send them again.")


@commands.command("list")
def list_(
    where: Where = "",
    state: State = None,
    target: Annotated[
        Literal["externalEvents", "cloudEvents"] | None, typer.Option("--target", help="Only those of this section.")
    ] = None,
    limit: Limit = 100,
    output: Output = "text",
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """List published events with their state, the reply of the receiver, and why they were not delivered."""
    names = {"externalEvents": "external_events", "cloudEvents": "cloud_events"}
    chosen = {"state": state, "target": names[target] if target else None}
    print_messages(
        endpoint, where, (project, domain), about="events", chosen=chosen, limit=limit, json=output == "json"
    )


@commands.command("replay")
def replay(
    context: typer.Context,
    since: Annotated[str, typer.Option(metavar="TIME", help=f"Events recorded at or after this, {TIMES}.")],
    until: Annotated[str, typer.Option(metavar="TIME", help="Events recorded before this; now by default.")] = "",
    target: Annotated[
        str, typer.Option(metavar="SECTION", help="externalEvents or cloudEvents; both by default.")
    ] = "",
    failed: Annotated[bool, typer.Option("--failed", help="Only events that could not be published.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print how many there are.")] = False,
    config: Files = None,
) -> None:
    """Send events again that were sent, or set aside, in the last days (outbox.keptSeconds).

    The command works on the database and is given the `--config` of the server. A running server sends the events
    within a second, those of an execution in their order. Each has the same id and source as before, by which receivers
    recognise it.
    """
    from app.background.events_out import build
    from app.background.events_out import replay as events
    from app.server import startup
    from app.settings import BadSetting

    sections = {"externalEvents": build.EXTERNAL, "cloudEvents": build.CLOUD}
    with errors_in_one_line():
        if target and target not in sections:
            raise BadSetting(f"--target={target} is unknown; allowed: {', '.join(sections)}")
        now = datetime.now(UTC)
        first, last = read_time("--since", since, now), read_time("--until", until, now) if until else now
        settings = load_settings(context, config)
        startup.check_migrated(settings)
        enabled = build.enabled(settings)
        chosen = events.Replay([sections[target]] if target else list(sections.values()), first, last, failed)
        counts = startup.on_database(settings, lambda database: events.replay(database, chosen, dry_run=dry_run))
        shown = [section for section, name in sections.items() if counts.get(name) or name in enabled or target]
        for section in shown:
            name = sections[section]
            if name not in counts:
                continue
            verb = "would be sent again" if dry_run else "will be sent again"
            typer.echo(f"{section}: {counts[name]} event{'s' if counts[name] != 1 else ''} {verb}")
            if counts[name] and name not in enabled:
                typer.echo(
                    f"flyteadmin: these settings do not enable {section}, and a server with them sends none of these; "
                    "is the --config of the server missing?",
                    err=True,
                )
        if not shown:
            typer.echo("no events: these settings enable neither externalEvents nor cloudEvents, and none are kept")


def read_time(option: str, text: str, now: datetime) -> datetime:
    """Return a time, or the time that lies a duration in the past.

    Raises:
        BadSetting: The text is neither.
    """
    from app.settings import BadSetting
    from app.wire.go.goparse import parse_go_duration

    try:
        return now - timedelta(microseconds=parse_go_duration(text) // 1000)
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadSetting(f"{option}={text} is no time; allowed: {TIMES}") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)

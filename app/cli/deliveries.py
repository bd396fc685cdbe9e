"""Lists of the messages of the outbox, for `flyteadmin notifications list` and `flyteadmin events list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import typer

from app.cli import rest
from app.cli.options import errors_in_one_line
from app.cli.terminal.places import check_place, listed_place

PATH = "/api/v1/notifications"

Where = Annotated[
    str,
    typer.Argument(metavar="[EXECUTION]", help="Only those of this execution; or PROJECT/DOMAIN[/EXECUTION]."),
]
State = Annotated[
    Literal["pending", "delivered", "failed"] | None, typer.Option("--state", help="Only those in this state.")
]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="The number of messages, the newest first.")]


def print_messages(
    endpoint: str,
    where: str,
    place: tuple[str, str],
    *,
    about: Literal["notifications", "events"],
    chosen: Mapping[str, str | None],
    limit: int,
    json: bool,
) -> None:
    """Print messages of a place.

    Args:
        endpoint: The address of the server.
        where: The argument of the command.
        place: The options for project and domain.
        about: The kind of messages.
        chosen: Further conditions of the route; None for none.
        limit: The largest number of messages.
        json: Whether to print JSON.
    """
    from app.cli.client import connected

    with errors_in_one_line():
        with connected(endpoint) as client:
            path = listed_place(client, where, *place, what="EXECUTION")
        query = {"about": about, **{name: value for name, value in chosen.items() if value}}
        found = rest.listed(endpoint, f"{PATH}/{path}", "deliveries", query=query, limit=limit)
        if not found:
            with connected(endpoint) as client:
                check_place(client, *path.split("/")[:2])
        rest.print_list(found, "event" if about == "events" else "notification", _print, json=json)


def _print(one: dict[str, Any]) -> None:
    execution = "/".join(one["execution"].values())
    attempts = f"{one['attempts']} attempt{'' if one['attempts'] == 1 else 's'}"
    typer.echo(f"{one['created_at'][:19]}Z  {one['state']}  {one['kind']} to {one['recipient'] or one['target']}")
    typer.echo(f"  {execution}, {attempts}, delivery {one['id']}")
    if one["reply"]:
        typer.echo(f"  reply: {one['reply']}")
    if one["reason"]:
        typer.echo(f"  reason: {one['reason']}")
    if one["next_at"]:
        typer.echo(f"  next attempt {one['next_at'][:19]}Z")

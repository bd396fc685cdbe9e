"""`flyteadmin notifications`: list the messages about executions, and send a test message."""

from typing import Annotated, Any

import typer

from app.cli import rest
from app.cli.options import errors_in_one_line, group
from app.cli.rest import LOCAL, Endpoint

PATH = "/api/v1/notifications"
# A mail server may take long to reply.
TEST_TIMEOUT_SECONDS = 150.0

commands = group("List notifications and published events, and send a test message.")


@commands.command("list")
def list_(
    place: Annotated[str, typer.Argument(metavar="PROJECT/DOMAIN[/EXECUTION]", help="Where to look.")],
    state: Annotated[
        str, typer.Option("--state", metavar="STATE", help="Only pending, delivered or failed ones.")
    ] = "",
    target: Annotated[
        str, typer.Option("--target", metavar="TARGET", help="Only those of a target, such as mail.")
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="The number of messages, the newest first.")] = 100,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    endpoint: Endpoint = LOCAL,
) -> None:
    """List messages with their state, the reply of the receiver, and why they were not delivered."""
    from app.settings import BadSetting

    with errors_in_one_line():
        if place.count("/") not in (1, 2):
            raise BadSetting(f"{place!r} is no PROJECT/DOMAIN[/EXECUTION]")
        query = {name: value for name, value in (("state", state), ("target", target)) if value}
        found = rest.listed(endpoint, f"{PATH}/{place}", "deliveries", query=query, limit=limit)
        rest.print_list(found, "message", _print, json=json)


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


@commands.command("targets")
def targets(endpoint: Endpoint = LOCAL) -> None:
    """List the kinds of receivers that are set up, and why one cannot be used now."""
    with errors_in_one_line():
        for one in rest.call(endpoint, "GET", PATH)["targets"]:
            typer.echo(f"{one['name']}: {one['problem'] or 'available'}")


@commands.command("test")
def send_test(
    address: Annotated[str, typer.Argument(help="An e-mail address, or that of a webhook.")],
    endpoint: Endpoint = LOCAL,
) -> None:
    """Send a test message and print the conversation with the receiver."""
    with errors_in_one_line():
        found = rest.call(endpoint, "POST", f"{PATH}/test", {"address": address}, seconds=TEST_TIMEOUT_SECONDS)
        for line in found["conversation"]:
            typer.echo(line)
        if not found["delivered"]:
            typer.echo(f"not delivered: {found['reason']}", err=True)
            raise SystemExit(1)
        typer.echo(f"delivered: {found['reply']}")

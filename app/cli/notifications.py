"""`flyteadmin notifications`: list the notifications of executions, and send a test message."""

from typing import Annotated, Literal

import typer

from app.cli import rest
from app.cli.deliveries import PATH, Limit, State, Where, print_messages
from app.cli.options import Output, errors_in_one_line, group
from app.cli.rest import LOCAL, Endpoint
from app.cli.terminal.places import Domain, Project

# A mail server may take long to reply.
TEST_TIMEOUT_SECONDS = 150.0

commands = group("List notifications and their outcomes, and send a test message.")


@commands.command("list")
def list_(
    where: Where = "",
    state: State = None,
    target: Annotated[
        Literal["mail", "webhook", "queue"] | None, typer.Option("--target", help="Only those sent this way.")
    ] = None,
    limit: Limit = 100,
    output: Output = "text",
    project: Project = "",
    domain: Domain = "",
    endpoint: Endpoint = LOCAL,
) -> None:
    """List notifications with their state, the reply of the receiver, and why they were not delivered."""
    chosen = {"state": state, "target": target}
    print_messages(
        endpoint, where, (project, domain), about="notifications", chosen=chosen, limit=limit, json=output == "json"
    )


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

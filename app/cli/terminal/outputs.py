"""The outputs of executions that have succeeded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from app.cli.terminal.output import console

if TYPE_CHECKING:
    from app.cli.client import RestClient
    from app.cli.terminal.places import ExecutionAddress


def read(client: RestClient, place: ExecutionAddress) -> dict[str, Any] | None:
    """Return the literals of the outputs; None, after a message on stderr, where they cannot be read."""
    from app.cli.calls import path_of
    from app.cli.client import CallRefused, ServerUnreachable

    try:
        data = client.get(path_of("data", "executions", *place.parts))
    except (CallRefused, ServerUnreachable) as error:
        typer.echo(f"flyteadmin: the outputs of {place} cannot be read: {error}", err=True)
        return None
    return dict((data.get("full_outputs") or {}).get("literals") or {})


def plain(literals: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outputs for programs."""
    from app.cli.terminal import values

    return {name: values.plain(literal) for name, literal in literals.items()}


def show(literals: Mapping[str, Any]) -> None:
    """Print an empty line and a line for each output; a long one is cut."""
    from app.cli.terminal import values

    if literals:
        console().print()
    for name, literal in sorted(literals.items()):
        console().print(f"{name} = {values.shown(literal)}", soft_wrap=True)

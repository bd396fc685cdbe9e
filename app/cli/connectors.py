"""`flyteadmin connectors`: list the services that run tasks of connectors."""

from typing import Any

import typer

from app.cli import rest
from app.cli.options import Output, errors_in_one_line
from app.cli.rest import LOCAL, Endpoint

PATH = "/api/v1/connectors"


def connectors(output: Output = "text", endpoint: Endpoint = LOCAL) -> None:
    """List the services that run tasks of connectors, with their types and last answers."""
    with errors_in_one_line():
        rest.print_list(rest.call(endpoint, "GET", PATH)["services"], "service", _print, json=output == "json")


def _print(one: dict[str, Any]) -> None:
    typer.echo(f"{one['plugin']}  {one['id'] or 'default'}  {one['endpoint'] or 'not running'}")
    types = ", ".join(f"{kind['name']} {kind['version']}{' (sync)' if kind['sync'] else ''}" for kind in one["types"])
    typer.echo(f"  types: {types or 'none announced'}")
    typer.echo(f"  last answer: {one['answered_at'] or 'none'}, {one['calls']} calls, {one['failed_calls']} failed")
    if one["problem"]:
        typer.echo(f"  problem: {one['problem']}")

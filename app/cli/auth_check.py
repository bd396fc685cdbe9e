"""`flyteadmin auth check`: the settings of authentication, tried against the identity provider."""

import asyncio
from typing import TYPE_CHECKING

import typer

from app.cli.options import Files, errors_in_one_line, load_settings, masker

if TYPE_CHECKING:
    from app.server.findings import CheckReport


def check(context: typer.Context, config: Files = None) -> None:
    """Try the settings of authentication against the identity provider, and print what they lack.

    The exit code is 1 where something keeps users out. SSL_CERT_FILE names a private authority.
    """
    with errors_in_one_line():
        settings = load_settings(context, config)
        from app.server import auth_check

        print_report(asyncio.run(auth_check.run(settings)))


def print_report(report: "CheckReport") -> None:
    """Print the findings, one a line, and exit with code 1 where there is an error."""
    for one in report.findings:
        # Masked apart: `client_secret: a hash` has the form of a secret.
        typer.echo(f"{one.level:8} {masker().text(one.subject)}: {masker().text(one.text)}")
    if report.failed:
        raise typer.Exit(1)

"""`flyteadmin doctor`: try a server as its clients reach it."""

import asyncio
import os
from pathlib import Path
from typing import Annotated

import typer

from app.cli.auth_check import print_report
from app.cli.options import errors_in_one_line

TOKEN = "FLYTEADMIN_TOKEN"


def doctor(
    url: Annotated[str, typer.Argument(metavar="URL", help="Address of a server, such as https://flyte.example.com.")],
    authority: Annotated[
        Path | None, typer.Option("--ca", metavar="FILE", help="Authorities in PEM, for a private certificate.")
    ] = None,
) -> None:
    """Try name, connection, TLS, REST, gRPC and sign-in of a server, and print the hop that fails.

    A bearer token in FLYTEADMIN_TOKEN is sent. The exit code is 1 where a hop fails.
    """
    with errors_in_one_line():
        from app.server import doctor as hops

        print_report(asyncio.run(hops.examine(url, authority, os.environ.get(TOKEN, ""))))

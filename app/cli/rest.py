"""Calls of a running server's routes, for commands with `--endpoint`; app/cli/client.py has the HTTP client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from app.cli.calls import PAGE_ROWS, TIMEOUT_SECONDS, TOKEN_VARIABLE

# Stands for the server that `app.cli.sign_in.connection` finds.
LOCAL = ""

Endpoint = Annotated[
    str,
    typer.Option(
        metavar="URL",
        help=f"Address of the server. {TOKEN_VARIABLE} is sent as bearer token.",
        show_default="that of pyflyte's configuration, else http://localhost:30080",
    ),
]


def call(
    endpoint: str,
    verb: str,
    path: str,
    body: dict[str, Any] | None = None,
    query: dict[str, str] | None = None,
    *,
    seconds: float = TIMEOUT_SECONDS,
) -> Any:
    """Call a route that takes and returns JSON.

    Args:
        endpoint: The address of the server.
        verb: The HTTP method.
        path: The path, which begins with a slash.
        body: The body.
        query: The query.
        seconds: Time for the reply.

    Raises:
        BadSetting: There is no reply, or an error; the message is the server's.
    """
    from urllib.parse import quote

    from app.cli.client import connected

    with connected(endpoint, seconds=seconds) as client:
        return client.call(verb, quote(path), body, query)


def listed(
    endpoint: str, path: str, key: str, *, query: dict[str, str] | None = None, limit: int | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a list, page by page.

    Args:
        endpoint: The address of the server.
        path: The path of the list.
        key: The field of a page that has its rows.
        query: The query, without limit and token.
        limit: The largest number of rows; None for all.

    Raises:
        BadSetting: As `call`.
    """
    from urllib.parse import quote

    from app.cli.client import connected

    found: list[dict[str, Any]] = []
    rows = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit)
    with connected(endpoint) as client:
        for page in client.pages(quote(path), key, query, rows=rows):
            found += page
            if limit is not None and len(found) >= limit:
                break
    return found[:limit]


def print_list(found: list[dict[str, Any]], what: str, show: Callable[[dict[str, Any]], None], *, json: bool) -> None:
    """Print rows as JSON, or one by one and then their number. what: the word for one row."""
    from app.cli.terminal.output import print_json

    if json:
        print_json(found)
        return
    for one in found:
        show(one)
    typer.echo(f"{len(found)} {what}{'' if len(found) == 1 else 's'}")

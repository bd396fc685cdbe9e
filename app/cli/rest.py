"""Calls of a running server's own routes, for commands with `--endpoint`."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

TIMEOUT_SECONDS = 30.0
PAGE_ROWS = 500
TOKEN_VARIABLE = "FLYTE_API_KEY"  # nosec B105 - the name of a variable
LOCAL = "http://localhost:30080"

Endpoint = Annotated[
    str,
    typer.Option(metavar="URL", help=f"Address of the server. {TOKEN_VARIABLE} is sent as bearer token."),
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
    import os
    from urllib.parse import quote

    import httpx

    from app.settings import BadSetting

    token = os.environ.get(TOKEN_VARIABLE, "")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    address = f"{endpoint.rstrip('/')}{quote(path)}"
    try:
        reply = httpx.request(verb, address, json=body, params=query, headers=headers, timeout=seconds)
    except httpx.HTTPError as error:
        raise BadSetting(f"no answer of {endpoint}: {error}; {_advice(error)}") from error
    try:
        found = reply.json()
    except ValueError:
        found = {"message": reply.text[:200]}
    if reply.status_code == httpx.codes.UNAUTHORIZED and not token:
        raise BadSetting(f"the server asks for a token; put one into {TOKEN_VARIABLE} (flyteadmin auth token create)")
    if reply.is_error:
        raise BadSetting(f"{reply.status_code}: {found.get('message', reply.reason_phrase)}")
    return found


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
    found: list[dict[str, Any]] = []
    token = ""
    while limit is None or len(found) < limit:
        rows = PAGE_ROWS if limit is None else min(PAGE_ROWS, limit - len(found))
        page = call(endpoint, "GET", path, query={"limit": str(rows), "token": token, **(query or {})})
        found += page[key]
        token = page["token"]
        if not token:
            break
    return found


def print_list(found: list[dict[str, Any]], what: str, show: Callable[[dict[str, Any]], None], *, json: bool) -> None:
    """Print rows as JSON, or one by one and then their number. what: the word for one row."""
    import orjson

    if json:
        typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2))
        return
    for one in found:
        show(one)
    typer.echo(f"{len(found)} {what}{'' if len(found) == 1 else 's'}")


def _advice(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "name the authority of the certificate in SSL_CERT_FILE"
    return "is the server running (flyteadmin serve), and is --endpoint its address?"

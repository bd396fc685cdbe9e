"""Calls of a running server's own routes, for commands with `--endpoint`."""

from typing import Annotated, Any

import typer

TIMEOUT_SECONDS = 30.0
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


def _advice(error: Exception) -> str:
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return "name the authority of the certificate in SSL_CERT_FILE"
    return "is the server running (flyteadmin serve), and is --endpoint its address?"

"""Forms, errors and JSON of the pages of the own authorization server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from app import errors
from app.auth.authentication import Authentication
from app.auth.credentials import Credentials
from app.auth.oauth.errors import OAuthError, RedirectError
from app.auth.oauth.parameters import Parameters, parse
from app.auth.oauth.server import with_parameters
from app.runtime import failures

FORM_BYTES_MAX = 64 * 1024
NO_STORE = {"cache-control": "no-store", "pragma": "no-cache"}
_JSON = "application/json;charset=UTF-8"
_FORM = "application/x-www-form-urlencoded"

Handler = Callable[[Request], Awaitable[Response]]


def public_url(auth: Authentication, request: Request) -> str:
    """Return the address of this server as the client wrote it."""
    return auth.public_urls.of(Credentials.of_scope(request.scope, "http"), forwarded=False)


async def form_of(request: Request, seconds: float) -> Parameters:
    """Return the parameters of a form; none for a body of another type. Raises OAuthError."""
    return parse((await form_bytes(request, seconds)).decode("latin-1"))


async def form_bytes(request: Request, seconds: float) -> bytes:
    """Return the body of a form, b"" for a body of another type.

    Args:
        request: The request.
        seconds: The time for the whole body.

    Raises:
        OAuthError: The body is too large, or it does not arrive in time.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return b""
    body = b""
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.stream():
                body += piece
                if len(body) > FORM_BYTES_MAX:
                    raise OAuthError("invalid_request", f"The form has more than {FORM_BYTES_MAX} bytes.", status=413)
    except (TimeoutError, ClientDisconnect) as error:
        raise OAuthError("invalid_request", "The form did not arrive in time.", status=408) from error
    return body


def refusing(handler: Handler) -> Handler:
    """Answer the errors of a handler: by a redirect to the client, or as JSON."""

    async def answered(request: Request) -> Response:
        try:
            return await handler(request)
        except RedirectError as error:
            return redirect(error)
        except errors.FlyteError as error:
            # The database is away, or two processes changed one grant at once.
            failures.record(error, rpc=request.url.path, request_id="")
            return refusal(
                OAuthError("temporarily_unavailable", "The server cannot answer now.", retry_after_seconds=1)
            )
        except OAuthError as error:
            return refusal(error, basic=request.headers.get("authorization", "")[:5].lower() == "basic")

    return answered


def refusal(error: OAuthError, *, basic: bool = False) -> Response:
    """Return the JSON of an error.

    Args:
        error: The error.
        basic: Whether the client has authenticated by the header Authorization.
    """
    response = json_of({"error": error.error, "error_description": error.description}, error.status)
    if error.retry_after_seconds is not None:
        response.headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    if basic and error.status == 401:
        response.headers["www-authenticate"] = 'Basic realm="flyteadmin"'
    return response


def redirect(error: RedirectError) -> Response:
    """Return the redirect that brings an error to its client."""
    parameters = {"error": error.error, "error_description": error.description, "state": error.state}
    target = with_parameters(error.redirect_uri, parameters, fragment=error.fragment)
    return RedirectResponse(target, 303, headers=NO_STORE)


def json_of(content: Mapping[str, Any], status: int = 200) -> Response:
    """Return a JSON answer that nobody stores."""
    return Response(orjson.dumps(content), status, headers={**NO_STORE, "content-type": _JSON})

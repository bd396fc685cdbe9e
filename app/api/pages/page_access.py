"""Authentication and roles of pages, which no RPC serves: the checks of `app.runtime.dispatch`, for an HTTP request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from app import errors
from app.api.http.refusals import Refusal, challenge
from app.api.status import http_status
from app.auth import audit
from app.auth.identity import Identity
from app.auth.roles import Need
from app.runtime import dispatch
from app.runtime.dispatch import Server


async def identity_of(server: Server, request: Request) -> Identity:
    """Return who sends a request.

    Raises:
        Unauthenticated: Authentication is on, and there is no acceptable token.
    """
    if server.auth is None:
        return dispatch.front_identity(request.scope)
    return await dispatch.identity(server.auth, dispatch.credentials(server, request.scope, "http"))


async def require(server: Server, request: Request, need: Need, what: str, *, acts: bool = False) -> Identity:
    """Return who sends a request, after the check that the caller has a role. Write a line of the audit log.

    Args:
        server: The objects of this process.
        request: The request.
        need: The role and place.
        what: The name of the page for the audit log.
        acts: Whether the page itself writes the line about a caller with the role, after the action.

    Raises:
        Unauthenticated: Authentication is on, and there is no acceptable token.
        PermissionDenied: The caller lacks the role.
    """
    identity: Identity | None = None
    outcome = "error"
    try:
        identity = await identity_of(server, request)
        access = None if server.access is None else await server.access.access(identity)
        if access is not None:
            access.require(need)
        outcome = "ok"
        return identity
    except errors.FlyteError as error:
        refused = isinstance(error, (errors.Unauthenticated, errors.PermissionDenied))
        outcome = audit.DENIED if refused else f"error {error.code}"
        raise
    finally:
        if outcome != "ok" or not acts:
            kind: audit.Kind = "read" if request.method in ("GET", "HEAD") else "write"
            audit.record(kind, what, who=identity, where=need.place, outcome=outcome, caller=address_of(request))


def address_of(request: Request) -> str:
    """Return the network address of a caller, "" where the edge has none."""
    return request.client.host if request.client is not None else ""


def error_response(error: errors.FlyteError) -> Response:
    """Return the reply for an error, as REST sends it."""
    headers, body = Refusal(http_status(error.code), error).response()
    if isinstance(error, errors.Unauthenticated):
        headers.append(challenge(error))
    shown = {name.decode(): value.decode() for name, value in headers}
    return Response(body, http_status(error.code), headers=shown)


def answering_errors(
    serve: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler with each FlyteError as a reply."""

    async def handler(request: Request) -> Response:
        try:
            return await serve(request)
        except errors.FlyteError as error:
            return error_response(error)

    return handler
